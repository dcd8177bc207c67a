#include "ops/reduce.hpp"

#include <algorithm>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"

namespace fastnn {

namespace {

// y[o, i] = sum_r x[o, r, i]. The rows are cut into chunks by their number alone, chunk sums are added in order.
template <class T>
void sum_middle(const T* x, int64_t outer, int64_t rows, int64_t inner, T* y, bool accumulate) {
  const auto& k = kernels_for<T>().reduce;
  if (outer * inner == 0) return;
  const int64_t chunk_rows = std::max<int64_t>(1, 4 * kChunkWork / inner);
  const int64_t chunks = std::max<int64_t>(1, (rows + chunk_rows - 1) / chunk_rows);
  if (chunks == 1) {
    parallel_for(outer, grain_for(rows * inner), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        if (inner == 1)
          y[o] = (accumulate ? y[o] : T(0)) + k.sum(x + o * rows, rows);
        else
          k.sum_rows(y + o * inner, x + o * rows * inner, rows, inner, inner, accumulate);
      }
    });
    return;
  }
  Scratch<T> partial(outer * chunks * inner);
  parallel_for(outer * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / chunks, first = task % chunks * chunk_rows;
      const int64_t count = std::min(chunk_rows, rows - first);
      const T* source = x + (o * rows + first) * inner;
      if (inner == 1)
        partial[task] = k.sum(source, count);
      else
        k.sum_rows(&partial[task * inner], source, count, inner, inner, false);
    }
  });
  for (int64_t o = 0; o < outer; ++o)
    k.sum_rows(y + o * inner, &partial[o * chunks * inner], chunks, inner, inner, accumulate);
}

}  // namespace

template <class T>
void sum_axes(const T* x, const Shape& shape, uint32_t axes, T* y, bool accumulate) {
  // Runs of reduced axes, the last first: each pass removes one run, the last pass writes y.
  Shape left = shape;
  uint32_t bits = axes;
  for (int d = left.rank() - 1; d >= 0; --d)  // axes of one element need no pass
    if (left[d] == 1) {
      left.erase(d);
      bits = (bits & ((1u << d) - 1)) | ((bits >> (d + 1)) << d);
    }
  if (bits == 0) {
    sum_middle(x, numel(left), 1, 1, y, accumulate);
    return;
  }
  int last = left.rank() - 1;
  while (!(bits >> last & 1)) --last;
  int first = last;
  while (first > 0 && (bits >> (first - 1) & 1)) --first;
  const int64_t outer = numel(left, 0, first), rows = numel(left, first, last + 1);
  const int64_t inner = numel(left, last + 1, left.rank());
  const uint32_t rest = bits & ((1u << first) - 1);
  if (rest == 0) {
    sum_middle(x, outer, rows, inner, y, accumulate);
    return;
  }
  Shape next = left;
  for (int d = last; d >= first; --d) next.erase(d);
  Scratch<T> partial(outer * inner);
  sum_middle(x, outer, rows, inner, partial.data(), false);
  sum_axes(partial.data(), next, rest, y, accumulate);
}

template <class T>
void sum_to_shape(const T* x, const Shape& from, T* y, const Shape& to, bool accumulate) {
  uint32_t axes = 0;
  const int offset = from.rank() - to.rank();
  for (int d = 0; d < from.rank(); ++d)
    if (d < offset || (to[d - offset] == 1 && from[d] != 1)) axes |= 1u << d;
  sum_axes(x, from, axes, y, accumulate);
}

template void sum_axes(const float*, const Shape&, uint32_t, float*, bool);
template void sum_axes(const double*, const Shape&, uint32_t, double*, bool);
template void sum_to_shape(const float*, const Shape&, float*, const Shape&, bool);
template void sum_to_shape(const double*, const Shape&, double*, const Shape&, bool);

}  // namespace fastnn
