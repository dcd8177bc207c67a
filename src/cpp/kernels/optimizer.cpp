#include "kernels/optimizer.hpp"

#include "kernels/register.hpp"
#include "kernels/simd.hpp"

namespace fastnn::kernels {
namespace {

// Whole vectors and then the rest through the same code: `body` gets a way to load and a way to store at i.
template <class T, class Body>
FASTNN_INLINE void for_vectors(int64_t n, const Body& body) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= n; i += L) body([i](const T* p) { return load(p + i); }, [i](T* p, Vec<T> x) { store(p + i, x); });
  if (const int part = static_cast<int>(n - i))
    body([i, part](const T* p) { return load_part(p + i, part); },
         [i, part](T* p, Vec<T> x) { store_part(p + i, x, part); });
}

template <class T>
void sgd(T* w, const T* g, int64_t n, T rate, T decay) {
  const Vec<T> vrate = splat(-rate), vdecay = splat(-decay);
  for_vectors<T>(n, [&](auto at, auto put) {
    const Vec<T> x = at(w);
    put(w, fma(vrate, at(g), fma(vdecay, x, x)));
  });
}

template <class T>
void momentum(T* w, const T* g, T* v, int64_t n, const MomentumStep<T>& step) {
  const Vec<T> keep = splat(step.momentum), take = splat(step.gradient_factor), rate = splat(step.rate),
               decay = splat(-step.decay);
  const bool nesterov = step.nesterov;
  for_vectors<T>(n, [&](auto at, auto put) {
    const Vec<T> x = at(w), gradient = take * at(g), velocity = fma(keep, at(v), gradient);
    put(v, velocity);
    put(w, fma(rate, nesterov ? fma(keep, velocity, gradient) : velocity, fma(decay, x, x)));
  });
}

template <class T>
void rmsprop(T* w, const T* g, T* s, T* mean, T* v, int64_t n, const RmspropStep<T>& step) {
  const Vec<T> rho = splat(step.rho), rest = splat(step.one_minus_rho), keep = splat(step.momentum),
               rate = splat(step.rate), epsilon = splat(step.epsilon), decay = splat(-step.decay);
  const bool inside = step.epsilon_inside;
  for_vectors<T>(n, [&](auto at, auto put) {
    const Vec<T> x = at(w), gradient = at(g), square = fma(rest * gradient, gradient, rho * at(s));
    put(s, square);
    Vec<T> variance = square;
    if (mean) {
      const Vec<T> average = fma(rest, gradient, rho * at(mean));
      put(mean, average);
      variance = max<T>(fma(-average, average, square), Vec<T>{});  // rounding may leave less than nothing
    }
    const Vec<T> root = inside ? sqrt(variance + epsilon) : sqrt(variance) + epsilon;
    Vec<T> change = rate * gradient / root;
    if (v) {
      change = fma(keep, at(v), change);
      put(v, change);
    }
    put(w, fma(decay, x, x) - change);
  });
}

template <class T>
void adam(T* w, const T* g, T* m, T* v, T* largest, int64_t n, const AdamStep<T>& step) {
  const Vec<T> rest_1 = splat(step.one_minus_beta_1), rest_2 = splat(step.one_minus_beta_2), rate = splat(step.rate),
               epsilon = splat(step.epsilon), decay = splat(-step.decay);
  for_vectors<T>(n, [&](auto at, auto put) {
    const Vec<T> x = at(w), gradient = at(g), m0 = at(m), v0 = at(v);
    const Vec<T> m1 = fma(gradient - m0, rest_1, m0);
    Vec<T> v1 = fma(fma(gradient, gradient, -v0), rest_2, v0);
    put(m, m1);
    put(v, v1);
    if (largest) {
      v1 = max<T>(v1, at(largest));
      put(largest, v1);
    }
    put(w, fma(decay, x, x) - rate * m1 / (sqrt(v1) + epsilon));
  });
}

template <class T>
constexpr OptimizerKernels<T> kTable{sgd<T>, momentum<T>, rmsprop<T>, adam<T>};

}  // namespace

FASTNN_REGISTER(optimizer) {
  f32.optimizer = kTable<float>;
  f64.optimizer = kTable<double>;
}

}  // namespace fastnn::kernels
