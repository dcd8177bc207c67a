#pragma once
#include "ops/op.hpp"

namespace fastnn {

OpPtr copy_of();                          // y = x in memory of its own
OpPtr fill_like(double value);            // x's shape and dtype, every element `value`
OpPtr reshape_to(const Shape& shape);     // one dimension may be unknown; a view
OpPtr stop_gradient();                    // y = x, and no gradient

}  // namespace fastnn
