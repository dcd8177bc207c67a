#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/shape.hpp"

namespace fastnn {

void bind_shape(py::module_& m) {
  m.def("copy", [](py::handle x) { return call1(copy_of(), {as_tensor(x, "x")}); }, py::arg("x"));
  m.def("fill_like", [](py::handle x, double value) { return call1(fill_like(value), {as_tensor(x, "x")}); },
        py::arg("x"), py::arg("value"));
  m.def("reshape", [](py::handle x, py::handle shape) {
    return call1(reshape_to(as_shape(shape, "newshape")), {as_tensor(x, "x")});
  }, py::arg("x"), py::arg("newshape"));
  m.def("stop_gradient", [](py::handle x) { return call1(stop_gradient(), {as_tensor(x, "x")}); }, py::arg("x"));
}

}  // namespace fastnn
