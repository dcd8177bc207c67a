// Batch and layer normalisation. Channels are contiguous (rows x channels); a run of one channel is one row with every
// parameter broadcast along it (step 0). Statistics leave as double: they are combined across chunks there.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

// Where relu follows the normalisation, its derivative is 0 where y = scale (x - mean) + shift is not positive: cheaper
// to compute again, from the x that is read anyway, than to read y. Null pointers: no relu.
template <class T>
struct ReluAfter {
  const T *scale = nullptr, *shift = nullptr;
};

template <class T>
struct NormKernels {
  // Per channel over the rows: the mean, and the sum of squared differences from it.
  void (*channel_moments)(double* mean, double* squares, const T* x, int64_t rows, int64_t channels);
  // The same over x[0..n), n > 0.
  void (*run_moments)(double* mean, double* squares, const T* x, int64_t n);
  // Per channel over the rows: sum dy, and sum dy (x - mean).
  void (*channel_gradients)(double* sum, double* product, const T* dy, const T* x, const T* mean, ReluAfter<T> relu,
                            int64_t rows, int64_t channels);
  void (*run_gradients)(double* sum, double* product, const T* dy, const T* x, const T* mean, ReluAfter<T> relu,
                        int64_t n);

  // y = scale (x - mean) + shift, per channel, and relu of it if asked; parameters walk with `step` 1, or 0 for one
  // value.
  void (*forward)(T* y, const T* x, const T* mean, const T* scale, const T* shift, int64_t step, int64_t rows,
                  int64_t channels, bool relu);
  // dx = (accumulate ? dx : 0) + scale (dy - center - slope (x - mean)); without x only scale dy.
  void (*backward)(T* dx, const T* dy, const T* x, const T* mean, const T* scale, const T* slope, const T* center,
                   ReluAfter<T> relu, int64_t step, int64_t rows, int64_t channels, bool accumulate);

  // One row of layer normalisation, x^ = rstd (x - mean) + shift, where shift carries the part of the mean that T has
  // no room for; gamma and beta may be null.
  void (*layer_forward)(T* y, const T* x, T mean, T rstd, T shift, const T* gamma, const T* beta, int64_t n);
  // dx = (accumulate ? dx : 0) + rstd (g - mean(g) - x^ mean(g x^)), g = gamma dy
  void (*layer_backward)(T* dx, const T* dy, const T* x, T mean, T rstd, const T* gamma, int64_t n, bool accumulate);
  // dgamma += dy x^ and dbeta += dy, either null
  void (*layer_parameters)(T* dgamma, T* dbeta, const T* dy, const T* x, T mean, T rstd, int64_t n);
};

}  // namespace fastnn::kernels
