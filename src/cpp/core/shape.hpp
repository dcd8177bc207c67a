// Shape, DType and Spec: what an op knows of its inputs before there is any data.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>
#include <string>

#include "core/error.hpp"

namespace fastnn {

enum class DType : uint8_t { boolean, uint8, int32, int64, float32, float64 };

constexpr size_t item_size(DType dtype) {
  constexpr size_t sizes[] = {1, 1, 4, 8, 4, 8};
  return sizes[static_cast<size_t>(dtype)];
}
constexpr bool is_floating(DType dtype) { return dtype >= DType::float32; }
const char* name(DType dtype);    // "float32", NumPy's names
DType promote(DType a, DType b);  // NumPy's table
inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name(dtype); }

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::boolean;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::uint8;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::int32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::int64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::float64;
};

// Calls f with a value of the C++ type that `dtype` names; `f(T{})`.
template <class F>
decltype(auto) with_float(DType dtype, const char* op, F&& f) {
  if (dtype == DType::float32) return f(float{});
  if (dtype == DType::float64) return f(double{});
  throw TypeError(cat(op, ": expected float32 or float64, got ", dtype));
}
template <class F>
decltype(auto) with_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::boolean:
      return f(bool{});
    case DType::uint8:
      return f(uint8_t{});
    case DType::int32:
      return f(int32_t{});
    case DType::int64:
      return f(int64_t{});
    case DType::float32:
      return f(float{});
    default:
      return f(double{});
  }
}

constexpr int kMaxRank = 8;       // enough for every layer and its batch; an array is cheaper than a vector
constexpr int64_t kUnknown = -1;  // a dimension that only a placeholder may have; None in Python

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }
  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  int64_t operator[](int i) const { return dims_[i]; }
  int64_t& operator[](int i) { return dims_[i]; }
  int64_t back() const { return dims_[rank_ - 1]; }
  int64_t& back() { return dims_[rank_ - 1]; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  void push_back(int64_t d);
  void insert(int at, int64_t d);
  void erase(int at);
  bool operator==(const Shape& other) const;
  bool known() const;  // no unknown dimension

 private:
  int rank_ = 0;
  std::array<int64_t, kMaxRank> dims_{};
};
std::ostream& operator<<(std::ostream& out, const Shape& shape);  // as Python prints a tuple, unknown as None

// Of a known shape. ValueError where the product overflows, a dimension of 0 counted as 1: strides are such products.
int64_t numel(const Shape& shape);
int64_t numel(const Shape& shape, int from, int to);         // product of dims [from, to)
int normalize_axis(int64_t axis, int rank, const char* op);  // negative counts from the end; ValueError out of range
uint32_t axis_bits(std::span<const int64_t> axes, int rank, const char* op);  // a bit per axis; ValueError if twice

// Arithmetic on dimensions that carries the unknown through.
inline bool same_dim(int64_t a, int64_t b) { return a == b || a == kUnknown || b == kUnknown; }
inline int64_t known_dim(int64_t a, int64_t b) { return a == kUnknown ? b : a; }
int64_t add_dims(int64_t a, int64_t b, const char* op);  // ValueError where the sum overflows
Shape broadcast(const Shape& a, const Shape& b, const char* op);

struct Spec {
  Shape shape;
  DType dtype = DType::float32;
  bool operator==(const Spec&) const = default;
};
inline size_t bytes_of(const Spec& spec) { return static_cast<size_t>(numel(spec.shape)) * item_size(spec.dtype); }

}  // namespace fastnn
