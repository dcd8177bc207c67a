#include "kernels/norm.hpp"

#include "kernels/register.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

// Sums run in blocks of this many terms and the blocks are added in order: the error grows with neither alone.
constexpr int64_t kBlock = 128;

FASTNN_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Two sums per channel over the rows, `term(row, channel, width, a, b)` giving what one row adds to them, four vectors
// of channels at a time so that whole cache lines are used.
template <class T, class Term>
FASTNN_INLINE void sum_channels(int64_t rows, int64_t channels, const Term& term, double* first, double* second) {
  constexpr int L = kLanes<T>;
  auto panel = [&]<int N>(int64_t c, int width) {
    Vec<T> total[2][N] = {};
    for (int64_t r0 = 0; r0 < rows; r0 += kBlock) {
      Vec<T> block[2][N] = {};
      for (int64_t r = r0, end = least(rows, r0 + kBlock); r < end; ++r)
        for (int v = 0; v < N; ++v) term(r, c + v * L, width, block[0][v], block[1][v]);
      for (int v = 0; v < N; ++v) {
        total[0][v] += block[0][v];
        total[1][v] += block[1][v];
      }
    }
    for (int v = 0; v < N; ++v)
      for (int i = 0; i < L; ++i) {
        if (i >= width) break;  // in the loop and not its bound: GCC 12 warns of a lane beyond the vector else
        first[c + v * L + i] = static_cast<double>(total[0][v][i]);
        second[c + v * L + i] = static_cast<double>(total[1][v][i]);
      }
  };
  int64_t c = 0;
  for (; c + 4 * L <= channels; c += 4 * L) panel.template operator()<4>(c, L);
  for (; c < channels; c += L) panel.template operator()<1>(c, width_at<T>(c, channels));
}

// Two sums over [0, n): term(at, width, a, b). Lanes beyond `width` must add nothing.
template <class T, class Term>
FASTNN_INLINE void sum_run(int64_t n, const Term& term, double* first, double* second) {
  constexpr int L = kLanes<T>;
  Vec<T> total[2] = {};
  for (int64_t i0 = 0; i0 < n; i0 += kBlock * L) {
    Vec<T> block[2] = {};
    for (int64_t i = i0, end = least(n, i0 + kBlock * L); i < end; i += L)
      term(i, width_at<T>(i, end), block[0], block[1]);
    total[0] += block[0];
    total[1] += block[1];
  }
  *first = static_cast<double>(sum_lanes<T>(total[0]));
  *second = static_cast<double>(sum_lanes<T>(total[1]));
}

// The first element as the shift: sum and sum of squares of x - shift cancel only as far as the shift is from the
// mean, measured in standard deviations, and not at all for a constant.
FASTNN_INLINE void moments_of(double shift, double sum, double square, double n, double* mean, double* squares) {
  *mean = shift + sum / n;
  const double rest = square - sum * sum / n;
  *squares = rest < 0 ? 0 : rest;
}

template <class T>
void channel_moments(double* mean, double* squares, const T* x, int64_t rows, int64_t channels) {
  sum_channels<T>(
      rows, channels,
      [&](int64_t r, int64_t c, int width, Vec<T>& sum, Vec<T>& square) {
        const Vec<T> d = read(x + r * channels + c, width) - read(x + c, width);
        sum += d;
        square = fma(d, d, square);
      },
      mean, squares);
  for (int64_t c = 0; c < channels; ++c)
    moments_of(static_cast<double>(x[c]), mean[c], squares[c], static_cast<double>(rows), mean + c, squares + c);
}

template <class T>
void run_moments(double* mean, double* squares, const T* x, int64_t n) {
  const Vec<T> shift = splat(x[0]);
  double sum, square;
  sum_run<T>(
      n,
      [&](int64_t i, int width, Vec<T>& a, Vec<T>& b) {
        const Vec<T> d = first<T>(read(x + i, width) - shift, width);
        a += d;
        b = fma(d, d, b);
      },
      &sum, &square);
  moments_of(static_cast<double>(x[0]), sum, square, static_cast<double>(n), mean, squares);
}

// dy behind the relu of y = scale d + shift, d = x - mean, brought before it.
template <class T>
FASTNN_INLINE Vec<T> before_relu(Vec<T> dy, Vec<T> d, Vec<T> scale, Vec<T> shift) {
  const Vec<T> zero{};
  return fma(d, scale, shift) <= zero ? zero : dy;
}

template <class T, bool kRelu>
void channel_gradients_of(double* sum, double* product, const T* dy, const T* x, const T* mean,
                          [[maybe_unused]] ReluAfter<T> relu, int64_t rows, int64_t channels) {
  sum_channels<T>(
      rows, channels,
      [&](int64_t r, int64_t c, int width, Vec<T>& a, Vec<T>& b) {
        const Vec<T> d = read(x + r * channels + c, width) - read(mean + c, width);
        Vec<T> g = read(dy + r * channels + c, width);
        if constexpr (kRelu) g = before_relu<T>(g, d, read(relu.scale + c, width), read(relu.shift + c, width));
        a += g;
        b = fma(g, d, b);
      },
      sum, product);
}

template <class T>
void channel_gradients(double* sum, double* product, const T* dy, const T* x, const T* mean, ReluAfter<T> relu,
                       int64_t rows, int64_t channels) {
  (relu.scale ? channel_gradients_of<T, true> : channel_gradients_of<T, false>)(sum, product, dy, x, mean, relu, rows,
                                                                                channels);
}

template <class T>
void run_gradients(double* sum, double* product, const T* dy, const T* x, const T* mean, ReluAfter<T> relu, int64_t n) {
  const Vec<T> m = splat(*mean);
  const Vec<T> scale = relu.scale ? splat(*relu.scale) : Vec<T>{}, shift = relu.scale ? splat(*relu.shift) : Vec<T>{};
  sum_run<T>(
      n,
      [&](int64_t i, int width, Vec<T>& a, Vec<T>& b) {
        const Vec<T> d = read(x + i, width) - m;
        Vec<T> g = read(dy + i, width);  // 0 beyond width
        if (relu.scale) g = before_relu<T>(g, d, scale, shift);
        a += g;
        b = fma(g, d, b);
      },
      sum, product);
}

template <class T>
FASTNN_INLINE Vec<T> parameter(const T* p, int64_t step, int64_t c, int width) {
  return step == 0 ? splat(p[0]) : read(p + c, width);
}

template <class T>
void forward(T* y, const T* x, const T* mean, const T* scale, const T* shift, int64_t step, int64_t rows,
             int64_t channels) {
  constexpr int L = kLanes<T>;
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels)
    for (int64_t c = 0; c < channels; c += L) {
      const int width = width_at<T>(c, channels);
      const Vec<T> d = read(x + c, width) - parameter(mean, step, c, width);
      write(y + c, fma(d, parameter(scale, step, c, width), parameter(shift, step, c, width)), width);
    }
}

template <class T, bool kRelu>
void backward_of(T* dx, const T* dy, const T* x, const T* mean, const T* scale, const T* slope, const T* center,
                 [[maybe_unused]] ReluAfter<T> relu, int64_t step, int64_t rows, int64_t channels, bool accumulate) {
  constexpr int L = kLanes<T>;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; c += L) {
      const int width = width_at<T>(c, channels);
      const int64_t at = r * channels + c;
      Vec<T> g = read(dy + at, width);
      if (x) {
        const Vec<T> d = read(x + at, width) - parameter(mean, step, c, width);
        if constexpr (kRelu)
          g = before_relu<T>(g, d, parameter(relu.scale, step, c, width), parameter(relu.shift, step, c, width));
        g = fma(-d, parameter(slope, step, c, width), g - parameter(center, step, c, width));
      }
      g *= parameter(scale, step, c, width);
      if (accumulate) g += read<T>(dx + at, width);
      write(dx + at, g, width);
    }
}

template <class T>
void backward(T* dx, const T* dy, const T* x, const T* mean, const T* scale, const T* slope, const T* center,
              ReluAfter<T> relu, int64_t step, int64_t rows, int64_t channels, bool accumulate) {
  (relu.scale ? backward_of<T, true> : backward_of<T, false>)(dx, dy, x, mean, scale, slope, center, relu, step, rows,
                                                              channels, accumulate);
}

template <class T>
void layer_forward(T* y, const T* x, T mean, T rstd, T shift, const T* gamma, const T* beta, int64_t n) {
  constexpr int L = kLanes<T>;
  const Vec<T> m = splat(mean), s = splat(rstd), t = splat(shift);
  for (int64_t i = 0; i < n; i += L) {
    const int width = width_at<T>(i, n);
    Vec<T> v = fma(read(x + i, width) - m, s, t);
    if (gamma && beta)
      v = fma(v, read(gamma + i, width), read(beta + i, width));
    else if (gamma)
      v *= read(gamma + i, width);
    else if (beta)
      v += read(beta + i, width);
    write(y + i, v, width);
  }
}

template <class T>
void layer_backward(T* dx, const T* dy, const T* x, T mean, T rstd, const T* gamma, int64_t n, bool accumulate) {
  constexpr int L = kLanes<T>;
  const Vec<T> m = splat(mean), s = splat(rstd);
  auto gradient = [&](int64_t i, int width) {
    const Vec<T> g = read(dy + i, width);
    return gamma ? g * read(gamma + i, width) : g;
  };
  double sum, product;
  sum_run<T>(
      n,
      [&](int64_t i, int width, Vec<T>& a, Vec<T>& b) {
        const Vec<T> g = gradient(i, width);  // 0 beyond width
        a += g;
        b = fma(g, (read(x + i, width) - m) * s, b);
      },
      &sum, &product);
  const Vec<T> m1 = splat(static_cast<T>(sum / static_cast<double>(n)));
  const Vec<T> m2 = splat(static_cast<T>(product / static_cast<double>(n)));
  for (int64_t i = 0; i < n; i += L) {
    const int width = width_at<T>(i, n);
    const Vec<T> x_hat = (read(x + i, width) - m) * s;
    Vec<T> d = s * fma(-x_hat, m2, gradient(i, width) - m1);
    if (accumulate) d += read<T>(dx + i, width);
    write(dx + i, d, width);
  }
}

template <class T>
void layer_parameters(T* dgamma, T* dbeta, const T* dy, const T* x, T mean, T rstd, int64_t n) {
  constexpr int L = kLanes<T>;
  const Vec<T> m = splat(mean), s = splat(rstd);
  for (int64_t i = 0; i < n; i += L) {
    const int width = width_at<T>(i, n);
    const Vec<T> g = read(dy + i, width);
    if (dgamma) write(dgamma + i, fma(g, (read(x + i, width) - m) * s, read<T>(dgamma + i, width)), width);
    if (dbeta) write(dbeta + i, read<T>(dbeta + i, width) + g, width);
  }
}

template <class T>
constexpr NormKernels<T> kTable{channel_moments<T>, run_moments<T>,    channel_gradients<T>,
                                run_gradients<T>,   forward<T>,        backward<T>,
                                layer_forward<T>,   layer_backward<T>, layer_parameters<T>};

}  // namespace

FASTNN_REGISTER(norm) {
  f32.norm = kTable<float>;
  f64.norm = kTable<double>;
}

}  // namespace fastnn::kernels
