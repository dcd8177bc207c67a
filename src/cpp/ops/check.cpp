#include "ops/check.hpp"

#include <cmath>

namespace fastnn {

namespace {

class CheckFinite final : public Op {
 public:
  explicit CheckFinite(std::string message) : message_(std::move(message)) {}
  std::string_view name() const override { return "check_finite"; }
  bool refuses() const override { return true; }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override {
    if (!is_floating(x[0].dtype))
      throw TypeError(cat("check_finite: expected x of dtype float32 or float64, got ", x[0].dtype));
    return {};
  }
  void forward(Tensors x, Tensors) const override {
    with_float(x[0].dtype(), "check_finite", [&](auto zero) {
      using T = decltype(zero);
      const T* p = x[0].data<T>();
      for (int64_t i = 0, n = x[0].size(); i < n; ++i)
        if (!std::isfinite(p[i])) throw FloatingPointError(message_);
    });
  }

 private:
  std::string message_;
};

}  // namespace

OpPtr check_finite(std::string message) { return std::make_shared<CheckFinite>(std::move(message)); }

}  // namespace fastnn
