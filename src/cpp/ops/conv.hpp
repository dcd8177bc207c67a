#pragma once
#include "ops/op.hpp"

namespace fastnn {

// How convolutions are computed. automatic: Winograd where it is exact enough and faster, by the geometry, the dtype
// and the instruction set alone; winograd: wherever it can be (3 x 3 kernels, no strides, dilation or groups).
enum class ConvAlgorithm : uint8_t { automatic, direct, winograd };

// That of the ops that are made from now on. A recorded program looks again when it has changed.
ConvAlgorithm conv_algorithm();
void set_conv_algorithm(ConvAlgorithm algorithm);

struct ConvParams {
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t groups = 1;
  bool same = false;
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;
};

// x (N, H, W, C), kernel (kh, kw, C / groups, F), bias (F) -> y (N, OH, OW, F)
OpPtr conv2d(const ConvParams& params, bool has_bias);

}  // namespace fastnn
