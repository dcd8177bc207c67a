#include <pybind11/stl.h>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/shape.hpp"

namespace fastnn {

namespace {

std::vector<int64_t> as_axes(py::handle axes, const char* argument) {
  const Shape given = as_shape(axes, argument);
  return {given.begin(), given.end()};
}

}  // namespace

void bind_shape(py::module_& m) {
  m.def("copy", [](py::handle x) { return call1(copy_of(), {as_tensor(x, "x")}); }, py::arg("x"));
  m.def(
      "fill_like", [](py::handle x, double value) { return call1(fill_like(value), {as_tensor(x, "x")}); },
      py::arg("x"), py::arg("value"));
  m.def(
      "reshape",
      [](py::handle x, py::handle shape) {
        return call1(reshape_to(as_shape(shape, "newshape")), {as_tensor(x, "x")});
      },
      py::arg("x"), py::arg("newshape"));
  m.def("stop_gradient", [](py::handle x) { return call1(stop_gradient(), {as_tensor(x, "x")}); }, py::arg("x"));
  m.def(
      "expand_dims",
      [](py::handle x, py::handle axis) { return call1(expand_dims(as_axes(axis, "axis")), {as_tensor(x, "x")}); },
      py::arg("x"), py::arg("axis"));
  m.def(
      "squeeze",
      [](py::handle x, py::handle axis) {
        return call1(squeeze(axis.is_none() ? std::vector<int64_t>{} : as_axes(axis, "axis"), axis.is_none()),
                     {as_tensor(x, "x")});
      },
      py::arg("x"), py::arg("axis") = py::none());
  m.def(
      "transpose",
      [](py::handle x, py::handle axes) {
        return call1(transpose(axes.is_none() ? std::vector<int64_t>{} : as_axes(axes, "axes"), axes.is_none()),
                     {as_tensor(x, "x")});
      },
      py::arg("x"), py::arg("axes") = py::none());
  m.def(
      "broadcast_to",
      [](py::handle x, py::handle shape) { return call1(broadcast_to(as_shape(shape, "shape")), {as_tensor(x, "x")}); },
      py::arg("x"), py::arg("shape"));
  m.def(
      "concatenate",
      [](const py::sequence& xs, int64_t axis) {
        std::vector<Tensor> parts;
        for (py::handle x : xs) parts.push_back(as_tensor(x, "xs"));
        if (!parts.empty()) {
          DType dtype = parts[0].dtype();
          for (const Tensor& part : parts) dtype = promote(dtype, part.dtype());
          for (Tensor& part : parts) part = cast_to(part, dtype);
        }
        return call(concatenate(axis), parts)[0];
      },
      py::arg("xs"), py::arg("axis") = -1);
  m.def(
      "pad",
      [](py::handle x, const std::vector<std::pair<int64_t, int64_t>>& widths, double value) {
        std::vector<Padding> padding;
        for (const auto& [before, after] : widths) padding.push_back({before, after});
        return call1(pad(std::move(padding), value), {as_tensor(x, "x")});
      },
      py::arg("x"), py::arg("pad_width"), py::arg("constant_values") = 0.0);
}

}  // namespace fastnn
