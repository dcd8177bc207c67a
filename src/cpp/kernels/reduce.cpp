#include "kernels/reduce.hpp"

#include "kernels/math.hpp"
#include "kernels/register.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

// Blocks of this many vectors are summed in four chains and the blocks added in order: the error grows with the number
// of blocks, not of elements.
constexpr int64_t kBlockVectors = 64;

template <class T>
struct Same {
  static FASTNN_INLINE Vec<T> apply(Vec<T> d) { return d; }
};
template <class T>
struct Squares {
  static FASTNN_INLINE Vec<T> apply(Vec<T> d) { return d * d; }
};
template <class T>
struct Exp {
  static FASTNN_INLINE Vec<T> apply(Vec<T> d) { return kernels::exp<T>(d); }
};

template <class T, template <class> class F>
T sum(const T* x, int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> total{};
  int64_t i = 0;
  while (i + L <= n) {
    const int64_t vectors = (n - i) / L < kBlockVectors ? (n - i) / L : kBlockVectors;
    Vec<T> acc[4] = {};
    int64_t v = 0;
    for (; v + 4 <= vectors; v += 4)
      for (int a = 0; a < 4; ++a) acc[a] += F<T>::apply(load(x + i + (v + a) * L));
    for (; v < vectors; ++v) acc[0] += F<T>::apply(load(x + i + v * L));
    total += (acc[0] + acc[1]) + (acc[2] + acc[3]);
    i += vectors * L;
  }
  if (i < n) total += F<T>::apply(load_part(x + i, static_cast<int>(n - i)));
  return sum_lanes<T>(total);
}

// A kilobyte of rows at a time, or eight rows, so that the sums of their columns are loaded and stored once for all; of
// as many columns as their sums fit into the first cache.
template <class T>
FASTNN_INLINE void sum_whole_rows(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate) {
  constexpr int L = kLanes<T>;
  constexpr int64_t kBlockRows = 128;  // as above: rows in blocks, so that the error does not grow with their number
  constexpr int64_t kColumns = 1024;
  const int64_t at_once = 1024 / (columns * static_cast<int64_t>(sizeof(T))), step = at_once < 8 ? 8 : at_once;
  for (int64_t c0 = 0; c0 < columns; c0 += kColumns) {
    const int64_t count = columns - c0 < kColumns ? columns - c0 : kColumns;
    T total[kColumns], block[kColumns];
    for (int64_t c = 0; c < count; c += L)
      store(total + c, accumulate ? read(y + c0 + c, width_at<T>(c, count)) : Vec<T>{});
    for (int64_t r0 = 0; r0 < rows; r0 += kBlockRows) {
      const int64_t end = r0 + kBlockRows < rows ? r0 + kBlockRows : rows;
      for (int64_t r1 = r0; r1 < end; r1 += step) {
        const int64_t r2 = r1 + step < end ? r1 + step : end;
        for (int64_t c = 0; c < count; c += L) {
          const int width = width_at<T>(c, count);
          const T* from = x + c0 + c;
          Vec<T> sum = r1 > r0 ? load(block + c) : Vec<T>{};
          if (width == L)
            for (int64_t r = r1; r < r2; ++r) {
              ask_ahead(from + r * stride - c, c);
              sum += load(from + r * stride);
            }
          else
            for (int64_t r = r1; r < r2; ++r) sum += load_part(from + r * stride, width);
          store(block + c, sum);
        }
      }
      for (int64_t c = 0; c < count; c += L) store(total + c, load(total + c) + load(block + c));
    }
    __builtin_memcpy(y + c0, total, static_cast<size_t>(count) * sizeof(T));
  }
}

// Rows of few columns that lie one behind the other are summed as longer ones, of so many vectors as it takes until
// they begin at a lane 0 again (six columns of AVX2: four rows in three vectors; 50,000 rows 0.55 of the time, of three
// columns 0.31).
template <class T>
void sum_rows(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate) {
  constexpr int L = kLanes<T>;
  constexpr int64_t kFew = 2 * L;
  int64_t joined = 1;
  while (columns * joined % L != 0) joined *= 2;
  if (joined > 1 && columns < kFew && columns == stride && rows >= 4 * joined) {
    T sums[kFew * L];
    const int64_t wide = columns * joined, whole = rows / joined;
    sum_whole_rows(sums, x, whole, wide, wide, false);
    sum_whole_rows(y, sums, joined, columns, columns, accumulate);
    x += whole * wide;
    rows -= whole * joined;
    accumulate = true;
    if (rows == 0) return;
  }
  sum_whole_rows(y, x, rows, columns, stride, accumulate);
}

// Associative folds. A tail is filled up with the identity, so that it runs the same code.
template <class T>
struct Max {
  static constexpr T identity = -kInfinity<T>;
  static FASTNN_INLINE Vec<T> apply(Vec<T> a, Vec<T> b) { return kernels::max<T>(a, b); }
};
template <class T>
struct Min {
  static constexpr T identity = kInfinity<T>;
  static FASTNN_INLINE Vec<T> apply(Vec<T> a, Vec<T> b) { return kernels::min<T>(a, b); }
};
template <class T>
struct Prod {
  static constexpr T identity = 1;
  static FASTNN_INLINE Vec<T> apply(Vec<T> a, Vec<T> b) { return a * b; }
};

template <class T, template <class> class F>
T fold(const T* x, int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> acc[4];
  for (auto& a : acc) a = splat(F<T>::identity);
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L)
    for (int a = 0; a < 4; ++a) acc[a] = F<T>::apply(acc[a], load(x + i + a * L));
  for (; i + L <= n; i += L) acc[0] = F<T>::apply(acc[0], load(x + i));
  if (i < n) {
    T lanes[L];
    for (int l = 0; l < L; ++l) lanes[l] = i + l < n ? x[i + l] : F<T>::identity;
    acc[1] = F<T>::apply(acc[1], load(lanes));
  }
  T lanes[2 * L];  // halved until one is left; the upper half of the last vector is padding
  store(lanes, F<T>::apply(F<T>::apply(acc[0], acc[1]), F<T>::apply(acc[2], acc[3])));
  for (int l = L; l < 2 * L; ++l) lanes[l] = F<T>::identity;
  for (int width = L / 2; width >= 1; width /= 2) store(lanes, F<T>::apply(load(lanes), load(lanes + width)));
  return lanes[0];
}

template <class T, template <class> class F>
void fold_rows(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate) {
  constexpr int L = kLanes<T>;
  for (int64_t c = 0; c < columns; c += L) {
    const int width = columns - c < L ? static_cast<int>(columns - c) : L;
    if (width == L) {
      Vec<T> acc = accumulate ? load(y + c) : splat(F<T>::identity);
      for (int64_t r = 0; r < rows; ++r) acc = F<T>::apply(acc, load(x + r * stride + c));
      store(y + c, acc);
    } else {
      Vec<T> acc = accumulate ? load_part(y + c, width) : splat(F<T>::identity);
      for (int64_t r = 0; r < rows; ++r) acc = F<T>::apply(acc, load_part(x + r * stride + c, width));
      store_part(y + c, acc, width);
    }
  }
}

// Sums of f(x - center), in blocks as `sum`.
template <class T, template <class> class F>
T centered(const T* x, T center, int64_t n) {
  constexpr int L = kLanes<T>;
  const Vec<T> middle = splat(center);
  Vec<T> total{};
  int64_t i = 0;
  while (i + L <= n) {
    const int64_t vectors = (n - i) / L < kBlockVectors ? (n - i) / L : kBlockVectors;
    Vec<T> acc[2] = {};
    for (int64_t v = 0; v < vectors; ++v) acc[v & 1] += F<T>::apply(load(x + i + v * L) - middle);
    total += acc[0] + acc[1];
    i += vectors * L;
  }
  if (i < n) {
    T lanes[L];
    store(lanes, F<T>::apply(load_part(x + i, static_cast<int>(n - i)) - middle));
    for (int l = static_cast<int>(n - i); l < L; ++l) lanes[l] = 0;
    total += load(lanes);
  }
  return sum_lanes<T>(total);
}

template <class T, template <class> class F>
void centered_rows(T* y, const T* x, const T* center, int64_t rows, int64_t columns) {
  constexpr int L = kLanes<T>;
  constexpr int64_t kBlockRows = 128;
  for (int64_t c = 0; c < columns; c += L) {
    const int width = columns - c < L ? static_cast<int>(columns - c) : L;
    const bool part = width < L;
    const Vec<T> middle = part ? load_part(center + c, width) : load(center + c);
    Vec<T> total{};
    for (int64_t r0 = 0; r0 < rows; r0 += kBlockRows) {
      const int64_t r1 = r0 + kBlockRows < rows ? r0 + kBlockRows : rows;
      Vec<T> acc{};
      if (part)
        for (int64_t r = r0; r < r1; ++r) acc += F<T>::apply(load_part(x + r * columns + c, width) - middle);
      else
        for (int64_t r = r0; r < r1; ++r) acc += F<T>::apply(load(x + r * columns + c) - middle);
      total += acc;
    }
    if (part)
      store_part(y + c, total, width);
    else
      store(y + c, total);
  }
}

template <class T>
struct SumSlope {
  static constexpr bool reads = false;
  static FASTNN_INLINE Vec<T> apply(Vec<T> dy, Vec<T>, Vec<T>) { return dy; }
};
template <class T>
struct ExtremumSlope {
  static constexpr bool reads = true;
  static FASTNN_INLINE Vec<T> apply(Vec<T> dy, Vec<T> x, Vec<T> y) { return ((x == y) | (x != x)) ? dy : Vec<T>{}; }
};
template <class T>
struct SquaresSlope {
  static constexpr bool reads = true;
  static FASTNN_INLINE Vec<T> apply(Vec<T> dy, Vec<T> x, Vec<T> y) { return dy * (x - y); }
};
template <class T>
struct ExpSlope {
  static constexpr bool reads = true;
  static FASTNN_INLINE Vec<T> apply(Vec<T> dy, Vec<T> x, Vec<T> y) { return dy * kernels::exp<T>(x - y); }
};

template <class T, template <class> class F>
void backward(T* dx, const T* dy, const T* x, const T* y, int64_t step, int64_t n, T scale, bool accumulate) {
  constexpr int L = kLanes<T>;
  const Vec<T> factor = splat(scale);
  for (int64_t i = 0; i < n; i += L) {
    const int width = n - i < L ? static_cast<int>(n - i) : L;
    auto take = [&](const T* p, int64_t s) {
      return s == 0 ? splat(p[0]) : width == L ? load(p + i) : load_part(p + i, width);
    };
    Vec<T> d = F<T>::apply(take(dy, step), F<T>::reads ? take(x, 1) : Vec<T>{}, F<T>::reads ? take(y, step) : Vec<T>{});
    d *= factor;
    if (accumulate) d += take(dx, 1);
    if (width == L)
      store(dx + i, d);
    else
      store_part(dx + i, d, width);
  }
}

template <class T>
constexpr ReduceKernels<T> kTable{
    sum<T, Same>,
    sum<T, Squares>,
    sum_rows<T>,
    fold<T, Max>,
    fold_rows<T, Max>,
    fold<T, Min>,
    fold_rows<T, Min>,
    fold<T, Prod>,
    fold_rows<T, Prod>,
    centered<T, Squares>,
    centered_rows<T, Squares>,
    centered<T, Exp>,
    centered_rows<T, Exp>,
    backward<T, SumSlope>,
    backward<T, ExtremumSlope>,
    backward<T, SquaresSlope>,
    backward<T, ExpSlope>,
};

}  // namespace

FASTNN_REGISTER(reduce) {
  f32.reduce = kTable<float>;
  f64.reduce = kTable<double>;
}

}  // namespace fastnn::kernels
