#include <cmath>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/elementwise.hpp"

namespace fastnn {

void bind_elementwise(py::module_& m) {
  using kernels::Binary;
  using kernels::Unary;
  // Functions that integers have no kernel for compute in floatx, and bounds that are no integers make no integers.
  auto bind_unary = [&m](const char* name, Unary kind, bool keeps_integers) {
    m.def(
        name,
        [kind, keeps_integers](py::handle x, double a, double b) {
          Tensor t = as_tensor(x, "x");
          const bool keeps = keeps_integers && t.dtype() != DType::boolean && a == std::trunc(a) && b == std::trunc(b);
          if (!is_floating(t.dtype()) && !keeps) t = cast_to(t, floatx());
          return call1(unary(kind, a, b), {t});
        },
        py::arg("x"), py::arg("a") = 0.0, py::arg("b") = 0.0);
  };
#define FASTNN_BIND(name)                                                                                 \
  bind_unary(#name, Unary::name,                                                                          \
             Unary::name == Unary::negative || Unary::name == Unary::abs || Unary::name == Unary::sign || \
                 Unary::name == Unary::square || Unary::name == Unary::relu || Unary::name == Unary::clip);
  FASTNN_UNARY(FASTNN_BIND)
#undef FASTNN_BIND
  auto bind_binary = [&m](const char* name, Binary kind) {
    m.def(
        name,
        [kind](py::handle x1, py::handle x2) {
          auto [a, b] = as_operands(x1, "x1", x2, "x2");
          const bool needs_float = kind == Binary::divide || kind == Binary::power || a.dtype() == DType::boolean;
          if (needs_float && !is_floating(a.dtype())) {
            a = cast_to(a, floatx());
            b = cast_to(b, floatx());
          }
          return call1(binary(kind), {a, b});
        },
        py::arg("x1"), py::arg("x2"));
  };
#define FASTNN_BIND(name) bind_binary(#name, Binary::name);
  FASTNN_BINARY(FASTNN_BIND)
#undef FASTNN_BIND
  m.def(
      "cast", [](py::handle x, py::handle dtype) { return cast_to(as_tensor(x, "x"), as_dtype(dtype)); }, py::arg("x"),
      py::arg("dtype"));
}

}  // namespace fastnn
