#pragma once
#include <cstdint>

#include "ops/op.hpp"

namespace fastnn {

// The draws of these ops are a pure function of (seed, stream, step, element). step is an input, a 0-d int64 tensor:
// a program that runs again only changes it.
struct RandomStream {
  uint64_t seed;
  uint32_t stream;
};

OpPtr dropout(double rate, RandomStream stream);  // (x, step): x / (1 - rate) with probability 1 - rate, else 0

enum class Distribution { uniform, normal, truncated_normal };
// (step): `a` and `b` are the ends of the interval, or mean and standard deviation.
OpPtr random_numbers(Distribution kind, const Shape& shape, DType dtype, double a, double b, RandomStream stream);

// y[0, n) = the words of elements `first`, first + 1, ...; first is a multiple of 4.
void random_bits(uint32_t* y, int64_t n, uint64_t first, RandomStream stream, uint64_t step);
// y = a permutation of 0 .. n-1.
void random_permutation(int64_t* y, int64_t n, RandomStream stream, uint64_t step);

}  // namespace fastnn
