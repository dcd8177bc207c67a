#include "kernels/reduce.hpp"

#include "kernels/register.hpp"
#include "kernels/simd.hpp"

namespace fastnn::kernels {
namespace {

// Blocks of this many vectors are summed in four chains and the blocks added in order: the error grows with the number
// of blocks, not of elements.
constexpr int64_t kBlockVectors = 64;

template <class T>
T sum(const T* x, int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> total{};
  int64_t i = 0;
  while (i + L <= n) {
    const int64_t vectors = (n - i) / L < kBlockVectors ? (n - i) / L : kBlockVectors;
    Vec<T> acc[4] = {};
    int64_t v = 0;
    for (; v + 4 <= vectors; v += 4)
      for (int a = 0; a < 4; ++a) acc[a] += load(x + i + (v + a) * L);
    for (; v < vectors; ++v) acc[0] += load(x + i + v * L);
    total += (acc[0] + acc[1]) + (acc[2] + acc[3]);
    i += vectors * L;
  }
  if (i < n) total += load_part(x + i, static_cast<int>(n - i));
  return sum_lanes<T>(total);
}

template <class T>
void sum_rows(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate) {
  constexpr int L = kLanes<T>;
  constexpr int64_t kBlockRows = 128;  // as above: rows in blocks, so that the error does not grow with their number
  for (int64_t c = 0; c < columns; c += L) {
    const int width = columns - c < L ? static_cast<int>(columns - c) : L;
    const bool part = width < L;
    Vec<T> total = !accumulate ? Vec<T>{} : part ? load_part(y + c, width) : load(y + c);
    for (int64_t r0 = 0; r0 < rows; r0 += kBlockRows) {
      const int64_t r1 = r0 + kBlockRows < rows ? r0 + kBlockRows : rows;
      Vec<T> acc{};
      if (part)
        for (int64_t r = r0; r < r1; ++r) acc += load_part(x + r * stride + c, width);
      else
        for (int64_t r = r0; r < r1; ++r) acc += load(x + r * stride + c);
      total += acc;
    }
    if (part)
      store_part(y + c, total, width);
    else
      store(y + c, total);
  }
}

template <class T>
constexpr ReduceKernels<T> kTable{sum<T>, sum_rows<T>};

}  // namespace

FASTNN_REGISTER(reduce) {
  f32.reduce = kTable<float>;
  f64.reduce = kTable<double>;
}

}  // namespace fastnn::kernels
