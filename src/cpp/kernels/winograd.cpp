#include "kernels/winograd.hpp"

#include "kernels/register.hpp"
#include "kernels/simd.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

// The points a and b, their powers, and the factors of G's rows.
constexpr double kA = 5.0 / 8, kB = 3.0 / 2;
constexpr double kA2 = kA * kA, kB2 = kB * kB;
constexpr double kA3 = kA * kA2, kB3 = kB * kB2;
constexpr double kG0 = 1 / (kA2 * kB2);
constexpr double kGa = 1 / (2 * kA2 * (kA2 - kB2)), kGb = 1 / (2 * kB2 * (kB2 - kA2));

template <class T>
FASTNN_INLINE Vec<T> constant(double x) {
  return splat(static_cast<T>(x));
}

// One axis of each transform; two make a tile's. Sixteen registers hold one row with its constants, not a tile, so a
// tile goes through the stack between its axes.

// B^T d
template <class T>
FASTNN_INLINE void input_axis(Vec<T> (&v)[6], const Vec<T> (&d)[6]) {
  const Vec<T> even_a = fma(constant<T>(-kB2), d[2], d[4]);
  const Vec<T> odd_a = fma(constant<T>(-kA * kB2), d[1], constant<T>(kA) * d[3]);
  const Vec<T> even_b = fma(constant<T>(-kA2), d[2], d[4]);
  const Vec<T> odd_b = fma(constant<T>(-kB * kA2), d[1], constant<T>(kB) * d[3]);
  v[0] = fma(constant<T>(kA2 * kB2), d[0], fma(constant<T>(-kA2 - kB2), d[2], d[4]));
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = fma(constant<T>(kA2 * kB2), d[1], fma(constant<T>(-kA2 - kB2), d[3], d[5]));
}

// A^T m
template <class T>
FASTNN_INLINE void output_axis(Vec<T> (&y)[4], const Vec<T> (&m)[6]) {
  const Vec<T> sum_a = m[1] + m[2], difference_a = m[1] - m[2];
  const Vec<T> sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  y[0] = m[0] + (sum_a + sum_b);
  y[1] = fma(constant<T>(kA), difference_a, constant<T>(kB) * difference_b);
  y[2] = fma(constant<T>(kA2), sum_a, constant<T>(kB2) * sum_b);
  y[3] = fma(constant<T>(kA3), difference_a, fma(constant<T>(kB3), difference_b, m[5]));
}

// A y
template <class T>
FASTNN_INLINE void gradient_axis(Vec<T> (&m)[6], const Vec<T> (&y)[4]) {
  const Vec<T> even_a = fma(constant<T>(kA2), y[2], y[0]);
  const Vec<T> odd_a = fma(constant<T>(kA3), y[3], constant<T>(kA) * y[1]);
  const Vec<T> even_b = fma(constant<T>(kB2), y[2], y[0]);
  const Vec<T> odd_b = fma(constant<T>(kB3), y[3], constant<T>(kB) * y[1]);
  m[0] = y[0];
  m[1] = even_a + odd_a;
  m[2] = even_a - odd_a;
  m[3] = even_b + odd_b;
  m[4] = even_b - odd_b;
  m[5] = y[3];
}

// B m
template <class T>
FASTNN_INLINE void input_gradient_axis(Vec<T> (&d)[6], const Vec<T> (&m)[6]) {
  const Vec<T> sum_a = m[1] + m[2], difference_a = m[1] - m[2];
  const Vec<T> sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  d[0] = constant<T>(kA2 * kB2) * m[0];
  d[1] = fma(constant<T>(-kA * kB2), difference_a,
             fma(constant<T>(-kB * kA2), difference_b, constant<T>(kA2 * kB2) * m[5]));
  d[2] = fma(constant<T>(-kB2), sum_a, fma(constant<T>(-kA2), sum_b, constant<T>(-kA2 - kB2) * m[0]));
  d[3] = fma(constant<T>(kA), difference_a, fma(constant<T>(kB), difference_b, constant<T>(-kA2 - kB2) * m[5]));
  d[4] = m[0] + (sum_a + sum_b);
  d[5] = m[5];
}

using Doubles = Vec<double>;

// G g
FASTNN_INLINE void kernel_axis(Doubles (&u)[6], const Doubles (&g)[3]) {
  const Doubles even_a = constant<double>(kGa) * fma(constant<double>(kA2), g[2], g[0]);
  const Doubles odd_a = constant<double>(kGa * kA) * g[1];
  const Doubles even_b = constant<double>(kGb) * fma(constant<double>(kB2), g[2], g[0]);
  const Doubles odd_b = constant<double>(kGb * kB) * g[1];
  u[0] = constant<double>(kG0) * g[0];
  u[1] = even_a + odd_a;
  u[2] = even_a - odd_a;
  u[3] = even_b + odd_b;
  u[4] = even_b - odd_b;
  u[5] = g[2];
}

// G^T u
FASTNN_INLINE void kernel_gradient_axis(Doubles (&g)[3], const Doubles (&u)[6]) {
  const Doubles sum_a = u[1] + u[2], difference_a = u[1] - u[2];
  const Doubles sum_b = u[3] + u[4], difference_b = u[3] - u[4];
  g[0] = fma(constant<double>(kG0), u[0], fma(constant<double>(kGa), sum_a, constant<double>(kGb) * sum_b));
  g[1] = fma(constant<double>(kGa * kA), difference_a, constant<double>(kGb * kB) * difference_b);
  g[2] = fma(constant<double>(kGa * kA2), sum_a, fma(constant<double>(kGb * kB2), sum_b, u[5]));
}

// Runs body(c, width) over vectors of channels, the full ones with a width that the compiler knows.
template <class T, class Body>
FASTNN_INLINE void over_channels(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + kLanes<T> <= channels; c += kLanes<T>) body(c, kLanes<T>);
  if (c < channels) body(c, static_cast<int>(channels - c));
}

// A tile's pixels lie in many short runs that no hardware prefetcher follows: those of one to come are asked for while
// this one is computed, into L1, which the few of one tile do not fill. A column at a time: asked for all at once they
// queue behind the results of the vector before and come too late (forward and both gradients 1 to 5 % longer).
template <int Pixels, int Write, class T>
FASTNN_INLINE void fetch_next(const WinogradTile<T>& tile, int64_t c, int column) {
  if (c * static_cast<int64_t>(sizeof(T)) % 64 != 0) return;
  const T* p = tile.next + c + column * tile.column;
#pragma GCC unroll 6
  for (int i = 0; i < Pixels; ++i) __builtin_prefetch(p + i * tile.row, Write, 3);
}

// Both axes of a tile of pixels at channel c, first down its columns; put(i, row) takes the rows of the result. The
// loops over columns and rows stay loops: unrolled, the addresses of all points are worked out before the first vector,
// of which few channels have one or two (a tile of 16 with AVX-512: 330 cycles, in loops 210).
template <class T, int Pixels, void (*Axis)(Vec<T> (&)[6], const Vec<T> (&)[Pixels]), class Put>
FASTNN_INLINE void transform_tile(const WinogradTile<const T>& tile, int64_t c, int width, const Put& put) {
  Vec<T> half[6][Pixels];
  const int64_t row_step = tile.row, column_step = tile.column;
  const auto transform_column = [&](int j, const Vec<T>(&column)[Pixels]) __attribute__((always_inline)) {
    Vec<T> transformed[6];
    Axis(transformed, column);
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) half[i][j] = transformed[i];
  };
  const T* p = tile.data + c;
  // A loop of its own for what most tiles of large images are: with a test in each column and masked loads at the edges
  // both kinds of tiles take 1.1 to 1.2 times as long (AVX2).
  if (width == kLanes<T> && tile.row_begin == 0 && tile.row_end == Pixels && tile.column_begin == 0 &&
      tile.column_end == Pixels) {
#pragma GCC unroll 1
    for (int j = 0; j < Pixels; ++j, p += column_step) {
      fetch_next<Pixels, 0>(tile, c, j);
      Vec<T> column[Pixels];
#pragma GCC unroll 6
      for (int i = 0; i < Pixels; ++i) column[i] = load(p + i * row_step);
      transform_column(j, column);
    }
  } else {
    // Rows outside the image are the first inside, and zeroed: none of the memory around is read, nor waited for.
    Mask<T> inside[Pixels];
    int64_t offsets[Pixels];
#pragma GCC unroll 6
    for (int i = 0; i < Pixels; ++i) {
      const bool has = i >= tile.row_begin && i < tile.row_end;
      inside[i] = has ? ~Mask<T>{} : Mask<T>{};
      offsets[i] = has ? (i - tile.row_begin) * row_step : 0;
    }
#pragma GCC unroll 1
    for (int j = 0; j < Pixels; ++j) {
      fetch_next<Pixels, 0>(tile, c, j);
      if (j < tile.column_begin || j >= tile.column_end) {
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) half[i][j] = Vec<T>{};
        continue;
      }
      Vec<T> column[Pixels];
#pragma GCC unroll 6
      for (int i = 0; i < Pixels; ++i) column[i] = as_float<T>(as_int<T>(read(p + offsets[i], width)) & inside[i]);
      transform_column(j, column);
      p += column_step;
    }
  }
#pragma GCC unroll 1
  for (int i = 0; i < 6; ++i) {
    Vec<T> row[6];
    Axis(row, half[i]);
    put(i, row);
  }
}

template <class T>
void input(T* v, int64_t point, const WinogradTile<const T>& d, int64_t channels) {
  over_channels<T>(channels, [&](int64_t c, int width) __attribute__((always_inline)) {
    transform_tile<T, 6, input_axis<T>>(d, c, width, [&](int i, const Vec<T>(&row)[6]) __attribute__((always_inline)) {
      T* to = v + 6 * i * point + c;
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j, to += point) store(to, row[j]);
    });
  });
}

template <class T>
void gradient(T* m, int64_t point, int64_t width_of_panel, int64_t panel, const WinogradTile<const T>& dy,
              int64_t channels) {
  over_channels<T>(channels, [&](int64_t c, int width) __attribute__((always_inline)) {
    T* const at = m + c / width_of_panel * panel + c % width_of_panel;
    transform_tile<T, 4, gradient_axis<T>>(dy, c, width,
                                           [&](int i, const Vec<T>(&row)[6]) __attribute__((always_inline)) {
                                             T* to = at + 6 * i * point;
#pragma GCC unroll 6
                                             for (int j = 0; j < 6; ++j, to += point) store(to, row[j]);
                                           });
  });
}

template <class T>
void output(const WinogradTile<T>& y, const T* m, int64_t point, int64_t channels, const T* bias, bool accumulate) {
  const int64_t row_step = y.row, column_step = y.column;
  const int rows = y.row_end, columns = y.column_end;
  // Most tiles are: without tests in their rows they take 0.84 of the time (AVX2).
  const bool whole = columns == 4 && !accumulate;
  over_channels<T>(channels, [&](int64_t c, int width) __attribute__((always_inline)) {
    Vec<T> half[4][6];
    const T* p = m + c;
#pragma GCC unroll 1
    for (int j = 0; j < 6; ++j, p += point) {
      if (j < 4) fetch_next<4, 1>(y, c, j);
      Vec<T> column[6], transformed[4];
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) column[i] = load(p + 6 * i * point);
      output_axis<T>(transformed, column);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) half[i][j] = transformed[i];
    }
    // What follows the sum of an output, all of it here.
    const Vec<T> shift = bias ? read(bias + c, width) : Vec<T>{};
    T* to = y.data + c;
    if (whole) {
#pragma GCC unroll 1
      for (int i = 0; i < rows; ++i, to += row_step) {
        Vec<T> row[4];
        output_axis<T>(row, half[i]);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) write(to + j * column_step, row[j] + shift, width);
      }
    } else {
#pragma GCC unroll 1
      for (int i = 0; i < rows; ++i, to += row_step) {
        Vec<T> row[4];
        output_axis<T>(row, half[i]);
#pragma GCC unroll 1
        for (int j = 0; j < columns; ++j) {
          T* const at = to + j * column_step;
          const Vec<T> sum = accumulate ? read(at, width) + row[j] : row[j];
          write(at, sum + shift, width);
        }
      }
    }
  });
}

template <class T>
void input_gradient(const WinogradTile<T>& d, const T* m, int64_t point, int64_t channels, const T* bias, bool above,
                    bool left) {
  const int64_t row_step = d.row, column_step = d.column;
  const int rows = d.row_end, columns = d.column_end;
  for (int64_t c = 0; c < channels; c += kLanes<T>) {
    const int width = width_at<T>(c, channels);
    Vec<T> half[6][6];
    const T* p = m + c;
#pragma GCC unroll 1
    for (int j = 0; j < 6; ++j, p += point) {
      fetch_next<6, 1>(d, c, j);
      Vec<T> column[6], transformed[6];
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) column[i] = load(p + 6 * i * point);
      input_gradient_axis<T>(transformed, column);
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) half[i][j] = transformed[i];
    }
    const Vec<T> shift = bias ? read(bias + c, width) : Vec<T>{};
    T* to = d.data + c;
#pragma GCC unroll 1
    for (int i = 0; i < rows; ++i, to += row_step) {
      Vec<T> row[6];
      input_gradient_axis<T>(row, half[i]);
      const int begun = above && i < 2 ? 6 : left ? 2 : 0;
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) {
        if (j >= columns) break;
        T* const at = to + j * column_step;
        write(at, row[j] + (j < begun ? read(at, width) : shift), width);
      }
    }
  }
}

// As many T as a vector holds doubles.
template <class T>
struct NarrowOf {
  typedef T type __attribute__((vector_size(sizeof(T) * kLanes<double>)));
};
template <class T>
using Narrow = typename NarrowOf<T>::type;
template <class T>
FASTNN_INLINE Doubles widen(const T* p, int width) {
  Narrow<T> x = {};
  __builtin_memcpy(&x, p, width == kLanes<double> ? sizeof x : static_cast<size_t>(width) * sizeof(T));
  return __builtin_convertvector(x, Doubles);
}
template <class T>
FASTNN_INLINE void narrow(T* p, Doubles v, int width, bool accumulate) {
  const size_t bytes = width == kLanes<double> ? sizeof(Narrow<T>) : static_cast<size_t>(width) * sizeof(T);
  Narrow<T> x = __builtin_convertvector(v, Narrow<T>);
  if (accumulate) {
    Narrow<T> before = {};
    __builtin_memcpy(&before, p, bytes);
    x = before + x;
  }
  __builtin_memcpy(p, &x, bytes);
}

template <class T>
void kernel(T* u, int64_t point, const T* g, int64_t tap, int64_t n) {
  for (int64_t e = 0; e < n; e += kLanes<double>) {
    Doubles half[6][3];
    for (int j = 0; j < 3; ++j) {
      Doubles column[3], transformed[6];
      for (int i = 0; i < 3; ++i) column[i] = widen(g + (3 * i + j) * tap + e, kLanes<double>);
      kernel_axis(transformed, column);
      for (int i = 0; i < 6; ++i) half[i][j] = transformed[i];
    }
    for (int i = 0; i < 6; ++i) {
      Doubles row[6];
      kernel_axis(row, half[i]);
      for (int j = 0; j < 6; ++j) narrow(u + (6 * i + j) * point + e, row[j], kLanes<double>, false);
    }
  }
}

template <class T>
FASTNN_INLINE void kernel_gradient_of(T* dg, int64_t tap, const T* du, int64_t point, int width, bool accumulate) {
  Doubles half[3][6];
  for (int j = 0; j < 6; ++j) {
    Doubles column[6], transformed[3];
    for (int i = 0; i < 6; ++i) column[i] = widen(du + (6 * i + j) * point, width);
    kernel_gradient_axis(transformed, column);
    for (int i = 0; i < 3; ++i) half[i][j] = transformed[i];
  }
  for (int i = 0; i < 3; ++i) {
    Doubles row[3];
    kernel_gradient_axis(row, half[i]);
    for (int j = 0; j < 3; ++j) narrow(dg + (3 * i + j) * tap, row[j], width, accumulate);
  }
}

template <class T>
void kernel_gradient(T* dg, int64_t tap, const T* du, int64_t point, int64_t n, bool accumulate) {
  int64_t e = 0;
  for (; e + kLanes<double> <= n; e += kLanes<double>)  // of a width that the compiler knows, or each access is a call
    kernel_gradient_of(dg + e, tap, du + e, point, kLanes<double>, accumulate);
  if (e < n) kernel_gradient_of(dg + e, tap, du + e, point, static_cast<int>(n - e), accumulate);
}

template <class T>
constexpr WinogradKernels<T> kTable{input<T>, output<T>, gradient<T>, input_gradient<T>, kernel<T>, kernel_gradient<T>};

}  // namespace

FASTNN_REGISTER(winograd) {
  f32.winograd = kTable<float>;
  f64.winograd = kTable<double>;
}

}  // namespace fastnn::kernels
