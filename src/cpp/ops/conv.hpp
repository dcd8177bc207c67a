#pragma once
#include "ops/op.hpp"

namespace fastnn {

struct ConvParams {
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t groups = 1;
  bool same = false;
};

// x (N, H, W, C), kernel (kh, kw, C / groups, F), bias (F) -> y (N, OH, OW, F)
OpPtr conv2d(const ConvParams& params, bool has_bias);

}  // namespace fastnn
