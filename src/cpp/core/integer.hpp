// Integer arithmetic that wraps around, as NumPy's does: on signed integers the language leaves overflow undefined.
#pragma once
#include <cstdint>
#include <limits>
#include <type_traits>

namespace fastnn {

// f of two numbers of any dtype: a sum, difference or product.
template <class T, class F>
T wrapping(T a, T b, const F& f) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(f(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  else
    return f(a, b);
}

// The integer that x is cut to, or the nearest that T has.
template <class T>
T saturated(double x) {
  // The largest int64_t is no double: the one that it rounds to lies beyond.
  if (x >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  if (x <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  return static_cast<T>(x);
}

}  // namespace fastnn
