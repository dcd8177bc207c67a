#include "kernels/pool.hpp"

#include "kernels/register.hpp"
#include "kernels/simd.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

#define FASTNN_INLINED __attribute__((always_inline))  // of a lambda

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
    for (int i = 0, some = kLanes<T> / 2; some > 0; some /= 2)  // sizes the compiler knows, or it calls memcpy
      if (n & some) __builtin_memcpy(p + i, lanes + i, some * sizeof(Index)), i += some;
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
// As many windows of 2x2 side by side as fit into one vector, of few channels: the lanes of their left pixels among
// those of all, which are two vectors.
template <class T>
struct Several {
  int64_t lanes;
  int width;   // how many lanes to write: more than the windows' where there is room
  int behind;  // how many lanes of the second vector the left pixels end in
  Mask<T> left;
  FASTNN_INLINE explicit Several(int64_t channels)
      : lanes(kLanes<T> / channels * channels),
        width(kLanes<T>),
        behind(static_cast<int>(2 * lanes - channels) - kLanes<T>) {
    Mask<T> lane;
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
    // lane / channels by floats, as this is made for every row and integers divide slowly
    const Vec<T> window = (__builtin_convertvector(lane, Vec<T>) + T(0.5)) / static_cast<T>(channels);
    left = lane + __builtin_convertvector(window, Mask<T>) * static_cast<Int<T>>(channels);
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
  const int64_t last = channels - kLanes<T>;
  for (const int64_t end = room && last < 0 ? 0 : last; c <= end; c += kLanes<T>) body(c, Whole<T>{});
  if (c < channels) body(c, Part<T>{static_cast<int>(channels - c)});
}

template <class T>
constexpr int64_t kLine = 64 / sizeof(T);
// Asks ahead for the pixels of a window, row by row (2x2 windows of 34 MB on one thread: 20 GB/s without, 30 with 8 KB,
// 43 with 16, 37 with 24 and 32).
template <class T>
FASTNN_INLINE void ask_ahead(const T* x, Range rows, Range columns, const PoolSizes& s) {
  const int64_t count = (columns.end - columns.begin) * s.channels;
  for (int64_t h = rows.begin; h < rows.end; ++h)
    for (int64_t i = 0; i < count; i += kLine<T>) ask_ahead(x + (h * s.w + columns.begin) * s.channels, i);
}

// The largest of some values: the first of equals, the first NaN, and which it is. Of numbers it takes half the
// instructions.
template <class T, bool kNumbers>
struct Largest {
  Vec<T> value;
  Mask<T> which;
  FASTNN_INLINE void add(Vec<T> v, int64_t here) {
    const Mask<T> take = kNumbers ? v > value : ~(v <= value) & (value == value);
    value = take ? v : value;
    which = take ? Mask<T>{} + static_cast<Int<T>>(here) : which;
  }
};

// Whether windows are two pixels wide and all inside the image: what nearly every net pools by.
FASTNN_INLINE bool pairs(const PoolSizes& s) {
  return s.size_w == 2 && s.before_w == 0 && (s.out_w - 1) * s.stride_w + 2 <= s.w;
}
// A number that the compiler knows.
template <int n>
struct Known {
  constexpr operator int64_t() const { return n; }
};
// The part of a window that lies inside the image: of so many rows and columns, its first pixel has this position, and
// the pixel below that one this position more.
template <class Size>
struct Pixels {
  Size height, width, pitch;
  int64_t first;
};

// body(vector, first pixel, Pixels, channel of y's row) for a row of windows; kFast has code for sizes known in
// advance. Behind the row `later` elements are written after it, and so may be written over.
template <class T, bool kFast, class Body>
FASTNN_INLINE void for_windows(const T* x, int64_t i, const PoolSizes& s, int64_t later, const Body& body) {
  const Range rows = pixels_of(i, s.h, s.size_h, s.stride_h, s.before_h);
  const int64_t height = rows.end - rows.begin, above = rows.begin - (i * s.stride_h - s.before_h);
  const int64_t spare = at_most(later, (s.h - rows.end) * s.w * s.channels);  // behind what is written, and read
  x += rows.begin * s.w * s.channels;
  constexpr bool kThree = kVectorBytes > 16 && sizeof(T) == 4;  // elsewhere 25 KB of code for what nobody waits for
  // Nearly all windows are whole. Known in size they need no loops over pixels (3x3, stride 2, 64 channels in L2 on
  // AVX2: 40 GB/s instead of 16, 74 instead of 18 on AVX-512).
  const bool known =
      kFast && height == s.size_h && s.size_h == s.size_w && (s.size_w == 2 || (kThree && s.size_w == 3));
  int64_t begin = known ? 0 : s.out_w, end = s.out_w;  // by counting, as the division costs more than a short row
  while (begin < end && begin * s.stride_w < s.before_w) ++begin;
  while (begin < end && (end - 1) * s.stride_w - s.before_w + s.size_w > s.w) --end;
  const auto whole = [&](auto size) FASTNN_INLINED {
    const Pixels<decltype(size)> pixels{size, size, size, 0};
    const int64_t step = s.stride_w * s.channels, down = s.w * s.channels, stop = end * s.channels;
    int64_t at = begin * s.channels;
    const T* p = x + begin * step - s.before_w * s.channels;
#if defined(FASTNN_SEVERAL)
    if (size == 2 && s.stride_w == 2 && 2 * s.channels <= kLanes<T>)
      for (Several<T> several(s.channels); stop - at >= several.lanes; at += several.lanes, p += 2 * several.lanes) {
        if (stop + spare - at < kLanes<T>) several.width = static_cast<int>(several.lanes);
        body(several, p, pixels, at);
      }
#endif
    const auto vector_at = [&](int64_t c, auto vector) FASTNN_INLINED {
      for (int64_t h = 0; h < size; ++h)  // what the next windows begin with, where they are two pixels on
        for (int64_t i = 0; i < 2 * kLanes<T>; i += kLine<T>) ask_ahead(p + h * down + s.stride_w * c, i);
      body(vector, p + c, pixels, at + c);
    };
    if (s.channels <= kLanes<T>)  // what they write too much the next windows overwrite
      for (const int64_t last = at_most(stop - 1, stop + spare - kLanes<T>); at <= last; at += s.channels, p += step)
        vector_at(0, Whole<T>{});
    for (; at < stop; at += s.channels, p += step) for_channels<T>(s.channels, false, vector_at);
  };
  if (known && s.channels > 0 && s.size_w == 2) whole(Known<2>{});
  if (known && s.channels > 0 && kThree && s.size_w == 3) whole(Known<3>{});
  const Range rest[2] = {{0, begin}, {end, s.out_w}};
  for (int part = 0; part < 2; ++part)
    for (int64_t o = rest[part].begin; o < rest[part].end; ++o) {
      const Range columns = pixels_of(o, s.w, s.size_w, s.stride_w, s.before_w);
      // Beside an edge there is none: the next windows are done.
      const bool room = !known && has_room<T>(o, s.out_w, s.channels) && has_room<T>(columns.end - 1, s.w, s.channels);
      const Pixels<int64_t> pixels{height, columns.end - columns.begin, s.size_w,
                                   above * s.size_w + columns.begin - (o * s.stride_w - s.before_w)};
      ask_ahead(x, {0, height}, columns, s);
      for_channels<T>(s.channels, room, [&](int64_t c, auto vector) FASTNN_INLINED {
        body(vector, x + columns.begin * s.channels + c, pixels, o * s.channels + c);
      });
    }
}
// f(pixel, position in the window) for the pixels of a window.
template <class T, class Size, class F>
FASTNN_INLINE void for_pixels(const T* x, const Pixels<Size>& p, const PoolSizes& s, const F& f) {
  for (int64_t h = 0; h < p.height; ++h)
    for (int64_t w = 0; w < p.width; ++w) f(x + (h * s.w + w) * s.channels, p.first + h * p.pitch + w);
}

// kNumbers: fast, and false where the row has to be done again, as a NaN may be among the values.
template <class T, class Index, bool kNumbers>
FASTNN_INLINE bool max_row(T* y, Index* index, const T* x, int64_t i, const PoolSizes s, int64_t later) {
  Vec<T> all{};  // NaN where a value is; where infinities of both signs are, too
  for_windows<T, kNumbers>(x, i, s, later, [&](auto vector, const T* p, const auto& pixels, int64_t at) FASTNN_INLINED {
    Vec<T> sum{};
    Largest<T, kNumbers> best{vector.get(p), Mask<T>{} + static_cast<Int<T>>(pixels.first)};
    for_pixels(p, pixels, s, [&](const T* pixel, int64_t here) FASTNN_INLINED {
      const Vec<T> v = in_register<T>(vector.get(pixel));
      sum += v;
      best.add(v, here);
    });
    if (kNumbers) all += sum;
    vector.put(y + at, best.value);
    vector.put_index(index + at, best.which);
  });
  const T sum = sum_lanes<T>(all);
  return sum == sum;
}

template <class T, class Index>
void max_forward(T* y, Index* index, const T* x, int64_t begin, int64_t end, const PoolSizes& s) {
  const int64_t row = s.out_w * s.channels;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = i * row, later = (end - 1 - i) * row;
    if (sizeof(Index) == 1 && max_row<T, Index, true>(y + at, index + at, x, i, s, later)) continue;
    max_row<T, Index, false>(y + at, index + at, x, i, s, later);
  }
}

// Zeros for the pixels of a row behind the last of so many windows side by side.
template <class T>
FASTNN_INLINE void clear_behind(T* dx, int64_t windows, const PoolSizes& s) {
  const int64_t end = at_most(windows * s.size_w - (windows > 0 ? s.before_w : 0), s.w);
  for (int64_t i = end * s.channels; i < s.w * s.channels; ++i) dx[i] = 0;
}

// body(vector, channel of dy's row, channel of dx's row) for a row of windows two pixels wide, of stride 2. Behind the
// row `spare` elements of dy may be read, and of dx written, as they are written after it.
template <class T, class Body>
FASTNN_INLINE void for_pixel_pairs(T* dx, int64_t windows, const PoolSizes& s, int64_t spare, const Body& body) {
  const int64_t channels = s.channels, stop = windows * channels;
  int64_t at = 0;
  if (channels <= kLanes<T>)
    for (const int64_t last = at_most(stop - 1, stop + spare - kLanes<T>); at <= last; at += channels)
      body(Whole<T>{}, at, dx + 2 * at);
  for (; at < stop; at += channels)
    for_channels<T>(channels, false,
                    [&](int64_t c, auto vector) FASTNN_INLINED { body(vector, at + c, dx + 2 * at + c); });
}

// What a row of pixels, of windows side by side, has to spare before the last row of pixels.
FASTNN_INLINE int64_t spare_of(int64_t h, int64_t last, Range rows, const PoolSizes& s) {
  return s.channels * at_most((last - h) * s.w, (s.out_h - rows.end) * s.out_w);
}

// The same for windows side by side, where a pixel has one at most: window by window.
template <class T, class Index>
FASTNN_INLINE void max_backward_apart(T* dx, const T* dy, const Index* index, int64_t h, Range rows, const PoolSizes& s,
                                      int64_t spare, bool accumulate) {
  const int64_t windows = rows.begin < rows.end ? s.out_w : 0;
  const Int<T> top = static_cast<Int<T>>((h - rows.begin * s.stride_h + s.before_h) * s.size_w);
  dy += rows.begin * s.out_w * s.channels;
  index += rows.begin * s.out_w * s.channels;
  if (sizeof(Index) == 1 && pairs(s) && !accumulate && s.channels > 0) {
    const int64_t right = s.channels;
    for_pixel_pairs(dx, windows, s, spare, [=](auto vector, int64_t at, T* to) FASTNN_INLINED {
      const Mask<T> where = vector.get_index(index + at);
      const Vec<T> d = in_register<T>(vector.get(dy + at));
      vector.put(to, Vec<T>{} + (where == top ? d : Vec<T>{}));
      vector.put(to + right, Vec<T>{} + (where == top + 1 ? d : Vec<T>{}));
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

// The same for windows that overlap, or lie apart: pixel by pixel. A function of its own, as what it keeps would cost
// the short rows of the former.
template <class T, class Index>
__attribute__((noinline)) void max_backward_gather(T* dx, const T* dy, const Index* index, int64_t h, Range rows,
                                                   const PoolSizes s, bool accumulate) {
  const int64_t down = s.out_w * s.channels;
  const Mask<T> beside = Mask<T>{} + static_cast<Int<T>>(s.stride_w),
                below = Mask<T>{} + static_cast<Int<T>>(s.stride_h * s.size_w);
  Windows windows(s.out_w, s.size_w, s.stride_w, s.before_w);
  for (int64_t w = 0; w < s.w; ++w, dx += s.channels) {
    const Range columns = windows.next();
    const bool room = !accumulate && has_room<T>(w, s.w, s.channels) &&
                      (columns.begin == columns.end || has_room<T>(columns.end - 1, s.out_w, s.channels));
    const int64_t first = (rows.begin * s.out_w + columns.begin) * s.channels, count = columns.end - columns.begin;
    const Mask<T> here = Mask<T>{} + static_cast<Int<T>>((h - rows.begin * s.stride_h + s.before_h) * s.size_w + w -
                                                         columns.begin * s.stride_w + s.before_w);
    for_channels<T>(s.channels, room, [&](int64_t c, auto vector) FASTNN_INLINED {
      Vec<T> sum{};
      int64_t at = first + c;
      Mask<T> low = here;
      for (int64_t i = rows.begin; i < rows.end; ++i, at += down, low -= below) {
        Mask<T> position = low;
        for (int64_t o = 0; o < count; ++o, position -= beside)
          sum += vector.get_index(index + at + o * s.channels) == position ? vector.get(dy + at + o * s.channels)
                                                                           : Vec<T>{};
      }
      if (accumulate) sum = vector.get(dx + c) + sum;
      vector.put(dx + c, sum);
    });
  }
}

template <class T, class Index>
void max_backward(T* dx, const T* dy, const Index* index, int64_t begin, int64_t end, const PoolSizes& s,
                  bool accumulate) {
  for (int64_t h = begin; h < end; ++h) {
    const Range rows = windows_of(h, s.out_h, s.size_h, s.stride_h, s.before_h);
    T* const to = dx + h * s.w * s.channels;
    if (s.stride_w == s.size_w && rows.end - rows.begin <= 1) {
      max_backward_apart(to, dy, index, h, rows, s, spare_of(h, end - 1, rows, s), accumulate);
    } else {
      max_backward_gather(to, dy, index, h, rows, s, accumulate);
    }
  }
}

template <class T>
FASTNN_INLINE void average_row(T* y, const T* x, int64_t i, const PoolSizes s, int64_t later) {
  for_windows<T, true>(x, i, s, later, [&](auto vector, const T* p, const auto& pixels, int64_t at) FASTNN_INLINED {
    const auto row = [&](int64_t h) FASTNN_INLINED {
      Vec<T> sum = vector.get(p + h * s.w * s.channels);
      for (int64_t w = 1; w < pixels.width; ++w) sum += vector.get(p + (h * s.w + w) * s.channels);
      return sum;
    };
    Vec<T> sum = row(0);  // row sums first: the error grows with h + w, not h * w
    for (int64_t h = 1; h < pixels.height; ++h) sum += row(h);
    vector.put(y + at, sum / splat(static_cast<T>(pixels.height * pixels.width)));
  });
}

template <class T>
void average_forward(T* y, const T* x, int64_t begin, int64_t end, const PoolSizes& s) {
  const int64_t row = s.out_w * s.channels;
  for (int64_t i = begin; i < end; ++i) average_row(y + i * row, x, i, s, (end - 1 - i) * row);
}

// The same for windows side by side: window by window, and one division for all of its pixels.
template <class T>
FASTNN_INLINE void average_backward_apart(T* dx, const T* dy, Range rows, int64_t height, const PoolSizes& s,
                                          int64_t spare, bool accumulate) {
  const int64_t windows = rows.begin < rows.end ? s.out_w : 0;
  dy += rows.begin * s.out_w * s.channels;
  if (pairs(s) && !accumulate && s.channels > 0) {
    const int64_t right = s.channels;
    const auto spread = [&](auto count) FASTNN_INLINED {
      for_pixel_pairs(dx, windows, s, spare, [=](auto vector, int64_t at, T* to) FASTNN_INLINED {
        const Vec<T> d = Vec<T>{} + vector.get(dy + at) / splat(static_cast<T>(count));
        vector.put(to, d);
        vector.put(to + right, d);
      });
    };
    height == 2 ? spread(Known<4>{}) : spread(2 * height);  // of four a product
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
__attribute__((noinline)) void average_backward_gather(T* dx, const T* dy, Range rows, const PoolSizes& s,
                                                       bool accumulate) {
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
void average_backward(T* dx, const T* dy, int64_t begin, int64_t end, const PoolSizes& s, bool accumulate) {
  for (int64_t h = begin; h < end; ++h) {
    const Range rows = windows_of(h, s.out_h, s.size_h, s.stride_h, s.before_h);
    T* const to = dx + h * s.w * s.channels;
    if (s.stride_w == s.size_w && rows.end - rows.begin <= 1) {
      const Range high = pixels_of(rows.begin, s.h, s.size_h, s.stride_h, s.before_h);
      average_backward_apart(to, dy, rows, high.end - high.begin, s, spare_of(h, end - 1, rows, s), accumulate);
    } else {
      average_backward_gather(to, dy, rows, s, accumulate);
    }
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
