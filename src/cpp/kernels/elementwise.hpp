// Elementwise functions and their derivatives. A function is one functor in elementwise.cpp (forward next to backward)
// and its name in one of these lists; the op, the Python binding and the tests find it by that name.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

// y = f(x; a, b), with two scalar parameters that most ignore.
#define FASTNN_UNARY(X) \
  X(negative)           \
  X(abs)                \
  X(sign)               \
  X(square)             \
  X(sqrt)               \
  X(exp)                \
  X(expm1)              \
  X(log)                \
  X(log1p)              \
  X(erf)                \
  X(sigmoid)            \
  X(tanh)               \
  X(softplus)           \
  X(softsign)           \
  X(relu)               \
  X(leaky_relu)         \
  X(elu)                \
  X(selu)               \
  X(gelu)               \
  X(silu)               \
  X(mish)               \
  X(hard_sigmoid)       \
  X(clip)
// y = f(x1, x2), differentiable in both.
#define FASTNN_BINARY(X) X(add) X(subtract) X(multiply) X(divide) X(power) X(maximum) X(minimum)
// y = x1 ? x2, a bool.
#define FASTNN_COMPARE(X) X(equal) X(not_equal) X(less) X(less_equal) X(greater) X(greater_equal)

#define FASTNN_ENUMERATE(name) name,
enum class Unary { FASTNN_UNARY(FASTNN_ENUMERATE) count };
enum class Binary { FASTNN_BINARY(FASTNN_ENUMERATE) count };
enum class Compare { FASTNN_COMPARE(FASTNN_ENUMERATE) count };
#undef FASTNN_ENUMERATE

template <class T>
struct UnaryKernel {
  void (*forward)(T* y, const T* x, int64_t n, T a, T b);
  // dx = (accumulate ? dx : 0) + dy * f'(x); x or y may be null when not read.
  void (*backward)(T* dx, const T* dy, const T* x, const T* y, int64_t n, T a, T b, bool accumulate);
  bool reads_x, reads_y;  // by backward
};

// Operands walk with stride 1, or 0 for one value broadcast along the row.
template <class T>
struct BinaryKernel {
  void (*forward)(T* y, const T* x1, int64_t s1, const T* x2, int64_t s2, int64_t n);
  // d = (accumulate ? d : 0) + dy * df/dx1 (or x2)
  void (*backward1)(T* d, const T* dy, const T* x1, int64_t s1, const T* x2, int64_t s2, int64_t n, bool accumulate);
  void (*backward2)(T* d, const T* dy, const T* x1, int64_t s1, const T* x2, int64_t s2, int64_t n, bool accumulate);
  bool reads_inputs;  // by backward
};

template <class T>
struct ElementwiseKernels {
  UnaryKernel<T> unary[static_cast<int>(Unary::count)];
  BinaryKernel<T> binary[static_cast<int>(Binary::count)];
  // y = a x + z: what the bandwidth of memory is measured with.
  void (*triad)(T* y, T a, const T* x, const T* z, int64_t n);
};

}  // namespace fastnn::kernels
