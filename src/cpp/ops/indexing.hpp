#pragma once
#include <vector>

#include "ops/op.hpp"

namespace fastnn {

// What one dimension keeps: one index (and the dimension goes), or start:stop:step as Python means it.
struct Range {
  bool index = false;
  int64_t start = 0, stop = INT64_MAX, step = 1;
};
OpPtr slice(std::vector<Range> ranges);  // the leading dimensions of x; the others stay whole

// Indices are int32 or int64, negative ones count from the end. IndexError naming the first that is out of range.
// Gradients of repeated indices add up in the order of the indices.
OpPtr take(int64_t axis);                                   // x, indices: y = x[..., indices, ...]
OpPtr take_along_axis(int64_t axis);                        // x, indices of x's shape but for the axis
OpPtr one_hot(int64_t classes, int64_t axis, DType dtype);  // an index out of range gives a row of zeros
OpPtr top_k(int64_t k);  // of the last axis: values, largest first, and int64 indices

}  // namespace fastnn
