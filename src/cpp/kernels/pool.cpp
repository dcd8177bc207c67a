#include "kernels/pool.hpp"

#include "kernels/register.hpp"
#include "kernels/simd.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

struct Range {
  int64_t begin, end;
};
FASTNN_INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
FASTNN_INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

// Whether a vector that begins at this pixel ends in its row.
template <class T>
FASTNN_INLINE bool has_room(int64_t pixel, int64_t pixels, int64_t channels) {
  return (pixels - pixel) * channels >= kLanes<T>;
}

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
// The same for the pixels 0, 1, 2 ... in turn, without a division each: those cost more than the pooling of few
// channels.
class Windows {
 public:
  FASTNN_INLINE Windows(int64_t out, int64_t size, int64_t stride, int64_t before)
      : out_(out),
        stride_(stride),
        begin_(before < size ? 0 : (before - size) / stride + 1),
        end_(before / stride + 1),
        to_begin_(begin_ * stride + size - before),
        to_end_(end_ * stride - before) {}
  FASTNN_INLINE Range next() {
    const Range now{begin_, at_most(end_, out_)};
    if (--to_begin_ == 0) ++begin_, to_begin_ = stride_;
    if (--to_end_ == 0) ++end_, to_end_ = stride_;
    return now;
  }

 private:
  int64_t out_, stride_, begin_, end_;
  int64_t to_begin_, to_end_;  // pixels until the range begins, ends a window later
};

// Positions are counted in the integer of T's size and kept in the narrower Index.
template <class T, class Index>
FASTNN_INLINE void narrow(Index* p, Mask<T> v) {
  typedef Index Narrow __attribute__((vector_size(sizeof(Index) * kLanes<T>)));
  const Narrow kept = __builtin_convertvector(v, Narrow);
  __builtin_memcpy(p, &kept, sizeof kept);
}
template <class T, class Index>
FASTNN_INLINE Mask<T> widen(const Index* p) {
  typedef Index Narrow __attribute__((vector_size(sizeof(Index) * kLanes<T>)));
  Narrow kept;
  __builtin_memcpy(&kept, p, sizeof kept);
  return __builtin_convertvector(kept, Mask<T>);
}
// GCC 12 takes bytes apart lane by lane here, at three times the cost of the whole pooling.
#if defined(FASTNN_AVX512)  // the maskz forms, as the plain ones warn of an uninitialised value
template <>
FASTNN_INLINE Mask<float> widen<float, uint8_t>(const uint8_t* p) {
  return (Mask<float>)_mm512_maskz_cvtepu8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
template <>
FASTNN_INLINE Mask<double> widen<double, uint8_t>(const uint8_t* p) {
  return (Mask<double>)_mm512_maskz_cvtepu8_epi64(0xFF, _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
#elif defined(FASTNN_AVX2)
template <>
FASTNN_INLINE void narrow<float, uint8_t>(uint8_t* p, Mask<float> v) {
  const __m256i x = (__m256i)v;
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
template <>
FASTNN_INLINE Mask<float> widen<float, uint8_t>(const uint8_t* p) {
  return (Mask<float>)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
#endif

// One vector of channels: a whole one, or the first n lanes of the last.
template <class T>
struct Whole {
  FASTNN_INLINE Vec<T> get(const T* p) const { return load(p); }
  FASTNN_INLINE void put(T* p, Vec<T> v) const { store(p, v); }
  template <class Index>
  FASTNN_INLINE Mask<T> get_index(const Index* p) const {
    return widen<T, Index>(p);
  }
  template <class Index>
  FASTNN_INLINE void put_index(Index* p, Mask<T> v) const {
    narrow<T, Index>(p, v);
  }
};
template <class T>
struct Part {
  int n;
  FASTNN_INLINE Vec<T> get(const T* p) const { return load_part(p, n); }
  FASTNN_INLINE void put(T* p, Vec<T> v) const { store_part(p, v, n); }
  template <class Index>
  FASTNN_INLINE Mask<T> get_index(const Index* p) const {
    return widen<T, Index>(p);  // reads up to 64 bytes past the last row, which every allocation has to spare
  }
  template <class Index>
  FASTNN_INLINE void put_index(Index* p, Mask<T> v) const {
    Index lanes[kLanes<T>];
    narrow<T, Index>(lanes, v);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
};

#if defined(FASTNN_AVX512)  // elsewhere choosing lanes costs more than the idle ones
#define FASTNN_SEVERAL
FASTNN_INLINE Vec<float> pick(Vec<float> a, Vec<float> b, Mask<float> lanes) {
  return _mm512_permutex2var_ps(a, (__m512i)lanes, b);
}
FASTNN_INLINE Vec<double> pick(Vec<double> a, Vec<double> b, Mask<double> lanes) {
  return _mm512_permutex2var_pd(a, (__m512i)lanes, b);
}
// As many windows of 2x2 side by side as fit into one vector, of few channels. The lanes of their left pixels among
// those of all, which are two vectors, and for each of these two the lanes of their windows.
template <class T>
struct Several {
  int64_t windows, lanes;
  int width;   // how many lanes to write: more than the windows' where there is room
  int behind;  // how many lanes of the second vector the left pixels end in
  Mask<T> left, window[2], right[2];
  FASTNN_INLINE explicit Several(int64_t channels)
      : windows(kLanes<T> / channels),
        lanes(windows * channels),
        width(kLanes<T>),
        behind(static_cast<int>(2 * lanes - channels) - kLanes<T>) {
    Mask<T> lane;
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
    const Int<T> n = static_cast<Int<T>>(channels);
    const auto pixel = [&](Mask<T> v) {  // v / n, as this is made for every row and integers divide slowly
      return __builtin_convertvector((__builtin_convertvector(v, Vec<T>) + T(0.5)) / static_cast<T>(n), Mask<T>);
    };
    left = lane + pixel(lane) * n;
    for (int half = 0; half < 2; ++half, lane += kLanes<T>) {
      const Mask<T> at = pixel(lane);
      right[half] = at & 1;
      window[half] = lane - (at - (at >> 1)) * n;
    }
  }
  FASTNN_INLINE Vec<T> get(const T* p) const { return pick(load(p), load_part(p + kLanes<T>, behind), left); }
  FASTNN_INLINE void put(T* p, Vec<T> v) const { write(p, v, width); }
  template <class Index>
  FASTNN_INLINE void put_index(Index* p, Mask<T> v) const {
    width == kLanes<T> ? Whole<T>{}.put_index(p, v) : Part<T>{width}.put_index(p, v);
  }
};
#endif

// `room`: behind the channels of this pixel enough of its row follows for a whole vector, in everything that is read or
// written. Few channels are then one vector, and what it writes too much the next pixels overwrite.
template <class T, class Body>
FASTNN_INLINE void for_channels(int64_t channels, bool room, const Body& body) {
  int64_t c = 0;
  if (channels < kLanes<T> && room) {
    body(c, Whole<T>{});
    return;
  }
  for (; c + kLanes<T> <= channels; c += kLanes<T>) body(c, Whole<T>{});
  if (c < channels) body(c, Part<T>{static_cast<int>(channels - c)});
}

// The same for the pixels of a window, row by row (2x2 windows of 34 MB on one thread: 20 GB/s without, 30 with 8 KB,
// 43 with 16, 37 with 24 and 32).
template <class T>
FASTNN_INLINE void ask_ahead(const T* x, Range rows, Range columns, const PoolSizes& s) {
  constexpr int64_t kLine = 64 / sizeof(T);
  const int64_t count = (columns.end - columns.begin) * s.channels;
  for (int64_t h = rows.begin; h < rows.end; ++h)
    for (int64_t i = 0; i < count; i += kLine) ask_ahead(x + (h * s.w + columns.begin) * s.channels, i);
}

// The largest of some values: the first of equals, the first NaN, and which it is.
template <class T>
struct Largest {
  Vec<T> value;
  Mask<T> which;
  FASTNN_INLINE void add(Vec<T> v, int64_t here) {
    const Mask<T> take = ~(v <= value) & (value == value);
    value = take ? v : value;
    which = take ? Mask<T>{} + static_cast<Int<T>>(here) : which;
  }
};

// Whether windows are two pixels wide and all inside the image: what nearly every net pools by. With sizes known the
// pixels of a window are loaded at once, where loops over a few of them cost three times the rest.
FASTNN_INLINE bool pairs(const PoolSizes& s) {
  return s.size_w == 2 && s.before_w == 0 && (s.out_w - 1) * s.stride_w + 2 <= s.w;
}
// body(vector, pixels of the window in order, channel of y's row) for windows of 2x2.
template <class T, class Body>
FASTNN_INLINE void for_pairs(const T* x, Range rows, const PoolSizes& s, const Body& body) {
  const int64_t step = s.stride_w * s.channels, down = s.w * s.channels, out = s.out_w * s.channels;
  const T* top = x + rows.begin * down;
  const auto window = [&](const T* p, int64_t at, auto vector) {
    const Vec<T> v[4] = {vector.get(p), vector.get(p + s.channels), vector.get(p + down),
                         vector.get(p + down + s.channels)};
    body(vector, v, at);
  };
  int64_t o = 0;
#if defined(FASTNN_SEVERAL)
  if (out > 0 && 2 * s.channels <= kLanes<T> && s.stride_w == 2)
    for (Several<T> several(s.channels); out - o >= several.lanes; o += several.lanes, top += 2 * several.lanes) {
      if (out - o < kLanes<T>) several.width = static_cast<int>(several.lanes);
      window(top, o, several);
    }
#endif
  for (; o < out; o += s.channels, top += step) {
    ask_ahead(top, {0, 2}, {0, 2}, s);
    for_channels<T>(s.channels, out - o >= kLanes<T>, [&](int64_t c, auto vector) { window(top + c, o + c, vector); });
  }
}

template <class T, class Index>
void max_forward(T* y, Index* index, const T* x, int64_t i, const PoolSizes& s) {
  const Range rows = pixels_of(i, s.h, s.size_h, s.stride_h, s.before_h);
  constexpr bool kSmall = sizeof(Index) == 1;  // so are positions in windows of 2x2: the other Index needs no code
  if (kSmall && pairs(s) && s.size_h == 2 && rows.end - rows.begin == 2) {
    for_pairs(x, rows, s, [&](auto vector, const Vec<T>(&v)[4], int64_t at) {
      Largest<T> best{v[0], {}};
      for (int k = 1; k < 4; ++k) best.add(v[k], k);
      vector.put(y + at, best.value);
      vector.put_index(index + at, best.which);
    });
    return;
  }
  const int64_t top = i * s.stride_h - s.before_h;
  for (int64_t o = 0; o < s.out_w; ++o, y += s.channels, index += s.channels) {
    const Range columns = pixels_of(o, s.w, s.size_w, s.stride_w, s.before_w);
    const bool room = has_room<T>(o, s.out_w, s.channels) && has_room<T>(columns.end - 1, s.w, s.channels);
    const int64_t left = o * s.stride_w - s.before_w;
    ask_ahead(x, rows, columns, s);
    for_channels<T>(s.channels, room, [&](int64_t c, auto vector) {
      Largest<T> best{vector.get(x + (rows.begin * s.w + columns.begin) * s.channels + c),
                      Mask<T>{} + static_cast<Int<T>>((rows.begin - top) * s.size_w + columns.begin - left)};
      for (int64_t h = rows.begin; h < rows.end; ++h)
        for (int64_t w = columns.begin; w < columns.end; ++w)
          best.add(vector.get(x + (h * s.w + w) * s.channels + c), (h - top) * s.size_w + w - left);
      vector.put(y + c, best.value);
      vector.put_index(index + c, best.which);
    });
  }
}

// Zeros for the pixels of a row behind the last of so many windows side by side.
template <class T>
FASTNN_INLINE void clear_behind(T* dx, int64_t windows, const PoolSizes& s) {
  const int64_t end = at_most(windows * s.size_w - (windows > 0 ? s.before_w : 0), s.w);
  for (int64_t i = end * s.channels; i < s.w * s.channels; ++i) dx[i] = 0;
}

// body(vector, channel of dy's row, channel of dx's row) for a row of windows two pixels wide, of stride 2.
template <class T, class Body>
FASTNN_INLINE void for_pixel_pairs(T* dx, int64_t first, int64_t windows, const PoolSizes& s, const Body& body) {
  for (int64_t o = first; o < windows; ++o) {
    const bool room = has_room<T>(o, s.out_w, s.channels) && has_room<T>(2 * o + 1, s.w, s.channels);
    for_channels<T>(s.channels, room,
                    [&](int64_t c, auto vector) { body(vector, o * s.channels + c, dx + 2 * o * s.channels + c); });
  }
}

// The same for windows side by side, where a pixel has one at most: window by window.
template <class T, class Index>
void max_backward_apart(T* dx, const T* dy, const Index* index, int64_t h, Range rows, const PoolSizes& s,
                        bool accumulate) {
  const int64_t windows = rows.begin < rows.end ? s.out_w : 0;
  const Int<T> top = static_cast<Int<T>>((h - rows.begin * s.stride_h + s.before_h) * s.size_w);
  dy += rows.begin * s.out_w * s.channels;
  index += rows.begin * s.out_w * s.channels;
  if (sizeof(Index) == 1 && pairs(s) && !accumulate) {
    int64_t o = 0;
#if defined(FASTNN_SEVERAL)
    if (s.channels > 0 && 2 * s.channels <= kLanes<T>)
      for (const Several<T> several(s.channels); o + several.windows <= windows; o += several.windows) {
        const int64_t at = o * s.channels;
        const Vec<T> d = read(dy + at, static_cast<int>(several.lanes)),
                     where = as_float<T>(widen<T, Index>(index + at));
        const bool room = (s.w - 2 * o) * s.channels >= 2 * kLanes<T>;
        const int width[2] = {kLanes<T>, static_cast<int>(room ? kLanes<T> : 2 * several.lanes - kLanes<T>)};
        for (int half = 0; half < 2; ++half) {
          const Mask<T> lanes = several.window[half], here = several.right[half] + top;
          const Mask<T> mine = as_int<T>(pick(where, where, lanes)) == here;
          write(dx + 2 * at + half * kLanes<T>, Vec<T>{} + (mine ? pick(d, d, lanes) : Vec<T>{}), width[half]);
        }
      }
#endif
    for_pixel_pairs(dx, o, windows, s, [&](auto vector, int64_t at, T* to) {
      const Mask<T> where = vector.get_index(index + at);
      const Vec<T> d = in_register<T>(vector.get(dy + at));
      vector.put(to, Vec<T>{} + (where == top ? d : Vec<T>{}));
      vector.put(to + s.channels, Vec<T>{} + (where == top + 1 ? d : Vec<T>{}));
    });
    clear_behind(dx, windows, s);
    return;
  }
  for (int64_t o = 0; o < windows; ++o) {
    const int64_t left = o * s.size_w - s.before_w;
    const Range columns = pixels_of(o, s.w, s.size_w, s.size_w, s.before_w);
    const bool room =
        !accumulate && has_room<T>(o, s.out_w, s.channels) && has_room<T>(columns.end - 1, s.w, s.channels);
    for_channels<T>(s.channels, room, [&](int64_t c, auto vector) {
      const Mask<T> where = vector.get_index(index + o * s.channels + c);
      const Vec<T> d = vector.get(dy + o * s.channels + c);
      for (int64_t w = columns.begin; w < columns.end; ++w) {
        T* const to = dx + w * s.channels + c;
        Vec<T> sum = Vec<T>{} + (where == top + static_cast<Int<T>>(w - left) ? d : Vec<T>{});
        if (accumulate) sum = vector.get(to) + sum;
        vector.put(to, sum);
      }
    });
  }
  if (!accumulate) clear_behind(dx, windows, s);
}

template <class T, class Index>
void max_backward(T* dx, const T* dy, const Index* index, int64_t h, const PoolSizes& s, bool accumulate) {
  const Range rows = windows_of(h, s.out_h, s.size_h, s.stride_h, s.before_h);
  if (s.stride_w == s.size_w && rows.end - rows.begin <= 1) {
    max_backward_apart(dx, dy, index, h, rows, s, accumulate);
    return;
  }
  Windows windows(s.out_w, s.size_w, s.stride_w, s.before_w);
  for (int64_t w = 0; w < s.w; ++w, dx += s.channels) {
    const Range columns = windows.next();
    const bool room = !accumulate && has_room<T>(w, s.w, s.channels) &&
                      (columns.begin == columns.end || has_room<T>(columns.end - 1, s.out_w, s.channels));
    for_channels<T>(s.channels, room, [&](int64_t c, auto vector) {
      Vec<T> sum{};
      for (int64_t i = rows.begin; i < rows.end; ++i)
        for (int64_t o = columns.begin; o < columns.end; ++o) {
          const int64_t at = (i * s.out_w + o) * s.channels + c;
          const int64_t here = (h - i * s.stride_h + s.before_h) * s.size_w + w - o * s.stride_w + s.before_w;
          const Mask<T> mine = vector.get_index(index + at) == static_cast<Int<T>>(here);
          sum += mine ? vector.get(dy + at) : Vec<T>{};
        }
      if (accumulate) sum = vector.get(dx + c) + sum;
      vector.put(dx + c, sum);
    });
  }
}

template <class T>
void average_forward(T* y, const T* x, int64_t i, const PoolSizes& s) {
  const Range rows = pixels_of(i, s.h, s.size_h, s.stride_h, s.before_h);
  if (pairs(s) && s.size_h == 2 && rows.end - rows.begin == 2) {
    for_pairs(x, rows, s, [&](auto vector, const Vec<T>(&v)[4], int64_t at) {
      vector.put(y + at, ((v[0] + v[1]) + (v[2] + v[3])) / splat(T(4)));
    });
    return;
  }
  for (int64_t o = 0; o < s.out_w; ++o, y += s.channels) {
    const Range columns = pixels_of(o, s.w, s.size_w, s.stride_w, s.before_w);
    const bool room = has_room<T>(o, s.out_w, s.channels) && has_room<T>(columns.end - 1, s.w, s.channels);
    const Vec<T> count = splat(static_cast<T>((rows.end - rows.begin) * (columns.end - columns.begin)));
    ask_ahead(x, rows, columns, s);
    for_channels<T>(s.channels, room, [&](int64_t c, auto vector) {
      Vec<T> sum{};
      for (int64_t h = rows.begin; h < rows.end; ++h) {  // row sums first: the error grows with h + w, not h * w
        Vec<T> row{};
        for (int64_t w = columns.begin; w < columns.end; ++w) row += vector.get(x + (h * s.w + w) * s.channels + c);
        sum += row;
      }
      vector.put(y + c, sum / count);
    });
  }
}

// The same for windows side by side: window by window, and one division for all of its pixels.
template <class T>
void average_backward_apart(T* dx, const T* dy, Range rows, int64_t height, const PoolSizes& s, bool accumulate) {
  const int64_t windows = rows.begin < rows.end ? s.out_w : 0;
  dy += rows.begin * s.out_w * s.channels;
  if (pairs(s) && !accumulate) {
    const Vec<T> count = splat(static_cast<T>(height * 2));
    for_pixel_pairs(dx, 0, windows, s, [&](auto vector, int64_t at, T* to) {
      const Vec<T> d = Vec<T>{} + vector.get(dy + at) / count;
      vector.put(to, d);
      vector.put(to + s.channels, d);
    });
    clear_behind(dx, windows, s);
    return;
  }
  for (int64_t o = 0; o < windows; ++o) {
    const Range columns = pixels_of(o, s.w, s.size_w, s.size_w, s.before_w);
    const bool room =
        !accumulate && has_room<T>(o, s.out_w, s.channels) && has_room<T>(columns.end - 1, s.w, s.channels);
    const Vec<T> count = splat(static_cast<T>(height * (columns.end - columns.begin)));
    for_channels<T>(s.channels, room, [&](int64_t c, auto vector) {
      const Vec<T> d = Vec<T>{} + vector.get(dy + o * s.channels + c) / count;
      for (int64_t w = columns.begin; w < columns.end; ++w) {
        T* const to = dx + w * s.channels + c;
        vector.put(to, accumulate ? vector.get(to) + d : d);
      }
    });
  }
  if (!accumulate) clear_behind(dx, windows, s);
}

template <class T>
void average_backward(T* dx, const T* dy, int64_t h, const PoolSizes& s, bool accumulate) {
  const Range rows = windows_of(h, s.out_h, s.size_h, s.stride_h, s.before_h);
  if (s.stride_w == s.size_w && rows.end - rows.begin <= 1) {
    const Range high = pixels_of(rows.begin, s.h, s.size_h, s.stride_h, s.before_h);
    average_backward_apart(dx, dy, rows, high.end - high.begin, s, accumulate);
    return;
  }
  Windows windows(s.out_w, s.size_w, s.stride_w, s.before_w);
  for (int64_t w = 0; w < s.w; ++w, dx += s.channels) {
    const Range columns = windows.next();
    const bool room = !accumulate && has_room<T>(w, s.w, s.channels) &&
                      (columns.begin == columns.end || has_room<T>(columns.end - 1, s.out_w, s.channels));
    for_channels<T>(s.channels, room, [&](int64_t c, auto vector) {
      Vec<T> sum{};
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        const Range high = pixels_of(i, s.h, s.size_h, s.stride_h, s.before_h);
        for (int64_t o = columns.begin; o < columns.end; ++o) {
          const Range wide = pixels_of(o, s.w, s.size_w, s.stride_w, s.before_w);
          const Vec<T> count = splat(static_cast<T>((high.end - high.begin) * (wide.end - wide.begin)));
          sum += vector.get(dy + (i * s.out_w + o) * s.channels + c) / count;
        }
      }
      if (accumulate) sum = vector.get(dx + c) + sum;
      vector.put(dx + c, sum);
    });
  }
}

template <class T>
constexpr PoolKernels<T> kTable{{max_forward<T, uint8_t>, max_backward<T, uint8_t>},
                                {max_forward<T, int32_t>, max_backward<T, int32_t>},
                                average_forward<T>,
                                average_backward<T>};

}  // namespace

FASTNN_REGISTER(pool) {
  f32.pool = kTable<float>;
  f64.pool = kTable<double>;
}

}  // namespace fastnn::kernels
