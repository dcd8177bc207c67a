#include "ops/indexing.hpp"

#include <algorithm>
#include <cstring>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "ops/strided.hpp"

namespace fastnn {

namespace {

// Calls f with a pointer to the indices; infer has admitted int32 and int64 only.
template <class F>
void with_indices(const Tensor& indices, F&& f) {
  if (indices.dtype() == DType::int32)
    f(indices.data<int32_t>());
  else
    f(indices.data<int64_t>());
}

void expect_indices(const Spec& indices, std::string_view op) {
  if (indices.dtype != DType::int32 && indices.dtype != DType::int64)
    throw TypeError(cat(op, ": expected indices of dtype int32 or int64, got ", indices.dtype));
}

// Indices into an axis of n elements, checked and counted from its front. A copy, made anew for backward: the memory of
// `indices` may be the caller's, who can change it at any time.
class Resolved {
 public:
  Resolved(const Tensor& indices, int64_t n, int axis, std::string_view op) : at_(indices.size()) {
    with_indices(indices, [&](const auto* index) {
      for (int64_t i = 0, count = indices.size(); i < count; ++i) {
        const int64_t given = index[i];
        if (given < -n || given >= n)
          throw IndexError(cat(op, ": index ", given, " is out of bounds for axis ", axis, " with size ", n));
        at_[i] = given < 0 ? given + n : given;
      }
    });
  }
  int64_t operator[](int64_t i) const { return at_[i]; }

 private:
  Scratch<int64_t> at_;
};

class Slice final : public Op {
 public:
  explicit Slice(std::vector<Range> ranges) : ranges_(std::move(ranges)) {}
  std::string_view name() const override { return "slice"; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape& shape = x[0].shape;
    const int rank = shape.rank();
    if (ranges_.size() > static_cast<size_t>(rank))
      throw IndexError(
          cat("too many indices for tensor: tensor is ", rank, "-dimensional, but ", ranges_.size(), " were indexed"));
    Shape y;
    for (int d = 0; d < rank; ++d) {
      const Range range = of(d);
      const int64_t n = shape[d];
      if (range.index) {
        if (n != kUnknown && (range.start < -n || range.start >= n))
          throw IndexError(cat("index ", range.start, " is out of bounds for axis ", d, " with size ", n));
      } else {
        y.push_back(n == kUnknown ? kUnknown : resolve(range, n).count);
      }
    }
    return {{y, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const Walk walk = walk_of(x[0].shape());
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      if (y[0].size() > 0)
        move_strided(walk.kept, x[0].data<T>() + walk.offset, walk.strides, y[0].data<T>(), row_major(walk.kept));
    });
  }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    const Tensor& dx = b.dx[0].to;
    const Walk walk = walk_of(b.x_spec[0].shape);
    if (!b.dx[0].accumulate) std::memset(dx.raw(), 0, dx.bytes());
    with_float(dx.dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      if (b.dy[0].size() > 0)
        move_strided(walk.kept, b.dy[0].data<T>(), row_major(walk.kept), dx.data<T>() + walk.offset, walk.strides,
                     true);
    });
  }

 private:
  struct Bounds {
    int64_t start, count;
  };
  struct Walk {
    Shape kept;  // y's shape
    Strides strides{};
    int64_t offset = 0;
  };

  Range of(int d) const { return static_cast<size_t>(d) < ranges_.size() ? ranges_[d] : Range{}; }

  // Python's rule: bounds count from the end when negative and are clipped.
  static Bounds resolve(const Range& range, int64_t n) {
    const int64_t low = range.step < 0 ? -1 : 0, high = range.step < 0 ? n - 1 : n;
    auto clip = [&](int64_t bound) { return std::clamp(bound < 0 ? bound + n : bound, low, std::max(low, high)); };
    const int64_t start = clip(range.start), stop = clip(range.stop);
    if (range.step < 0) return {start, stop < start ? (start - stop - 1) / -range.step + 1 : 0};
    return {start, start < stop ? (stop - start - 1) / range.step + 1 : 0};
  }

  Walk walk_of(const Shape& shape) const {
    const Strides own = row_major(shape);
    Walk walk;
    for (int d = 0; d < shape.rank(); ++d) {
      const Range range = of(d);
      if (range.index) {
        walk.offset += (range.start < 0 ? range.start + shape[d] : range.start) * own[d];
        continue;
      }
      const Bounds bounds = resolve(range, shape[d]);
      walk.offset += bounds.start * own[d];
      // No second element, no step: it may be any number, and its product with the stride too large for one.
      walk.strides[walk.kept.rank()] = bounds.count > 1 ? range.step * own[d] : 0;
      walk.kept.push_back(bounds.count);
    }
    return walk;
  }

  std::vector<Range> ranges_;
};

class Take final : public Op {
 public:
  explicit Take(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "take"; }
  std::vector<Spec> infer(Specs x) const override {
    expect_indices(x[1], name());
    const int axis = normalize_axis(axis_, x[0].shape.rank(), "take");
    Shape y;
    for (int d = 0; d < axis; ++d) y.push_back(x[0].shape[d]);
    for (int64_t d : x[1].shape) y.push_back(d);
    for (int d = axis + 1; d < x[0].shape.rank(); ++d) y.push_back(x[0].shape[d]);
    return {{y, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const Sizes s(x[0].shape(), axis_);
    const Resolved index(x[1], s.n, s.axis, name());
    const int64_t count = x[1].size();
    const size_t item = item_size(x[0].dtype()), bytes = static_cast<size_t>(s.inner) * item;
    const auto* from = x[0].data<std::byte>();
    auto* to = y[0].data<std::byte>();
    parallel_for(s.outer * count, grain_for(s.inner), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        std::memcpy(to + static_cast<size_t>(r) * bytes,
                    from + static_cast<size_t>(r / count * s.n + index[r % count]) * bytes, bytes);
    });
  }
  bool reads_input(size_t i) const override { return i == 1; }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    constexpr int64_t kColumns = 64;  // each task owns some columns of dx and walks the indices in order
    const Sizes s(b.x_spec[0].shape, axis_);
    const Resolved index(b.x[1], s.n, s.axis, name());
    const Tensor& dx = b.dx[0].to;
    if (!b.dx[0].accumulate) std::memset(dx.raw(), 0, dx.bytes());
    const int64_t count = b.x[1].size(), blocks = (s.inner + kColumns - 1) / kColumns;
    with_float(dx.dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      const T* from = b.dy[0].data<T>();
      T* to = dx.data<T>();
      parallel_for(s.outer * blocks, grain_for(count * std::min(kColumns, s.inner)), [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t o = task / blocks, first = task % blocks * kColumns;
          const int64_t last = std::min(first + kColumns, s.inner);
          for (int64_t r = 0; r < count; ++r) {
            const T* source = from + (o * count + r) * s.inner;
            T* target = to + (o * s.n + index[r]) * s.inner;
            for (int64_t c = first; c < last; ++c) target[c] += source[c];
          }
        }
      });
    });
  }

 private:
  struct Sizes {
    Sizes(const Shape& shape, int64_t given)
        : axis(normalize_axis(given, shape.rank(), "take")),
          outer(numel(shape, 0, axis)),
          n(shape[axis]),
          inner(numel(shape, axis + 1, shape.rank())) {}
    int axis;
    int64_t outer, n, inner;
  };
  int64_t axis_;
};

class TakeAlongAxis final : public Op {
 public:
  explicit TakeAlongAxis(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "take_along_axis"; }
  std::vector<Spec> infer(Specs x) const override {
    expect_indices(x[1], name());
    const int axis = normalize_axis(axis_, x[0].shape.rank(), "take_along_axis");
    bool fits = x[0].shape.rank() == x[1].shape.rank();
    for (int d = 0; fits && d < x[0].shape.rank(); ++d) fits = d == axis || same_dim(x[0].shape[d], x[1].shape[d]);
    if (!fits)
      throw ValueError(cat("take_along_axis: expected indices of x's shape ", x[0].shape, " but for axis ", axis,
                           ", got ", x[1].shape));
    return {{x[1].shape, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const int axis = normalize_axis(axis_, x[0].rank(), "take_along_axis");
    const Resolved index(x[1], x[0].shape()[axis], axis, name());
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* from = x[0].data<T>();
      T* to = y[0].data<T>();
      walk(x[0].shape(), x[1].shape()[axis], axis, index, [&](int64_t at, int64_t source) { to[at] = from[source]; });
    });
  }
  bool reads_input(size_t i) const override { return i == 1; }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    const Tensor& dx = b.dx[0].to;
    const int axis = normalize_axis(axis_, dx.rank(), "take_along_axis");
    const Resolved index(b.x[1], dx.shape()[axis], axis, name());
    if (!b.dx[0].accumulate) std::memset(dx.raw(), 0, dx.bytes());
    with_float(dx.dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      const T* from = b.dy[0].data<T>();
      T* to = dx.data<T>();
      walk(dx.shape(), b.x[1].shape()[axis], axis, index, [&](int64_t at, int64_t source) { to[source] += from[at]; });
    });
  }

 private:
  // f(place in the indices, place in x); in parallel over the leading dimensions, which never share a place.
  template <class F>
  static void walk(const Shape& shape, int64_t count, int axis, const Resolved& index, const F& f) {
    const int64_t n = shape[axis], outer = numel(shape, 0, axis), inner = numel(shape, axis + 1, shape.rank());
    parallel_for(outer, grain_for(count * inner), [&](int64_t begin, int64_t end) {
      for (int64_t at = begin * count * inner; at < end * count * inner; ++at)
        f(at, (at / (count * inner) * n + index[at]) * inner + at % inner);
    });
  }
  int64_t axis_;
};

class OneHot final : public Op {
 public:
  OneHot(int64_t classes, int64_t axis, DType dtype) : classes_(classes), axis_(axis), dtype_(dtype) {}
  std::string_view name() const override { return "one_hot"; }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override {
    expect_indices(x[0], name());
    if (classes_ < 0) throw ValueError(cat("one_hot: expected num_classes >= 0, got ", classes_));
    Shape y = x[0].shape;
    y.insert(normalize_axis(axis_, y.rank() + 1, "one_hot"), classes_);
    return {{y, dtype_}};
  }
  void forward(Tensors x, Tensors y) const override {
    std::memset(y[0].raw(), 0, y[0].bytes());
    const int axis = normalize_axis(axis_, y[0].rank(), "one_hot");
    const int64_t inner = numel(x[0].shape(), axis, x[0].rank()), n = x[0].size();
    with_dtype(dtype_, [&](auto zero) {
      using T = decltype(zero);
      T* to = y[0].data<T>();
      with_indices(x[0], [&](const auto* index) {
        for (int64_t i = 0; i < n; ++i)
          if (index[i] >= 0 && index[i] < classes_) to[(i / inner * classes_ + index[i]) * inner + i % inner] = T(1);
      });
    });
  }

 private:
  int64_t classes_, axis_;
  DType dtype_;
};

class TopK final : public Op {
 public:
  explicit TopK(int64_t k) : k_(k) {}
  std::string_view name() const override { return "top_k"; }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override {
    Shape y = x[0].shape;
    if (y.empty()) throw ValueError("top_k: expected x of at least one dimension, got a scalar");
    if (k_ < 0 || (y.back() != kUnknown && k_ > y.back()))
      throw ValueError(cat("top_k: expected k in [0, ", y.back(), "], the length of the last axis of x, got ", k_));
    y.back() = k_;
    return {{y, x[0].dtype}, {y, DType::int64}};
  }
  void forward(Tensors x, Tensors y) const override {
    const int64_t n = x[0].shape().back(), rows = numel(x[0].shape(), 0, x[0].rank() - 1);
    Scratch<int64_t> order(n);
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      for (int64_t r = 0; r < rows; ++r) {
        const T* row = x[0].data<T>() + r * n;
        for (int64_t i = 0; i < n; ++i) order[i] = i;
        // NaN counts as the largest, so that the order is a total one; of equal elements the first comes first.
        std::partial_sort(order.data(), order.data() + k_, order.data() + n, [row](int64_t a, int64_t b) {
          const bool nan_a = row[a] != row[a], nan_b = row[b] != row[b];
          if (nan_a != nan_b) return nan_a;
          return row[a] > row[b] || (!(row[b] > row[a]) && a < b);
        });
        for (int64_t i = 0; i < k_; ++i) {
          y[0].data<T>()[r * k_ + i] = row[order[i]];
          y[1].data<int64_t>()[r * k_ + i] = order[i];
        }
      }
    });
  }

 private:
  int64_t k_;
};

}  // namespace

OpPtr slice(std::vector<Range> ranges) { return std::make_shared<Slice>(std::move(ranges)); }
OpPtr take(int64_t axis) { return std::make_shared<Take>(axis); }
OpPtr take_along_axis(int64_t axis) { return std::make_shared<TakeAlongAxis>(axis); }
OpPtr one_hot(int64_t classes, int64_t axis, DType dtype) { return std::make_shared<OneHot>(classes, axis, dtype); }
OpPtr top_k(int64_t k) { return std::make_shared<TopK>(k); }

}  // namespace fastnn
