#include "kernels/gemm.hpp"

#include "kernels/register.hpp"
#include "kernels/simd.hpp"

namespace fastnn::kernels {
namespace {

// Accumulators, two vectors of B and broadcasts of A fill the register file: 6 x 2 vectors with 16 registers (BLIS's
// choice on Zen), 12 x 2 with the 32 of AVX-512.
constexpr int kVectors = 2;
constexpr int kRows = kVectorBytes == 64 ? 12 : 6;
template <class T>
constexpr int kColumns = kVectors * kLanes<T>;

// NV: vectors of columns. Where the last columns fit into one, the second would multiply zeros.
template <class T, int MR, int NV>
void tile(const GemmArgs<T>& g, int64_t i, int64_t j) {
  Vec<T> acc[MR][NV] = {};
  const int64_t columns = g.n - j < kColumns<T> ? g.n - j : kColumns<T>;
  const bool part = columns < NV * kLanes<T>;
  const int64_t b_offset = j / kColumns<T> * g.b_panel;
  const int64_t a_row = g.a_row, a_col = g.a_col, b_row = g.b_row;
  if (!part || g.b_padded) {
    for (int64_t t = 0; t < g.taps; ++t) {
      const T* FASTNN_RESTRICT a = g.a[t] + i * a_row;
      const T* FASTNN_RESTRICT b = g.b[t] + b_offset;
      for (int64_t k = 0; k < g.k; ++k) {
        Vec<T> bs[NV];
        for (int v = 0; v < NV; ++v) bs[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 12
        for (int r = 0; r < MR; ++r) {
          const Vec<T> x = splat(a[r * a_row]);
          for (int v = 0; v < NV; ++v) acc[r][v] = fma(x, bs[v], acc[r][v]);
        }
        a += a_col;
        b += b_row;
      }
    }
  } else {  // the last columns of an unpacked B: nothing behind the row's end is read
    const int last = static_cast<int>(columns) - (NV - 1) * kLanes<T>;  // columns of the last vector
    for (int64_t t = 0; t < g.taps; ++t) {
      const T* FASTNN_RESTRICT a = g.a[t] + i * a_row;
      const T* FASTNN_RESTRICT b = g.b[t] + b_offset;
      for (int64_t k = 0; k < g.k; ++k) {
        Vec<T> bs[NV];
        for (int v = 0; v < NV - 1; ++v) bs[v] = load(b + v * kLanes<T>);
        bs[NV - 1] = load_part(b + (NV - 1) * kLanes<T>, last);
#pragma GCC unroll 12
        for (int r = 0; r < MR; ++r) {
          const Vec<T> x = splat(a[r * a_row]);
          for (int v = 0; v < NV; ++v) acc[r][v] = fma(x, bs[v], acc[r][v]);
        }
        a += a_col;
        b += b_row;
      }
    }
  }
  T* c = g.c + i * g.c_row + j;
  if (!part) {
    for (int r = 0; r < MR; ++r, c += g.c_row)
      for (int v = 0; v < NV; ++v) {
        Vec<T> y = acc[r][v];
        if (g.accumulate) y = load(c + v * kLanes<T>) + y;
        if (g.bias) y += load(g.bias + j + v * kLanes<T>);
        store(c + v * kLanes<T>, y);
      }
  } else {
    for (int r = 0; r < MR; ++r, c += g.c_row)
      for (int v = 0; v < NV; ++v) {
        const int64_t left = columns - v * kLanes<T>;
        const int width = left < kLanes<T> ? static_cast<int>(left) : kLanes<T>;
        Vec<T> y = acc[r][v];
        if (g.accumulate) y = load_part(c + v * kLanes<T>, width) + y;
        if (g.bias) y += load_part(g.bias + j + v * kLanes<T>, width);
        store_part(c + v * kLanes<T>, y, width);
      }
  }
}

template <class T>
using TileFn = void (*)(const GemmArgs<T>&, int64_t, int64_t);

// Rows of the next tile when `left` are left. A few rows alone would wait for their multiply-adds: the last two tiles
// share what they have.
FASTNN_INLINE int64_t tile_rows(int64_t left) {
  return left <= kRows ? left : left < kRows + 4 ? (left + 1) / 2 : kRows;
}

template <class T, int... MR>
void run_tiles(const GemmArgs<T>& g) {
  constexpr TileFn<T> tiles[][sizeof...(MR) + 1] = {{nullptr, tile<T, MR, 1>...}, {nullptr, tile<T, MR, kVectors>...}};
  for (int64_t j = 0; j < g.n; j += kColumns<T>) {
    const auto& of_width = tiles[g.n - j > kLanes<T>];
    for (int64_t i = 0, rows = 0; i < g.m; i += rows) {
      rows = tile_rows(g.m - i);
      of_width[rows](g, i, j);
    }
  }
}

template <class T>
void run(const GemmArgs<T>& g) {
  if constexpr (kRows == 12)
    run_tiles<T, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>(g);
  else
    run_tiles<T, 1, 2, 3, 4, 5, 6>(g);
}

// A panel from columns that are contiguous, in square blocks transposed in registers.
template <class T>
void pack_columns(T* panel, const T* source, int64_t col, int64_t k, int width) {
  constexpr int L = kLanes<T>;
  for (int c0 = 0; c0 < kColumns<T>; c0 += L)
    for (int64_t p = 0; p < k; p += L) {
      const int depth = k - p < L ? static_cast<int>(k - p) : L;
      Vec<T> v[L];
#pragma GCC unroll 16
      for (int c = 0; c < L; ++c) {
        const T* from = source + (c0 + c) * col + p;
        v[c] = c0 + c >= width ? Vec<T>{} : depth == L ? load(from) : load_part(from, depth);
      }
      transpose<T>(v);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i)
        if (i < depth) store(panel + (p + i) * kColumns<T> + c0, v[i]);
    }
}

template <class T>
void pack_b(T* panels, const T* b, int64_t row, int64_t col, int64_t k, int64_t n) {
  for (int64_t j = 0; j < n; j += kColumns<T>) {
    const int width = n - j < kColumns<T> ? static_cast<int>(n - j) : kColumns<T>;
    T* panel = panels + j * k;
    const T* source = b + j * col;
    if (col == 1 && width == kColumns<T>) {
      for (int64_t p = 0; p < k; ++p)
        for (int v = 0; v < kVectors; ++v)
          store(panel + p * kColumns<T> + v * kLanes<T>, load(source + p * row + v * kLanes<T>));
    } else if (col == 1) {
      for (int64_t p = 0; p < k; ++p)
        for (int c = 0; c < kColumns<T>; ++c) panel[p * kColumns<T> + c] = c < width ? source[p * row + c] : T(0);
    } else if (row == 1) {
      pack_columns<T>(panel, source, col, k, width);
    } else {
      for (int64_t p = 0; p < k; ++p)
        for (int c = 0; c < kColumns<T>; ++c) panel[p * kColumns<T> + c] = c < width ? source[p * row + c * col] : T(0);
    }
  }
}

template <class T>
int64_t peak(int64_t repeats, T* sink) {
  constexpr int kChains = kVectorBytes == 64 ? 24 : 12;
  Vec<T> acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = splat(T(i));
  Vec<T> x = splat(sink[0]), y = splat(sink[1]);
  for (int64_t n = 0; n < repeats; ++n) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) acc[i] = fma(x, y, acc[i]);
    asm volatile("" : "+x"(x), "+x"(y));
  }
  Vec<T> sum = acc[0];
  for (int i = 1; i < kChains; ++i) sum += acc[i];
  sink[2] = sum_lanes<T>(sum);
  return repeats * kChains * kLanes<T>;
}

template <class T>
constexpr GemmKernels<T> kTable{kRows, kColumns<T>, run<T>, pack_b<T>, peak<T>};

}  // namespace

FASTNN_REGISTER(gemm) {
  f32.gemm = kTable<float>;
  f64.gemm = kTable<double>;
}

}  // namespace fastnn::kernels
