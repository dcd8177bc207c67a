// The kernel table: every kernel of one instruction set, for float and for double. Ops reach kernels through
// kernels<T>(), never by name.
#pragma once
#include "kernels/conv.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/gemm.hpp"
#include "kernels/loss.hpp"
#include "kernels/norm.hpp"
#include "kernels/optimizer.hpp"
#include "kernels/pool.hpp"
#include "kernels/random.hpp"
#include "kernels/reduce.hpp"
#include "kernels/softmax.hpp"
#include "kernels/winograd.hpp"

namespace fastnn::kernels {

// One line per kernel family: X(member of the table, its type). The file of the same name in kernels/ fills it.
#define FASTNN_KERNEL_FAMILIES(X)    \
  X(gemm, GemmKernels)               \
  X(conv, ConvKernels)               \
  X(winograd, WinogradKernels)       \
  X(elementwise, ElementwiseKernels) \
  X(reduce, ReduceKernels)           \
  X(pool, PoolKernels)               \
  X(norm, NormKernels)               \
  X(softmax, SoftmaxKernels)         \
  X(loss, LossKernels)               \
  X(random, RandomKernels)           \
  X(optimizer, OptimizerKernels)

template <class T>
struct Kernels {
#define FASTNN_MEMBER(family, type) type<T> family;
  FASTNN_KERNEL_FAMILIES(FASTNN_MEMBER)
#undef FASTNN_MEMBER
};

}  // namespace fastnn::kernels

namespace fastnn {

// The table of the instruction set chosen at import.
template <class T>
const kernels::Kernels<T>& kernels_for();
template <>
const kernels::Kernels<float>& kernels_for<float>();
template <>
const kernels::Kernels<double>& kernels_for<double>();

}  // namespace fastnn
