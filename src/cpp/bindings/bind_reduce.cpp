#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/reduce.hpp"

namespace fastnn {

void bind_reduce(py::module_& m) {
  // What x is cast to first: sum and prod of small integers count in int64, means of integers are fractions.
  enum class Promotes { nothing, count, fraction, truth };
  auto bind = [&m](const char* name, Reduction kind, Promotes promotes) {
    m.def(
        name,
        [kind, promotes](py::handle x, py::handle axis, bool keepdims) {
          Tensor t = as_tensor(x, "x");
          if (promotes == Promotes::truth) t = cast_to(t, DType::boolean);
          if (promotes == Promotes::count && !is_floating(t.dtype())) t = cast_to(t, DType::int64);
          if (promotes == Promotes::fraction && !is_floating(t.dtype())) t = cast_to(t, floatx());
          std::vector<int64_t> axes;
          if (!axis.is_none()) {
            const Shape given = as_shape(axis, "axis");
            axes.assign(given.begin(), given.end());
          }
          return call1(reduce(kind, std::move(axes), axis.is_none(), keepdims), {t});
        },
        py::arg("x"), py::arg("axis") = py::none(), py::arg("keepdims") = false);
  };
  bind("sum", Reduction::sum, Promotes::count);
  bind("mean", Reduction::mean, Promotes::fraction);
  bind("max", Reduction::max, Promotes::nothing);
  bind("min", Reduction::min, Promotes::nothing);
  bind("prod", Reduction::prod, Promotes::count);
  bind("var", Reduction::var, Promotes::fraction);
  bind("logsumexp", Reduction::logsumexp, Promotes::fraction);
  bind("argmax", Reduction::argmax, Promotes::nothing);
  bind("argmin", Reduction::argmin, Promotes::nothing);
  bind("all", Reduction::all, Promotes::truth);
  bind("any", Reduction::any, Promotes::truth);
}

}  // namespace fastnn
