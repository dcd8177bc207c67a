#pragma once
#include "ops/op.hpp"

namespace fastnn {

// Inputs x, then gamma and beta (channels) where there are such; y = gamma (x - mean) / sqrt(variance + epsilon) +
// beta. Training: outputs y, mean and biased variance over all axes but `axis`; the two statistics are constants to
// backward.
OpPtr batch_normalization_training(int64_t axis, double epsilon, bool has_gamma, bool has_beta);
// Inference: inputs x, mean, variance, then gamma and beta.
OpPtr batch_normalization(int64_t axis, double epsilon, bool has_gamma, bool has_beta);
// Over the last `axes` axes, whose shape gamma and beta have; outputs y, and what backward needs.
OpPtr layer_normalization(int axes, double epsilon, bool has_gamma, bool has_beta);

}  // namespace fastnn
