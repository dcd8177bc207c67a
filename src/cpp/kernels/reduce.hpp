// Reductions of a contiguous block. Orders are fixed by the sizes alone.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

template <class T>
struct ReduceKernels {
  // Sum of x[0..n), and of its squares with the same bits as if they had been stored.
  T (*sum)(const T* x, int64_t n);
  T (*sum_of_squares)(const T* x, int64_t n);
  // y[c] = (accumulate ? y[c] : 0) + sum_r x[r * stride + c], r in [0, rows), c in [0, columns).
  void (*sum_rows)(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate);

  // The same for the maximum, the minimum (a NaN wins) and the product; of nothing: -inf, inf, 1.
  T (*max)(const T* x, int64_t n);
  void (*max_rows)(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate);
  T (*min)(const T* x, int64_t n);
  void (*min_rows)(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate);
  T (*prod)(const T* x, int64_t n);
  void (*prod_rows)(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate);

  // Sums of (x - center)^2 and of exp(x - center); rows: a center per column.
  T (*sum_squares)(const T* x, T center, int64_t n);
  void (*sum_squares_rows)(T* y, const T* x, const T* center, int64_t rows, int64_t columns);
  T (*sum_exp)(const T* x, T center, int64_t n);
  void (*sum_exp_rows)(T* y, const T* x, const T* center, int64_t rows, int64_t columns);

  // dx[i] (+)= dy[i * step] * scale * f'. step is 0 or 1, and x is not read by sum_backward.
  // sum: 1; extremum: x == y or x is NaN; squares: x - y, with y the mean; exp: exp(x - y).
  using Backward = void (*)(T* dx, const T* dy, const T* x, const T* y, int64_t step, int64_t n, T scale,
                            bool accumulate);
  Backward sum_backward, extremum_backward, squares_backward, exp_backward;
};

}  // namespace fastnn::kernels
