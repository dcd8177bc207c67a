// The arguments that sliding windows share.
#pragma once
#include <string>
#include <utility>

#include "bindings/array.hpp"

namespace fastnn {

// 2 or (2, 3): along height and width.
inline std::pair<int64_t, int64_t> as_pair(py::handle value, const char* op, const char* argument) {
  const Shape pair = as_shape(value, argument);
  if (pair.rank() == 2) return {pair[0], pair[1]};
  if (pair.rank() == 1 && !py::isinstance<py::sequence>(value)) return {pair[0], pair[0]};
  throw ValueError(cat(op, ": expected ", argument, " to be an int or two, got ", std::string(py::repr(value))));
}

inline bool is_same(const std::string& padding, const char* op) {
  if (padding == "same") return true;
  if (padding == "valid") return false;
  throw ValueError(cat(op, ": expected padding 'valid' or 'same', got '", padding, "'"));
}

}  // namespace fastnn
