// Convolution with few channels or filters per group, where vectors over channels would be mostly empty: vectors run
// along whole rows of the image instead.
//
// A row of an NHWC image is one run of numbers, `width` = pixels * filters of them. The input row is spread beside it:
// for each channel of a group one plane, every number repeated for the filters that read it (of a depthwise convolution
// that is the row itself). A tap is then a shift by whole pixels,
//
//   y[h, j] += sum_{r, t} x[h * row_step + rows[r], offsets[t] + j] * w_{r,t}[j],   t over columns of taps and planes,
//
// where w_{r,t} is the kernel repeated along the row. Where a pixel's filters are whole vectors, nothing is spread:
// the image's number is broadcast as it is read. Lanes whose tap lies outside the image have a weight of zero over
// a zero (forward) or are masked out (gradient of the kernel): padding multiplies nothing.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

template <class T>
struct RowConvArgs {
  int64_t h, rows;  // rows [h, h + rows) of y
  int64_t width;
  const T* x;       // spread rows of the image: x_first, x_first + 1, ...; rows outside [0, x_rows) do not exist
  int64_t x_pixel;  // 0, or the rows are not spread: pixels of x so many numbers apart meet `phases` vectors of y
  int64_t x_row, x_first, x_rows;
  int64_t row_step, row_taps;
  const int64_t* row_offsets;  // by rising offset
  int64_t taps;
  const int64_t* offsets;
  // The vectors of a row fall into classes: interior ones by their phase in the repeated kernel, [0, phases), and one
  // class each for those that have lanes outside.
  const int32_t* classes;
  int64_t phases;
  const int32_t* spans;  // per class the taps [begin, end) that some lane has
  const int64_t* inner;  // per tap the vectors [begin, end) of a row whose lanes all have it (gradient)
  int64_t steps;         // rows of x whose products are summed before the next ones' (gradient)
  const int64_t* y_at;   // where the vectors of a row of y begin (forward), whose pixels may stand apart
};

// How one plane is spread.
template <class T>
struct SpreadArgs {
  T* to;
  int64_t to_row, before;
  int64_t fresh_rows;  // of `to` that hold anything as yet
  const T* from;
  int64_t from_row, rows;
  int64_t pixels, pixel_step;  // of from
  int64_t groups, group_step;
  int64_t repeat;
  // Vectors of a plane until the filters repeat, if each is a permutation of one vector of the image: the pixel that it
  // begins at and, of each lane, the number of x behind that as an integer of T's size. 0: they are not.
  int64_t phases;
  const int64_t* phase_pixels;
  const T* phase_lanes;
};

// to[(r * taps + t) * lanes + l] = from[at[r * taps + t] + lane_at[l]], where masks[t * lanes + l] has all bits set,
// else 0; null: everywhere. width: a vector's lanes are among the first `width` numbers behind from[at], or one run of
// them; 0: anywhere.
template <class T>
struct GatherArgs {
  T* to;
  const T* from;
  const int64_t* at;
  int64_t rows, taps;
  const int64_t* lane_at;
  int64_t width;
  const T* masks;
};

// How the taps of a row, multiplied side by side, become one row of y. The products of pixel p are a window of it that
// begins at number (p - first) * filters.
template <class T>
struct FoldArgs {
  T* y;
  int64_t width, filters;
  const T* products;  // of pixel p: products[p * row + i], i < window, between zeros enough for a vector
  int64_t row, window;
  int64_t pixels, first;
  const T* bias;  // repeated for filters + lanes numbers, or null
  bool accumulate;
};

template <class T>
struct ConvKernels {
  int lanes;
  int rows;  // that forward keeps in registers: `partial` holds as many vectors per vector of a row
  // to[row, before + (p * groups + g) * repeat + i] = from[row, p * pixel_step + g * group_step]. A row of `to` has
  // room for `lanes` numbers behind the last one; they become zero. What else is not written becomes zero in the
  // `fresh_rows` first rows and stays in others.
  void (*spread)(const SpreadArgs<T>& args);
  void (*gather)(const GatherArgs<T>& args);
  // y = (accumulate ? y : 0) + the sum + bias. weights: per class (row_taps * taps) vectors and one of the bias; of
  // rows that are not spread only the `phases` first classes. Those have 3 or 5 row taps on neighbouring rows, row_step
  // 1, as many rows at least, and column taps side by side.
  void (*forward)(const RowConvArgs<T>& args, T* y, int64_t y_row, const T* weights, T* partial, bool accumulate);
  // y[j] = (accumulate ? y[j] : 0) + the sum of the windows that hold j, pixel by pixel + bias
  void (*fold)(const FoldArgs<T>& args);
  // sums[phase, r, t] += sum over h and the vectors of that phase of x * dy. masks: per class from `phases` on `taps`
  // vectors, all bits set where the lane counts; none of rows that are not spread.
  void (*kernel_gradient)(const RowConvArgs<T>& args, const T* dy, int64_t dy_row, const T* masks, T* sums);
};

}  // namespace fastnn::kernels
