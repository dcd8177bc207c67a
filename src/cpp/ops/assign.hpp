#pragma once
#include "ops/op.hpp"

namespace fastnn {

// Effects on a variable (the first input); no outputs.
OpPtr assign();                         // variable = value
OpPtr assign_add();                     // variable += value
OpPtr moving_average(double momentum);  // variable = variable * momentum + value * (1 - momentum)

}  // namespace fastnn
