// What is done to values that an op has just computed, while they are in cache: an activation after a forward pass, or
// its derivative after a gradient. The bits are those of the activation as an op of its own.
#pragma once
#include <string>

#include "kernels/table.hpp"
#include "ops/op.hpp"

namespace fastnn {

template <class T>
class Finish {
 public:
  Finish() = default;
  Finish(const std::optional<Activation>& function, const Tensor& y) : function_(function), first_(y.data<T>()) {}
  explicit Finish(const Gradient& gradient)
      : function_(gradient.through), at_(gradient.through ? gradient.at.data<T>() : nullptr) {
    if (gradient) first_ = gradient.to.data<T>();
  }
  explicit operator bool() const { return function_.has_value(); }

  // Values [p, p + n) of the tensor are complete.
  void operator()(T* p, int64_t n) const {
    if (!function_) return;
    const auto& kernel = kernels_for<T>().elementwise.unary[static_cast<int>(function_->kind)];
    const T a = static_cast<T>(function_->a), b = static_cast<T>(function_->b);
    if (!at_)
      kernel.forward(p, p, n, a, b);
    else
      kernel.backward(p, p, at_ + (p - first_), at_ + (p - first_), n, a, b, false);
  }

 private:
  std::optional<Activation> function_;
  const T* at_ = nullptr;  // what the derivative reads
  T* first_ = nullptr;
};

// The name of an op that an activation has been fused into.
std::string name_with(std::string_view op, const std::optional<Activation>& then);

}  // namespace fastnn
