// What convolution and pooling share: how a window slides along one axis of an image.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>

#include "core/shape.hpp"

namespace fastnn {

// Position o of the output reads positions o * stride + r * dilation - before, r in [0, size), where they lie in
// [0, in).
struct Window {
  int64_t in, out, size, stride, dilation, before;
  bool operator==(const Window&) const = default;
};

// same is TensorFlow's: out = ceil(in / stride), and an odd pixel of padding goes behind; causal: all of it goes in
// front.
enum class PaddingMode : uint8_t { valid, same, causal };

// Sizes and strides must have passed check_window.
inline Window window(int64_t in, int64_t size, int64_t stride, int64_t dilation, PaddingMode padding) {
  Window w{in, kUnknown, size, stride, dilation, 0};
  if (in == kUnknown || size == kUnknown) return w;
  w.stride = stride = std::min(stride, std::max<int64_t>(in, 1));  // larger ones leave one window as well
  const int64_t span = (size - 1) * dilation + 1;
  if (padding == PaddingMode::valid) {
    w.out = in < span ? 0 : (in - span) / stride + 1;
  } else if (in > 0) {
    w.out = (in - 1) / stride + 1;
    w.before = padding == PaddingMode::causal ? span - 1 : std::max<int64_t>(0, span - in + (w.out - 1) * stride) / 2;
  } else {
    w.out = 0;
  }
  return w;
}

// What lies along one axis, of an image that may be a row: (N, length, channels) is (N, 1, length, channels).
inline Shape as_image(Shape s) {
  if (s.rank() == 3) s.insert(1, 1);
  return s;
}
inline Shape as_image_kernel(Shape s) {  // (size, in, out) likewise
  if (s.rank() == 3) s.insert(0, 1);
  return s;
}

// ValueError unless the window is one and fits; `window_name` is "kernel" or "pool".
inline void check_window(const std::string& op, const char* window_name, const char* axis, int64_t in, int64_t size,
                         int64_t stride, int64_t dilation, PaddingMode padding) {
  if (stride < 1) throw ValueError(cat(op, ": expected strides >= 1, got ", stride, " along the ", axis));
  if (dilation < 1) throw ValueError(cat(op, ": expected dilation_rate >= 1, got ", dilation, " along the ", axis));
  if (size == kUnknown) return;
  if (size < 1)
    throw ValueError(cat(op, ": expected a ", window_name, " of at least 1 pixel, got ", size, " along the ", axis));
  // Twice the span must be a number as well: the last window may reach that far beyond the image.
  int64_t span;
  if (__builtin_mul_overflow(size - 1, dilation, &span) || span >= INT64_MAX / 4)
    throw ValueError(cat(op, ": a ", window_name, " of ", size, " pixels with dilation_rate ", dilation, " along the ",
                         axis, " is too large"));
  if (padding == PaddingMode::valid && in != kUnknown && in < span + 1)
    throw ValueError(cat(op, ": expected x of ", axis, " >= ", span + 1, ", the ", window_name,
                         "'s, with padding 'valid', got ", in));
}

}  // namespace fastnn
