// The matrix product that dense layers and matmul share: packing, cache blocks and threads around the micro-kernel.
#pragma once
#include <cstdint>

#include "ops/finish.hpp"

namespace fastnn {

template <class T>
struct Matrix {
  const T* data;
  int64_t row, col;  // element (i, j) is data[i * row + j * col]
};

// C[m, n] = (accumulate ? C : 0) + A[m, k] * B[k, n] + bias[n], then finished; bias may be null. C's rows are c_row
// apart.
// Sums over k run in blocks of kGemmDepth, each one chain of fma, the blocks added in order: the bits of a row do not
// depend on m, on the packing or on the threads.
constexpr int64_t kGemmDepth = 256;
// Multiply-adds per nanosecond and thread, for deciding when threads pay.
constexpr int64_t kFmaPerWork = 32;
template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, T* c, int64_t c_row, const T* bias,
          bool accumulate, const Finish<T>& finish = {});

}  // namespace fastnn
