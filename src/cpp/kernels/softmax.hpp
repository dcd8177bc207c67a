// Softmax and its logarithm, stable: exponents are taken relative to the largest. NaN and a row of -inf give NaN.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

template <class T>
struct SoftmaxFunctions {
  // Along rows of n contiguous elements.
  void (*rows)(T* y, const T* x, int64_t rows, int64_t n);
  // Along n elements `stride` apart, for each of `columns` neighbours.
  void (*columns)(T* y, const T* x, int64_t n, int64_t columns, int64_t stride);
  // dx = (accumulate ? dx : 0) + the gradient
  void (*rows_backward)(T* dx, const T* dy, const T* y, int64_t rows, int64_t n, bool accumulate);
  void (*columns_backward)(T* dx, const T* dy, const T* y, int64_t n, int64_t columns, int64_t stride, bool accumulate);
};

template <class T>
struct SoftmaxKernels {
  SoftmaxFunctions<T> softmax, log_softmax;
};

}  // namespace fastnn::kernels
