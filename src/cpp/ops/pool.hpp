#pragma once
#include "ops/op.hpp"

namespace fastnn {

enum class Pool { max, average };

struct PoolParams {
  int64_t size_h = 2, size_w = 2;
  int64_t stride_h = 2, stride_w = 2;
  bool same = false;
};

// x (N, H, W, C) -> y (N, OH, OW, C); of a maximum also the position in the window, which is for its backward only.
OpPtr pool2d(Pool kind, const PoolParams& params);
OpPtr global_pool2d(Pool kind, bool keepdims);  // -> (N, C) or (N, 1, 1, C)

}  // namespace fastnn
