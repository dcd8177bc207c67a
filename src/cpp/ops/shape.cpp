#include "ops/shape.hpp"

#include <cstring>

#include "core/parallel.hpp"
#include "ops/elementwise.hpp"
#include "ops/reduce.hpp"
#include "ops/strided.hpp"

namespace fastnn {

namespace {

class Copy final : public Op {
 public:
  std::string_view name() const override { return "copy"; }
  std::vector<Spec> infer(Specs x) const override { return {x[0]}; }
  void forward(Tensors x, Tensors y) const override { std::memcpy(y[0].raw(), x[0].raw(), x[0].bytes()); }
  void backward(const BackwardArgs& b) const override {
    if (b.dx[0]) add_or_copy(b.dx[0], b.dy[0]);
  }
};

class FillLike final : public Op {
 public:
  explicit FillLike(double value) : value_(value) {}
  std::string_view name() const override { return "fill_like"; }
  std::vector<Spec> infer(Specs x) const override { return {x[0]}; }
  bool differentiable() const override { return false; }
  bool ignores_values() const override { return true; }
  void forward(Tensors, Tensors y) const override {
    with_dtype(y[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* p = y[0].data<T>();
      parallel_for(y[0].size(), kChunkWork, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) p[i] = static_cast<T>(value_);
      });
    });
  }

 private:
  double value_;
};

class Reshape final : public Op {
 public:
  explicit Reshape(const Shape& shape) : shape_(shape) {}
  std::string_view name() const override { return "reshape"; }
  bool is_view() const override { return true; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape& from = x[0].shape;
    Shape to = shape_;
    int unknown = -1;
    int64_t rest = 1;
    for (int i = 0; i < to.rank(); ++i) {
      if (to[i] == kUnknown) {
        if (unknown >= 0) {
          if (from.known()) throw ValueError(cat("reshape: only one dimension may be -1, got ", shape_));
          return {{to, x[0].dtype}};
        }
        unknown = i;
      } else if (to[i] < 0) {
        throw ValueError(cat("reshape: expected dimensions >= 0 or -1, got ", shape_));
      } else if (__builtin_mul_overflow(rest, to[i], &rest)) {
        throw ValueError(cat("reshape: ", shape_, " has more than 2**63 elements"));
      }
    }
    if (!from.known()) return {{to, x[0].dtype}};
    const int64_t n = numel(from);
    if (unknown >= 0 && rest > 0 && n % rest == 0) to[unknown] = n / rest;
    if (!to.known() || numel(to) != n)
      throw ValueError(cat("reshape: cannot make shape ", shape_, " of the ", n, " elements of ", from));
    return {{to, x[0].dtype}};
  }
  void forward(Tensors, Tensors) const override {}
  void backward(const BackwardArgs& b) const override {
    if (b.dx[0]) add_or_copy(b.dx[0], b.dy[0]);
  }

 private:
  Shape shape_;
};

class StopGradient final : public Op {
 public:
  std::string_view name() const override { return "stop_gradient"; }
  bool is_view() const override { return true; }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override { return {x[0]}; }
  void forward(Tensors, Tensors) const override {}
};

class ExpandDims final : public Op {
 public:
  explicit ExpandDims(std::vector<int64_t> axes) : axes_(std::move(axes)) {}
  std::string_view name() const override { return "expand_dims"; }
  bool is_view() const override { return true; }
  std::vector<Spec> infer(Specs x) const override {
    const int rank = x[0].shape.rank() + static_cast<int>(axes_.size());
    if (rank > kMaxRank)
      throw ValueError(cat("expand_dims: at most ", kMaxRank, " dimensions are supported, got ", rank));
    const uint32_t added = axis_bits(axes_, rank, "expand_dims");
    Shape y;
    for (int d = 0, from = 0; d < rank; ++d) y.push_back(added >> d & 1 ? 1 : x[0].shape[from++]);
    return {{y, x[0].dtype}};
  }
  void forward(Tensors, Tensors) const override {}
  void backward(const BackwardArgs& b) const override {
    if (b.dx[0]) add_or_copy(b.dx[0], b.dy[0]);
  }

 private:
  std::vector<int64_t> axes_;
};

class Squeeze final : public Op {
 public:
  Squeeze(std::vector<int64_t> axes, bool everything) : axes_(std::move(axes)), everything_(everything) {}
  std::string_view name() const override { return "squeeze"; }
  bool is_view() const override { return true; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape& shape = x[0].shape;
    const uint32_t chosen = everything_ ? 0 : axis_bits(axes_, shape.rank(), "squeeze");
    Shape y;
    for (int d = 0; d < shape.rank(); ++d) {
      if ((chosen >> d & 1) && !same_dim(shape[d], 1))
        throw ValueError(cat("squeeze: expected one element along axis ", d, " of x, got shape ", shape));
      if (everything_ ? shape[d] != 1 : !(chosen >> d & 1)) y.push_back(shape[d]);
    }
    return {{y, x[0].dtype}};
  }
  void forward(Tensors, Tensors) const override {}
  void backward(const BackwardArgs& b) const override {
    if (b.dx[0]) add_or_copy(b.dx[0], b.dy[0]);
  }

 private:
  std::vector<int64_t> axes_;
  bool everything_;
};

class Transpose final : public Op {
 public:
  Transpose(std::vector<int64_t> axes, bool reversed) : axes_(std::move(axes)), reversed_(reversed) {}
  std::string_view name() const override { return "transpose"; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape& shape = x[0].shape;
    if (!reversed_) {
      if (axes_.size() != static_cast<size_t>(shape.rank()))
        throw ValueError(
            cat("transpose: expected axes of length ", shape.rank(), ", one per dimension of x, got ", axes_.size()));
      axis_bits(axes_, shape.rank(), "transpose");
    }
    Shape y;
    for (int d = 0; d < shape.rank(); ++d) y.push_back(shape[source(d, shape.rank())]);
    return {{y, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const Strides strides = turned(x[0].shape());
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      move_strided(y[0].shape(), x[0].data<T>(), strides, y[0].data<T>(), row_major(y[0].shape()));
    });
  }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    // Walked in dx's order, so that the inner loop writes neighbours.
    const Shape &from = b.y_spec[0].shape, &to = b.x_spec[0].shape;
    const Strides from_strides = row_major(from);
    Strides strides{};
    for (int d = 0; d < to.rank(); ++d) strides[source(d, to.rank())] = from_strides[d];
    with_float(b.dy[0].dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      move_strided(to, b.dy[0].data<T>(), strides, b.dx[0].to.template data<T>(), row_major(to), b.dx[0].accumulate);
    });
  }

 private:
  int source(int d, int rank) const { return reversed_ ? rank - 1 - d : normalize_axis(axes_[d], rank, "transpose"); }
  Strides turned(const Shape& x) const {
    const Strides own = row_major(x);
    Strides strides{};
    for (int d = 0; d < x.rank(); ++d) strides[d] = own[source(d, x.rank())];
    return strides;
  }
  std::vector<int64_t> axes_;
  bool reversed_;
};

class BroadcastTo final : public Op {
 public:
  explicit BroadcastTo(const Shape& shape) : shape_(shape) {}
  std::string_view name() const override { return "broadcast_to"; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape& from = x[0].shape;
    bool fits = from.rank() <= shape_.rank();
    const int offset = shape_.rank() - from.rank();
    Shape to = shape_;
    for (int d = 0; fits && d < from.rank(); ++d) {
      fits = from[d] == 1 || same_dim(from[d], to[offset + d]);
      if (from[d] != 1) to[offset + d] = known_dim(to[offset + d], from[d]);
    }
    for (int d = 0; d < to.rank(); ++d) fits &= to[d] >= 0 || to[d] == kUnknown;
    if (!fits) throw ValueError(cat("broadcast_to: x of shape ", from, " does not broadcast to ", shape_));
    if (from.known() && !to.known())
      throw ValueError(cat("broadcast_to: expected a shape without unknown dimensions, got ", shape_));
    return {{to, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const Shape &from = x[0].shape(), &to = y[0].shape();
    const Strides own = row_major(from);
    Strides strides{};
    for (int d = 0; d < from.rank(); ++d)
      if (from[d] != 1) strides[to.rank() - from.rank() + d] = own[d];
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      move_strided(to, x[0].data<T>(), strides, y[0].data<T>(), row_major(to));
    });
  }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    with_float(b.dy[0].dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      sum_to_shape(b.dy[0].data<T>(), b.y_spec[0].shape, b.dx[0].to.template data<T>(), b.x_spec[0].shape,
                   b.dx[0].accumulate);
    });
  }

 private:
  Shape shape_;
};

class Concatenate final : public Op {
 public:
  explicit Concatenate(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "concatenate"; }
  std::vector<Spec> infer(Specs x) const override {
    if (x.empty()) throw ValueError("concatenate: expected at least one tensor");
    Shape y = x[0].shape;
    const int axis = normalize_axis(axis_, y.rank(), "concatenate");
    for (size_t i = 1; i < x.size(); ++i) {
      const Shape& shape = x[i].shape;
      bool fits = shape.rank() == y.rank() && x[i].dtype == x[0].dtype;
      for (int d = 0; fits && d < y.rank(); ++d) fits = d == axis || same_dim(y[d], shape[d]);
      if (!fits)
        throw ValueError(cat("concatenate: expected shapes that differ in axis ", axis, " only, got ", x[0].shape,
                             " and ", shape, " at position ", i));
      for (int d = 0; d < y.rank(); ++d)
        if (d != axis) y[d] = known_dim(y[d], shape[d]);
      y[axis] = add_dims(y[axis], shape[axis], "concatenate");
    }
    return {{y, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const Strides to = row_major(y[0].shape());
    const int axis = normalize_axis(axis_, y[0].rank(), "concatenate");
    with_dtype(y[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* place = y[0].data<T>();
      for (const Tensor& part : x) {
        move_strided(part.shape(), part.data<T>(), row_major(part.shape()), place, to);
        place += part.shape()[axis] * to[axis];
      }
    });
  }
  void backward(const BackwardArgs& b) const override {
    const Strides from = row_major(b.y_spec[0].shape);
    const int axis = normalize_axis(axis_, b.y_spec[0].shape.rank(), "concatenate");
    with_float(b.dy[0].dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      const T* place = b.dy[0].data<T>();
      for (size_t i = 0; i < b.dx.size(); ++i) {
        const Shape& shape = b.x_spec[i].shape;
        if (b.dx[i])
          move_strided(shape, place, from, b.dx[i].to.template data<T>(), row_major(shape), b.dx[i].accumulate);
        place += shape[axis] * from[axis];
      }
    });
  }

 private:
  int64_t axis_;
};

class Pad final : public Op {
 public:
  Pad(std::vector<Padding> widths, double value) : widths_(std::move(widths)), value_(value) {}
  std::string_view name() const override { return "pad"; }
  std::vector<Spec> infer(Specs x) const override {
    Shape y = x[0].shape;
    if (widths_.size() != 1 && widths_.size() != static_cast<size_t>(y.rank()))
      throw ValueError(
          cat("pad: expected one (before, after) pair per dimension of x, ", y.rank(), ", got ", widths_.size()));
    for (const Padding& width : widths_)
      if (width.before < 0 || width.after < 0)
        throw ValueError(cat("pad: expected widths >= 0, got (", width.before, ", ", width.after, ")"));
    for (int d = 0; d < y.rank(); ++d) y[d] = add_dims(y[d], add_dims(width(d).before, width(d).after, "pad"), "pad");
    return {{y, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const Strides to = row_major(y[0].shape());
    with_dtype(y[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      std::fill_n(y[0].data<T>(), y[0].size(), static_cast<T>(value_));
      move_strided(x[0].shape(), x[0].data<T>(), row_major(x[0].shape()), y[0].data<T>() + start(to, y[0].rank()), to);
    });
  }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    const Strides from = row_major(b.y_spec[0].shape);
    const Shape& shape = b.x_spec[0].shape;
    with_float(b.dy[0].dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      move_strided(shape, b.dy[0].data<T>() + start(from, shape.rank()), from, b.dx[0].to.template data<T>(),
                   row_major(shape), b.dx[0].accumulate);
    });
  }

 private:
  const Padding& width(int d) const { return widths_[widths_.size() == 1 ? 0 : d]; }
  int64_t start(const Strides& strides, int rank) const {
    int64_t offset = 0;
    for (int d = 0; d < rank; ++d) offset += width(d).before * strides[d];
    return offset;
  }
  std::vector<Padding> widths_;
  double value_;
};

}  // namespace

OpPtr expand_dims(std::vector<int64_t> axes) { return std::make_shared<ExpandDims>(std::move(axes)); }
OpPtr squeeze(std::vector<int64_t> axes, bool everything) {
  return std::make_shared<Squeeze>(std::move(axes), everything);
}
OpPtr transpose(std::vector<int64_t> axes, bool reversed) {
  return std::make_shared<Transpose>(std::move(axes), reversed);
}
OpPtr broadcast_to(const Shape& shape) { return std::make_shared<BroadcastTo>(shape); }
OpPtr concatenate(int64_t axis) { return std::make_shared<Concatenate>(axis); }
OpPtr pad(std::vector<Padding> widths, double value) { return std::make_shared<Pad>(std::move(widths), value); }
OpPtr copy_of() { return std::make_shared<Copy>(); }
OpPtr fill_like(double value) { return std::make_shared<FillLike>(value); }
OpPtr reshape_to(const Shape& shape) { return std::make_shared<Reshape>(shape); }
OpPtr stop_gradient() { return std::make_shared<StopGradient>(); }

}  // namespace fastnn
