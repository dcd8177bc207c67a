#include "core/shape.hpp"

#include <algorithm>

namespace fastnn {

const char* name(DType dtype) {
  constexpr const char* names[] = {"bool", "uint8", "int32", "int64", "float32", "float64"};
  return names[static_cast<size_t>(dtype)];
}

DType promote(DType a, DType b) {
  if (a > b) std::swap(a, b);
  if (a == b) return a;
  // int32 and int64 hold values that float32 cannot: NumPy goes to float64.
  if (b == DType::float32 && (a == DType::int32 || a == DType::int64)) return DType::float64;
  return b;
}

void Shape::push_back(int64_t d) { insert(rank_, d); }

void Shape::insert(int at, int64_t d) {
  if (rank_ == kMaxRank) throw ValueError(cat("shape: at most ", kMaxRank, " dimensions are supported"));
  std::copy_backward(dims_.begin() + at, dims_.begin() + rank_, dims_.begin() + rank_ + 1);
  dims_[at] = d;
  ++rank_;
}

void Shape::erase(int at) {
  std::copy(dims_.begin() + at + 1, dims_.begin() + rank_, dims_.begin() + at);
  --rank_;
}

bool Shape::operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

bool Shape::known() const { return std::find(begin(), end(), kUnknown) == end(); }

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '(';
  for (int i = 0; i < shape.rank(); ++i) {
    if (i) out << ", ";
    if (shape[i] == kUnknown)
      out << "None";
    else
      out << shape[i];
  }
  return out << (shape.rank() == 1 ? ",)" : ")");
}

int64_t numel(const Shape& shape, int from, int to) {
  int64_t n = 1;
  bool empty = false;
  for (int i = from; i < to; ++i) {
    if (shape[i] < 0) throw ValueError(cat("shape ", shape, ": dimension ", i, " is not known here"));
    empty |= shape[i] == 0;
    if (__builtin_mul_overflow(n, std::max<int64_t>(shape[i], 1), &n))
      throw ValueError(cat("shape ", shape, ": more than 2**63 elements"));
  }
  return empty ? 0 : n;
}

int64_t numel(const Shape& shape) { return numel(shape, 0, shape.rank()); }

int normalize_axis(int64_t axis, int rank, const char* op) {
  const int64_t from_front = axis < 0 ? axis + rank : axis;
  if (from_front < 0 || from_front >= rank)
    throw ValueError(cat(op, ": expected axis in [", -rank, ", ", rank, "), got ", axis));
  return static_cast<int>(from_front);
}

uint32_t axis_bits(std::span<const int64_t> axes, int rank, const char* op) {
  uint32_t bits = 0;
  for (int64_t axis : axes) {
    const uint32_t bit = 1u << normalize_axis(axis, rank, op);
    if (bits & bit) throw ValueError(cat(op, ": expected each axis once, got axis ", axis, " twice"));
    bits |= bit;
  }
  return bits;
}

int64_t add_dims(int64_t a, int64_t b, const char* op) {
  if (a == kUnknown || b == kUnknown) return kUnknown;
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) throw ValueError(cat(op, ": dimensions ", a, " and ", b, " are too large"));
  return sum;
}

Shape broadcast(const Shape& a, const Shape& b, const char* op) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape result = longer;
  const int offset = longer.rank() - shorter.rank();
  for (int i = 0; i < shorter.rank(); ++i) {
    const int64_t x = longer[offset + i], y = shorter[i];
    if (x == 1)
      result[offset + i] = y;
    else if (y == 1 || same_dim(x, y))
      result[offset + i] = y == 1 ? x : known_dim(x, y);
    else
      throw ValueError(cat(op, ": shapes ", a, " and ", b, " do not broadcast together"));
  }
  return result;
}

}  // namespace fastnn
