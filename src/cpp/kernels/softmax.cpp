#include "kernels/softmax.hpp"

#include "kernels/math.hpp"
#include "kernels/register.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

template <class T, bool logarithm>
void columns(T* y, const T* x, int64_t n, int64_t columns, int64_t stride) {
  constexpr int L = kLanes<T>;
  for (int64_t c = 0; c < columns; c += L) {
    const int width = width_at<T>(c, columns);
    Vec<T> m = splat(-kInfinity<T>), s{};
    for (int64_t i = 0; i < n; ++i) m = max<T>(m, read(x + i * stride + c, width));
    for (int64_t i = 0; i < n; ++i) {
      const Vec<T> e = exp<T>(read(x + i * stride + c, width) - m);
      if constexpr (!logarithm) write(y + i * stride + c, e, width);
      s += e;
    }
    const Vec<T> log_s = logarithm ? log<T>(s) : s;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = i * stride + c;
      if constexpr (logarithm)
        write(y + at, (read(x + at, width) - m) - log_s, width);
      else
        write(y + at, read<T>(y + at, width) / s, width);
    }
  }
}

template <class T, bool logarithm>
void rows(T* y, const T* x, int64_t rows, int64_t n) {
  constexpr int L = kLanes<T>;
  if (n <= kShortRow) {
    for (int64_t r = 0; r < rows; r += L) {
      T turned[kShortRow * L];
      turn_in(turned, x + r * n, width_at<T>(r, rows), n);
      columns<T, logarithm>(turned, turned, n, L, L);
      turn_out(y + r * n, turned, width_at<T>(r, rows), n);
    }
    return;
  }
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    Vec<T> largest = splat(-kInfinity<T>);
    for (int64_t i = 0; i < n; i += L) largest = max<T>(largest, read(x + i, width_at<T>(i, n), -kInfinity<T>));
    const Vec<T> m = splat(max_lanes<T>(largest));
    Vec<T> sum{};
    for (int64_t i = 0; i < n; i += L) {
      const int width = width_at<T>(i, n);
      const Vec<T> e = exp<T>(read(x + i, width, -kInfinity<T>) - m);  // 0 beyond width
      if constexpr (!logarithm) write(y + i, e, width);
      sum += e;
    }
    const Vec<T> s = splat(sum_lanes<T>(sum));
    const Vec<T> log_s = logarithm ? log<T>(s) : s;
    for (int64_t i = 0; i < n; i += L) {
      const int width = width_at<T>(i, n);
      if constexpr (logarithm)
        write(y + i, (read(x + i, width) - m) - log_s, width);
      else
        write(y + i, read<T>(y + i, width) / s, width);
    }
  }
}

// softmax: dx = y (dy - sum y dy); log_softmax: dx = dy - exp(y) sum dy.
template <class T, bool logarithm>
FASTNN_INLINE Vec<T> term(Vec<T> dy, Vec<T> y) {
  return logarithm ? dy : y * dy;
}
template <class T, bool logarithm>
FASTNN_INLINE Vec<T> gradient(Vec<T> dy, Vec<T> y, Vec<T> sum) {
  return logarithm ? fma(-exp<T>(y), sum, dy) : y * (dy - sum);
}

template <class T, bool logarithm>
void columns_backward(T* dx, const T* dy, const T* y, int64_t n, int64_t columns, int64_t stride, bool accumulate) {
  constexpr int L = kLanes<T>;
  for (int64_t c = 0; c < columns; c += L) {
    const int width = width_at<T>(c, columns);
    Vec<T> sum{};
    for (int64_t i = 0; i < n; ++i)
      sum += term<T, logarithm>(read(dy + i * stride + c, width), read(y + i * stride + c, width));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = i * stride + c;
      Vec<T> d = gradient<T, logarithm>(read(dy + at, width), read(y + at, width), sum);
      if (accumulate) d += read<T>(dx + at, width);
      write(dx + at, d, width);
    }
  }
}

template <class T, bool logarithm>
void rows_backward(T* dx, const T* dy, const T* y, int64_t rows, int64_t n, bool accumulate) {
  constexpr int L = kLanes<T>;
  if (n <= kShortRow) {
    for (int64_t r = 0; r < rows; r += L) {
      const int width = width_at<T>(r, rows);
      T d[kShortRow * L], of_y[kShortRow * L], sum[kShortRow * L];
      turn_in(d, dy + r * n, width, n);
      turn_in(of_y, y + r * n, width, n);
      if (accumulate) turn_in(sum, dx + r * n, width, n);
      columns_backward<T, logarithm>(sum, d, of_y, n, L, L, accumulate);
      turn_out(dx + r * n, sum, width, n);
    }
    return;
  }
  for (int64_t r = 0; r < rows; ++r, dx += n, dy += n, y += n) {
    Vec<T> total{};
    for (int64_t i = 0; i < n; i += L) {
      const int width = width_at<T>(i, n);
      total += term<T, logarithm>(read(dy + i, width), read(y + i, width));
    }
    const Vec<T> sum = splat(sum_lanes<T>(total));
    for (int64_t i = 0; i < n; i += L) {
      const int width = width_at<T>(i, n);
      Vec<T> d = gradient<T, logarithm>(read(dy + i, width), read(y + i, width), sum);
      if (accumulate) d += read<T>(dx + i, width);
      write(dx + i, d, width);
    }
  }
}

template <class T, bool logarithm>
constexpr SoftmaxFunctions<T> kFunctions{rows<T, logarithm>, columns<T, logarithm>, rows_backward<T, logarithm>,
                                         columns_backward<T, logarithm>};
template <class T>
constexpr SoftmaxKernels<T> kTable{kFunctions<T, false>, kFunctions<T, true>};

}  // namespace

FASTNN_REGISTER(softmax) {
  f32.softmax = kTable<float>;
  f64.softmax = kTable<double>;
}

}  // namespace fastnn::kernels
