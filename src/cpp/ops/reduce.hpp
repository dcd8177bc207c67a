#pragma once
#include <cstdint>
#include <vector>

#include "ops/op.hpp"

namespace fastnn {

// y = (accumulate ? y : 0) + the sum of x over the axes whose bit is set in `axes`; y has x's elements without them.
template <class T>
void sum_axes(const T* x, const Shape& shape, uint32_t axes, T* y, bool accumulate);

// The adjoint of broadcasting: sums x of shape `from` into y of shape `to`.
template <class T>
void sum_to_shape(const T* x, const Shape& from, T* y, const Shape& to, bool accumulate);

enum class Reduction { sum, mean, max, min, prod, var, logsumexp, argmax, argmin, all, any };

// x over `axes` (negative count from the end; all of them if `everything`). Orders are fixed by the sizes alone. Equal
// maxima share the gradient. var is biased, in two passes. argmax and argmin take one axis or everything, give int64
// and the first NaN if there is one. all and any take bool. sum and prod of integers keep their dtype.
OpPtr reduce(Reduction kind, std::vector<int64_t> axes, bool everything, bool keepdims);

}  // namespace fastnn
