#include "kernels/elementwise.hpp"

#include "kernels/math.hpp"
#include "kernels/register.hpp"

extern "C" {  // libm by its C names: the inline overloads of <cmath> would be weak symbols of this instruction set
float powf(float, float);
double pow(double, double);
float logf(float);
double log(double);
}

namespace fastnn::kernels {
namespace {

// A unary functor: forward(x) and backward(dy, x, y) = dy * f'(x), where x or y is only loaded if `reads` says so.
enum Reads { kNothing, kX, kY };

#define FASTNN_UNARY_FUNCTOR(name, reads_what, forward_expression, backward_expression)                   \
  template <class T>                                                                                      \
  struct name##_fn {                                                                                      \
    static constexpr Reads reads = reads_what;                                                            \
    static FASTNN_INLINE Vec<T> forward([[maybe_unused]] Vec<T> x, [[maybe_unused]] Vec<T> a,             \
                                        [[maybe_unused]] Vec<T> b) {                                      \
      [[maybe_unused]] const Vec<T> one = splat(T(1)), zero{};                                            \
      return forward_expression;                                                                          \
    }                                                                                                     \
    static FASTNN_INLINE Vec<T> backward(Vec<T> dy, [[maybe_unused]] Vec<T> x, [[maybe_unused]] Vec<T> y, \
                                         [[maybe_unused]] Vec<T> a, [[maybe_unused]] Vec<T> b) {          \
      [[maybe_unused]] const Vec<T> one = splat(T(1)), zero{};                                            \
      return backward_expression;                                                                         \
    }                                                                                                     \
  };

template <class T>
FASTNN_INLINE Vec<T> sign_of(Vec<T> x) {  // NaN stays NaN
  const Vec<T> one = splat(T(1));
  return x > Vec<T>{} ? one : x < Vec<T>{} ? -one : x;
}

template <class T>
FASTNN_INLINE Vec<T> gauss(Vec<T> x) {  // exp(-x^2 / 2); anything for NaN
  const Vec<T> s = x * x * splat(T(-0.5));
  return s < Format<T>::exp_min ? Vec<T>{} : exp_normal<T>(s);
}
// Phi(x) = (1 + erf(x / sqrt 2)) / 2, given e = gauss(x). In float the tail beyond |x| is e P(|x|), P of degree 11 and
// right to 2.5e-8 / e: one exponential, which the derivative shares, where erf has its own beside two polynomials
// (gelu 1.2 times as fast, its gradient 1.8). Double would need as many products as erf.
template <class T>
FASTNN_INLINE Vec<T> normal_cdf(Vec<T> x, [[maybe_unused]] Vec<T> e) {
  if constexpr (sizeof(T) == 4) {
    const Vec<T> a = abs<T>(x), t = a < T(5) ? a : splat(T(5));  // e alone falls off fast enough from there on
    const Vec<T> tail = e * polynomial<T>(t, 0.5f, -0.398941129f, 0.24997738f, -0.132824913f, 0.061965134f,
                                          -0.0255248044f, 0.00904665887f, -0.00261228881f, 0.000571004464f,
                                          -8.62695233e-05f, 7.87953377e-06f, -3.23844091e-07f);
    return x < T(0) ? tail : T(1) - tail;
  } else {
    return fma(erf<T>(x * splat(T(0.70710678118654752440))), splat(T(0.5)), splat(T(0.5)));
  }
}
template <class T>
FASTNN_INLINE Vec<T> gelu(Vec<T> x) {
  return x * normal_cdf<T>(x, gauss<T>(x));
}
template <class T>
FASTNN_INLINE Vec<T> gelu_slope(Vec<T> x) {  // Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)
  const Vec<T> e = gauss<T>(x);
  return fma(x * splat(T(0.39894228040143267794)), e, normal_cdf<T>(x, e));
}

// SELU's constants (Klambauer et al. 2017, arXiv:1706.02515) make zero mean and unit variance a fixed point.
constexpr double kSeluScale = 1.0507009873554805, kSeluAlpha = 1.6732632423543772;

// Comparisons are written so that a NaN takes the branch that returns it. The derivative at a kink is the one of the
// side where the function is 0 (relu'(0) = 0), Keras's choice.
// clang-format off: it takes the products among macro arguments for pointers
FASTNN_UNARY_FUNCTOR(negative, kNothing, -x, -dy)
FASTNN_UNARY_FUNCTOR(abs, kX, (abs<T>(x)), dy * sign_of<T>(x))
FASTNN_UNARY_FUNCTOR(sign, kNothing, sign_of<T>(x), dy * zero)
FASTNN_UNARY_FUNCTOR(square, kX, x * x, dy * (x + x))
FASTNN_UNARY_FUNCTOR(sqrt, kY, (kernels::sqrt(x)), dy * (splat(T(0.5)) / y))
FASTNN_UNARY_FUNCTOR(exp, kY, exp<T>(x), dy * y)
FASTNN_UNARY_FUNCTOR(expm1, kY, expm1<T>(x), dy * (y + one))
FASTNN_UNARY_FUNCTOR(log, kX, log<T>(x), dy / x)
FASTNN_UNARY_FUNCTOR(log1p, kX, log1p<T>(x), dy / (x + one))
FASTNN_UNARY_FUNCTOR(erf, kX, erf<T>(x), dy * (splat(T(1.1283791670955125739)) * exp<T>(-x * x)))  // 2/sqrt(pi) e^-x^2
FASTNN_UNARY_FUNCTOR(sigmoid, kY, sigmoid<T>(x), dy * (y * (one - y)))
FASTNN_UNARY_FUNCTOR(tanh, kY, tanh<T>(x), dy * (one - y * y))
FASTNN_UNARY_FUNCTOR(softplus, kX, softplus<T>(x), dy * sigmoid<T>(x))
FASTNN_UNARY_FUNCTOR(softsign, kX, x / (abs<T>(x) + one), dy / ((abs<T>(x) + one) * (abs<T>(x) + one)))
FASTNN_UNARY_FUNCTOR(relu, kY, (x <= zero ? zero : x), (y == zero ? zero : dy))
FASTNN_UNARY_FUNCTOR(leaky_relu, kX, (x < zero ? a * x : x), (x > zero ? dy : a * dy))
FASTNN_UNARY_FUNCTOR(elu, kX, (x < zero ? a * expm1<T>(x) : x), (x > zero ? dy : dy * (a * exp<T>(x))))
FASTNN_UNARY_FUNCTOR(selu, kX, splat(T(kSeluScale)) * (x < zero ? splat(T(kSeluAlpha)) * expm1<T>(x) : x),
                     dy * splat(T(kSeluScale)) * (x > zero ? one : splat(T(kSeluAlpha)) * exp<T>(x)))
FASTNN_UNARY_FUNCTOR(gelu, kX, gelu<T>(x), dy * gelu_slope<T>(x))
// d/dx x * s(x) = s + x * s * (1 - s)
FASTNN_UNARY_FUNCTOR(silu, kX, x * sigmoid<T>(x), dy * fma(x * sigmoid<T>(x), one - sigmoid<T>(x), sigmoid<T>(x)))
// t = tanh(softplus(x)): d/dx x * t = t + x * (1 - t^2)*sigmoid(x)
FASTNN_UNARY_FUNCTOR(mish, kX, x * tanh<T>(softplus<T>(x)),
                     dy * (tanh<T>(softplus<T>(x)) +
                         x * (one - tanh<T>(softplus<T>(x)) * tanh<T>(softplus<T>(x))) * sigmoid<T>(x)))
// Keras 3: relu6(x + 3) / 6
FASTNN_UNARY_FUNCTOR(hard_sigmoid, kX,
                     (x <= splat(T(-3))  ? zero
                      : x >= splat(T(3)) ? one
                                         : (x + splat(T(3))) / splat(T(6))),
                     ((x > splat(T(-3))) & (x < splat(T(3)))) ? dy / splat(T(6)) : zero)
FASTNN_UNARY_FUNCTOR(clip, kX, (x < a ? a : x > b ? b : x), (((x >= a) & (x <= b)) ? dy : zero))
// clang-format on
#undef FASTNN_UNARY_FUNCTOR

template <class T, template <class> class F>
void unary_forward(T* y, const T* x, int64_t n, T a, T b) {
  constexpr int L = kLanes<T>;
  const Vec<T> va = splat(a), vb = splat(b);
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, F<T>::forward(load(x + i), va, vb));
  // The tail runs the same vector code, so an element's bits do not depend on where in the array it stands.
  if (const int part = static_cast<int>(n - i)) store_part(y + i, F<T>::forward(load_part(x + i, part), va, vb), part);
}

template <class T, template <class> class F>
void unary_backward(T* dx, const T* dy, const T* x, const T* y, int64_t n, T a, T b, bool accumulate) {
  constexpr int L = kLanes<T>;
  constexpr Reads reads = F<T>::reads;
  const Vec<T> va = splat(a), vb = splat(b);
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    Vec<T> d = F<T>::backward(in_register<T>(load(dy + i)), reads == kX ? load(x + i) : Vec<T>{},
                              reads == kY ? load(y + i) : Vec<T>{}, va, vb);
    if (accumulate) d += load(dx + i);
    store(dx + i, d);
  }
  if (const int part = static_cast<int>(n - i)) {
    Vec<T> d = F<T>::backward(load_part(dy + i, part), reads == kX ? load_part(x + i, part) : Vec<T>{},
                              reads == kY ? load_part(y + i, part) : Vec<T>{}, va, vb);
    if (accumulate) d += load_part(dx + i, part);
    store_part(dx + i, d, part);
  }
}

template <class T, template <class> class F>
constexpr UnaryKernel<T> unary_kernel() {
  return {unary_forward<T, F>, unary_backward<T, F>, F<T>::reads == kX, F<T>::reads == kY};
}

// A binary functor: forward(x1, x2), and the two products dy * df/dx1, dy * df/dx2.
#define FASTNN_BINARY_FUNCTOR(name, reads_what, forward_expression, backward1_expression, backward2_expression) \
  template <class T>                                                                                            \
  struct name##_fn {                                                                                            \
    static constexpr bool reads = reads_what;                                                                   \
    static FASTNN_INLINE Vec<T> forward(Vec<T> x1, Vec<T> x2) { return forward_expression; }                    \
    static FASTNN_INLINE Vec<T> backward1(Vec<T> dy, [[maybe_unused]] Vec<T> x1, [[maybe_unused]] Vec<T> x2) {  \
      return backward1_expression;                                                                              \
    }                                                                                                           \
    static FASTNN_INLINE Vec<T> backward2(Vec<T> dy, [[maybe_unused]] Vec<T> x1, [[maybe_unused]] Vec<T> x2) {  \
      return backward2_expression;                                                                              \
    }                                                                                                           \
  };

FASTNN_INLINE float scalar_pow(float x, float y) { return powf(x, y); }
FASTNN_INLINE double scalar_pow(double x, double y) { return ::pow(x, y); }
FASTNN_INLINE float scalar_log(float x) { return logf(x); }
FASTNN_INLINE double scalar_log(double x) { return ::log(x); }

// Lane by lane through libm: a vector pow at 1 ulp needs a log in twice the precision.
template <class T>
FASTNN_INLINE Vec<T> pow_lanes(Vec<T> x, Vec<T> y) {
  for (int i = 0; i < kLanes<T>; ++i) x[i] = scalar_pow(x[i], y[i]);
  return x;
}
// x2 * x1^(x2 - 1), with 0 where x2 is 0 (also at x1 = 0, where the power is infinite)
template <class T>
FASTNN_INLINE Vec<T> pow_backward1(Vec<T> dy, Vec<T> x1, Vec<T> x2) {
  const Vec<T> zero{};
  return x2 == zero ? zero : dy * x2 * pow_lanes<T>(x1, x2 - splat(T(1)));
}
// x1^x2 * log(x1), with 0 at x1 = 0 and x2 > 0: the limit
template <class T>
FASTNN_INLINE Vec<T> pow_backward2(Vec<T> dy, Vec<T> x1, Vec<T> x2) {
  Vec<T> d = dy * pow_lanes<T>(x1, x2);
  for (int i = 0; i < kLanes<T>; ++i) d[i] = x1[i] == T(0) && x2[i] > T(0) ? T(0) : d[i] * scalar_log(x1[i]);
  return d;
}

// Where both are equal each gets half of the gradient, which keeps its sum and the symmetry; TensorFlow gives all of it
// to the first.
template <class T>
FASTNN_INLINE Vec<T> share(Vec<T> dy, Mask<T> mine, Vec<T> x1, Vec<T> x2) {
  return mine ? dy : x1 == x2 ? dy * splat(T(0.5)) : Vec<T>{};
}

// clang-format off: it takes the products among macro arguments for pointers
FASTNN_BINARY_FUNCTOR(add, false, x1 + x2, dy, dy)
FASTNN_BINARY_FUNCTOR(subtract, false, x1 - x2, dy, -dy)
FASTNN_BINARY_FUNCTOR(multiply, true, x1 * x2, dy * x2, dy * x1)
FASTNN_BINARY_FUNCTOR(divide, true, x1 / x2, dy / x2, -dy * (x1 / x2) / x2)
FASTNN_BINARY_FUNCTOR(power, true, (pow_lanes<T>(x1, x2)), (pow_backward1<T>(dy, x1, x2)),
                      (pow_backward2<T>(dy, x1, x2)))
FASTNN_BINARY_FUNCTOR(maximum, true, (max<T>(x1, x2)), (share<T>(dy, x1 > x2, x1, x2)), (share<T>(dy, x2 > x1, x1, x2)))
FASTNN_BINARY_FUNCTOR(minimum, true, (min<T>(x1, x2)), (share<T>(dy, x1 < x2, x1, x2)), (share<T>(dy, x2 < x1, x1, x2)))
// clang-format on
#undef FASTNN_BINARY_FUNCTOR

template <class T>
FASTNN_INLINE Vec<T> walk(const T* x, int64_t stride, int64_t i, int n) {
  if (stride == 0) return splat(x[0]);
  return n == kLanes<T> ? load(x + i) : load_part(x + i, n);
}

template <class T, template <class> class F>
void binary_forward(T* y, const T* x1, int64_t s1, const T* x2, int64_t s2, int64_t n) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, F<T>::forward(walk(x1, s1, i, L), walk(x2, s2, i, L)));
  if (const int part = static_cast<int>(n - i))
    store_part(y + i, F<T>::forward(walk(x1, s1, i, part), walk(x2, s2, i, part)), part);
}

template <class T, template <class> class F, int operand>
void binary_backward(T* d, const T* dy, const T* x1, int64_t s1, const T* x2, int64_t s2, int64_t n, bool accumulate) {
  constexpr int L = kLanes<T>;
  constexpr bool reads = F<T>::reads;
  for (int64_t i = 0; i < n; i += L) {
    const int part = n - i < L ? static_cast<int>(n - i) : L;
    const Vec<T> g = walk(dy, 1, i, part);
    const Vec<T> v1 = reads ? walk(x1, s1, i, part) : Vec<T>{}, v2 = reads ? walk(x2, s2, i, part) : Vec<T>{};
    Vec<T> r = operand == 1 ? F<T>::backward1(g, v1, v2) : F<T>::backward2(g, v1, v2);
    if (accumulate) r += walk<T>(d, 1, i, part);
    if (part == L)
      store(d + i, r);
    else
      store_part(d + i, r, part);
  }
}

template <class T, template <class> class F>
constexpr BinaryKernel<T> binary_kernel() {
  return {binary_forward<T, F>, binary_backward<T, F, 1>, binary_backward<T, F, 2>, F<T>::reads};
}

template <class T>
void triad(T* y, T a, const T* x, const T* z, int64_t n) {
  constexpr int L = kLanes<T>;
  const Vec<T> va = splat(a);
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, fma(va, load(x + i), load(z + i)));
  if (const int part = static_cast<int>(n - i))
    store_part(y + i, fma(va, load_part(x + i, part), load_part(z + i, part)), part);
}

template <class T>
constexpr ElementwiseKernels<T> kTable{
#define FASTNN_ROW(name) unary_kernel<T, name##_fn>(),
    {FASTNN_UNARY(FASTNN_ROW)},
#undef FASTNN_ROW
#define FASTNN_ROW(name) binary_kernel<T, name##_fn>(),
    {FASTNN_BINARY(FASTNN_ROW)},
#undef FASTNN_ROW
    triad<T>,
};

}  // namespace

FASTNN_REGISTER(elementwise) {
  f32.elementwise = kTable<float>;
  f64.elementwise = kTable<double>;
}

}  // namespace fastnn::kernels
