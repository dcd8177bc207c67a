// Maximum and average over windows of an NHWC image, row by row, vectorised over channels. A window covers the
// pixels of it that lie inside the image.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

struct PoolSizes {
  int64_t h, w, channels, out_h, out_w;
  int64_t size_h, size_w, stride_h, stride_w, before_h, before_w;
};

// Maxima remember the position r * size_w + q in the window they came from: the first of equals, and the first NaN.
// Index is uint8_t or int32_t. The gradient gathers: each dx is written once, from the windows that cover it, in order.
// Arguments are whole images.
template <class T, class Index>
struct MaxPoolKernels {
  // Rows [begin, end) of y and index.
  void (*forward)(T* y, Index* index, const T* x, int64_t begin, int64_t end, const PoolSizes& s);
  // Rows [begin, end) of dx = (accumulate ? dx : 0) + the dy that came from there.
  void (*backward)(T* dx, const T* dy, const Index* index, int64_t begin, int64_t end, const PoolSizes& s,
                   bool accumulate);
};

template <class T>
struct PoolKernels {
  MaxPoolKernels<T, uint8_t> max8;
  MaxPoolKernels<T, int32_t> max32;
  void (*average_forward)(T* y, const T* x, int64_t begin, int64_t end, const PoolSizes& s);
  void (*average_backward)(T* dx, const T* dy, int64_t begin, int64_t end, const PoolSizes& s, bool accumulate);
};

}  // namespace fastnn::kernels
