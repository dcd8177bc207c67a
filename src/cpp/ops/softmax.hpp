#pragma once
#include "ops/op.hpp"

namespace fastnn {

OpPtr softmax(int64_t axis);      // exp(x) / sum(exp(x)) along the axis
OpPtr log_softmax(int64_t axis);  // its logarithm

}  // namespace fastnn
