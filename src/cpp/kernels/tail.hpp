// The end of an array that is no whole vector: the same code for full and partial vectors, by their width. And rows
// shorter than one: a vector of them at a time, turned.
#pragma once
#include "kernels/simd.hpp"

namespace fastnn::kernels {
namespace {

// How many of the elements [i, n) the next vector holds.
template <class T>
FASTNN_INLINE int width_at(int64_t i, int64_t n) {
  return n - i < kLanes<T> ? static_cast<int>(n - i) : kLanes<T>;
}
template <class T>
FASTNN_INLINE Mask<T> lanes_below(int width) {
  Mask<T> index;
  for (int i = 0; i < kLanes<T>; ++i) index[i] = i;
  return index < Int<T>(width);
}
// v, with 0 in the lanes from `width` on.
template <class T>
FASTNN_INLINE Vec<T> first(Vec<T> v, int width) {
  return width == kLanes<T> ? v : as_float<T>(as_int<T>(v) & lanes_below<T>(width));
}
template <class T>
FASTNN_INLINE Vec<T> read(const T* p, int width) {
  return width == kLanes<T> ? load(p) : load_part(p, width);
}
// Lanes from `width` on are `fill`.
template <class T>
FASTNN_INLINE Vec<T> read(const T* p, int width, T fill) {
  return width == kLanes<T> ? load(p) : lanes_below<T>(width) ? load_part(p, width) : splat(fill);
}
template <class T>
FASTNN_INLINE void write(T* p, Vec<T> v, int width) {
  if (width == kLanes<T>)
    store(p, v);
  else
    store_part(p, v, width);
}

// body(i, width) for the vectors of [0, n); but for the last the compiler knows the width.
template <class T, class Body>
FASTNN_INLINE void for_vectors(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) body(i, kLanes<T>);
  if (i < n) body(i, static_cast<int>(n - i));
}

// Asks for what lies sixteen kilobytes behind x[i]: where several rows are read in turn, or a row pixel by pixel, the
// processor foresees little, and nothing beyond the page (sums over rows of 34 MB on one thread: 12 GB/s without, 20
// with 8 KB, 41 with 16). One of the vectors of a cache line asks.
template <class T>
FASTNN_INLINE void ask_ahead(const T* x, int64_t i) {
  if (kVectorBytes == 64 || i % (64 / static_cast<int>(sizeof(T))) == 0)
    __builtin_prefetch(reinterpret_cast<const char*>(x + i) + 16384);
}

// Rows of up to so many elements are turned: alone they leave most lanes idle, and one sum across lanes costs as much
// as the exponentials of a vector. to[i] holds element i of each of `rows` <= kLanes rows, 0 in the lanes behind them.
constexpr int64_t kShortRow = 32;
template <class T>
FASTNN_INLINE void turn_in(T* to, const T* x, int rows, int64_t n) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < n; i += L) {
    Vec<T> v[L];
    for (int r = 0; r < L; ++r) v[r] = r < rows ? read(x + r * n + i, width_at<T>(i, n)) : Vec<T>{};
    transpose<T>(v);
    for (int k = 0; k < L; ++k) store(to + (i + k) * L, v[k]);
  }
}
template <class T>
FASTNN_INLINE void turn_out(T* x, const T* from, int rows, int64_t n) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < n; i += L) {
    Vec<T> v[L];
    for (int k = 0; k < L; ++k) v[k] = load(from + (i + k) * L);
    transpose<T>(v);
    for (int r = 0; r < rows; ++r) write(x + r * n + i, v[r], width_at<T>(i, n));
  }
}

}  // namespace
}  // namespace fastnn::kernels
