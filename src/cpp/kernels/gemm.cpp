#include "kernels/gemm.hpp"

#include "kernels/register.hpp"
#include "kernels/simd.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

// Accumulators, two vectors of B and broadcasts of A fill the register file: 6 x 2 vectors with 16 registers (BLIS's
// choice on Zen), 12 x 2 with the 32 of AVX-512.
constexpr int kVectors = 2;
constexpr int kRows = kVectorBytes == 64 ? 12 : 6;
template <class T>
constexpr int kColumns = kVectors * kLanes<T>;
// Tiles of six rows gain where A is packed for them (ops/gemm.cpp). Left out of the baseline, which is not there for
// speed.
constexpr bool kPacksA = kVectorBytes == 32;

// acc += A * B for one tap. `last`: columns of the last vector, all of them unless B is unpacked and ends inside it;
// then nothing behind the row's end is read. The rows of A go in threes from one pointer each, as x86 addresses p, p +
// s and p + 2 * s: a pointer for each of twelve rows does not fit into the registers. The empty asm keeps the compiler
// from making one of them. Two k a turn: AVX-512 gains 4 % on one a turn, and nothing on four; sixteen registers do not
// suffice for it (four a turn with AVX2: sums on the stack, 1.1 to 1.4 times as long).
template <class T, int MR, int NV, bool kPackedA, bool kPart>
FASTNN_INLINE void multiply(Vec<T> (&acc)[MR][NV], const T* a, const T* b, int64_t depth, const GemmArgs<T>& g,
                            int last) {
  constexpr int kThrees = kPackedA ? 1 : (MR + 2) / 3, kOfPointer = kPackedA ? MR : 3;
  const int64_t a_row = kPackedA ? 1 : g.a_row, a_col = g.a_col, b_row = g.b_row, b_panel = g.b_panel;
  const T* rows[kThrees];
  for (int q = 0; q < kThrees; ++q) rows[q] = a + 3 * q * a_row;
  auto step = [&]() __attribute__((always_inline)) {
    Vec<T> bs[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      const T* p = b + v / kVectors * b_panel + v % kVectors * kLanes<T>;
      bs[v] = kPart && v == NV - 1 ? load_part(p, last) : load(p);
    }
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) {
      const Vec<T> x = splat(rows[r / kOfPointer][r % kOfPointer * a_row]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = fma(x, bs[v], acc[r][v]);
    }
#pragma GCC unroll 4
    for (int q = 0; q < kThrees; ++q) {
      rows[q] += a_col;
      asm("" : "+r"(rows[q]));
    }
    b += b_row;
  };
  if constexpr (kVectorBytes == 64) {
#pragma GCC unroll 2
    for (int64_t k = depth; k > 0; --k) step();
  } else {
    for (int64_t k = depth; k > 0; --k) step();
  }
}

// The numbers that a call brings near: lines of a tap of a tile, until there are no more.
template <class T>
struct Ahead {
  static constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  const T *at, *end;
  int64_t lines;

  explicit Ahead(const GemmArgs<T>& g) : at(g.ahead), end(g.ahead + g.ahead_size), lines(0) {
    if (g.ahead_size == 0 || g.taps == 0) return;
    const int64_t taps = g.repeats * g.taps * ((g.m + kRows - 1) / kRows) * ((g.n + kColumns<T> - 1) / kColumns<T>);
    lines = (g.ahead_size / kLine + taps) / taps;
  }
  __attribute__((noinline)) void operator()() {
    for (int64_t i = 0; i < lines && at < end; ++i, at += kLine) __builtin_prefetch(at, 0, 2);
  }
};

// Rows [i, end) of one of the products in tiles of MR, all of the NV vectors of columns from j on.
template <class T, int MR, int NV, bool kPackedA = false>
void tiles(const GemmArgs<T>& g, int64_t repeat, int64_t i, int64_t end, int64_t j, Ahead<T>& ahead) {
  const int64_t columns = g.n - j;
  const bool part = columns < NV * kLanes<T>;
  const int last = part ? static_cast<int>(columns) - (NV - 1) * kLanes<T> : kLanes<T>;  // columns of the last vector
  const int64_t c_row = g.c_row, chain = g.chain > 0 ? g.chain : g.k;
  const int64_t a_offset = repeat * g.a_step, b_offset = repeat * g.b_step + j / kColumns<T> * g.b_panel;
  const int64_t c_offset = repeat * g.c_step + j;
  for (; i < end; i += MR) {
    T* const c = g.c + c_offset + i * c_row;
    int64_t k = 0;
    do {
      const int64_t depth = g.k - k < chain ? g.k - k : chain;
      if (g.c_is_far)
        for (int r = 0; r < MR; ++r)
          for (int at = 0; at < NV * kVectorBytes; at += 64)
            __builtin_prefetch(reinterpret_cast<const char*>(c + r * c_row) + at, 0, 2);
      Vec<T> acc[MR][NV] = {};
      for (int64_t t = 0; t < g.taps; ++t) {
        if (__builtin_expect(ahead.at < ahead.end, 0)) ahead();
        const T* const a =
            g.a[t] + (kPackedA ? (i + kRows - 1) / kRows * g.a_tile : a_offset + i * g.a_row + k * g.a_col);
        const T* const b = g.b[t] + b_offset + k * g.b_row;
        if (kPackedA || !part || g.b_padded)
          multiply<T, MR, NV, kPackedA, false>(acc, a, b, depth, g, last);
        else
          multiply<T, MR, NV, kPackedA, true>(acc, a, b, depth, g, last);
      }
      const bool accumulate = g.accumulate || k > 0;
      k += chain;
      const T* const bias = k < g.k ? nullptr : g.bias;
      // One test for all vectors: with one for each, 60 x 32 x 16 takes 1.25 times as long.
      T* row = c;
      if (accumulate) {
#pragma GCC unroll 12
        for (int r = 0; r < MR; ++r, row += c_row)
#pragma GCC unroll 8
          for (int v = 0; v < NV; ++v) {
            const T* const from = row + v * kLanes<T>;
            acc[r][v] = (v < NV - 1 || !part ? load(from) : load_part(from, last)) + acc[r][v];
          }
        row = c;
      }
      if (bias) {
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
          const T* const from = bias + j + v * kLanes<T>;
          const Vec<T> shift = v < NV - 1 || !part ? load(from) : load_part(from, last);
#pragma GCC unroll 12
          for (int r = 0; r < MR; ++r) acc[r][v] += shift;
        }
      }
#pragma GCC unroll 12
      for (int r = 0; r < MR; ++r, row += c_row)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
          T* const to = row + v * kLanes<T>;
          if (v < NV - 1 || !part)
            store(to, acc[r][v]);
          else
            store_part(to, acc[r][v], last);
        }
    } while (k < g.k);
  }
}

template <class T>
using TilesFn = void (*)(const GemmArgs<T>&, int64_t, int64_t, int64_t, int64_t, Ahead<T>&);

// How rows are cut into tiles: `whole` rows in tiles of kRows, then one of `first` and one of `second`, either of which
// may be empty. Fewer than eight sums would wait for their multiply-adds, one to three rows, or seven of a single
// vector: behind others these share rows with the last whole tile (16 x 16 x 64: 8 + 8 rows take 0.9 of the time of 12
// + 4).
struct RowTiles {
  static constexpr int64_t kFew = 3;
  int64_t whole, first, second;

  RowTiles(int64_t m, bool narrow) : whole(m / kRows * kRows) {
    int64_t rest = m - whole;
    if (rest > 0 && rest <= (narrow ? 7 : kFew) && whole > 0) {
      whole -= kRows;
      rest += kRows;
    }
    first = rest > kRows ? (rest + 1) / 2 : rest;
    second = rest - first;
  }
};

template <class T, int... MR>
void run_packed(const GemmArgs<T>& g) {
  static constexpr TilesFn<T> of_rows[][sizeof...(MR) + 1] = {{nullptr, tiles<T, MR, 1, true>...},
                                                              {nullptr, tiles<T, MR, kVectors, true>...}};
  Ahead<T> ahead(g);
  const RowTiles rows(g.m, false);
  const int64_t last = rows.whole + rows.first;
  for (int64_t j = 0; j < g.n; j += kColumns<T>) {
    const auto& of_width = of_rows[g.n - j > kLanes<T>];
    if (rows.whole > 0) of_width[kRows](g, 0, 0, rows.whole, j, ahead);
    if (rows.first > 0) of_width[rows.first](g, 0, rows.whole, last, j, ahead);
    if (rows.second > 0) of_width[rows.second](g, 0, last, g.m, j, ahead);
  }
}

template <class T, int... MR>
void run_tiles(const GemmArgs<T>& g) {
  static constexpr TilesFn<T> of_rows[][sizeof...(MR) + 1] = {{nullptr, tiles<T, MR, 1>...},
                                                              {nullptr, tiles<T, MR, kVectors>...}};
  Ahead<T> ahead(g);
  const RowTiles rows(g.m, g.n <= kLanes<T>);
  const int64_t last = rows.whole + rows.first;
  // Without others, one to three rows take more columns at a time.
  static constexpr TilesFn<T> wide[] = {nullptr, tiles<T, 1, 8>, tiles<T, 2, 4>, tiles<T, 3, 4>};
  const bool few = rows.first <= RowTiles::kFew && rows.second == 0;
  // Products that share B take its panels one by one (1 to 3 % of the time); others take all columns one by one, for A.
  const int64_t together = g.b_step == 0 ? g.repeats : 1;
  for (int64_t r0 = 0; r0 < g.repeats; r0 += together) {
    auto run = [&](TilesFn<T> tiles, int64_t begin, int64_t end, int64_t j) {
      for (int64_t r = r0; r < r0 + together; ++r) tiles(g, r, begin, end, j, ahead);
    };
    if (rows.whole > 0)
      for (int64_t j = 0; j < g.n; j += kColumns<T>) run(of_rows[g.n - j > kLanes<T>][kRows], 0, rows.whole, j);
    if (rows.first == 0) continue;  // tiles of other heights after those: turns of them take 1 % longer
    int64_t j = 0;
    if (few)
      for (const int64_t width = (rows.first == 1 ? 8 : 4) * kLanes<T>; j + width <= g.n; j += width)
        run(wide[rows.first], rows.whole, g.m, j);
    for (; j < g.n; j += kColumns<T>) {
      const auto& of_width = of_rows[g.n - j > kLanes<T>];
      run(of_width[rows.first], rows.whole, last, j);
      if (rows.second > 0) run(of_width[rows.second], last, g.m, j);
    }
  }
}

// sums[j] += A[0, k] * B[k, j] for D rows of B.
template <class T, int D>
void add_rows(T* sums, const T* a, int64_t a_col, const T* b, int64_t b_row, int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> x[D];
  for (int d = 0; d < D; ++d) x[d] = splat(a[d * a_col]);
  int64_t j = 0;
  for (; j + 2 * L <= n; j += 2 * L) {
    Vec<T> sum = load(sums + j), next = load(sums + j + L);
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) {
      sum = fma(x[d], load(b + d * b_row + j), sum);
      next = fma(x[d], load(b + d * b_row + j + L), next);
    }
    store(sums + j, sum);
    store(sums + j + L, next);
  }
  for (; j < n; j += L) {
    const int width = width_at<T>(j, n);
    Vec<T> sum = load(sums + j);
    for (int d = 0; d < D; ++d) sum = fma(x[d], read(b + d * b_row + j, width), sum);
    store(sums + j, sum);
  }
}

// One row takes as long as B takes to arrive, and B arrives fastest along its rows: 4 KB of four at a time, while the
// sums wait in L1 (1 x 4096 x 1024: 225 us with AVX-512 and 310 with AVX2, in tiles 295 and 410).
template <class T>
void one_row(const GemmArgs<T>& g) {
  constexpr int L = kLanes<T>, kDepth = 4;
  constexpr int64_t kSpan = 4096 / sizeof(T);
  T sums[kSpan];
  for (int64_t j0 = 0; j0 < g.n; j0 += kSpan) {
    const int64_t n = g.n - j0 < kSpan ? g.n - j0 : kSpan;
    for (int64_t j = 0; j < n; j += L) store(sums + j, Vec<T>{});
    for (int64_t t = 0; t < g.taps; ++t) {
      const T *a = g.a[t], *b = g.b[t] + j0;
      int64_t k = 0;
      for (; k + kDepth <= g.k; k += kDepth)
        add_rows<T, kDepth>(sums, a + k * g.a_col, g.a_col, b + k * g.b_row, g.b_row, n);
      for (; k < g.k; ++k) add_rows<T, 1>(sums, a + k * g.a_col, g.a_col, b + k * g.b_row, g.b_row, n);
    }
    for (int64_t j = 0; j < n; j += L) {
      const int width = width_at<T>(j, n);
      Vec<T> y = load(sums + j);
      if (g.accumulate) y = read(g.c + j0 + j, width) + y;
      if (g.bias) y += read(g.bias + j0 + j, width);
      write(g.c + j0 + j, y, width);
    }
  }
}

template <class T>
void run(const GemmArgs<T>& g) {
  if (g.m == 1 && g.n > kColumns<T> && g.b_panel == kColumns<T> && g.repeats == 1) return one_row(g);
  if constexpr (kRows == 12) {
    run_tiles<T, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>(g);
  } else {
    if constexpr (kPacksA)
      if (g.a_tile > 0) return run_packed<T, 1, 2, 3, 4, 5, 6>(g);
    run_tiles<T, 1, 2, 3, 4, 5, 6>(g);
  }
}

// body(tile, its first row, rows) for each tile.
template <class Body>
FASTNN_INLINE void for_tiles(int64_t m, const Body& body) {
  const RowTiles rows(m, false);
  int64_t tile = 0, i = 0;
  for (; i < rows.whole; i += kRows) body(tile++, i, kRows);
  if (rows.first > 0) body(tile++, i, static_cast<int>(rows.first));
  if (rows.second > 0) body(tile, i + rows.first, static_cast<int>(rows.second));
}

// A transposed, column by column, as its rows lie in memory. Vectors are read and stored whole but for the last column:
// behind the rows of the others the next ones follow, and what they hold too much is written over by those.
template <class T>
void pack_transposed(T* to, int64_t tile, const T* a, int64_t col, int64_t m, int64_t k) {
  constexpr int L = kLanes<T>;
  for (; k > 1; --k, a += col, to += kRows)
    for_tiles(m, [&](int64_t t, int64_t i, int) __attribute__((always_inline)) {
      for (int q = 0; q < kRows; q += L) store(to + t * tile + q, load(a + i + q));
    });
  if (k == 1)
    for_tiles(m, [&](int64_t t, int64_t i, int height) __attribute__((always_inline)) {
      for (int q = 0; q < height; q += L)
        write(to + t * tile + q, read(a + i + q, width_at<T>(i + q, m)), width_at<T>(q, kRows));
    });
}

template <class T>
void pack_a(T* to, int64_t tile, const T* a, int64_t row, int64_t col, int64_t m, int64_t k) {
  if (row == 1) return pack_transposed(to, tile, a, col, m, k);
  constexpr int L = kLanes<T>, kParts = (kRows + L - 1) / L;
  for_tiles(m, [&](int64_t t, int64_t i, int height) __attribute__((always_inline)) {
    T* const columns = to + t * tile;
    for (int64_t p0 = 0; p0 < k; p0 += L) {
      const int depth = width_at<T>(p0, k);
      const T* const from = a + i * row + p0 * col;
      Vec<T> v[kParts][L] = {};
      for (int part = 0; part < kParts; ++part) {
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) {
          const int at = part * L + r;
          if (at >= height) {
            v[part][r] = Vec<T>{};
          } else if (col == 1) {
            v[part][r] = read(from + at * row, depth);
          } else {
            for (int p = 0; p < depth; ++p) v[part][r][p] = from[at * row + p * col];
          }
        }
        transpose<T>(v[part]);
      }
      for (int p = 0; p < depth; ++p)  // in order, as above
        for (int part = 0; part * L < height; ++part)
          write(columns + (p0 + p) * kRows + part * L, v[part][p], width_at<T>((p0 + p) * kRows + part * L, k * kRows));
    }
  });
}

// A panel from columns that are contiguous, in square blocks transposed in registers.
template <class T>
void pack_columns(T* panel, const T* source, int64_t col, int64_t k, int width) {
  constexpr int L = kLanes<T>;
  for (int c0 = 0; c0 < kColumns<T>; c0 += L) {
    for (int64_t p = 0; p < k && c0 >= width; ++p) store(panel + p * kColumns<T> + c0, Vec<T>{});
    for (int64_t p = 0; p < k && c0 < width; p += L) {
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
}

template <class T>
void add_turned(T* c, int64_t c_row, const T* x, int64_t m, int64_t n, const T* bias, bool accumulate) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < n; j += L)
    for (int64_t i = 0; i < m; i += L) {
      const int rows = width_at<T>(i, m), columns = width_at<T>(j, n);
      Vec<T> v[L];
#pragma GCC unroll 16
      for (int q = 0; q < L; ++q) v[q] = q < columns ? read(x + (j + q) * m + i, rows) : Vec<T>{};
      transpose<T>(v);
#pragma GCC unroll 16
      for (int q = 0; q < L; ++q)
        if (q < rows) {
          T* const to = c + (i + q) * c_row + j;
          Vec<T> y = v[q];
          if (accumulate) y = read(to, columns) + y;
          if (bias) y += read(bias + j, columns);
          write(to, y, columns);
        }
    }
}

template <class T>
void pack_b(T* panels, const T* b, int64_t row, int64_t col, int64_t k, int64_t n) {
  int64_t whole = 0;  // columns packed already
  if (col == 1) {     // row by row, as they lie in memory
    whole = n / kColumns<T> * kColumns<T>;
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < whole; j += kColumns<T>)
        for (int v = 0; v < kVectors; ++v)
          store(panels + j * k + p * kColumns<T> + v * kLanes<T>, load(b + p * row + j + v * kLanes<T>));
  }
  for (int64_t j = whole; j < n; j += kColumns<T>) {
    const int width = n - j < kColumns<T> ? static_cast<int>(n - j) : kColumns<T>;
    T* panel = panels + j * k;
    const T* source = b + j * col;
    if (row == 1) {
      pack_columns<T>(panel, source, col, k, width);
    } else {
      for (int64_t p = 0; p < k; ++p)
        for (int c = 0; c < kColumns<T>; ++c) panel[p * kColumns<T> + c] = c < width ? source[p * row + c * col] : T(0);
    }
  }
}

// Where an asm finds a vector.
#if defined(FASTNN_AVX2_PAIRS)
#define FASTNN_IN_VECTOR "+m"  // no register holds it
#elif defined(__aarch64__)
#define FASTNN_IN_VECTOR "+w"
#else
#define FASTNN_IN_VECTOR "+x"
#endif

template <class T>
int64_t peak(int64_t repeats, T* sink) {
  constexpr int kChains = kVectorBytes == 64 ? 24 : 12;
  Vec<T> acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = splat(T(i));
  Vec<T> x = splat(sink[0]), y = splat(sink[1]);
  for (int64_t n = 0; n < repeats; ++n) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) acc[i] = fma(x, y, acc[i]);
    asm volatile("" : FASTNN_IN_VECTOR(x), FASTNN_IN_VECTOR(y));
  }
  Vec<T> sum = acc[0];
  for (int i = 1; i < kChains; ++i) sum += acc[i];
  sink[2] = sum_lanes<T>(sum);
  return repeats * kChains * kLanes<T>;
}

template <class T>
constexpr GemmKernels<T> table() {
  GemmKernels<T> table{kRows, kColumns<T>, kLanes<T>, run<T>, nullptr, pack_b<T>, add_turned<T>, peak<T>};
  if constexpr (kPacksA) table.pack_a = pack_a<T>;
  return table;
}

}  // namespace

FASTNN_REGISTER(gemm) {
  f32.gemm = table<float>();
  f64.gemm = table<double>();
}

}  // namespace fastnn::kernels
