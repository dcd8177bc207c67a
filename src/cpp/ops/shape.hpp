#pragma once
#include <vector>

#include "ops/op.hpp"

namespace fastnn {

OpPtr copy_of();                       // y = x in memory of its own
OpPtr fill_like(double value);         // x's shape and dtype, every element `value`
OpPtr reshape_to(const Shape& shape);  // one dimension may be unknown; a view
OpPtr stop_gradient();                 // y = x, and no gradient

OpPtr expand_dims(std::vector<int64_t> axes);               // ones at these places of y; a view
OpPtr squeeze(std::vector<int64_t> axes, bool everything);  // without these dimensions of one element; a view
OpPtr transpose(std::vector<int64_t> axes, bool reversed);  // y's dimension d is x's axes[d]
OpPtr broadcast_to(const Shape& shape);
OpPtr concatenate(int64_t axis);  // of any number of tensors
struct Padding {
  int64_t before, after;
};
OpPtr pad(std::vector<Padding> widths, double value);  // one entry per dimension, or one for all

}  // namespace fastnn
