// Elementary functions on whole vectors, branch-free. libm would be one call per element, with results that differ
// between systems. Everything follows IEEE 754 (NaN, infinities, signed zero) but what is near the denormals: denormal
// results may be zero, and under flush-to-zero so are the terms, halves and eighths, of results below 2^-122. The
// polynomials are minimax (Remez exchange in 40 digits), each of the lowest degree whose error is below about a third
// of an ulp, so that rounding and not the polynomial decides the error.
//
// Greatest error found, in ulp, over SSE2, AVX2 and AVX-512 (float: every |x| in [2^-10, 2^7) and every 61st other;
// double: 2e6 samples against 113 bits, many near zero and near the borders of the reductions):
//           exp  expm1  log   log1p  tanh  sigmoid  erf   softplus
//   float   1.05  1.73  0.85  1.40   1.34   1.98    1.29   1.87
//   double  1.03  1.88  0.84  1.33   1.32   1.87    1.55   1.68
#pragma once
#include <stdint.h>

#include "kernels/simd.hpp"

namespace fastnn::kernels {
namespace {

template <class T>
struct Format;
template <>
struct Format<float> {
  using Unsigned = uint32_t;
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float shift = 0x1p23f;
  static constexpr float log2_e = 1.44269504f;
  // ln 2 in two parts; the upper has zeros enough that its product with any exponent is exact without FMA too.
  static constexpr float ln2_hi = 0x1.62e4p-1f, ln2_lo = 1.42860682e-6f;
  // The arguments between which exp is a finite normal number.
  static constexpr float exp_min = -0x1.5d589ep6f, exp_max = 0x1.62e42ep6f;
  static constexpr float min_normal = 0x1p-126f;
  static constexpr int32_t sqrt_half = 0x3F3504F3;  // the bits of sqrt(1/2)
};
template <>
struct Format<double> {
  using Unsigned = uint64_t;
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double shift = 0x1p52;
  static constexpr double log2_e = 1.4426950408889634;
  static constexpr double ln2_hi = 0x1.62e42fefa3p-1, ln2_lo = 2.8235290563031577e-13;
  static constexpr double exp_min = -0x1.6232bdd7abcd2p9, exp_max = 0x1.62e42fefa39efp9;
  static constexpr double min_normal = 0x1p-1022;
  static constexpr int64_t sqrt_half = 0x3FE6A09E667F3BCD;
};
template <class T>
constexpr T kInfinity = __builtin_inf();
template <class T>
constexpr T kNaN = __builtin_nan("");

// c0 + c1 x + c2 x^2 + ... by Horner's rule: neighbouring elements of a loop overlap and hide its latency.
template <class T, class... C>
FASTNN_INLINE Vec<T> polynomial(Vec<T> x, T c0, C... c) {
  if constexpr (sizeof...(c) == 0) {
    return splat(c0);
  } else {
    return fma(polynomial<T>(x, c...), x, splat(c0));
  }
}

// e^x = 2^n (1 + p): returns p, and n in the place of the exponent bits.
// Degree 6 (float) or 11 (double) on |r| <= ln(2)/2; 1 + r are exact so that p is accurate relative to itself.
template <class T>
FASTNN_INLINE Vec<T> exp_reduced(Vec<T> x, Mask<T>& exponent) {
  using F = Format<T>;
  const Vec<T> rounder = splat(T(1.5) * F::shift);  // adding it leaves the rounded integer in the low bits
  const Vec<T> shifted = fma(x, splat(F::log2_e), rounder), n = shifted - rounder;
  exponent = as_int<T>(shifted) << F::mantissa;
  const Vec<T> r = fma(n, splat(-F::ln2_lo), fma(n, splat(-F::ln2_hi), x));
  Vec<T> q;
  if constexpr (sizeof(T) == 4) {
    q = polynomial<T>(r, 0.499999981f, 0.166665432f, 0.0416672021f, 0.00836658050f, 0.00138824931f);
  } else {
    q = polynomial<T>(r, 0.50000000000000103, 0.16666666666666675, 0.041666666666520945, 0.0083333333333221269,
                      0.0013888888948140006, 0.00019841269886836392, 2.4801486965350889e-5, 2.7557242059340426e-6,
                      2.7632791582662334e-7, 2.5110154340462049e-8);
  }
  return fma(r * r, q, r);
}

// e^x where that is a finite normal number; anything for other x, NaN included. One addition to the exponent bits
// does for n = 128 (1024) too, where 2^n itself is not representable, because 1 + p < 1 there.
template <class T>
FASTNN_INLINE Vec<T> exp_normal(Vec<T> x) {
  Mask<T> exponent;
  const Vec<T> p = exp_reduced<T>(x, exponent);
  return as_float<T>(as_int<T>(T(1) + p) + exponent);
}

template <class T>
FASTNN_INLINE Vec<T> exp(Vec<T> x) {
  using F = Format<T>;
  Vec<T> y = exp_normal<T>(x);
  y = x < F::exp_min ? Vec<T>{} : y;
  return x <= F::exp_max ? y : x + kInfinity<T>;
}

// 2^n p + (2^n - 1) in halves, as 2^128 (2^1024) would overflow before the result does.
template <class T>
FASTNN_INLINE Vec<T> expm1(Vec<T> x) {
  constexpr T low = sizeof(T) == 4 ? -18 : -40;  // -1 to the last bit from here on
  Mask<T> exponent;
  const Vec<T> p = exp_reduced<T>(x < low ? splat(low) : x, exponent);
  const Vec<T> half = as_float<T>(exponent + as_int<T>(splat(T(0.5))));
  const Vec<T> y = fma(p, half, half - T(0.5));
  return copysign<T>(x > Format<T>::exp_max ? splat(kInfinity<T>) : y + y, x);
}

// log(1 + f) + low for small f. With s = f / (2 + f) it is f - f^2/2 + s (f^2/2 + R(s^2)), in which f, exact,
// dominates; R(z) / z is the polynomial c.
template <class T, class... C>
FASTNN_INLINE Vec<T> log_series(Vec<T> f, Vec<T> low, C... c) {
  const Vec<T> s = f / (T(2) + f), z = s * s, h = T(0.5) * f * f;
  return f - (h - fma(s, fma(z, polynomial<T>(z, c...), h), low));
}

// x = 2^k m with m in [sqrt(1/2), sqrt(2)), for positive normal x; `exponent` is k, biased, in place.
template <class T>
FASTNN_INLINE Vec<T> split(Vec<T> x, Vec<T>& k, Mask<T>& exponent) {
  using F = Format<T>;
  const Mask<T> one = as_int<T>(splat(T(1))), bits = as_int<T>(x) + (one - F::sqrt_half);
  const Mask<T> fraction = bits & ((Int<T>(1) << F::mantissa) - 1);
  exponent = bits - fraction;
  // Logical shift and the addition of 2^23 (2^52) in the bits: SSE2 and AVX2 have neither an arithmetic shift nor a
  // conversion for 64 bits.
  const Mask<T> shifted = (Mask<T>)((Vec<typename F::Unsigned>)bits >> F::mantissa);
  k = as_float<T>(shifted | as_int<T>(splat(F::shift))) - (F::shift + F::bias);
  return as_float<T>(fraction + F::sqrt_half);
}

// k ln 2 + log(1 + f). Degree 3 (float) or 7 (double) in s^2 on |s| <= 0.1716.
template <class T>
FASTNN_INLINE Vec<T> log_split(Vec<T> k, Vec<T> f) {
  const Vec<T> low = k * Format<T>::ln2_lo;
  Vec<T> y;
  if constexpr (sizeof(T) == 4) {
    y = log_series<T>(f, low, 0.666667767f, 0.399774947f, 0.298730928f);
  } else {
    y = log_series<T>(f, low, 0.66666666666667103, 0.39999999999515394, 0.28571428730272400, 0.22222198988260975,
                      0.18183576940896372, 0.15313024712498479, 0.14811930764758547);
  }
  return fma(k, splat(Format<T>::ln2_hi), y);
}

template <class T>
FASTNN_INLINE Vec<T> log(Vec<T> x) {
  using F = Format<T>;
  const Mask<T> denormal = x < F::min_normal;
  Vec<T> k;
  Mask<T> exponent;
  const Vec<T> m = split<T>(denormal ? x * F::shift : x, k, exponent);
  k -= denormal ? splat(T(F::mantissa)) : Vec<T>{};
  Vec<T> y = log_split<T>(k, m - T(1));
  y = x < kInfinity<T> ? y : x;
  return x > T(0) ? y : (x == T(0) ? splat(-kInfinity<T>) : splat(kNaN<T>));
}

// With u = 1 + x rounded and its exact error, m - 1 + error / 2^k is rounded once, and is x itself where k = 0.
template <class T>
FASTNN_INLINE Vec<T> log1p(Vec<T> x) {
  const Vec<T> u = T(1) + x, v = u - T(1), error = (T(1) - (u - v)) + (x - v);
  Vec<T> k;
  Mask<T> exponent;
  const Vec<T> m = split<T>(u, k, exponent);
  const Vec<T> scale = as_float<T>(as_int<T>(splat(kInfinity<T>)) - exponent);  // 2^(1-k): 2^-k may be no normal number
  Vec<T> y = log_split<T>(k, fma(T(0.5) * error, scale, m - T(1)));
  y = x < kInfinity<T> ? y : x;
  y = x > T(-1) ? y : (x == T(-1) ? splat(-kInfinity<T>) : splat(kNaN<T>));
  return copysign<T>(y, x);
}

// Below 0.625 x + x^3 P(x^2), P of degree 4 (float) or 10 (double), and else 1 - 2 / (e^2x + 1), whose error from exp
// and the division only shrinks there.
template <class T>
FASTNN_INLINE Vec<T> tanh(Vec<T> x) {
  constexpr T high = sizeof(T) == 4 ? 20 : 40;  // tanh(high / 2) is 1 to the last bit
  const Vec<T> a = abs<T>(x), z = x * x, twice = a + a;
  Vec<T> p;
  if constexpr (sizeof(T) == 4) {
    p = polynomial<T>(z, -0.333332819f, 0.133314423f, -0.0537397193f, 0.0206390988f, -0.00570499800f);
  } else {
    p = polynomial<T>(z, -0.33333333333333116, 0.13333333333287885, -0.053968253940010171, 0.021869487719887467,
                      -0.0088632223161358737, 0.0035919961777863062, -0.0014549802804025678, 0.00058634860386419524,
                      -0.00022856711039984881, 7.7090443580143119e-5, -1.6023284650799542e-5);
  }
  const Vec<T> e = exp_normal<T>(twice < high ? twice : splat(high));
  const Vec<T> y = a >= T(0.625) ? T(1) - T(2) / (e + T(1)) : fma(a * z, p, a);
  return copysign<T>(y, x);
}

// e^-|x| does not overflow and keeps the relative error for very negative x. The second line takes back most of the
// rounding of 1 + e, without which float would be above 2 ulp.
template <class T>
FASTNN_INLINE Vec<T> sigmoid(Vec<T> x) {
  const Vec<T> e = exp<T>(-abs<T>(x)), d = T(1) + e;
  const Vec<T> y = (x < T(0) ? e : splat(T(1))) / d;
  return fma(y, (d - T(1)) - e, y);
}

// Below 0.875 x + x P(x^2), P of degree 5 (float) or 10 (double), and else 1 - e^Q(|x|) with Q, of degree 6 or 17, for
// log(erfc): far smoother than erfc or erfcx, and it spares a division. Above 4 (6) erf is 1 to the last bit.
template <class T>
FASTNN_INLINE Vec<T> erf(Vec<T> x) {
  constexpr T high = sizeof(T) == 4 ? 4 : 6;
  const Vec<T> a = abs<T>(x), z = a * a, t = a < high ? a : splat(high);
  Vec<T> p, q;
  if constexpr (sizeof(T) == 4) {
    p = polynomial<T>(z, 0.128379157f, -0.376125505f, 0.112824554f, -0.0267914637f, 0.00503218185f, -0.000620325630f);
    q = polynomial<T>(t, -0.000144215560f, -1.12788936f, -0.636820701f, -0.104250147f, 0.0223809989f, -0.00308198684f,
                      0.000199900307f);
  } else {
    p = polynomial<T>(z, 0.12837916709551255, -0.37612638903182987, 0.11283791670915582, -0.026866170637142826,
                      0.0052239775424383291, -0.00085483219772872808, 0.00012055141076772172, -1.4920941977688689e-5,
                      1.6387374207289201e-6, -1.5619254976346487e-7, 1.0456780869536451e-8);
    q = polynomial<T>(t, -2.0605893822545753e-7, -1.1283769412970997, -0.63663090854735549, -0.10273840351400084,
                      0.019056504607501180, 0.00031850559548130580, -0.0018189519032893502, 0.00069158988692567717,
                      -8.4559668312821340e-5, -4.5678089227232689e-5, 3.2899519121971918e-5, -1.1797677211001410e-5,
                      2.8881836154158440e-6, -5.1032774159633558e-7, 6.4675887146577413e-8, -5.6104354052953952e-9,
                      2.9924168437343493e-10, -7.4108433940588699e-12);
  }
  return copysign<T>(a >= T(0.875) ? T(1) - exp_normal<T>(q) : fma(a, p, a), x);
}

// max(x, 0) + log(1 + e^-|x|). The logarithm's argument is at most 2, so it needs no reduction, only a degree of 4
// (float) or 10 (double) in s^2 on s <= 1/3.
template <class T>
FASTNN_INLINE Vec<T> softplus(Vec<T> x) {
  const Vec<T> e = exp<T>(-abs<T>(x)), linear = x > T(0) ? x : Vec<T>{};
  if constexpr (sizeof(T) == 4) {
    return log_series<T>(e, linear, 0.666664131f, 0.400216996f, 0.279991320f, 0.280245045f);
  } else {
    return log_series<T>(e, linear, 0.66666666666666496, 0.40000000000103034, 0.28571428553043346, 0.22222223733443346,
                         0.18181749701718977, 0.15386482512344387, 0.13301484184805816, 0.12105435673075066,
                         0.083303527786044642, 0.17056574502947029);
  }
}

}  // namespace
}  // namespace fastnn::kernels
