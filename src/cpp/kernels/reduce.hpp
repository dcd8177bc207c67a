// Reductions of a contiguous block. Orders are fixed by the sizes alone.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

template <class T>
struct ReduceKernels {
  // Sum of x[0..n).
  T (*sum)(const T* x, int64_t n);
  // y[c] = (accumulate ? y[c] : 0) + sum_r x[r * stride + c], r in [0, rows), c in [0, columns).
  void (*sum_rows)(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate);
};

}  // namespace fastnn::kernels
