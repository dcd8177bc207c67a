// The sum that convolution is, forward and for the gradient of its input, and how positions slide along one axis.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
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
  bool operator==(const Image&) const = default;
};

// Of a convolution's sum: of its output from its input, of the input's gradient from the output's, or of the kernel's
// gradient, which is planned as the output is.
enum class Pass : uint8_t { output, input_gradient, kernel_gradient };
struct SlidingSizes {
  Window rows, columns;
  Image from, to;
  int64_t groups;
  Pass pass;
  bool has_bias;
  bool operator==(const SlidingSizes&) const = default;
  int64_t channels() const { return from.channels / groups; }
  int64_t filters() const { return to.channels / groups; }
  // B_t[k, j] = kernel[t * tap + k * row + j * col], further groups `group` on.
  struct Kernel {
    int64_t tap, row, col, group;
  };
  Kernel kernel() const {
    if (pass == Pass::input_gradient) return {filters() * from.channels, 1, from.channels, channels()};
    return {channels() * to.channels, to.channels, 1, filters()};
  }
};

template <class T>
struct RowPlan;  // ops/row_conv.cpp

// How a sum is computed, which follows from its sizes and the instruction set alone.
template <class T>
struct SlidingPlan {
  explicit SlidingPlan(const SlidingSizes& sizes);
  SlidingPlan(const SlidingPlan&) = delete;

  // Positions of one parity. How few filters are summed: with vectors along the rows of images (kernels/conv.hpp); or
  // over images; or the taps of a row side by side as columns of one product, folded afterwards; or, if none of these,
  // in tiles of pixels by filters as many filters are.
  struct Part {
    const Axis &rows, &columns;
    bool over_images, folds;
    std::shared_ptr<const RowPlan<T>> along_rows;  // null: it is not
  };
  size_t bytes() const;

  const SlidingSizes sizes;
  const std::vector<Axis> rows, columns;  // together, each with each, all the pixels
  std::vector<Part> tiled, others;
  bool gaps = false;  // pixels that no tap reaches, of strides longer than the kernel
};

// A thread keeps the plans that it made last: making them anew took an eighth of LeNet-5's time for one image.
template <class T>
std::shared_ptr<const SlidingPlan<T>> sliding_plan(const SlidingSizes& sizes);

// to[n, p, j] = (accumulate ? to : 0) + sum over taps t and channels k of from[n, p's pixel for t, k] * B_t[k, j] +
// bias[j] for groups of channels.
template <class T>
struct SlidingSum {
  SlidingSizes sizes;
  T* to;
  const T* from;
  const T* kernel;
  const T* bias;
  bool accumulate;
  Finish<T> finish;

  void run() const;

 private:
  using Part = typename SlidingPlan<T>::Part;
  void run_tiles(const std::vector<Part>& parts, bool clear) const;  // `clear`: other pixels become zero
  void run_along_rows(const RowPlan<T>& plan) const;
  void run_over_images(const Part& part) const;
  void run_folded(const Axis& rows, const Axis& columns) const;
};

template <class T>
std::shared_ptr<const RowPlan<T>> plan_along_rows(const Axis& rows, const Axis& columns, const SlidingSizes& sizes);
template <class T>
size_t bytes_of_plan(const RowPlan<T>& plan);
template <class T>
bool runs_over_images(const Axis& rows, const Axis& columns, const SlidingSizes& sizes);
template <class T>
bool runs_folded(const Axis& rows, const Axis& columns, const SlidingSizes& sizes);

// dW[r, q, c, f] = sum over images and outputs of x[its pixel for (r, q), c] * dy[f], along rows.
template <class T>
void row_kernel_gradient(const RowPlan<T>& plan, const T* x, const T* dy, T* dw, bool accumulate);

}  // namespace fastnn
