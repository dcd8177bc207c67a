#include "ops/comparison.hpp"

#include <cmath>

#include "core/scratch.hpp"
#include "ops/broadcast.hpp"
#include "ops/reduce.hpp"

namespace fastnn {

namespace {

constexpr int64_t kWork = 1;

#define FASTNN_NAME(name) #name,
constexpr const char* kCompareNames[] = {FASTNN_COMPARE(FASTNN_NAME)};
#undef FASTNN_NAME

template <class F>
void with_comparison(kernels::Compare kind, const F& f) {
  using kernels::Compare;
  switch (kind) {
    case Compare::equal:
      return f([](auto a, auto b) { return a == b; });
    case Compare::not_equal:
      return f([](auto a, auto b) { return a != b; });
    case Compare::less:
      return f([](auto a, auto b) { return a < b; });
    case Compare::less_equal:
      return f([](auto a, auto b) { return a <= b; });
    case Compare::greater:
      return f([](auto a, auto b) { return a > b; });
    default:
      return f([](auto a, auto b) { return a >= b; });
  }
}

class CompareOp final : public Op {
 public:
  explicit CompareOp(kernels::Compare kind) : kind_(kind) {}
  std::string_view name() const override { return kCompareNames[static_cast<int>(kind_)]; }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override {
    if (x[0].dtype != x[1].dtype)
      throw TypeError(cat(name(), ": expected two operands of one dtype, got ", x[0].dtype, " and ", x[1].dtype));
    return {{broadcast(x[0].shape, x[1].shape, kCompareNames[static_cast<int>(kind_)]), DType::boolean}};
  }
  void forward(Tensors x, Tensors y) const override {
    const BroadcastLoop<2> loop(y[0].shape(), {x[0].shape(), x[1].shape()});
    const auto& step = loop.inner_strides();
    bool* to = y[0].data<bool>();
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *x1 = x[0].data<T>(), *x2 = x[1].data<T>();
      with_comparison(kind_, [&](auto holds) {
        loop.run(kWork, [&](int64_t first, const auto& at, int64_t n) {
          for (int64_t i = 0; i < n; ++i) to[first + i] = holds(x1[at[0] + i * step[0]], x2[at[1] + i * step[1]]);
        });
      });
    });
  }

 private:
  kernels::Compare kind_;
};

class Where final : public Op {
 public:
  std::string_view name() const override { return "where"; }
  std::vector<Spec> infer(Specs x) const override {
    if (x[0].dtype != DType::boolean)
      throw TypeError(cat("where: expected a condition of dtype bool, got ", x[0].dtype));
    if (x[1].dtype != x[2].dtype)
      throw TypeError(cat("where: expected x1 and x2 of one dtype, got ", x[1].dtype, " and ", x[2].dtype));
    return {{broadcast(broadcast(x[0].shape, x[1].shape, "where"), x[2].shape, "where"), x[1].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    const BroadcastLoop<3> loop(y[0].shape(), {x[0].shape(), x[1].shape(), x[2].shape()});
    const auto& step = loop.inner_strides();
    const bool* condition = x[0].data<bool>();
    with_dtype(y[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *x1 = x[1].data<T>(), *x2 = x[2].data<T>();
      T* to = y[0].data<T>();
      loop.run(kWork, [&](int64_t first, const auto& at, int64_t n) {
        for (int64_t i = 0; i < n; ++i)
          to[first + i] = condition[at[0] + i * step[0]] ? x1[at[1] + i * step[1]] : x2[at[2] + i * step[2]];
      });
    });
  }
  bool reads_input(size_t i) const override { return i == 0; }
  void backward(const BackwardArgs& b) const override {
    const Shape& out = b.y_spec[0].shape;
    const BroadcastLoop<1> loop(out, {b.x_spec[0].shape});
    const int64_t step = loop.inner_strides()[0];
    const bool* condition = b.x[0].data<bool>();
    with_float(b.dy[0].dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      const T* dy = b.dy[0].data<T>();
      for (const bool side : {true, false}) {
        const Gradient& dx = b.dx[side ? 1 : 2];
        if (!dx) continue;
        Scratch<T> masked(numel(out));
        loop.run(kWork, [&](int64_t first, const auto& at, int64_t n) {
          for (int64_t i = 0; i < n; ++i)
            masked[first + i] = condition[at[0] + i * step] == side ? dy[first + i] : T(0);
        });
        sum_to_shape(masked.data(), out, dx.to.template data<T>(), dx.to.shape(), dx.accumulate);
      }
    });
  }
};

class RoundingOp final : public Op {
 public:
  explicit RoundingOp(Rounding kind) : kind_(kind) {}
  std::string_view name() const override {
    return kind_ == Rounding::floor ? "floor" : kind_ == Rounding::ceil ? "ceil" : "round";
  }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override {
    if (!is_floating(x[0].dtype))
      throw TypeError(cat(name(), ": expected x of dtype float32 or float64, got ", x[0].dtype));
    return {x[0]};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "round", [&](auto zero) {
      using T = decltype(zero);
      const T* from = x[0].data<T>();
      T* to = y[0].data<T>();
      parallel_for(x[0].size(), kChunkWork / 4, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          to[i] = kind_ == Rounding::floor  ? std::floor(from[i])
                  : kind_ == Rounding::ceil ? std::ceil(from[i])
                                            : std::nearbyint(from[i]);
      });
    });
  }

 private:
  Rounding kind_;
};

}  // namespace

OpPtr compare(kernels::Compare kind) { return std::make_shared<CompareOp>(kind); }
OpPtr where() { return std::make_shared<Where>(); }
OpPtr rounding(Rounding kind) { return std::make_shared<RoundingOp>(kind); }

}  // namespace fastnn
