// Moves elements between two strided views of one shape: what transpose, slices, concatenation, padding and
// broadcasting have in common.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>

#include "core/parallel.hpp"
#include "core/shape.hpp"

namespace fastnn {

using Strides = std::array<int64_t, kMaxRank>;

inline Strides row_major(const Shape& shape) {
  Strides strides{};
  int64_t step = 1;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    strides[d] = step;
    step *= shape[d];
  }
  return strides;
}

// y[index . ys] = x[index . xs] (add: +=) for every index of `shape`. No element of y may be named twice.
template <class T>
void move_strided(const Shape& shape, const T* x, const Strides& x_strides, T* y, const Strides& y_strides,
                  bool add = false) {
  constexpr int64_t kTile = 32;  // a tile of 32 x 32 stays in the first-level cache while it turns
  int rank = 0;
  Strides dims{}, xs{}, ys{};
  for (int d = 0; d < shape.rank(); ++d) {
    const int64_t n = shape[d];
    if (n == 0) return;
    if (n == 1) continue;
    if (rank > 0 && xs[rank - 1] == x_strides[d] * n && ys[rank - 1] == y_strides[d] * n) {
      dims[rank - 1] *= n;
      xs[rank - 1] = x_strides[d];
      ys[rank - 1] = y_strides[d];
    } else {
      dims[rank] = n;
      xs[rank] = x_strides[d];
      ys[rank++] = y_strides[d];
    }
  }
  if (rank == 0) {
    dims[0] = xs[0] = ys[0] = 1;
    rank = 1;
  }
  auto row = [add](T* to, int64_t to_step, const T* from, int64_t from_step, int64_t n) {
    if (add)
      for (int64_t i = 0; i < n; ++i) to[i * to_step] = static_cast<T>(to[i * to_step] + from[i * from_step]);
    else if (to_step == 1 && from_step == 1)
      std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
    else
      for (int64_t i = 0; i < n; ++i) to[i * to_step] = from[i * from_step];
  };
  const int last = rank - 1;
  const int64_t inner = dims[last];
  if (rank == 1) {
    parallel_for(inner, kChunkWork, [&](int64_t begin, int64_t end) {
      row(y + begin * ys[0], ys[0], x + begin * xs[0], xs[0], end - begin);
    });
    return;
  }
  // The dimension that x walks one by one, if it is not the one that y does: these two are turned in tiles.
  int turned = -1;
  for (int d = 0; d < last; ++d)
    if (xs[d] == 1 && xs[last] != 1) turned = d;
  int64_t tasks = 1;
  Strides count = dims;
  if (turned >= 0) count[turned] = (dims[turned] + kTile - 1) / kTile;
  for (int d = 0; d < last; ++d) tasks *= count[d];
  parallel_for(tasks, grain_for(turned >= 0 ? std::min(kTile, dims[turned]) * inner : inner),
               [&](int64_t begin, int64_t end) {
                 for (int64_t task = begin; task < end; ++task) {
                   int64_t rest = task, width = 1;
                   const T* from = x;
                   T* to = y;
                   for (int d = last - 1; d >= 0; --d) {
                     int64_t index = rest % count[d];
                     rest /= count[d];
                     if (d == turned) {
                       index *= kTile;
                       width = std::min(kTile, dims[d] - index);
                     }
                     from += index * xs[d];
                     to += index * ys[d];
                   }
                   if (turned < 0) {
                     row(to, ys[last], from, xs[last], inner);
                     continue;
                   }
                   for (int64_t b = 0; b < inner; b += kTile)
                     for (int64_t a = 0; a < width; ++a)
                       row(to + a * ys[turned] + b * ys[last], ys[last], from + a + b * xs[last], xs[last],
                           std::min(kTile, inner - b));
                 }
               });
}

}  // namespace fastnn
