#pragma once
#include "kernels/elementwise.hpp"
#include "ops/op.hpp"

namespace fastnn {

OpPtr compare(kernels::Compare kind);  // a bool per element, broadcasting; two operands of one dtype
OpPtr where();                         // condition (bool), x1, x2: x1 where it is true; broadcasting
enum class Rounding { floor, ceil, round };
OpPtr rounding(Rounding kind);  // round: halves to even. No gradient.

}  // namespace fastnn
