#pragma once
#include "ops/op.hpp"

namespace fastnn {

OpPtr dense(bool has_bias);                        // x (..., in) @ kernel (in, out) + bias (out)
OpPtr matmul(bool transpose_a, bool transpose_b);  // (..., m, k) @ (..., k, n), leading dimensions broadcast

}  // namespace fastnn
