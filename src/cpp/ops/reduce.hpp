#pragma once
#include <cstdint>

#include "ops/op.hpp"

namespace fastnn {

// y = (accumulate ? y : 0) + the sum of x over the axes whose bit is set in `axes`; y has x's elements without them.
template <class T>
void sum_axes(const T* x, const Shape& shape, uint32_t axes, T* y, bool accumulate);

// The adjoint of broadcasting: sums x of shape `from` into y of shape `to`.
template <class T>
void sum_to_shape(const T* x, const Shape& from, T* y, const Shape& to, bool accumulate);

}  // namespace fastnn
