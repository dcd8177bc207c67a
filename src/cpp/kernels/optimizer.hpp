// Optimizer steps: weights and slots updated in place, one pass over memory.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

// First of every step w is scaled by 1 - decay (decoupled weight decay).
template <class T>
struct MomentumStep {  // v = momentum v + gradient_factor g;  w += rate (nesterov ? momentum v + gradient_factor g : v)
  T momentum, gradient_factor, rate, decay;
  bool nesterov;
};
template <class T>
struct RmspropStep {
  T rho, one_minus_rho, momentum, rate, epsilon, decay;
  bool epsilon_inside;  // of the square root
};
template <class T>
struct AdamStep {  // m += (g - m) (1 - beta_1);  v += (g^2 - v) (1 - beta_2);  w -= rate m / (sqrt(v) + epsilon)
  T one_minus_beta_1, one_minus_beta_2, rate, epsilon, decay;
};

template <class T>
struct OptimizerKernels {
  void (*sgd)(T* w, const T* g, int64_t n, T rate, T decay);
  void (*momentum)(T* w, const T* g, T* v, int64_t n, const MomentumStep<T>& step);
  void (*rmsprop)(T* w, const T* g, T* s, T* mean, T* v, int64_t n,
                  const RmspropStep<T>& step);                                                 // mean, v: may be null
  void (*adam)(T* w, const T* g, T* m, T* v, T* largest, int64_t n, const AdamStep<T>& step);  // largest: may be null
};

}  // namespace fastnn::kernels
