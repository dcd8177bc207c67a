// Losses are two ops: one value per row of y_pred, then the reduction of the rows. Gradients go to y_pred and to the
// values only; targets, weights and normaliser are constants, and nobody may ask for theirs.
#pragma once
#include "kernels/loss.hpp"
#include "ops/op.hpp"

namespace fastnn {

// Inputs y_true, y_pred (..., classes); outputs the losses (...), and what backward needs.
OpPtr categorical_crossentropy(bool from_logits, double label_smoothing);
OpPtr sparse_categorical_crossentropy(bool from_logits);  // y_true (...) or (..., 1), any dtype, integral values
// Inputs y_true, y_pred, of one shape but for a last dimension of 1; output (...).
OpPtr mean_loss(kernels::MeanLoss kind, double label_smoothing = 0);

enum class Reduction { none, sum, mean };
// Inputs values, then sample_weight and a 0-d normalizer where there are such. "mean" divides the weighted sum by the
// normaliser, by default the number of values; 0 where that is 0.
OpPtr weighted_mean(Reduction reduction, bool has_weight, bool has_normalizer);

}  // namespace fastnn
