#include "ops/softmax.hpp"

#include <algorithm>

#include "core/parallel.hpp"
#include "kernels/table.hpp"

namespace fastnn {

namespace {

// An exponential costs about this many elementary operations.
constexpr int64_t kWork = 4;

// y = exp(x - m) / sum(exp(x - m)), m the largest along the axis; log_softmax: y = x - m - log(sum(exp(x - m))).
// dx = y (dy - sum(y dy)); log_softmax: dx = dy - exp(y) sum(dy).
class Softmax final : public Op {
 public:
  Softmax(int64_t axis, bool logarithm) : axis_(axis), logarithm_(logarithm) {}
  std::string_view name() const override { return title(); }
  std::vector<Spec> infer(Specs x) const override {
    if (!is_floating(x[0].dtype))
      throw TypeError(cat(title(), ": expected x of dtype float32 or float64, got ", x[0].dtype));
    normalize_axis(axis_, x[0].shape.rank(), title());
    return {x[0]};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), title(), [&](auto zero) {
      using T = decltype(zero);
      const T* source = x[0].data<T>();
      T* to = y[0].data<T>();
      const auto& f = functions<T>();
      walk(
          x[0].shape(), [&](int64_t at, int64_t rows, int64_t n) { f.rows(to + at, source + at, rows, n); },
          [&](int64_t at, int64_t n, int64_t columns, int64_t stride) {
            f.columns(to + at, source + at, n, columns, stride);
          });
    });
  }
  bool reads_output(size_t) const override { return true; }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    with_float(b.x_spec[0].dtype, title(), [&](auto zero) {
      using T = decltype(zero);
      const T *y = b.y[0].data<T>(), *dy = b.dy[0].data<T>();
      T* dx = b.dx[0].to.template data<T>();
      const bool accumulate = b.dx[0].accumulate;
      const auto& f = functions<T>();
      walk(
          b.x_spec[0].shape,
          [&](int64_t at, int64_t rows, int64_t n) { f.rows_backward(dx + at, dy + at, y + at, rows, n, accumulate); },
          [&](int64_t at, int64_t n, int64_t columns, int64_t stride) {
            f.columns_backward(dx + at, dy + at, y + at, n, columns, stride, accumulate);
          });
    });
  }

 private:
  const char* title() const { return logarithm_ ? "log_softmax" : "softmax"; }
  template <class T>
  const kernels::SoftmaxFunctions<T>& functions() const {
    const auto& family = kernels_for<T>().softmax;
    return logarithm_ ? family.log_softmax : family.softmax;
  }
  // rows(first element, rows, n) where the axis is the last; else columns(first element, n, columns, stride).
  template <class Rows, class Columns>
  void walk(const Shape& shape, const Rows& rows, const Columns& columns) const {
    const int axis = normalize_axis(axis_, shape.rank(), title());
    const int64_t outer = numel(shape, 0, axis), n = shape[axis], inner = numel(shape, axis + 1, shape.rank());
    if (outer * n * inner == 0) return;
    if (inner == 1) {
      parallel_for(outer, grain_for(kWork * n), [&](int64_t begin, int64_t end) { rows(begin * n, end - begin, n); });
      return;
    }
    constexpr int64_t kColumns = 64;  // a few vectors: the rows they cross stay in the cache
    const int64_t blocks = (inner + kColumns - 1) / kColumns;
    parallel_for(outer * blocks, grain_for(kWork * n * std::min(inner, kColumns)), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t first = task % blocks * kColumns;
        columns(task / blocks * n * inner + first, n, std::min(kColumns, inner - first), inner);
      }
    });
  }
  int64_t axis_;
  bool logarithm_;
};

}  // namespace

OpPtr softmax(int64_t axis) { return std::make_shared<Softmax>(axis, false); }
OpPtr log_softmax(int64_t axis) { return std::make_shared<Softmax>(axis, true); }

}  // namespace fastnn
