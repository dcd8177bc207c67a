#include "kernels/norm.hpp"

#include "kernels/register.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

FASTNN_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Rows are walked a few at a time, and those panel by panel of channels, so that memory is read as one stream: the
// processor does not foresee what else comes, and a walk down a panel of many rows is twice as slow beyond the last
// cache. So many bytes of them for what is held per channel to be loaded once: half of it where three arrays are
// walked.
constexpr int64_t kTileBytes = 1024;
template <class T>
FASTNN_INLINE int64_t rows_at_once(int64_t channels, int64_t bytes, int64_t fewest) {
  const int64_t row = channels * static_cast<int64_t>(sizeof(T));
  return row > 0 && fewest * row < bytes ? bytes / row : fewest;
}

// body.template operator()<N>(first channel, width of its last vector) for N vectors of channels at a time: whole cache
// lines, and what is held per channel stays in registers.
template <class T, int N, class Body>
FASTNN_INLINE void for_panels(int64_t channels, const Body& body) {
  constexpr int L = kLanes<T>;
  int64_t c = 0;
  if constexpr (N > 2)
    for (; c + N * L <= channels; c += N * L) body.template operator()<N>(c, L);
  for (; c + 2 * L <= channels; c += 2 * L) body.template operator()<2>(c, L);
  for (; c < channels; c += L) body.template operator()<1>(c, width_at<T>(c, channels));
}

// Two sums per channel over the rows, `term(row, channel, width, a, b)` giving what one row adds to them. Blocks of
// rows are added in order, in double: the error does not grow with the number of rows.
template <class T, class Term>
FASTNN_INLINE void sum_channels(int64_t rows, int64_t channels, int64_t fewest, const Term& term, double* first,
                                double* second) {
  constexpr int L = kLanes<T>;
  constexpr int64_t kBlockRows = 64, kChannels = 512;
  const int64_t step = least(kBlockRows, rows_at_once<T>(channels, kTileBytes, fewest));
  for (int64_t c0 = 0; c0 < channels; c0 += kChannels) {
    const int64_t count = least(kChannels, channels - c0);
    for (int64_t c = c0; c < c0 + count; ++c) first[c] = second[c] = 0;
    for (int64_t r0 = 0; r0 < rows; r0 += kBlockRows) {
      T block[2][kChannels + L];
      const int64_t end = least(rows, r0 + kBlockRows);
      for (int64_t r1 = r0; r1 < end; r1 += step)
        for_panels<T, 4>(count, [&]<int N>(int64_t c, int width) {
          Vec<T> sum[2][N] = {};
          if (r1 > r0)
            for (int k = 0; k < 2; ++k)
              for (int v = 0; v < N; ++v) sum[k][v] = load(block[k] + c + v * L);
          for (int64_t r = r1, r2 = least(end, r1 + step); r < r2; ++r)
            for (int v = 0; v < N; ++v) term(r, c0 + c + v * L, width, sum[0][v], sum[1][v]);
          for (int k = 0; k < 2; ++k)
            for (int v = 0; v < N; ++v) store(block[k] + c + v * L, sum[k][v]);
        });
      for (int64_t c = 0; c < count; ++c) {
        first[c0 + c] += static_cast<double>(block[0][c]);
        second[c0 + c] += static_cast<double>(block[1][c]);
      }
    }
  }
}

// Two sums over [0, n): term(at, width, a, b). Lanes beyond `width` must add nothing. Blocks of 128 vectors are summed
// in four chains and added in order.
template <class T, class Term>
FASTNN_INLINE void sum_run(int64_t n, const Term& term, double* first, double* second) {
  constexpr int L = kLanes<T>, kChains = 4;
  constexpr int64_t kBlock = 128 * L;
  Vec<T> total[2] = {};
  for (int64_t i0 = 0; i0 < n; i0 += kBlock) {
    Vec<T> block[2][kChains] = {};
    const int64_t end = least(n, i0 + kBlock);
    int64_t i = i0;
    for (; i + kChains * L <= end; i += kChains * L)
      for (int v = 0; v < kChains; ++v) term(i + v * L, L, block[0][v], block[1][v]);
    for (; i < end; i += L) term(i, width_at<T>(i, end), block[0][0], block[1][0]);
    for (int k = 0; k < 2; ++k) total[k] += (block[k][0] + block[k][1]) + (block[k][2] + block[k][3]);
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
      rows, channels, 4,
      [&](int64_t r, int64_t c, int width, Vec<T>& sum, Vec<T>& square) {
        ask_ahead(x + r * channels, c);  // 34 MB, one thread: 52 GB/s for 37; two arrays or a result lose by it
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
        ask_ahead(x, i);  // rows of 512 in 34 MB, one thread: 45 GB/s for 21
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
      rows, channels, 2,
      [&](int64_t r, int64_t c, int width, Vec<T>& a, Vec<T>& b) {
        const Vec<T> d = read(x + r * channels + c, width) - read(mean + c, width);
        Vec<T> g = in_register<T>(read(dy + r * channels + c, width));
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

template <class T, int N>
struct Parameters {  // of one panel
  Vec<T> of[N];
  FASTNN_INLINE Parameters(const T* p, int64_t step, int64_t c, int width) {
    for (int v = 0; v < N; ++v) of[v] = p ? parameter(p, step, c + v * kLanes<T>, width) : Vec<T>{};
  }
  FASTNN_INLINE Vec<T> operator[](int v) const { return of[v]; }
};

template <class T, bool kRelu>
void forward_of(T* y, const T* x, const T* mean, const T* scale, const T* shift, int64_t step, int64_t rows,
                int64_t channels) {
  constexpr int L = kLanes<T>;
  const int64_t rows_step = rows_at_once<T>(channels, kTileBytes, 1);
  for (int64_t r0 = 0; r0 < rows; r0 += rows_step) {
    const int64_t r1 = least(rows, r0 + rows_step);
    for_panels<T, 4>(channels, [&]<int N>(int64_t c, int width) {
      const Parameters<T, N> m(mean, step, c, width), s(scale, step, c, width), t(shift, step, c, width);
      for (int64_t r = r0; r < r1; ++r) {
        for (int v = 0; v < N; ++v) {
          const int64_t at = r * channels + c + v * L;
          Vec<T> value = fma(read(x + at, width) - m[v], s[v], t[v]);
          if constexpr (kRelu) value = value <= Vec<T>{} ? Vec<T>{} : value;
          write(y + at, value, width);
        }
      }
    });
  }
}

template <class T>
void forward(T* y, const T* x, const T* mean, const T* scale, const T* shift, int64_t step, int64_t rows,
             int64_t channels, bool relu) {
  (relu ? forward_of<T, true> : forward_of<T, false>)(y, x, mean, scale, shift, step, rows, channels);
}

template <class T, bool kRelu>
void backward_of(T* dx, const T* dy, const T* x, const T* mean, const T* scale, const T* slope, const T* center,
                 [[maybe_unused]] ReluAfter<T> relu, int64_t step, int64_t rows, int64_t channels, bool accumulate) {
  constexpr int L = kLanes<T>,
                kPanel = kVectorBytes == 64 && !kRelu ? 4 : 2;  // up to six vectors are held for each of it
  const int64_t rows_step = rows_at_once<T>(channels, kTileBytes / 2, 1);
  for (int64_t r0 = 0; r0 < rows; r0 += rows_step) {
    const int64_t r1 = least(rows, r0 + rows_step);
    for_panels<T, kPanel>(channels, [&]<int N>(int64_t c, int width) {
      const Parameters<T, N> m(mean, step, c, width), s(scale, step, c, width), k(slope, step, c, width),
          g0(center, step, c, width), a(relu.scale, step, c, width), b(relu.shift, step, c, width);
      for (int64_t r = r0; r < r1; ++r) {
        for (int v = 0; v < N; ++v) {
          const int64_t at = r * channels + c + v * L;
          Vec<T> g = in_register<T>(read(dy + at, width));
          if (x) {
            const Vec<T> d = read(x + at, width) - m[v];
            if constexpr (kRelu) g = before_relu<T>(g, d, a[v], b[v]);
            g = fma(-d, k[v], g - g0[v]);
          }
          g *= s[v];
          if (accumulate) g += read<T>(dx + at, width);
          write(dx + at, g, width);
        }
      }
    });
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
  const Vec<T> m = splat(mean), s = splat(rstd), t = splat(shift);
  for_vectors<T>(n, [&](int64_t i, int width) {
    Vec<T> v = fma(read(x + i, width) - m, s, t);
    if (gamma && beta)
      v = fma(v, read(gamma + i, width), read(beta + i, width));
    else if (gamma)
      v *= read(gamma + i, width);
    else if (beta)
      v += read(beta + i, width);
    write(y + i, v, width);
  });
}

template <class T>
void layer_backward(T* dx, const T* dy, const T* x, T mean, T rstd, const T* gamma, int64_t n, bool accumulate) {
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
  for_vectors<T>(n, [&](int64_t i, int width) {
    const Vec<T> x_hat = (read(x + i, width) - m) * s;
    Vec<T> d = s * fma(-x_hat, m2, gradient(i, width) - m1);
    if (accumulate) d += read<T>(dx + i, width);
    write(dx + i, d, width);
  });
}

template <class T>
void layer_parameters(T* dgamma, T* dbeta, const T* dy, const T* x, T mean, T rstd, int64_t n) {
  const Vec<T> m = splat(mean), s = splat(rstd);
  // The first to touch a row. Made shorter by for_vectors it only waits for more of it at once (rows of 512 in 34 MB,
  // AVX-512: 1.0 to 1.2 times as long).
  for (int64_t i = 0; i < n; i += kLanes<T>) {
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
