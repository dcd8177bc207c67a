#include "kernels/random.hpp"

#include "kernels/math.hpp"
#include "kernels/register.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

using Wide = Vec<uint64_t>;  // a block per lane, one of its four words in the low half
constexpr int kBlocks = kVectorBytes / 8;
constexpr int kChains = 8;  // one chain of ten rounds is all latency
constexpr int kWords = kBlocks * kChains * 4;
static_assert(kRandomBlock % kWords == 0);

// The product of the low halves; what stands in the high ones does not matter.
FASTNN_INLINE Wide multiply_low(Wide a, Wide b) {
#if defined(FASTNN_AVX512)
  return (Wide)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif defined(FASTNN_AVX2)
  return (Wide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(FASTNN_SSE2)
  return (Wide)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

// The low halves of a, and those of b above them.
template <int... lane>
FASTNN_INLINE Wide pairs(Wide a, Wide b, Lanes<lane...>) {
  constexpr int n = kLanes<uint32_t>;
  return (Wide)__builtin_shufflevector((Vec<uint32_t>)a, (Vec<uint32_t>)b, ((lane & 1) ? n + lane - 1 : lane)...);
}
// y[0, 4 * kBlocks) = the words (a, b, c, d) of the even lanes in turn, and then those of the odd ones
FASTNN_INLINE void store_blocks(uint32_t* y, Wide a, Wide b, Wide c, Wide d) {
  const typename LanesUpTo<kLanes<uint32_t>>::type words;
  Wide low = pairs(a, b, words), high = pairs(c, d, words);
  exchange<uint64_t, 1>(low, high, typename LanesUpTo<kBlocks>::type{});
  uint64_t* to = reinterpret_cast<uint64_t*>(y);
  store(to, low);
  store(to + kBlocks, high);
}

// The keys of the ten rounds in every lane, those of two rounds in one number: they go into a product, whose high half
// is of this round and whose low one waits for the next. In memory: the rounds read them there, and the registers are
// left to the chains.
struct RoundKeys {
  Wide of[5][2];
  explicit RoundKeys(const PhiloxKey& key) {
    uint32_t k0 = key.key[0], k1 = key.key[1];
    const auto two = [](uint32_t& k, uint32_t step) {
      const uint64_t now = k, next = k + step;
      k += 2 * step;
      return splat(now << 32 | next);
    };
    for (auto& keys : of) {
      keys[0] = two(k0, 0x9E3779B9u);
      keys[1] = two(k1, 0xBB67AE85u);
    }
  }
};

// kRandomBlock words from block `index` on. The high half of a block's number is one for all of them, so that half of
// the first two rounds is the same for every lane: the compiler takes it out of the loop (with the shared keys, AVX2:
// 1.7 cycles a word for 2.0).
__attribute__((noinline)) void fill(uint32_t* y, uint64_t index, const PhiloxKey& key, const RoundKeys& keys) {
  static_assert((kRandomBlock & (kRandomBlock - 1)) == 0);
  const Wide m0 = splat<uint64_t>(0xD2511F53u), m1 = splat<uint64_t>(0xCD9E8D57u);
  Wide lane;  // as store_blocks puts them
  for (int i = 0; i < kBlocks; ++i) lane[i] = static_cast<uint64_t>(i / 2 + i % 2 * (kBlocks / 2));
  for (int64_t at = 0; at < kRandomBlock; at += kWords) {
    Wide c0[kChains], c1[kChains], c2[kChains], c3[kChains];
    for (int j = 0; j < kChains; ++j) {
      c0[j] = lane + splat(index + static_cast<uint64_t>(at / 4 + j * kBlocks));
      c1[j] = splat<uint64_t>((index >> 32) | key.counter[1]);
      c2[j] = splat<uint64_t>(key.counter[2]);
      c3[j] = splat<uint64_t>(key.counter[3]);
    }
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round)
      for (int j = 0; j < kChains; ++j) {
        Wide p0 = multiply_low(c0[j], m0), p1 = multiply_low(c2[j], m1);
        if (round % 2 == 0) {
          p0 ^= keys.of[round / 2][1];
          p1 ^= keys.of[round / 2][0];
        }
        c0[j] = (p1 >> 32) ^ c1[j];
        c1[j] = p1;
        c2[j] = (p0 >> 32) ^ c3[j];
        c3[j] = p0;
      }
    for (int j = 0; j < kChains; ++j) store_blocks(y + at + j * 4 * kBlocks, c0[j], c1[j], c2[j], c3[j]);
  }
}

template <class T>
void bits(uint32_t* y, int64_t n, uint64_t first, const PhiloxKey& key) {
  const RoundKeys keys(key);
  alignas(64) uint32_t words[kRandomBlock];
  const auto skip = static_cast<int64_t>(first % kRandomBlock);
  for (int64_t i = -skip; i < n; i += kRandomBlock) {
    fill(words, (first + static_cast<uint64_t>(i)) / 4, key, keys);
    const int64_t from = i < 0 ? skip : 0, to = n - i < kRandomBlock ? n - i : kRandomBlock;
    __builtin_memcpy(y + i + from, words + from, static_cast<size_t>(to - from) * sizeof(uint32_t));
  }
}

// Lane by lane: is the word, moved up by `shift` bits, at least the threshold? The same words for float and for double.
template <class T, int shift>
FASTNN_INLINE Mask<T> at_least(const uint32_t* words, uint32_t threshold) {
  if constexpr (sizeof(T) == 4) {
    return (Mask<T>)(load(words) << shift >= splat(threshold));
  } else {
    typedef uint32_t Half __attribute__((vector_size(kVectorBytes / 2)));
    Half half;
    __builtin_memcpy(&half, words, sizeof half);
    return (Mask<T>)(__builtin_convertvector(half << shift, Vec<int64_t>) >= splat<int64_t>(threshold));
  }
}

template <int n>
struct Moved {
  static constexpr int bits = n;
};

template <class T>
void dropout(T* y, const T* x, int64_t n, uint64_t first, const PhiloxKey& key, uint16_t threshold, T scale,
             bool accumulate) {
  constexpr int L = kLanes<T>;
  static_assert(kDropoutGroup % L == 0);
  const RoundKeys keys(key);
  alignas(64) uint32_t words[kRandomBlock];
  const Vec<T> factor = splat(scale);
  const uint32_t least = static_cast<uint32_t>(threshold) << 16;  // of a word, its low half moved up or put aside
  auto keep = [&](int64_t at, Mask<T> which, int width) __attribute__((always_inline)) {
    const Vec<T> kept = in_register<T>(read(x + at, width)) * factor;
    Vec<T> r = which ? kept : Vec<T>{};
    if (accumulate) r += read<T>(y + at, width);
    write(y + at, r, width);
  };
  // Half a group from number `at` on.
  auto add_half = [&](auto moved, const uint32_t* group, int64_t at) __attribute__((always_inline)) {
    constexpr int shift = moved.bits;
    if (at + kDropoutGroup <= n) {  // of a width that the compiler knows
#pragma GCC unroll 4
      for (int64_t p = 0; p < kDropoutGroup; p += L) keep(at + p, at_least<T, shift>(group + p, least), L);
    } else {
      for (int64_t p = 0; at + p < n; p += L)
        keep(at + p, at_least<T, shift>(group + p, least), width_at<T>(at + p, n));
    }
  };
  for (int64_t i = 0; i < n; i += 2 * kRandomBlock) {
    fill(words, (first + static_cast<uint64_t>(i)) / 8, key, keys);
    for (int64_t g = 0, at = i; g < kRandomBlock && at < n; g += kDropoutGroup, at += 2 * kDropoutGroup) {
      add_half(Moved<16>{}, words + g, at);
      add_half(Moved<0>{}, words + g, at + kDropoutGroup);
    }
  }
}

// kRandomBlock uniform numbers in [0, 1), multiples of 2^-24 (2^-52).
template <class T>
FASTNN_INLINE void fill_uniform(T* u, uint64_t first, const PhiloxKey& key, const RoundKeys& keys) {
  constexpr int words_per_number = sizeof(T) / 4;
  alignas(64) uint32_t words[kRandomBlock * words_per_number];
  for (int w = 0; w < words_per_number; ++w)
    fill(words + w * kRandomBlock, (first * words_per_number + static_cast<uint64_t>(w * kRandomBlock)) / 4, key, keys);
  using Bits = typename Format<T>::Unsigned;
  for (int64_t i = 0; i < kRandomBlock; i += kLanes<T>) {
    Vec<Bits> b;
    __builtin_memcpy(&b, words + i * words_per_number, sizeof b);
    if constexpr (sizeof(T) == 4)
      store(u + i, __builtin_convertvector((Mask<T>)(b >> 8), Vec<T>) * T(0x1p-24));
    else  // 52 bits as the fraction of a number in [1, 2): no conversion from 64-bit integers before AVX-512
      store(u + i, as_float<T>((Mask<T>)(b >> 12) | as_int<T>(splat(T(1)))) - T(1));
  }
}

// y[0, n) = the first n of every kRandomBlock numbers that `make` turns uniform ones into, in place.
template <class T, class Make>
FASTNN_INLINE void generate(T* y, int64_t n, uint64_t first, const PhiloxKey& key, const Make& make) {
  const RoundKeys keys(key);
  alignas(64) T block[kRandomBlock];
  for (int64_t i = 0; i < n; i += kRandomBlock) {
    fill_uniform(block, first + static_cast<uint64_t>(i), key, keys);
    make(block);
    const int64_t count = n - i < kRandomBlock ? n - i : kRandomBlock;
    __builtin_memcpy(y + i, block, static_cast<size_t>(count) * sizeof(T));
  }
}

template <class T>
void uniform(T* y, int64_t n, uint64_t first, const PhiloxKey& key, T low, T span, T largest) {
  generate(y, n, first, key, [=](T* block) {
    for (int64_t i = 0; i < kRandomBlock; i += kLanes<T>) {
      const Vec<T> value = fma(load(block + i), splat(span), splat(low));
      store(block + i, min<T>(value, splat(largest)));  // low + span * u may round up to the excluded end
    }
  });
}

// The sine and cosine of 2 pi u for u in [0, 1): u = q / 4 + t with |t| <= 1/8, minimax polynomials in t^2, and a
// quarter turn per q.
template <class T>
FASTNN_INLINE void sincos_turn(Vec<T> u, Vec<T>& sine, Vec<T>& cosine) {
  const Vec<T> rounder = splat(T(1.5) * Format<T>::shift), shifted = fma(u, splat(T(4)), rounder);
  const Mask<T> q = as_int<T>(shifted);
  const Vec<T> t = fma(shifted - rounder, splat(T(-0.25)), u), z = t * t;
  Vec<T> s, c;
  if constexpr (sizeof(T) == 4) {
    s = t * polynomial<T>(z, 6.28318530715f, -41.3417021533f, 81.605204711f, -76.69786635f, 41.4728332f);
    c = fma(z, polynomial<T>(z, -19.7392088021f, 64.939393977f, -85.456793841f, 60.240450966f, -26.119219f),
            splat(T(1)));
  } else {
    s = t * polynomial<T>(z, 6.28318530717958648, -41.3417022403997601, 81.6052492760749307, -76.7058597529981267,
                          42.0586939289887834, -15.0946404038915456, 3.81978812016321142, -0.7116358090781666);
    c = fma(z,
            polynomial<T>(z, -19.7392088021787172, 64.9393940226682915, -85.4568172066936846, 60.2446413718545633,
                          -26.4262567778174002, 7.90353561233896018, -1.71433326942099208, 0.279740786065750405),
            splat(T(1)));
  }
  const Mask<T> swap = (q & 1) != 0, flip_sine = (q & 2) != 0, flip_cosine = ((q + 1) & 2) != 0;
  sine = swap ? c : s;
  cosine = swap ? s : c;
  sine = flip_sine ? -sine : sine;
  cosine = flip_cosine ? -cosine : cosine;
}

// Box and Muller (1958): element i of the first half and i of the second are the two coordinates of one point.
template <class T>
void normal(T* y, int64_t n, uint64_t first, const PhiloxKey& key, T mean, T deviation) {
  generate(y, n, first, key, [=](T* block) {
    constexpr int64_t half = kRandomBlock / 2;
    for (int64_t i = 0; i < half; i += kLanes<T>) {
      const Vec<T> radius = sqrt(log<T>(T(1) - load(block + i)) * T(-2));  // 1 - u is in (0, 1]
      Vec<T> sine, cosine;
      sincos_turn<T>(load(block + half + i), sine, cosine);
      store(block + i, fma(radius * cosine, splat(deviation), splat(mean)));
      store(block + half + i, fma(radius * sine, splat(deviation), splat(mean)));
    }
  });
}

// The inverse of the distribution function between -2 and 2 standard deviations: with v = erf(sqrt 2) (2 u - 1) the
// number is sqrt(2) erfinv(v) = v P(-log(1 - v^2)), P a minimax polynomial of degree 6 (float) or 15 (double).
template <class T>
void truncated_normal(T* y, int64_t n, uint64_t first, const PhiloxKey& key, T mean, T deviation) {
  generate(y, n, first, key, [=](T* block) {
    constexpr T edge = T(0.95449973610364158560);
    for (int64_t i = 0; i < kRandomBlock; i += kLanes<T>) {
      const Vec<T> v = fma(load(block + i), splat(2 * edge), splat(-edge)), w = -log<T>(T(1) - v * v);
      Vec<T> p;
      if constexpr (sizeof(T) == 4)
        p = polynomial<T>(w, 1.25331409324f, 0.328118646607f, 0.0163213275397f, -0.00327158123f, -0.000220065844f,
                          0.0000923679817f, -6.598684177e-6f);
      else
        p = polynomial<T>(w, 1.25331413731550024, 0.328116873869219658, 0.0163332361469178204, -0.00330233240982203947,
                          -0.00018108057263587926, 0.000065918573096907431, 2.85657092154919291e-6,
                          -1.43170966280150838e-6, -5.3129397990840119e-8, 3.26587769645998585e-8,
                          7.21130219226331937e-10, -5.31884568895735482e-10, -1.16142360366946649e-10,
                          4.67956569125389031e-11, -5.61346759558797674e-12, 2.50950839104515465e-13);
      store(block + i, fma(min<T>(max<T>(v * p, splat(T(-2))), splat(T(2))), splat(deviation), splat(mean)));
    }
  });
}

template <class T>
constexpr RandomKernels<T> kTable{bits<T>, dropout<T>, uniform<T>, normal<T>, truncated_normal<T>};

}  // namespace

FASTNN_REGISTER(random) {
  f32.random = kTable<float>;
  f64.random = kTable<double>;
}

}  // namespace fastnn::kernels
