#pragma once
#include <optional>

#include "ops/op.hpp"
#include "ops/window.hpp"

namespace fastnn {

// How convolutions are computed. automatic: Winograd where it is exact enough and faster, by the geometry, the dtype
// and the instruction set alone; winograd: wherever it can be (3 x 3 kernels, no strides, dilation or groups).
enum class ConvAlgorithm : uint8_t { automatic, direct, winograd };

// That of the ops that are made from now on. A recorded program looks again when it has changed.
ConvAlgorithm conv_algorithm();
void set_conv_algorithm(ConvAlgorithm algorithm);

struct ConvParams {
  int rank = 2;  // 1: x is (N, length, C), and what is said of the height stays 1
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  PaddingMode padding = PaddingMode::valid;
  int64_t groups = 1;
  bool depthwise = false;  // a group for every channel; the kernel is (kh, kw, C, multiplier)
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;
};

// x (N, H, W, C), kernel (kh, kw, C / groups, F), bias (F) -> y (N, OH, OW, F)
OpPtr conv(const ConvParams& params, bool has_bias);

// x (N, H, W, C), kernel (kh, kw, F, C), bias (F) -> y (N, OH, OW, F), an image that a convolution by the kernel would
// take to x's size. Of several such sizes output_padding chooses: the pixels behind the smallest.
struct OutputPadding {  // of rows: h is 0
  std::optional<int64_t> h = std::nullopt, w = std::nullopt;
};
OpPtr conv_transpose(const ConvParams& params, const OutputPadding& output_padding, bool has_bias);

}  // namespace fastnn
