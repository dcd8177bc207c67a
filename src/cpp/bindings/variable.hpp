#pragma once
#include "core/tensor.hpp"

namespace fastnn {

// What Python calls Variable: a tensor with a VariableInfo, whose storage stays the same for its life.
struct Variable {
  Tensor tensor;
};

}  // namespace fastnn
