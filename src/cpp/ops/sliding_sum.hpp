// The sum that convolution is, forward and for the gradient of its input, and how positions slide along one axis.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/finish.hpp"
#include "ops/window.hpp"

namespace fastnn {

// One axis of a sliding sum. Destination position u (of `count`) lies at u * to_step + to_first and reads, for each
// tap, source position u * from_step + offset where that is inside [0, from).
struct AxisTap {
  int64_t tap, offset;
};
struct Segment {  // neighbouring positions that read the same taps: [first_tap, last_tap) of the axis
  int64_t begin, end;
  int64_t first_tap, last_tap;
};
struct Axis {
  int64_t count, to_first, to_step, from_step;
  std::vector<AxisTap> taps;  // by rising offset
  std::vector<Segment> segments;
};

inline Axis make_axis(int64_t count, int64_t to_first, int64_t to_step, int64_t from_step, int64_t from,
                      std::vector<AxisTap> taps) {
  Axis axis{count, to_first, to_step, from_step, std::move(taps), {}};
  const int64_t n = static_cast<int64_t>(axis.taps.size());
  axis.segments.reserve(static_cast<size_t>(std::min(count, 2 * n + 1)));
  for (int64_t u = 0, first = n, last = n; u < count; ++u) {
    // Sources move on with u: taps leave at the end (past the image) and enter at the beginning.
    while (first > 0 && u * from_step + axis.taps[first - 1].offset >= 0) --first;
    while (last > first && u * from_step + axis.taps[last - 1].offset >= from) --last;
    if (u > 0 && axis.segments.back().first_tap == first && axis.segments.back().last_tap == last)
      axis.segments.back().end = u + 1;
    else
      axis.segments.push_back({u, u + 1, first, last});
  }
  return axis;
}

// y from x: one class of positions, taps in their order.
inline Axis forward_axis(const Window& w) {
  std::vector<AxisTap> taps;
  taps.reserve(static_cast<size_t>(w.size));
  for (int64_t r = 0; r < w.size; ++r) taps.push_back({r, r * w.dilation - w.before});
  return make_axis(w.out, 0, 1, w.stride, w.in, std::move(taps));
}

// dx from dy: input position i is read by output (i + before - r * dilation) / stride where that divides, so positions
// of one parity (i mod stride) share their taps.
inline std::vector<Axis> backward_axes(const Window& w) {
  std::vector<Axis> axes;
  for (int64_t parity = 0; parity < std::min(w.stride, w.in); ++parity) {
    std::vector<AxisTap> taps;
    for (int64_t r = w.size; r-- > 0;) {
      const int64_t shifted = parity + w.before - r * w.dilation;
      if (shifted % w.stride == 0) taps.push_back({r, shifted / w.stride});
    }
    axes.push_back(make_axis((w.in - 1 - parity) / w.stride + 1, parity, w.stride, 1, w.out, std::move(taps)));
  }
  return axes;
}

struct Image {  // (N, H, W, channels)
  int64_t n, h, w, channels;
};

// to[n, p, j] = (accumulate ? to : 0) + sum over taps t and channels k of from[n, p's pixel for t, k] * B_t[k, j] +
// bias[j] for groups of channels. B_t[k, j] = kernel[t * b_tap + k * b_row + j * b_col], further groups b_group on.
template <class T>
struct SlidingSum {
  T* to;
  Image to_image;
  const T* from;
  Image from_image;
  const T* kernel;
  int64_t b_tap, b_row, b_col, b_group;
  int64_t taps_w;  // taps of a kernel row: tap (r, q) is r * taps_w + q
  int64_t groups;
  const T* bias;
  bool accumulate;
  Finish<T> finish;

  // Over each of `rows` with each of `columns`: together all the pixels.
  void run(std::span<const Axis> rows, std::span<const Axis> columns) const;

 private:
  struct Part {
    const Axis &rows, &columns;
  };
  // `clear`: other pixels become zero.
  void run_tiles(const std::vector<Part>& parts, bool clear) const;
  void run_along_rows(const Axis& rows, const Axis& columns) const;
  void run_folded(const Axis& rows, const Axis& columns) const;
};

// How few filters are summed, by the layer's geometry and the instruction set alone: with vectors along the rows of
// images (kernels/conv.hpp); or the taps of a row side by side as columns of one product, folded afterwards; or, if
// neither, in tiles of pixels by filters as many filters are. `gradient`: of the kernel.
template <class T>
bool runs_along_rows(const Axis& rows, const Axis& columns, int64_t channels, int64_t filters, int64_t groups,
                     bool gradient);
template <class T>
bool runs_folded(const Axis& rows, const Axis& columns, int64_t channels, int64_t filters, int64_t groups);

// dW[r, q, c, f] = sum over images and outputs of x[its pixel for (r, q), c] * dy[f], along rows.
template <class T>
void row_kernel_gradient(const Window& wh, const Window& ww, int64_t groups, const T* x, const Image& in, const T* dy,
                         int64_t filters, T* dw, bool accumulate);

}  // namespace fastnn
