#pragma once
#include "kernels/elementwise.hpp"
#include "ops/op.hpp"

namespace fastnn {

OpPtr unary(kernels::Unary kind, double a = 0, double b = 0);  // y = f(x; a, b)
OpPtr binary(kernels::Binary kind);                            // y = f(x1, x2), broadcasting

OpPtr cast(DType dtype);  // y = x in another dtype, as C converts

// to = (accumulate ? to : 0) + dy, for ops whose gradient is dy itself (in another shape).
void add_or_copy(const Gradient& to, const Tensor& dy);

}  // namespace fastnn
