#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/dense.hpp"

namespace fastnn {

void bind_dense(py::module_& m) {
  m.def(
      "dense",
      [](py::handle x, py::handle kernel, py::handle bias) {
        const Tensor w = as_tensor(kernel, "kernel");
        const Tensor t = as_tensor(x, "x");
        if (bias.is_none()) return call1(dense(false), {t, w});
        return call1(dense(true), {t, w, as_tensor(bias, "bias")});
      },
      py::arg("x"), py::arg("kernel"), py::arg("bias") = py::none());
  m.def(
      "matmul",
      [](py::handle x1, py::handle x2, bool transpose_x1, bool transpose_x2) {
        const auto [a, b] = as_operands(x1, "x1", x2, "x2");
        return call1(matmul(transpose_x1, transpose_x2), {a, b});
      },
      py::arg("x1"), py::arg("x2"), py::arg("transpose_x1") = false, py::arg("transpose_x2") = false);
}

}  // namespace fastnn
