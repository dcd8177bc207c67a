// The one micro-kernel that dense layers, convolution taps and weight gradients share (batch-reduce GEMM, Georganas et
// al., arXiv:1906.06440):
//
//   C[i, j] = (accumulate ? C[i, j] : 0) + sum_t sum_k A_t[i, k] * B_t[k, j] + bias[j]
//
// M rows, N columns, K products per tap. The sum of one element is a single chain of fma in the order (t, k), whatever
// tile it falls into, so a row's bits do not depend on the batch it sits in; with `chain`, a chain for every so many k,
// which are added in order. `accumulate` adds the finished sum to C; C is never read without it (it may hold NaN).
#pragma once
#include <cstdint>

namespace fastnn::kernels {

template <class T>
struct GemmArgs {
  int64_t m, n, k;
  int64_t taps;
  const T* const* a;  // A_t[i, k] is a[t][i * a_row + k * a_col]
  int64_t a_row, a_col;
  // Not 0: A is as pack_a leaves it, its tiles so far apart, and of one chain; A_t[0, k] is a[t][k * a_col], a_col a
  // multiple of mr; all panels of B are nr wide.
  int64_t a_tile = 0;
  const T* const* b;  // B_t[k, j] is b[t][(j / nr) * b_panel + k * b_row + j % nr]
  int64_t b_row, b_panel;
  bool b_padded;  // packed panels: the last one is nr wide, zeros behind n
  T* c;           // C[i, j] is c[i * c_row + j]
  int64_t c_row;
  const T* bias;  // (N) or null
  bool accumulate;
  // So many products in a row, each time all A_t so much further on, all B_t and C (a row of pixels in one call takes
  // 0.88 of the time of a call for each: 5 x 5, 6 channels to 16, AVX2). Not where A is packed.
  int64_t repeats = 1, a_step = 0, b_step = 0, c_step = 0;
  int64_t chain = 0;      // or 0: all of k
  bool c_is_far = false;  // and has to be read: the rows of a tile are asked for before its sums begin
  // What the caller reads next: brought into L2 line by line between the taps, where a burst of so many would wait.
  const T* ahead = nullptr;
  int64_t ahead_size = 0;
};

template <class T>
struct GemmKernels {
  int mr, nr;  // rows and columns of the register tile
  int lanes;   // columns of a vector
  void (*run)(const GemmArgs<T>& args);
  // Packs A[i, k] = a[i * row + k * col], (M, K), into the tiles of rows that run() cuts M into, (M + 2 * mr) / mr at
  // most, each so much behind the one before: K columns of a tile's rows, mr apart. Null where it does not pay.
  void (*pack_a)(T* to, int64_t tile, const T* a, int64_t row, int64_t col, int64_t m, int64_t k);
  // Packs B[k, j] = b[k * row + j * col], (K, N), into ceil(N / nr) panels of K x nr, zeros behind N.
  void (*pack_b)(T* panels, const T* b, int64_t row, int64_t col, int64_t k, int64_t n);
  // C[i, j] = (accumulate ? C[i, j] : 0) + x[j * m + i] + bias[j], (M, N); bias may be null.
  void (*add_turned)(T* c, int64_t c_row, const T* x, int64_t m, int64_t n, const T* bias, bool accumulate);
  // Fused multiply-adds in 24 independent chains; returns their number. What the peak is measured with.
  int64_t (*peak)(int64_t repeats, T* sink);
};

}  // namespace fastnn::kernels
