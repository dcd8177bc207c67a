#include "ops/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/integer.hpp"
#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"
#include "ops/broadcast.hpp"
#include "ops/finish.hpp"
#include "ops/reduce.hpp"

namespace fastnn {

namespace {

using kernels::Binary;
using kernels::Unary;

#define FASTNN_NAME(name) #name,
constexpr const char* kUnaryNames[] = {FASTNN_UNARY(FASTNN_NAME)};
constexpr const char* kBinaryNames[] = {FASTNN_BINARY(FASTNN_NAME)};
#undef FASTNN_NAME

// Nanoseconds per element, for cutting chunks: a transcendental costs about four of a load and a store.
constexpr int64_t kWork = 1;

template <class T>
T unary_integer(Unary kind, T x, double a, double b) {
  switch (kind) {
    case Unary::negative:
      return wrapping(T(0), x, std::minus<>());
    case Unary::abs:
      return x < T(0) ? wrapping(T(0), x, std::minus<>()) : x;
    case Unary::sign:
      return static_cast<T>((x > T(0)) - (x < T(0)));
    case Unary::square:
      return wrapping(x, x, std::multiplies<>());
    case Unary::relu:
      return x > T(0) ? x : T(0);
    default: {  // clip; an x within the bounds stays what it is, though it may be no double
      const double clipped = std::fmin(std::fmax(static_cast<double>(x), a), b);
      return clipped == static_cast<double>(x) ? x : saturated<T>(clipped);
    }
  }
}
constexpr bool has_integer(Unary kind) {
  return kind == Unary::negative || kind == Unary::abs || kind == Unary::sign || kind == Unary::square ||
         kind == Unary::relu || kind == Unary::clip;
}

class UnaryOp final : public Op {
 public:
  UnaryOp(Unary kind, double a, double b) : kind_(kind), a_(a), b_(b) {}
  std::string_view name() const override { return kUnaryNames[static_cast<int>(kind_)]; }
  std::vector<Spec> infer(Specs x) const override {
    const DType dtype = x[0].dtype;
    if (!is_floating(dtype) && !(has_integer(kind_) && dtype != DType::boolean))
      throw TypeError(cat(name(), ": expected x of dtype float32 or float64, got ", dtype));
    return {x[0]};
  }
  void forward(Tensors x, Tensors y) const override {
    const int64_t n = x[0].size();
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* px = x[0].data<T>();
      T* py = y[0].data<T>();
      if constexpr (std::is_floating_point_v<T>) {
        const auto& kernel = kernels_for<T>().elementwise.unary[static_cast<int>(kind_)];
        parallel_for(n, grain_for(kWork), [&](int64_t begin, int64_t end) {
          kernel.forward(py + begin, px + begin, end - begin, static_cast<T>(a_), static_cast<T>(b_));
        });
      } else if constexpr (!std::is_same_v<T, bool>) {
        for (int64_t i = 0; i < n; ++i) py[i] = unary_integer(kind_, px[i], a_, b_);
      }
    });
  }
  std::optional<Activation> activation() const override { return Activation{kind_, a_, b_}; }
  bool may_overwrite(size_t, size_t) const override { return true; }
  bool gradient_may_overwrite(size_t, bool last) const override { return last; }
  bool reads_input(size_t) const override { return kernel32().reads_x; }
  bool reads_output(size_t) const override { return kernel32().reads_y; }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    with_float(b.x_spec[0].dtype, "backward", [&](auto zero) {
      using T = decltype(zero);
      const auto& kernel = kernels_for<T>().elementwise.unary[static_cast<int>(kind_)];
      const T* x = b.x[0] ? b.x[0].data<T>() : nullptr;
      const T* y = b.y[0] ? b.y[0].data<T>() : nullptr;
      const T* dy = b.dy[0].data<T>();
      T* dx = b.dx[0].to.data<T>();
      parallel_for(b.dy[0].size(), grain_for(kWork), [&](int64_t begin, int64_t end) {
        kernel.backward(dx + begin, dy + begin, x ? x + begin : nullptr, y ? y + begin : nullptr, end - begin,
                        static_cast<T>(a_), static_cast<T>(b_), b.dx[0].accumulate);
      });
    });
  }

 private:
  const kernels::UnaryKernel<float>& kernel32() const {
    return kernels_for<float>().elementwise.unary[static_cast<int>(kind_)];
  }
  Unary kind_;
  double a_, b_;
};

// A row up to the first is laid into a buffer of the second before it meets all rows of the other operand.
constexpr int64_t kShortRow = 256, kLaidRows = 1024;

template <class T>
T binary_integer(Binary kind, T a, T b) {
  switch (kind) {
    case Binary::add:
      return wrapping(a, b, std::plus<>());
    case Binary::subtract:
      return wrapping(a, b, std::minus<>());
    case Binary::multiply:
      return wrapping(a, b, std::multiplies<>());
    case Binary::maximum:
      return a > b ? a : b;
    default:
      return a < b ? a : b;  // minimum
  }
}

class BinaryOp final : public Op {
 public:
  explicit BinaryOp(Binary kind, std::optional<Activation> then = std::nullopt)
      : kind_(kind), then_(then), name_(name_with(kBinaryNames[static_cast<int>(kind)], then)) {}
  std::string_view name() const override { return name_; }
  std::shared_ptr<const Op> followed_by(const Activation& then) const override {
    return then_ ? nullptr : std::make_shared<BinaryOp>(kind_, then);
  }
  bool may_overwrite(size_t, size_t) const override { return true; }
  bool gradient_may_overwrite(size_t, bool last) const override { return last; }
  bool passes_gradient(size_t i) const override {
    return kind_ == Binary::add || (kind_ == Binary::subtract && i == 0);
  }
  std::vector<Spec> infer(Specs x) const override {
    if (x[0].dtype != x[1].dtype)
      throw TypeError(cat(name(), ": expected two operands of one dtype, got ", x[0].dtype, " and ", x[1].dtype));
    if (!is_floating(x[0].dtype) && (x[0].dtype == DType::boolean || kind_ == Binary::divide || kind_ == Binary::power))
      throw TypeError(cat(name(), ": expected operands of dtype float32 or float64, got ", x[0].dtype));
    return {{broadcast(x[0].shape, x[1].shape, kBinaryNames[static_cast<int>(kind_)]), x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const BroadcastLoop<2> loop(y[0].shape(), {x[0].shape(), x[1].shape()});
    const auto& step = loop.inner_strides();
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *x1 = x[0].data<T>(), *x2 = x[1].data<T>();
      T* py = y[0].data<T>();
      if constexpr (std::is_floating_point_v<T>) {
        const auto& kernel = kernels_for<T>().elementwise.binary[static_cast<int>(kind_)];
        const Finish<T> finish(then_, y[0]);
        for (int p = 0; p < 2; ++p) {
          const int64_t row = loop.row_of(p);
          if (row == 0 || row > kShortRow || y[0].size() == 0) continue;
          // Short rows, such as a bias, one behind the other: a call for many of them, and whole vectors (inside L3
          // rows of 16 take a fifth of the time, rows of 64 a half).
          const int64_t n = y[0].size(), length = std::min(kLaidRows / row * row, n);
          Scratch<T> rows(length);
          for (int64_t i = 0; i < length; i += row) std::copy_n(p == 0 ? x1 : x2, row, rows.data() + i);
          parallel_for((n + length - 1) / length, grain_for(length * kWork), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin * length; i < std::min(end * length, n); i += length) {
              const int64_t count = std::min(length, n - i);
              kernel.forward(py + i, p == 0 ? rows.data() : x1 + i, 1, p == 1 ? rows.data() : x2 + i, 1, count);
              finish(py + i, count);
            }
          });
          return;
        }
        loop.run(kWork, [&](int64_t first, const auto& at, int64_t n) {
          kernel.forward(py + first, x1 + at[0], step[0], x2 + at[1], step[1], n);
          finish(py + first, n);
        });
      } else if constexpr (!std::is_same_v<T, bool>) {
        loop.run(kWork, [&](int64_t first, const auto& at, int64_t n) {
          for (int64_t i = 0; i < n; ++i)
            py[first + i] = binary_integer(kind_, x1[at[0] + i * step[0]], x2[at[1] + i * step[1]]);
        });
      }
    });
  }
  bool reads_input(size_t) const override {
    return kernels_for<float>().elementwise.binary[static_cast<int>(kind_)].reads_inputs;
  }
  void backward(const BackwardArgs& b) const override {
    with_float(b.x_spec[0].dtype, "backward", [&](auto zero) {
      using T = decltype(zero);
      const Shape& out = b.y_spec[0].shape;
      const auto& kernel = kernels_for<T>().elementwise.binary[static_cast<int>(kind_)];
      const BroadcastLoop<2> loop(out, {b.x_spec[0].shape, b.x_spec[1].shape});
      const auto& step = loop.inner_strides();
      const T* x1 = b.x[0] ? b.x[0].data<T>() : nullptr;
      const T* x2 = b.x[1] ? b.x[1].data<T>() : nullptr;
      const T* dy = b.dy[0].data<T>();
      for (int i = 0; i < 2; ++i) {
        if (!b.dx[i]) continue;
        const Shape& shape = b.x_spec[i].shape;
        const bool whole = shape == out;
        Scratch<T> partial(whole ? 0 : numel(out));
        T* d = whole ? b.dx[i].to.template data<T>() : partial.data();
        const auto backward = i == 0 ? kernel.backward1 : kernel.backward2;
        const bool accumulate = whole && b.dx[i].accumulate;
        loop.run(kWork, [&](int64_t first, const auto& at, int64_t n) {
          backward(d + first, dy + first, x1 ? x1 + at[0] : nullptr, step[0], x2 ? x2 + at[1] : nullptr, step[1], n,
                   accumulate);
        });
        if (!whole) sum_to_shape(d, out, b.dx[i].to.template data<T>(), shape, b.dx[i].accumulate);
      }
    });
  }

 private:
  Binary kind_;
  std::optional<Activation> then_;
  std::string name_;
};

class Cast final : public Op {
 public:
  explicit Cast(DType dtype) : dtype_(dtype) {}
  std::string_view name() const override { return "cast"; }
  std::vector<Spec> infer(Specs x) const override { return {{x[0].shape, dtype_}}; }
  void forward(Tensors x, Tensors y) const override { convert(x[0], y[0], false); }
  void backward(const BackwardArgs& b) const override {
    if (b.dx[0]) convert(b.dy[0], b.dx[0].to, b.dx[0].accumulate);
  }

 private:
  static void convert(const Tensor& x, const Tensor& y, bool accumulate) {
    with_dtype(x.dtype(), [&](auto from) {
      with_dtype(y.dtype(), [&](auto to) {
        using From = decltype(from);
        using To = decltype(to);
        const From* px = x.data<From>();
        To* py = y.data<To>();
        parallel_for(x.size(), grain_for(kWork), [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const To value = static_cast<To>(px[i]);
            py[i] = accumulate ? static_cast<To>(py[i] + value) : value;
          }
        });
      });
    });
  }
  DType dtype_;
};

}  // namespace

std::string name_with(std::string_view op, const std::optional<Activation>& then) {
  return then ? cat(op, "+", kUnaryNames[static_cast<int>(then->kind)]) : std::string(op);
}

OpPtr cast(DType dtype) { return std::make_shared<Cast>(dtype); }
OpPtr unary(Unary kind, double a, double b) { return std::make_shared<UnaryOp>(kind, a, b); }
OpPtr binary(Binary kind) { return std::make_shared<BinaryOp>(kind); }

void add_or_copy(const Gradient& to, const Tensor& dy) {
  if (!to.accumulate) {
    std::memcpy(to.to.raw(), dy.raw(), dy.bytes());
    return;
  }
  with_float(dy.dtype(), "backward", [&](auto zero) {
    using T = decltype(zero);
    const auto add = kernels_for<T>().elementwise.binary[static_cast<int>(Binary::add)].forward;
    T* d = to.to.data<T>();
    const T* g = dy.data<T>();
    parallel_for(dy.size(), grain_for(kWork),
                 [&](int64_t begin, int64_t end) { add(d + begin, d + begin, 1, g + begin, 1, end - begin); });
  });
}

}  // namespace fastnn
