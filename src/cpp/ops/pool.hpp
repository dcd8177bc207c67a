#pragma once
#include "ops/op.hpp"
#include "ops/window.hpp"

namespace fastnn {

enum class Pool { max, average };

struct PoolParams {
  int rank = 2;  // 1: x is (N, length, C), and what is said of the height is 1
  int64_t size_h = 2, size_w = 2;
  int64_t stride_h = 2, stride_w = 2;
  PaddingMode padding = PaddingMode::valid;
};

// x (N, H, W, C) -> y (N, OH, OW, C); of a maximum also the position in the window, which is for its backward only.
OpPtr pool(Pool kind, const PoolParams& params);
OpPtr global_pool(Pool kind, int rank, bool keepdims);  // -> (N, C) or (N, 1, 1, C)

}  // namespace fastnn
