// Optimizer steps on n variables at once. Inputs: n weights, the slots, n gradients, learning_rate (0-d floating) and
// step (0-d int64, the number of updates made before); weights and slots are updated in place, nothing comes out.
//
// A slot holds one value per weight element, in one vector: variable i at element segment_layout().offset[i], on
// 64-byte boundaries. For a single variable that is its own size, in any shape.
#pragma once
#include "ops/op.hpp"

namespace fastnn {

enum class MomentumForm {
  keras,   // v = momentum v - rate g;               w += v
  torch,   // v = momentum v + g;                    w -= rate v
  lesson,  // v = momentum v + (1 - momentum) g;     w -= rate v
};

struct SgdParams {  // without a slot if momentum is 0
  double momentum = 0;
  MomentumForm form = MomentumForm::keras;
  bool nesterov = false;
  double weight_decay = 0;
};
struct RmspropParams {  // slots: mean square; if centered the mean; if momentum is not 0 the velocity
  double rho = 0.9, momentum = 0, epsilon = 1e-7;
  bool centered = false, epsilon_inside = true;  // sqrt(s + epsilon), or sqrt(s) + epsilon
  double weight_decay = 0;
};
struct AdamParams {  // slots: m, v; if amsgrad the largest v
  double beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-7;
  bool amsgrad = false, epsilon_after_correction = false;  // sqrt(v / (1 - beta_2^t)) + epsilon
  double weight_decay = 0;
};

OpPtr sgd_update(const SgdParams& params);
OpPtr rmsprop_update(const RmspropParams& params);
OpPtr adam_update(const AdamParams& params);

struct SegmentLayout {
  std::vector<int64_t> offset;
  int64_t size = 0;  // of the flat vector: to the end of the last segment
};
SegmentLayout segment_layout(std::span<const int64_t> sizes, DType dtype);

}  // namespace fastnn
