#include "kernels/conv.hpp"

#include "kernels/register.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

struct Yes {
  constexpr operator bool() const { return true; }
};
struct No {
  constexpr operator bool() const { return false; }
};
template <int n>
struct Count {
  static constexpr int value = n;
};

// Rows of y in registers, and row taps whose weights are: neighbouring rows of y read the same rows of x, so one load
// serves up to kMaxTaps multiply-adds, and the five of one row of y in a row wait for each other: eight rows or more
// hide that. 10 + 5 + 1 vectors fill 16 registers. Half as many in float64, for 250 KB less code.
template <class T>
constexpr int kMaxRows = sizeof(T) != sizeof(float) ? 4
                         : kVectorBytes == 32       ? 10
                                                    : 8;
constexpr int kMaxTaps = 5;

// Row taps of the next tile when `left` are left: 5, 3, 2 or 1.
FASTNN_INLINE int tile_taps(int64_t left, bool neighbours) {
  if (!neighbours) return 1;
  if (left >= kMaxTaps) return left == 6 ? 3 : kMaxTaps;
  return left == 4 ? 2 : static_cast<int>(left);
}

template <class T>
bool neighbours(const RowConvArgs<T>& a) {
  if (a.row_step != 1) return false;
  for (int64_t r = 1; r < a.row_taps; ++r)
    if (a.row_offsets[r] != a.row_offsets[0] + r) return false;
  return true;
}

// Rows [h, h + RB) of y, row taps [r, r + RT). Step i of a tile is row (h * row_step + row_offsets[r]) + i * row_step
// of x; of its RB + RT - 1 steps [begin, end) exist.
template <class T>
struct Block {
  int64_t h, r;
  int rows, taps;
  int begin, end;
  const T* weights;  // of the first row tap, class after class `pack` apart
  int64_t pack;
  bool first, last;  // of the row taps; sums wait in `partial` between them
  T* partial;
  T* y;
  int64_t y_row;
  bool accumulate;
};

template <class T, int RB, int RT, int V>
FASTNN_INLINE void add_vectors(const RowConvArgs<T>& a, const Block<T>& b, int64_t v) {
  constexpr int L = kLanes<T>;
  const int64_t j = v * L, x_row = a.row_step * a.x_row, w_row = a.taps * L;
  T* const partial = b.partial + v * kMaxRows<T> * L;
  const T* x = a.x + ((a.h + b.h) * a.row_step + a.row_offsets[b.r] - a.x_first) * a.x_row + j;
  const T* w[V];
  Vec<T> acc[V][RB];
  int64_t t_begin = a.taps, t_end = 0;
  for (int n = 0; n < V; ++n) {
    const int32_t* const span = a.spans + 2 * a.classes[v + n];
    if (span[0] < t_begin) t_begin = span[0];
    if (span[1] > t_end) t_end = span[1];
  }
  for (int n = 0; n < V; ++n) {
    w[n] = b.weights + a.classes[v + n] * b.pack + t_begin * L;
    for (int h = 0; h < RB; ++h) acc[n][h] = b.first ? Vec<T>{} : load(partial + (n * kMaxRows<T> + h) * L);
  }
  auto add = [&](auto all) {
    for (int64_t t = t_begin; t < t_end; ++t) {
      Vec<T> ws[V][RT];
      for (int n = 0; n < V; ++n) {
        for (int r = 0; r < RT; ++r) ws[n][r] = load(w[n] + r * w_row);
        w[n] += L;
      }
      const T* from = x + a.offsets[t];
#pragma GCC unroll 14
      for (int i = 0; i < RB + RT - 1; ++i, from += x_row) {
        if (!all && (i < b.begin || i >= b.end)) continue;
#pragma GCC unroll 2
        for (int n = 0; n < V; ++n) {
          const Vec<T> value = load(from + n * L);
#pragma GCC unroll 5
          for (int r = 0; r < RT; ++r)
            if (i - r >= 0 && i - r < RB) acc[n][i - r] = fma(value, ws[n][r], acc[n][i - r]);
        }
      }
    }
  };
  if (b.begin == 0 && b.end == RB + RT - 1)
    add(Yes{});
  else
    add(No{});
  for (int n = 0; n < V; ++n) {
    if (!b.last) {
      for (int h = 0; h < RB; ++h) store(partial + (n * kMaxRows<T> + h) * L, acc[n][h]);
      continue;
    }
    const Vec<T> bias = load(b.weights + a.classes[v + n] * b.pack + RT * w_row);
    const int width = width_at<T>(j + n * L, a.width);
    T* y = b.y + a.y_at[v + n];
    for (int h = 0; h < RB; ++h, y += b.y_row) {
      Vec<T> sum = acc[n][h];
      if (b.accumulate) sum = read(y, width) + sum;
      write(y, sum + bias, width);
    }
  }
}
template <class T, int RB, int RT>
void add_block(const RowConvArgs<T>& a, const Block<T>& b) {
  const int64_t vectors = (a.width + kLanes<T> - 1) / kLanes<T>;
  int64_t v = 0;
  if constexpr (kVectorBytes == 64)  // registers enough for two
    for (; v + 2 <= vectors; v += 2) add_vectors<T, RB, RT, 2>(a, b, v);
  for (; v < vectors; ++v) add_vectors<T, RB, RT, 1>(a, b, v);
}

// Rows that are not spread, of vectors that are parts of one pixel each: its numbers are broadcast. The row taps are
// one tile. Asking for rows of y ahead takes 1.1 times as long.
template <class T, int RB, int RT>
void add_pixels(const RowConvArgs<T>& a, const Block<T>& b) {
  constexpr int L = kLanes<T>;
  const int64_t vectors = a.width / L, phases = a.phases, pack = b.pack, y_row = b.y_row;
  const int64_t x_row = a.x_row, x_pixel = a.x_pixel, w_row = a.taps * L;
  const int64_t* const offsets = a.offsets;
  const T *x = a.x + (a.h + b.h + a.row_offsets[0]) * x_row, *w = b.weights;
  const bool whole = b.begin == 0 && b.end == RB + RT - 1, accumulate = b.accumulate;
  const int begin = b.begin, end = b.end;
  int64_t phase = 0;
  // V vectors from v on, which have the same taps.
  auto add = [&](auto count, int64_t v, int64_t t_begin, int64_t t_end) __attribute__((always_inline)) {
    constexpr int V = count.value;
    const T *xs[V], *ws[V], *biases[V];
#pragma GCC unroll 2
    for (int n = 0; n < V; ++n) {
      xs[n] = x;
      ws[n] = w + t_begin * L;
      biases[n] = w + RT * w_row;
      w += pack;
      if (++phase == phases) {
        phase = 0;
        w = b.weights;
        x += x_pixel;
      }
    }
    Vec<T> acc[V][RB] = {};
    auto sum = [&](auto all) __attribute__((always_inline)) {
      for (int64_t t = t_begin; t < t_end; ++t) {
        Vec<T> weights[V][RT];
#pragma GCC unroll 2
        for (int n = 0; n < V; ++n) {
#pragma GCC unroll 5
          for (int r = 0; r < RT; ++r) weights[n][r] = load(ws[n] + r * w_row);
          ws[n] += L;
        }
        int64_t at = offsets[t];
#pragma GCC unroll 14
        for (int i = 0; i < RB + RT - 1; ++i, at += x_row) {
          if (!all && (i < begin || i >= end)) continue;
#pragma GCC unroll 2
          for (int n = 0; n < V; ++n) {
            const Vec<T> value = splat(xs[n][at]);
#pragma GCC unroll 5
            for (int r = 0; r < RT; ++r)
              if (i - r >= 0 && i - r < RB) acc[n][i - r] = fma(value, weights[n][r], acc[n][i - r]);
          }
        }
      }
    };
    if (whole)
      sum(Yes{});
    else
      sum(No{});
#pragma GCC unroll 2
    for (int n = 0; n < V; ++n) {
      const Vec<T> bias = load(biases[n]);
      T* y = b.y + a.y_at[v + n];
#pragma GCC unroll 10
      for (int h = 0; h < RB; ++h, y += y_row) {
        if (accumulate) acc[n][h] = load(y) + acc[n][h];
        store(y, acc[n][h] + bias);
      }
    }
  };
  for (int64_t v = 0, last; v < vectors; v = last) {  // runs of pixels that have the same taps
    last = v + phases;
    if (a.classes[v] < phases)
      while (last < vectors && a.classes[last] < phases) last += phases;
    const int32_t* const span = a.spans + 2 * a.classes[v];
    const int64_t t_begin = span[0], t_end = span[1];
    if constexpr (kVectorBytes == 64)  // registers enough for two
      for (; v + 2 <= last; v += 2) add(Count<2>{}, v, t_begin, t_end);
    for (; v < last; ++v) add(Count<1>{}, v, t_begin, t_end);
  }
}

template <class T>
using AddBlock = void (*)(const RowConvArgs<T>&, const Block<T>&);
template <class T, int RB, int RT, bool kSpread>
constexpr AddBlock<T> one_block() {
  constexpr int rows = RB <= kMaxRows<T> ? RB : kMaxRows<T>;
  if constexpr (kSpread)
    return add_block<T, rows, RT>;
  else
    return add_pixels<T, rows, RT>;
}
template <class T, int RT, bool kSpread>
constexpr AddBlock<T> kAddBlocks[] = {nullptr,
                                      one_block<T, 1, RT, kSpread>(),
                                      one_block<T, 2, RT, kSpread>(),
                                      one_block<T, 3, RT, kSpread>(),
                                      one_block<T, 4, RT, kSpread>(),
                                      one_block<T, 5, RT, kSpread>(),
                                      one_block<T, 6, RT, kSpread>(),
                                      one_block<T, 7, RT, kSpread>(),
                                      one_block<T, 8, RT, kSpread>(),
                                      one_block<T, 9, RT, kSpread>(),
                                      one_block<T, 10, RT, kSpread>()};

template <class T>
void forward(const RowConvArgs<T>& a, T* y, int64_t y_row, const T* weights, T* partial, bool accumulate) {
  static constexpr const AddBlock<T>* spread[kMaxTaps + 1] = {
      nullptr, kAddBlocks<T, 1, true>, kAddBlocks<T, 2, true>, kAddBlocks<T, 3, true>, nullptr, kAddBlocks<T, 5, true>};
  static constexpr const AddBlock<T>* broadcast[kMaxTaps + 1] = {
      nullptr, nullptr, nullptr, kAddBlocks<T, 3, false>, nullptr, kAddBlocks<T, 5, false>};
  const auto& add = a.x_pixel == 0 ? spread : broadcast;
  constexpr int L = kLanes<T>;
  const bool shared = neighbours(a);
  const int64_t blocks = (a.rows + kMaxRows<T> - 1) / kMaxRows<T>;
  for (int64_t i = 0; i < blocks; ++i) {
    Block<T> b{};
    b.h = i * a.rows / blocks;
    b.rows = static_cast<int>((i + 1) * a.rows / blocks - b.h);
    b.pack = (a.row_taps * a.taps + 1) * L;
    b.partial = partial;
    b.y = y + b.h * y_row;
    b.y_row = y_row;
    b.accumulate = accumulate;
    for (; b.r < a.row_taps; b.r += b.taps) {
      b.taps = tile_taps(a.row_taps - b.r, shared);
      b.weights = weights + b.r * a.taps * L;
      b.first = b.r == 0;
      b.last = b.r + b.taps == a.row_taps;
      const int64_t first = (a.h + b.h) * a.row_step + a.row_offsets[b.r];
      b.begin = 0;
      b.end = b.rows + b.taps - 1;
      while (b.begin < b.end && first + b.begin * a.row_step < 0) ++b.begin;
      while (b.end > b.begin && first + (b.end - 1) * a.row_step >= a.x_rows) --b.end;
      add[b.taps][b.rows](a, b);
    }
  }
}

// dW: RT row taps times TB taps in registers; every row of x is loaded once for all of them.
template <class T>
constexpr int kSumRegisters = kVectorBytes == 64 && sizeof(T) == sizeof(float) ? 25 : 10;
// Of rows that are not spread; a number is broadcast as it is multiplied, so that more sums fit.
template <class T>
constexpr int kPixelRegisters = kVectorBytes == 64 && sizeof(T) == sizeof(float) ? 27 : 10;
// At most so many taps of one row tap; half of them in float64, for 70 KB less code.
template <class T>
constexpr int kMostTaps = sizeof(T) == sizeof(float) ? 8 : 4;
template <class T, int RT>
constexpr int kTileTaps = kSumRegisters<T> / RT < kMostTaps<T> ? kSumRegisters<T> / RT : kMostTaps<T>;

// The vectors and steps that one call goes over, and the sums that it adds to.
template <class T>
struct Products {
  int64_t r0, t0;  // first taps
  int64_t begin, end, step;
  int64_t first_step, last_step;
  const T* dy;
  int64_t dy_row;
  const T* masks;
  T* sums;  // of tap (0, 0)
};

// Step i of RT row taps over rows of y: row first + i * row_step of x meets rows i - r of dy. Of steps [begin, end)
// those that exist.
template <class T>
FASTNN_INLINE void clip_steps(const RowConvArgs<T>& a, int64_t first, int64_t& begin, int64_t& end) {
  while (begin < end && first + begin * a.row_step < 0) ++begin;
  while (end > begin && first + (end - 1) * a.row_step >= a.x_rows) --end;
}

// body(i, last, r_begin, r_end) for steps [i, last) that have row taps [r_begin, r_end), which the compiler knows.
template <class T, int RT, class Body>
FASTNN_INLINE void for_steps(const RowConvArgs<T>& a, int64_t begin, int64_t end, const Body& body) {
#pragma GCC unroll 4
  for (int i = 0; i < RT - 1; ++i)
    if (i >= begin && i < end) body(i, i + 1, 0, i + 1);
  const int64_t i = begin < RT - 1 ? RT - 1 : begin, last = end < a.rows ? end : a.rows;
  if (i < last) body(i, last, 0, RT);
#pragma GCC unroll 4
  for (int i = 0; i < RT - 1; ++i)
    if (a.rows + i >= begin && a.rows + i < end) body(a.rows + i, a.rows + i + 1, i + 1, RT);
}

// Of spread rows: the vectors whose lanes all have these taps, row by row (column by column a depthwise sum takes 1.1
// to 1.4 times as long, one over a signal twice: each change of row taps costs as much as some vectors); and the
// others, masked. a.rows >= RT.
template <class T, int RT, int TB>
void add_gradient(const RowConvArgs<T>& a, const Products<T>& b) {
  constexpr int L = kLanes<T>;
  const int64_t r0 = b.r0, t0 = b.t0, dy_row = b.dy_row, x_row = a.row_step * a.x_row, step = b.step;
  const int64_t first = a.h * a.row_step + a.row_offsets[r0];
  int64_t begin = b.first_step, end = b.last_step;
  clip_steps(a, first, begin, end);
  const T* xs[TB];
  int64_t inner_begin = 0, inner_end = b.end;
#pragma GCC unroll 8
  for (int t = 0; t < TB; ++t) {
    xs[t] = a.x + (first - a.x_first) * a.x_row + a.offsets[t0 + t];
    const int64_t* const inner = a.inner + 2 * (t0 + t);
    if (inner[0] > inner_begin) inner_begin = inner[0];
    if (inner[1] < inner_end) inner_end = inner[1];
  }
  Vec<T> acc[RT][TB] = {};
  // One step of the vector at j.
  auto add = [&](int64_t i, int64_t j, int r_begin, int r_end, const auto& dy_at, const auto& product)
                 __attribute__((always_inline)) {
                   Vec<T> x_i[TB];
#pragma GCC unroll 8
                   for (int t = 0; t < TB; ++t) x_i[t] = load(xs[t] + i * x_row + j);
                   const T* p = b.dy + (i - r_begin) * dy_row + j;
#pragma GCC unroll 5
                   for (int r = 0; r < RT; ++r) {
                     if (r < r_begin || r >= r_end) continue;
                     const Vec<T> d = dy_at(p);
                     p -= dy_row;
#pragma GCC unroll 8
                     for (int t = 0; t < TB; ++t) acc[r][t] = product(t, x_i[t], d, acc[r][t]);
                   }
                 };

  int64_t v = b.begin;
  if (v < inner_begin) v += (inner_begin - v + step - 1) / step * step;
  const int64_t first_j = v * L, end_j = inner_end * L;
  auto inner = [&](int64_t i, int64_t last, int r_begin, int r_end) __attribute__((always_inline)) {
    auto dy_at = [](const T* p) { return in_register<T>(load(p)); };
    auto product = [](int, Vec<T> x, Vec<T> d, Vec<T> sum) { return fma(x, d, sum); };
    for (; i < last; ++i)
      for (int64_t j = first_j; j < end_j; j += step * L) add(i, j, r_begin, r_end, dy_at, product);
  };
  if (first_j < end_j) for_steps<T, RT>(a, begin, end, inner);

  for (v = b.begin; v < b.end; v += step) {
    if (v >= inner_begin && v < inner_end) continue;
    const int32_t kind = a.classes[v], *const span = a.spans + 2 * kind;
    if (t0 + TB <= span[0] || t0 >= span[1]) continue;
    const int64_t j = v * L;
    const int width = width_at<T>(j, a.width);
    const T* const masks = b.masks + ((kind - a.phases) * a.taps + t0) * L;
    auto outer = [&](int64_t i, int64_t last, int r_begin, int r_end) __attribute__((always_inline)) {
      auto dy_at = [&](const T* p) { return read(p, width); };
      auto product = [&](int t, Vec<T> x, Vec<T> d, Vec<T> sum) {
        return fma_where<T>(as_int<T>(load(masks + t * L)), x, d, sum);
      };
      for (; i < last; ++i) add(i, j, r_begin, r_end, dy_at, product);
    };
    for_steps<T, RT>(a, begin, end, outer);
  }

#pragma GCC unroll 5
  for (int r = 0; r < RT; ++r)
#pragma GCC unroll 8
    for (int t = 0; t < TB; ++t) {
      T* to = b.sums + ((r0 + r) * a.taps + t0 + t) * L;
      store(to, load(to) + acc[r][t]);
    }
}

// Of rows that are not spread all vectors, whose taps are one run of numbers. A column of dy is read from top to
// bottom, which nothing foresees: pixels to come are asked for, of the next rows at the end (64 images of 32 x 32
// pixels, three channels to 64 filters, AVX-512: 17 us an image for 40; with AVX2 no difference).
constexpr int64_t kAheadInDy = 4;
template <class T, int RT, int TB>
void add_products(const RowConvArgs<T>& a, const Products<T>& b) {
  constexpr int L = kLanes<T>;
  const int64_t rows = a.rows, x_row = a.x_row, dy_row = b.dy_row, step = b.step, vectors = a.width / L;
  const int64_t first = a.h + a.row_offsets[0];
  int64_t begin = 0, end = rows + RT - 1;
  clip_steps(a, first, begin, end);
  Vec<T> acc[RT][TB] = {};
  const T* x = a.x + first * x_row + a.offsets[b.t0] + b.begin / b.step * a.x_pixel;
  for (int64_t v = b.begin; v < b.end; v += step, x += a.x_pixel) {
    const T* const dy = b.dy + v * L;
    const int64_t ahead = kAheadInDy * step * L + (v + kAheadInDy * step < vectors ? 0 : (rows - 1) * dy_row);
    auto add = [&](int64_t i, int r_begin, int r_end) __attribute__((always_inline)) {
      const T *const from = x + i * x_row, *const to = dy + i * dy_row;
      Vec<T> d[RT];
#pragma GCC unroll 5
      for (int r = 0; r < RT; ++r)
        if (r >= r_begin && r < r_end) d[r] = load(to - r * dy_row);
      __builtin_prefetch(to - r_begin * dy_row + ahead, 0, 3);
#pragma GCC unroll 9
      for (int t = 0; t < TB; ++t) {
        const Vec<T> value = splat(from[t]);
#pragma GCC unroll 5
        for (int r = 0; r < RT; ++r)
          if (r >= r_begin && r < r_end) acc[r][t] = fma(value, d[r], acc[r][t]);
      }
    };
    auto steps = [&](int64_t i, int64_t last, int r_begin, int r_end) __attribute__((always_inline)) {
      for (; i < last; ++i) add(i, r_begin, r_end);
    };
    for_steps<T, RT>(a, begin, end, steps);
  }
#pragma GCC unroll 5
  for (int r = 0; r < RT; ++r)
#pragma GCC unroll 9
    for (int t = 0; t < TB; ++t) {
      T* const to = b.sums + (r * a.taps + b.t0 + t) * L;
      store(to, load(to) + acc[r][t]);
    }
}

// Taps [begin, end) in parts of about one size: short ones wait.
template <class T, size_t N>
void add_parts(void (*const (&tiles)[N])(const RowConvArgs<T>&, const Products<T>&), const RowConvArgs<T>& a,
               Products<T>& b, int64_t begin, int64_t end) {
  constexpr int64_t most = N - 1;
  const int64_t count = end - begin, parts = (count + most - 1) / most;
  for (int64_t i = 0; i < parts; ++i) {
    b.t0 = begin + i * count / parts;
    tiles[begin + (i + 1) * count / parts - b.t0](a, b);
  }
}

template <class T, int RT, int... TB>
void add_pixel_groups(const RowConvArgs<T>& a, Products<T> b) {
  using Add = void (*)(const RowConvArgs<T>&, const Products<T>&);
  static constexpr Add tiles[] = {nullptr, add_products<T, RT, TB>...};
  const int64_t vectors = a.width / kLanes<T>, phases = a.phases;
  T* const sums = b.sums;
  b.step = phases;
  for (int64_t phase = 0; phase < phases; ++phase) {
    b.sums = sums + phase * RT * a.taps * kLanes<T>;
    for (b.begin = phase; b.begin < vectors; b.begin = b.end) {  // runs of pixels that have the same taps
      b.end = b.begin + phases;
      while (b.end < vectors && a.classes[b.end] == a.classes[b.begin]) b.end += phases;
      const int32_t* const span = a.spans + 2 * a.classes[b.begin];
      add_parts<T>(tiles, a, b, span[0], span[1]);
    }
  }
}

template <class T, int RT, int... TB>
void add_groups(const RowConvArgs<T>& a, Products<T> b) {
  using Add = void (*)(const RowConvArgs<T>&, const Products<T>&);
  static constexpr Add tiles[] = {nullptr, add_gradient<T, RT, TB>...};
  const int64_t vectors = (a.width + kLanes<T> - 1) / kLanes<T>, steps = a.rows + RT - 1;
  T* const sums = b.sums;
  b.end = vectors;
  b.step = a.phases;
  for (b.first_step = 0; b.first_step < steps; b.first_step = b.last_step) {
    b.last_step = b.first_step + a.steps < steps ? b.first_step + a.steps : steps;
    for (b.begin = 0; b.begin < a.phases && b.begin < vectors; ++b.begin) {
      b.sums = sums + b.begin * a.row_taps * a.taps * kLanes<T>;
      add_parts<T>(tiles, a, b, 0, a.taps);
    }
  }
}

// One row tap: all its sums share the loads of dy, so as many taps as there are registers.
template <class T, int RT>
void add_gradients(const RowConvArgs<T>& a, const Products<T>& b) {
  constexpr int most = kTileTaps<T, RT>;
  if constexpr (RT == 3 || RT == 5)
    if (a.x_pixel != 0) {
      constexpr int taps = kPixelRegisters<T> / RT;
      if constexpr (taps == 9)
        return add_pixel_groups<T, RT, 1, 2, 3, 4, 5, 6, 7, 8, 9>(a, b);
      else if constexpr (taps == 5)
        return add_pixel_groups<T, RT, 1, 2, 3, 4, 5>(a, b);
      else if constexpr (taps == 3)
        return add_pixel_groups<T, RT, 1, 2, 3>(a, b);
      else
        return add_pixel_groups<T, RT, 1, 2>(a, b);
    }
  if constexpr (most == 8)
    add_groups<T, RT, 1, 2, 3, 4, 5, 6, 7, 8>(a, b);
  else if constexpr (most == 5)
    add_groups<T, RT, 1, 2, 3, 4, 5>(a, b);
  else if constexpr (most == 4)
    add_groups<T, RT, 1, 2, 3, 4>(a, b);
  else if constexpr (most == 3)
    add_groups<T, RT, 1, 2, 3>(a, b);
  else
    add_groups<T, RT, 1, 2>(a, b);
}

template <class T>
void kernel_gradient(const RowConvArgs<T>& a, const T* dy, int64_t dy_row, const T* masks, T* sums) {
  const bool shared = neighbours(a) && (a.x_pixel != 0 || a.rows >= kMaxTaps);
  Products<T> b{};
  b.dy = dy;
  b.dy_row = dy_row;
  b.masks = masks;
  b.sums = sums;
  while (b.r0 < a.row_taps) {
    const int taps = tile_taps(a.row_taps - b.r0, shared);
    if (taps == 5)
      add_gradients<T, 5>(a, b);
    else if (taps == 3)
      add_gradients<T, 3>(a, b);
    else if (taps == 2)
      add_gradients<T, 2>(a, b);
    else
      add_gradients<T, 1>(a, b);
    b.r0 += taps;
  }
}

// Rows whose vectors are permutations of one vector of the image each; they end at number `end`. (64 images of 28 x 28
// pixels to six filters, AVX2 on Zen 3: 30 us of a 5 x 5 sum of 250; pixel by pixel, each with all its phases, 80. A
// store for each number takes a fourth of the whole sum's time, too.)
template <class T>
FASTNN_INLINE void spread_by_phases(const SpreadArgs<T>& s, int64_t end) {
  constexpr int L = kLanes<T>;
  const int64_t size = (s.pixels - 1) * s.pixel_step + 1, all = s.phases * L / s.repeat;
  for (int64_t n = 0; n < s.phases; ++n) {
    const Mask<T> lane_of = as_int<T>(load(s.phase_lanes + n * L));
    T* row = s.to + s.before + n * L;
    const T* from = s.from + s.phase_pixels[n] * s.pixel_step;
    for (int64_t h = 0; h < s.rows; ++h, row += s.to_row, from += s.from_row) {
      T* to = row;
      int64_t i = 0, left = size - s.phase_pixels[n] * s.pixel_step;  // numbers of the image from i on
      for (; left >= L; i += all * s.pixel_step, left -= all * s.pixel_step, to += s.phases * L)
        store(to, permute<T>(load(from + i), lane_of));
      for (; left > 0; i += all * s.pixel_step, left -= all * s.pixel_step, to += s.phases * L)
        store(to, permute<T>(load_part(from + i, static_cast<int>(left)), lane_of));
    }
  }
  for (int64_t h = 0; h < s.rows; ++h) store(s.to + h * s.to_row + end, Vec<T>{});
}

template <class T>
void spread(const SpreadArgs<T>& args) {
  constexpr int L = kLanes<T>;
  const SpreadArgs<T> s = args;  // a local copy: stores might change the arguments, for all the compiler knows
  const bool whole = s.group_step == 1 && s.pixel_step == s.groups;
  const int64_t runs = whole ? 1 : s.pixels, run = whole ? s.pixels * s.groups : s.groups;
  T* row = s.to;
  const T* from_row = s.from;
  const int64_t end = s.before + s.pixels * s.groups * s.repeat;
  for (int64_t h = 0; h < s.fresh_rows; ++h) {
    T* const to = s.to + h * s.to_row;
    for (int64_t i = 0; i < s.before; i += L) store(to + i, Vec<T>{});
    for (int64_t i = end; i < s.to_row; i += L) write(to + i, Vec<T>{}, width_at<T>(i, s.to_row));
  }
  if (kVectorBytes >= 32 && s.repeat > 1 && s.phases > 0) return spread_by_phases(s, end);
  for (int64_t h = 0; h < s.rows; ++h, row += s.to_row, from_row += s.from_row) {
    T* to = row + s.before;
    const T* from = from_row;
    if (s.repeat == 1 && s.group_step == 1) {
      for (int64_t p = 0; p < runs; ++p, from += s.pixel_step, to += run)
        for (int64_t i = 0; i < run; i += L) store(to + i, read(from + i, width_at<T>(i, run)));
    } else if (s.repeat == 1) {
      for (int64_t p = 0; p < s.pixels; ++p, from += s.pixel_step)
        for (int64_t g = 0; g < s.groups; ++g) *to++ = from[g * s.group_step];
    } else {
      // Whole vectors; what they write too much is overwritten.
      for (int64_t p = 0; p < s.pixels; ++p, from += s.pixel_step)
        for (int64_t g = 0; g < s.groups; ++g, to += s.repeat) {
          const Vec<T> v = splat(from[g * s.group_step]);
          for (int64_t i = 0; i < s.repeat; i += L) store(to + i, v);
        }
    }
    store(to, Vec<T>{});
  }
}

template <class T>
void gather(const GatherArgs<T>& args) {
  constexpr int L = kLanes<T>;
  const GatherArgs<T> s = args;
  auto fill = [&](const auto& vector_at) {
    T* to = s.to;
    const int64_t* at = s.at;
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t t = 0; t < s.taps; ++t, to += L) {
        const Vec<T> v = vector_at(s.from + *at++);
        store(to, s.masks ? as_float<T>(as_int<T>(v) & as_int<T>(load(s.masks + t * L))) : v);
      }
  };
  if (s.width >= L && s.lane_at[L - 1] == s.lane_at[0] + L - 1) {
    fill([&](const T* from) { return load(from + s.lane_at[0]); });
  } else if (0 < s.width && s.width <= L) {
    Mask<T> lane_of;
    for (int l = 0; l < L; ++l) lane_of[l] = static_cast<Int<T>>(s.lane_at[l]);
    const int numbers = static_cast<int>(s.width);
    fill([&](const T* from) { return permute<T>(read(from, numbers), lane_of); });
  } else {
    fill([&](const T* from) {
      Vec<T> v;
      for (int l = 0; l < L; ++l) v[l] = from[s.lane_at[l]];
      return v;
    });
  }
}

template <class T>
void fold(const FoldArgs<T>& args) {
  constexpr int L = kLanes<T>;
  const FoldArgs<T> s = args;
  // Pixels [begin, end) have windows that reach into the vector: those that end behind j and begin before j + L.
  const int64_t step = s.row - s.filters;
  int64_t begin = s.first - (s.window - 1) / s.filters, end = s.first, phase = 0;
  for (int64_t j = 0; j < s.width; j += L) {
    while ((begin - s.first) * s.filters + s.window <= j) ++begin;
    while ((end - s.first) * s.filters < j + L) ++end;
    const int64_t first = begin > 0 ? begin : 0, last = end < s.pixels ? end : s.pixels;
    const T* from = s.products + first * s.row + j - (first - s.first) * s.filters;
    Vec<T> sum{}, odd{};  // two chains: one waits for its additions
    int64_t p = first;
    for (; p + 2 <= last; p += 2, from += 2 * step) {
      sum += load(from);
      odd += load(from + step);
    }
    if (p < last) sum += load(from);
    sum += odd;
    const int width = width_at<T>(j, s.width);
    if (s.accumulate) sum = read(s.y + j, width) + sum;
    if (s.bias) {
      sum += load(s.bias + phase);
      phase = (phase + L) % s.filters;
    }
    write(s.y + j, sum, width);
  }
}

template <class T>
constexpr ConvKernels<T> kTable{kLanes<T>, kMaxRows<T>, spread<T>, gather<T>, forward<T>, fold<T>, kernel_gradient<T>};

}  // namespace

FASTNN_REGISTER(conv) {
  f32.conv = kTable<float>;
  f64.conv = kTable<double>;
}

}  // namespace fastnn::kernels
