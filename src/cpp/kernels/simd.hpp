// One source, several instruction sets: vectors of the widest register this translation unit is compiled for, on
// GCC/Clang vector extensions. Everything is in an anonymous namespace, so that no symbol compiled for one
// instruction set can be picked by the linker for another. No standard containers, no exceptions, no allocation.
#pragma once
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// A test build asks for 64 bytes without AVX-512 (CMakeLists.txt, FASTNN_TEST_ISA): each vector is two registers then,
// and the tiles and tails of AVX-512 run on any CPU with AVX2.
#if !defined(FASTNN_VECTOR_BYTES)
#if defined(__AVX512F__)
#define FASTNN_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define FASTNN_VECTOR_BYTES 32
#else
#define FASTNN_VECTOR_BYTES 16  // SSE2 and NEON
#endif
#endif

// Which intrinsics take a vector.
#if FASTNN_VECTOR_BYTES == 64 && defined(__AVX512F__)
#define FASTNN_AVX512
#elif FASTNN_VECTOR_BYTES == 64 && defined(__FMA__)
#define FASTNN_AVX2_PAIRS
#elif FASTNN_VECTOR_BYTES == 32 && defined(__AVX2__)
#define FASTNN_AVX2
#elif FASTNN_VECTOR_BYTES == 16 && defined(__x86_64__)
#define FASTNN_SSE2
#elif FASTNN_VECTOR_BYTES == 16 && defined(__aarch64__)
#define FASTNN_NEON
#endif

#define FASTNN_RESTRICT __restrict__
#define FASTNN_INLINE inline __attribute__((always_inline))

namespace fastnn::kernels {
namespace {

constexpr int kVectorBytes = FASTNN_VECTOR_BYTES;

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
struct IntOf;
template <>
struct IntOf<float> {
  using type = int32_t;
};
template <>
struct IntOf<double> {
  using type = int64_t;
};
template <class T>
using Int = typename IntOf<T>::type;  // the integer of T's size; Vec<Int<T>> is what a comparison gives
template <class T>
using Mask = Vec<Int<T>>;

template <class T>
FASTNN_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
FASTNN_INLINE void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}
// x - 0 and not 0 + x: the former is exact for -0.0, so the compiler folds it into one broadcast (the latter is a real
// addition and takes the 6x16 GEMM kernel from 87 to 49 GFLOP/s on Zen 3).
template <class T>
FASTNN_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};
}

// The first n < kLanes elements; nothing behind them is touched, and their lanes are zero.
template <class T>
FASTNN_INLINE Vec<T> load_part(const T* p, int n) {
  T lanes[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) lanes[i] = i < n ? p[i] : T(0);
  return load(lanes);
}
template <class T>
FASTNN_INLINE void store_part(T* p, Vec<T> v, int n) {
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
#if defined(FASTNN_AVX512)
template <>
FASTNN_INLINE Vec<float> load_part(const float* p, int n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
template <>
FASTNN_INLINE Vec<double> load_part(const double* p, int n) {
  return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
}
template <>
FASTNN_INLINE void store_part(float* p, Vec<float> v, int n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
}
template <>
FASTNN_INLINE void store_part(double* p, Vec<double> v, int n) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), v);
}
#elif defined(FASTNN_AVX2)
FASTNN_INLINE __m256i first_lanes32(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
FASTNN_INLINE __m256i first_lanes64(int n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
template <>
FASTNN_INLINE Vec<float> load_part(const float* p, int n) {
  return _mm256_maskload_ps(p, first_lanes32(n));
}
template <>
FASTNN_INLINE Vec<double> load_part(const double* p, int n) {
  return _mm256_maskload_pd(p, first_lanes64(n));
}
template <>
FASTNN_INLINE void store_part(float* p, Vec<float> v, int n) {
  _mm256_maskstore_ps(p, first_lanes32(n), v);
}
template <>
FASTNN_INLINE void store_part(double* p, Vec<double> v, int n) {
  _mm256_maskstore_pd(p, first_lanes64(n), v);
}
#endif

// Keeps a load apart from what its value goes into: AVX-512 would load under the mask of a choice, and wait for it, and
// several multiply-adds would load it each.
template <class T>
FASTNN_INLINE Vec<T> in_register(Vec<T> v) {
#if defined(FASTNN_AVX512)
  asm("" : "+v"(v));
#elif defined(FASTNN_AVX2)
  asm("" : "+x"(v));
#endif
  return v;
}

#if defined(FASTNN_AVX2_PAIRS)
template <class Register, class V, class Fma>
FASTNN_INLINE V fma_pairs(V a, V b, V c, const Fma& fma) {
  Register x[2], y[2], z[2];
  __builtin_memcpy(x, &a, sizeof x);
  __builtin_memcpy(y, &b, sizeof y);
  __builtin_memcpy(z, &c, sizeof z);
  for (int half = 0; half < 2; ++half) z[half] = fma(x[half], y[half], z[half]);
  __builtin_memcpy(&c, z, sizeof c);
  return c;
}
#endif
// a*b + c in one rounding where the instruction set has it. The build says -ffp-contract=off, so this is the only way
// a product and a sum are ever fused.
FASTNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(FASTNN_AVX512)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(FASTNN_AVX2)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(FASTNN_AVX2_PAIRS)
  return fma_pairs<__m256>(a, b, c, [](auto x, auto y, auto z) { return _mm256_fmadd_ps(x, y, z); });
#elif defined(FASTNN_NEON)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}
FASTNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(FASTNN_AVX512)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(FASTNN_AVX2)
  return _mm256_fmadd_pd(a, b, c);
#elif defined(FASTNN_AVX2_PAIRS)
  return fma_pairs<__m256d>(a, b, c, [](auto x, auto y, auto z) { return _mm256_fmadd_pd(x, y, z); });
#elif defined(FASTNN_NEON)
  return vfmaq_f64(c, a, b);
#else
  return a * b + c;
#endif
}

// fma(a, b, c) in the lanes whose bits are set in `where`, c (0 for -0) in those whose bits are not, whatever a and b
// are there. Two ands, of which callers share one, and not a choice behind the sum, for which the next sum waits.
template <class T>
FASTNN_INLINE Vec<T> fma_where(Mask<T> where, Vec<T> a, Vec<T> b, Vec<T> c) {
  return fma((Vec<T>)((Mask<T>)a & where), (Vec<T>)((Mask<T>)b & where), c);
}
#if defined(FASTNN_AVX512)  // one instruction, which GCC does not find
template <>
FASTNN_INLINE Vec<float> fma_where<float>(Mask<float> where, Vec<float> a, Vec<float> b, Vec<float> c) {
  return _mm512_mask3_fmadd_ps(a, b, c, _mm512_movepi32_mask((__m512i)where));
}
template <>
FASTNN_INLINE Vec<double> fma_where<double>(Mask<double> where, Vec<double> a, Vec<double> b, Vec<double> c) {
  return _mm512_mask3_fmadd_pd(a, b, c, _mm512_movepi64_mask((__m512i)where));
}
#endif

FASTNN_INLINE Vec<float> sqrt(Vec<float> x) {
#if defined(FASTNN_AVX512)
  return _mm512_maskz_sqrt_ps(0xFFFF, x);  // the plain form warns of an uninitialised value (GCC 12)
#elif defined(FASTNN_AVX2)
  return _mm256_sqrt_ps(x);
#elif defined(FASTNN_NEON)
  return vsqrtq_f32(x);
#elif defined(FASTNN_SSE2)
  return _mm_sqrt_ps(x);
#else
  for (int i = 0; i < kLanes<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}
FASTNN_INLINE Vec<double> sqrt(Vec<double> x) {
#if defined(FASTNN_AVX512)
  return _mm512_maskz_sqrt_pd(0xFF, x);
#elif defined(FASTNN_AVX2)
  return _mm256_sqrt_pd(x);
#elif defined(FASTNN_NEON)
  return vsqrtq_f64(x);
#elif defined(FASTNN_SSE2)
  return _mm_sqrt_pd(x);
#else
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_sqrt(x[i]);
  return x;
#endif
}

template <class T>
FASTNN_INLINE Mask<T> as_int(Vec<T> x) {
  return (Mask<T>)x;  // the same bits
}
template <class T>
FASTNN_INLINE Vec<T> as_float(Mask<T> x) {
  return (Vec<T>)x;
}
template <class T>
FASTNN_INLINE Vec<T> abs(Vec<T> x) {
  constexpr Int<T> magnitude = sizeof(T) == 4 ? Int<T>(0x7FFFFFFF) : Int<T>(0x7FFFFFFFFFFFFFFF);
  return as_float<T>(as_int<T>(x) & magnitude);
}
template <class T>
FASTNN_INLINE Vec<T> copysign(Vec<T> magnitude, Vec<T> sign) {
  constexpr Int<T> bit = sizeof(T) == 4 ? Int<T>(0x80000000) : Int<T>(0x8000000000000000);
  return as_float<T>((as_int<T>(magnitude) & ~bit) | (as_int<T>(sign) & bit));
}
// NaN in either operand gives NaN; the x86 instructions drop one of the two.
template <class T>
FASTNN_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return ((a > b) | (a != a)) ? a : b;
}
template <class T>
FASTNN_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
  return ((a < b) | (a != a)) ? a : b;
}

template <int... lane>
struct Lanes {};
template <int n, int... lane>
struct LanesUpTo : LanesUpTo<n - 1, n - 1, lane...> {};
template <int... lane>
struct LanesUpTo<0, lane...> {
  using type = Lanes<lane...>;
};
// Lanes where bit `s` of the lane's number is set come from b, moved by s; the others stay a's (and the other way
// round).
template <class T, int s, int... lane>
FASTNN_INLINE void exchange(Vec<T>& a, Vec<T>& b, Lanes<lane...>) {
  constexpr int n = kLanes<T>;
  const Vec<T> low = __builtin_shufflevector(a, b, ((lane & s) ? n + (lane ^ s) : lane)...);
  b = __builtin_shufflevector(a, b, ((lane & s) ? n + lane : (lane ^ s))...);
  a = low;
}
// v[i][j] <-> v[j][i]: each step exchanges one bit of the row's number and of the lane's.
template <class T, int s = 1>
FASTNN_INLINE void transpose(Vec<T> (&v)[kLanes<T>]) {
  if constexpr (s < kLanes<T>) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<T>; ++i)
      if (!(i & s)) exchange<T, s>(v[i], v[i | s], typename LanesUpTo<kLanes<T>>::type{});
    transpose<T, 2 * s>(v);
  }
}

// Lane i is v's lane index[i].
template <class T>
FASTNN_INLINE Vec<T> permute(Vec<T> v, Mask<T> index) {
  Vec<T> to;
  for (int i = 0; i < kLanes<T>; ++i) to[i] = v[index[i]];
  return to;
}
#if defined(FASTNN_AVX512)
template <>
FASTNN_INLINE Vec<float> permute<float>(Vec<float> v, Mask<float> index) {
  return _mm512_maskz_permutexvar_ps(0xFFFF, (__m512i)index, v);  // the plain form warns of an uninitialised value
}
template <>
FASTNN_INLINE Vec<double> permute<double>(Vec<double> v, Mask<double> index) {
  return _mm512_maskz_permutexvar_pd(0xFF, (__m512i)index, v);
}
#elif defined(FASTNN_AVX2)
template <>
FASTNN_INLINE Vec<float> permute<float>(Vec<float> v, Mask<float> index) {
  return _mm256_permutevar8x32_ps(v, (__m256i)index);
}
#endif

// Lane i is v's lane i + s; the last s are of no use.
template <class T, int s, int... lane>
FASTNN_INLINE Vec<T> moved_down(Vec<T> v, Lanes<lane...>) {
  return __builtin_shufflevector(v, v, ((lane + s) % kLanes<T>)...);
}
// The lanes in a fixed tree, so that a sum over a vector has one order for every caller.
template <class T, int s = kLanes<T> / 2>
FASTNN_INLINE T sum_lanes(Vec<T> v) {
  v += moved_down<T, s>(v, typename LanesUpTo<kLanes<T>>::type{});
  if constexpr (s > 1)
    return sum_lanes<T, s / 2>(v);
  else
    return v[0];
}
template <class T, int s = kLanes<T> / 2>
FASTNN_INLINE T max_lanes(Vec<T> v) {
  v = max<T>(v, moved_down<T, s>(v, typename LanesUpTo<kLanes<T>>::type{}));
  if constexpr (s > 1)
    return max_lanes<T, s / 2>(v);
  else
    return v[0];
}

}  // namespace
}  // namespace fastnn::kernels
