#include "kernels/pool.hpp"

#include "kernels/register.hpp"
#include "kernels/simd.hpp"

namespace fastnn::kernels {
namespace {

struct Range {
  int64_t begin, end;
};
FASTNN_INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
FASTNN_INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

// The pixels of window o along one axis.
FASTNN_INLINE Range pixels_of(int64_t o, int64_t in, int64_t size, int64_t stride, int64_t before) {
  const int64_t first = o * stride - before;
  return {at_least(first, 0), at_most(first + size, in)};
}
// The windows that cover pixel i along one axis.
FASTNN_INLINE Range windows_of(int64_t i, int64_t out, int64_t size, int64_t stride, int64_t before) {
  const int64_t reach = i + before - size;  // window o starts behind it: o * stride > reach
  return {reach < 0 ? 0 : reach / stride + 1, at_most((i + before) / stride + 1, out)};
}

template <class T>
FASTNN_INLINE Vec<T> load_width(const T* p, int width) {
  return width == kLanes<T> ? load(p) : load_part(p, width);
}
template <class T>
FASTNN_INLINE void store_width(T* p, Vec<T> v, int width) {
  if (width == kLanes<T>)
    store(p, v);
  else
    store_part(p, v, width);
}

template <class T, class Index>
FASTNN_INLINE void store_index(Index* p, Mask<T> v, int width) {
  typedef Index Narrow __attribute__((vector_size(sizeof(Index) * kLanes<T>)));
  const Narrow narrow = __builtin_convertvector(v, Narrow);
  if (width == kLanes<T>)
    __builtin_memcpy(p, &narrow, sizeof narrow);
  else
    for (int i = 0; i < width; ++i) p[i] = narrow[i];
}
template <class T, class Index>
FASTNN_INLINE Mask<T> load_index(const Index* p, int width) {
  typedef Index Narrow __attribute__((vector_size(sizeof(Index) * kLanes<T>)));
  Narrow narrow{};
  if (width == kLanes<T>)
    __builtin_memcpy(&narrow, p, sizeof narrow);
  else
    for (int i = 0; i < width; ++i) narrow[i] = p[i];
  return __builtin_convertvector(narrow, Mask<T>);
}

template <class T, class Index>
void max_forward(T* y, Index* index, const T* x, int64_t i, const PoolSizes& s) {
  const Range rows = pixels_of(i, s.h, s.size_h, s.stride_h, s.before_h);
  const int64_t top = i * s.stride_h - s.before_h;
  for (int64_t o = 0; o < s.out_w; ++o, y += s.channels, index += s.channels) {
    const Range columns = pixels_of(o, s.w, s.size_w, s.stride_w, s.before_w);
    const int64_t left = o * s.stride_w - s.before_w;
    for (int64_t c = 0; c < s.channels; c += kLanes<T>) {
      const int width = static_cast<int>(at_most(s.channels - c, kLanes<T>));
      Vec<T> best = load_width(x + (rows.begin * s.w + columns.begin) * s.channels + c, width);
      Mask<T> where = Mask<T>{} + static_cast<Int<T>>((rows.begin - top) * s.size_w + columns.begin - left);
      for (int64_t h = rows.begin; h < rows.end; ++h)
        for (int64_t w = columns.begin; w < columns.end; ++w) {
          const Vec<T> v = load_width(x + (h * s.w + w) * s.channels + c, width);
          const Mask<T> here = Mask<T>{} + static_cast<Int<T>>((h - top) * s.size_w + w - left);
          const Mask<T> take = (best == best) & ((v > best) | (v != v));
          best = take ? v : best;
          where = take ? here : where;
        }
      store_width(y + c, best, width);
      store_index<T>(index + c, where, width);
    }
  }
}

template <class T, class Index>
void max_backward(T* dx, const T* dy, const Index* index, int64_t h, const PoolSizes& s, bool accumulate) {
  const Range rows = windows_of(h, s.out_h, s.size_h, s.stride_h, s.before_h);
  for (int64_t w = 0; w < s.w; ++w, dx += s.channels) {
    const Range columns = windows_of(w, s.out_w, s.size_w, s.stride_w, s.before_w);
    for (int64_t c = 0; c < s.channels; c += kLanes<T>) {
      const int width = static_cast<int>(at_most(s.channels - c, kLanes<T>));
      Vec<T> sum{};
      for (int64_t i = rows.begin; i < rows.end; ++i)
        for (int64_t o = columns.begin; o < columns.end; ++o) {
          const int64_t at = (i * s.out_w + o) * s.channels + c;
          const int64_t here = (h - i * s.stride_h + s.before_h) * s.size_w + w - o * s.stride_w + s.before_w;
          const Mask<T> mine = load_index<T>(index + at, width) == static_cast<Int<T>>(here);
          sum += mine ? load_width(dy + at, width) : Vec<T>{};
        }
      if (accumulate) sum = load_width(dx + c, width) + sum;
      store_width(dx + c, sum, width);
    }
  }
}

template <class T>
void average_forward(T* y, const T* x, int64_t i, const PoolSizes& s) {
  const Range rows = pixels_of(i, s.h, s.size_h, s.stride_h, s.before_h);
  for (int64_t o = 0; o < s.out_w; ++o, y += s.channels) {
    const Range columns = pixels_of(o, s.w, s.size_w, s.stride_w, s.before_w);
    const Vec<T> count = splat(static_cast<T>((rows.end - rows.begin) * (columns.end - columns.begin)));
    for (int64_t c = 0; c < s.channels; c += kLanes<T>) {
      const int width = static_cast<int>(at_most(s.channels - c, kLanes<T>));
      Vec<T> sum{};
      for (int64_t h = rows.begin; h < rows.end; ++h) {  // row sums first: the error grows with h + w, not h * w
        Vec<T> row{};
        for (int64_t w = columns.begin; w < columns.end; ++w)
          row += load_width(x + (h * s.w + w) * s.channels + c, width);
        sum += row;
      }
      store_width(y + c, sum / count, width);
    }
  }
}

template <class T>
void average_backward(T* dx, const T* dy, int64_t h, const PoolSizes& s, bool accumulate) {
  const Range rows = windows_of(h, s.out_h, s.size_h, s.stride_h, s.before_h);
  for (int64_t w = 0; w < s.w; ++w, dx += s.channels) {
    const Range columns = windows_of(w, s.out_w, s.size_w, s.stride_w, s.before_w);
    for (int64_t c = 0; c < s.channels; c += kLanes<T>) {
      const int width = static_cast<int>(at_most(s.channels - c, kLanes<T>));
      Vec<T> sum{};
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        const Range high = pixels_of(i, s.h, s.size_h, s.stride_h, s.before_h);
        for (int64_t o = columns.begin; o < columns.end; ++o) {
          const Range wide = pixels_of(o, s.w, s.size_w, s.stride_w, s.before_w);
          const Vec<T> count = splat(static_cast<T>((high.end - high.begin) * (wide.end - wide.begin)));
          sum += load_width(dy + (i * s.out_w + o) * s.channels + c, width) / count;
        }
      }
      if (accumulate) sum = load_width(dx + c, width) + sum;
      store_width(dx + c, sum, width);
    }
  }
}

template <class T>
constexpr PoolKernels<T> kTable{{max_forward<T, uint8_t>, max_backward<T, uint8_t>},
                                {max_forward<T, int32_t>, max_backward<T, int32_t>},
                                average_forward<T>, average_backward<T>};

}  // namespace

FASTNN_REGISTER(pool) {
  f32.pool = kTable<float>;
  f64.pool = kTable<double>;
}

}  // namespace fastnn::kernels
