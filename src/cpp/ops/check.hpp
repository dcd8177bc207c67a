#pragma once
#include <string>

#include "ops/op.hpp"

namespace fastnn {

// No output: FloatingPointError with `message` where a value of x is not finite. In a program it refuses the whole
// step: writes come after every check.
OpPtr check_finite(std::string message);

}  // namespace fastnn
