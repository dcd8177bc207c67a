#include "ops/assign.hpp"

#include <functional>

#include "core/integer.hpp"

namespace fastnn {

namespace {

enum class Kind { assign, add, average };

class Assign final : public Op {
 public:
  Assign(Kind kind, double momentum) : kind_(kind), momentum_(momentum) {}
  std::string_view name() const override {
    return kind_ == Kind::assign ? "assign" : kind_ == Kind::add ? "assign_add" : "moving_average";
  }
  size_t writes(size_t) const override { return 1; }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override {
    bool same = x[0].dtype == x[1].dtype && x[0].shape.rank() == x[1].shape.rank();
    for (int d = 0; same && d < x[0].shape.rank(); ++d) same = same_dim(x[0].shape[d], x[1].shape[d]);
    if (!same)
      throw ValueError(cat(name(), ": expected a value of shape ", x[0].shape, " and dtype ", x[0].dtype, ", got ",
                           x[1].shape, " and ", x[1].dtype));
    if (kind_ == Kind::average && !is_floating(x[0].dtype))
      throw TypeError(cat(name(), ": expected a variable of dtype float32 or float64, got ", x[0].dtype));
    return {};
  }
  void forward(Tensors x, Tensors) const override {
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* w = x[0].data<T>();
      const T* v = x[1].data<T>();
      const int64_t n = x[0].size();
      const T keep = static_cast<T>(momentum_), take = static_cast<T>(1 - momentum_);
      for (int64_t i = 0; i < n; ++i)
        w[i] = kind_ == Kind::assign ? v[i]
               : kind_ == Kind::add  ? wrapping(w[i], v[i], std::plus<>())
                                     : static_cast<T>(w[i] * keep + v[i] * take);
    });
  }

 private:
  Kind kind_;
  double momentum_;
};

}  // namespace

OpPtr assign() { return std::make_shared<Assign>(Kind::assign, 0); }
OpPtr assign_add() { return std::make_shared<Assign>(Kind::add, 0); }
OpPtr moving_average(double momentum) { return std::make_shared<Assign>(Kind::average, momentum); }

}  // namespace fastnn
