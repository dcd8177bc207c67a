#include "ops/shape.hpp"

#include <cstring>

#include "core/parallel.hpp"
#include "ops/elementwise.hpp"

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

}  // namespace

OpPtr copy_of() { return std::make_shared<Copy>(); }
OpPtr fill_like(double value) { return std::make_shared<FillLike>(value); }
OpPtr reshape_to(const Shape& shape) { return std::make_shared<Reshape>(shape); }
OpPtr stop_gradient() { return std::make_shared<StopGradient>(); }

}  // namespace fastnn
