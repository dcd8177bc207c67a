// The arguments that sliding windows share.
#pragma once
#include <string>
#include <utility>

#include "bindings/array.hpp"
#include "ops/window.hpp"

namespace fastnn {

// 2 or (2, 3): along height and width.
inline std::pair<int64_t, int64_t> as_pair(py::handle value, const char* op, const char* argument) {
  const Shape pair = as_shape(value, argument);
  if (pair.rank() == 2) return {pair[0], pair[1]};
  if (pair.rank() == 1 && !py::isinstance<py::sequence>(value)) return {pair[0], pair[0]};
  throw ValueError(cat(op, ": expected ", argument, " to be an int or two, got ", std::string(py::repr(value))));
}

// Along the one axis of rows, or the two of images; what is said of a row's height is 1.
inline std::pair<int64_t, int64_t> as_sizes(int rank, py::handle value, const char* op, const char* argument) {
  if (rank == 2) return as_pair(value, op, argument);
  const Shape sizes = as_shape(value, argument);
  if (sizes.rank() != 1)
    throw ValueError(cat(op, ": expected ", argument, " to be an int, got ", std::string(py::repr(value))));
  return {1, sizes[0]};
}

inline PaddingMode as_padding(const std::string& padding, const char* op, bool may_be_causal = false) {
  if (padding == "same") return PaddingMode::same;
  if (padding == "valid") return PaddingMode::valid;
  if (may_be_causal && padding == "causal") return PaddingMode::causal;
  throw ValueError(cat(op, ": expected padding ", may_be_causal ? "'valid', 'same' or 'causal'" : "'valid' or 'same'",
                       ", got '", padding, "'"));
}

}  // namespace fastnn
