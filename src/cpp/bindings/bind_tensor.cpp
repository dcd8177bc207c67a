#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "bindings/variable.hpp"
#include "ops/assign.hpp"

namespace fastnn {

namespace {

using TensorList = std::vector<Tensor>;

py::buffer_info buffer_of(const Tensor& t, bool readonly) {
  void* data = t.raw();
  std::vector<py::ssize_t> shape(t.shape().begin(), t.shape().end()), strides(shape.size());
  auto stride = static_cast<py::ssize_t>(item_size(t.dtype()));
  for (size_t d = shape.size(); d-- > 0; stride *= shape[d]) strides[d] = stride;
  const std::string format =
      with_dtype(t.dtype(), [](auto zero) { return py::format_descriptor<decltype(zero)>::format(); });
  return {data,
          static_cast<py::ssize_t>(item_size(t.dtype())),
          format,
          static_cast<py::ssize_t>(shape.size()),
          shape,
          strides,
          readonly || t.storage()->readonly()};
}

// NumPy's protocols and operators, the same for Tensor and Variable. The operators are Python functions of
// fastnn.ops, attached there: one definition each.
template <class Class, class Get>
void bind_array_protocols(Class& cls, Get get, bool readonly) {
  using Self = typename Class::type;
  cls.def_property_readonly("shape", [get](const Self& s) { return shape_tuple(get(s).shape()); })
      .def_property_readonly("dtype", [get](const Self& s) { return numpy_dtype(get(s).dtype()); })
      .def_property_readonly("ndim", [get](const Self& s) { return get(s).rank(); })
      .def_property_readonly("size", [get](const Self& s) { return get(s).size(); })
      .def(
          "__array__",
          [get, readonly](const Self& s, const py::object& dtype, const py::object& copy) -> py::object {
            const py::array array = as_array(get(s), !readonly && !get(s).variable_info());
            const bool same = dtype.is_none() || py::dtype::from_args(dtype).is(array.dtype()) ||
                              py::dtype::from_args(dtype).equal(array.dtype());
            if (same && (copy.is_none() || !copy.cast<bool>())) return array;
            if (!same && !copy.is_none() && !copy.cast<bool>())
              throw ValueError("__array__: a conversion to another dtype needs a copy, and copy=False was asked for");
            return array.attr("astype")(same ? py::object(array.dtype()) : dtype);
          },
          py::arg("dtype") = py::none(), py::arg("copy") = py::none())
      .def("__dlpack__",
           [get, readonly](const Self& s, const py::kwargs& options) {
             return as_array(get(s), !readonly && !get(s).variable_info()).attr("__dlpack__")(**options);
           })
      .def("__dlpack_device__", [](const Self&) { return py::make_tuple(1, 0); })
      .def("__len__",
           [get](const Self& s) {
             if (get(s).rank() == 0) throw TypeError("len() of a 0-d tensor");
             const int64_t n = get(s).shape()[0];
             if (n == kUnknown) throw TypeError("len() of a placeholder whose first dimension is not known");
             return n;
           })
      .def("__float__",
           [get](const Self& s) {
             const Tensor& t = get(s);
             if (t.rank() > 0 || !t.has_data()) return py::float_(as_array(t, false).attr("item")());
             return with_dtype(t.dtype(),
                               [&](auto zero) { return py::float_(static_cast<double>(*t.data<decltype(zero)>())); });
           })
      .def("__int__",
           [get](const Self& s) {
             const Tensor& t = get(s);
             if (t.rank() > 0 || !t.has_data() || t.dtype() != DType::int64)
               return py::int_(as_array(t, false).attr("item")());
             return py::int_(*t.data<int64_t>());
           })
      .def("__bool__",
           [get](const Self& s) { return as_array(get(s), false).attr("__bool__")().template cast<bool>(); })
      .def("__index__", [get](const Self& s) { return as_array(get(s), false).attr("__index__")(); })
      .def(
          "item", [get](const Self& s) { return as_array(get(s), false).attr("item")(); },
          "The one element as a Python number.")
      .def("tolist", [get](const Self& s) { return as_array(get(s), false).attr("tolist")(); })
      .def("__hash__", [get](const Self& s) { return get(s).id(); });
  cls.attr("__array_ufunc__") = py::none();
}

std::string values_text(const Tensor& t) {
  if (!t.has_data()) return "placeholder";
  return py::module_::import("numpy")
      .attr("array2string")(as_array(t, false), py::arg("separator") = ", ", py::arg("threshold") = 100)
      .cast<std::string>();
}

}  // namespace

void bind_tensor(py::module_& m) {
  py::class_<Tensor> tensor(
      m, "Tensor", py::buffer_protocol(),
      "An n-dimensional array that fastnn.ops compute with. NumPy reads and writes its memory without a copy.");
  tensor
      .def(py::init([](py::handle value, const py::object& dtype) {
             Tensor t = as_tensor(value, "value");
             return dtype.is_none() ? t : cast_to(t, as_dtype(dtype));
           }),
           py::arg("value"), py::arg("dtype") = py::none())
      .def_buffer([](Tensor& t) { return buffer_of(t, t.variable_info() != nullptr); })
      .def(
          "numpy", [](const Tensor& t) { return as_array(t, !t.variable_info()); },
          "A view as np.ndarray; no copy. Read-only where it is a variable's value.")
      .def_property_readonly("is_placeholder", [](const Tensor& t) { return !t.has_data(); })
      .def_property_readonly("id", &Tensor::id, "What identifies this value in graphs and tapes.")
      .def("__repr__", [](const Tensor& t) {
        return cat("<Tensor shape=", t.shape(), " dtype=", t.dtype(), " ", values_text(t), ">");
      });
  bind_array_protocols(tensor, [](const Tensor& t) -> const Tensor& { return t; }, false);

  py::class_<Variable> variable(
      m, "Variable", py::buffer_protocol(),
      "A tensor that can be trained, with a name. np.asarray(variable) is a read-only live view.");
  variable
      .def(py::init([](py::handle value, bool trainable, const py::object& name, const py::object& dtype) {
             Tensor t = as_tensor(value, "value");
             if (!dtype.is_none()) t = cast_to(t, as_dtype(dtype));
             Tensor own = Tensor::empty(t.shape(), t.dtype());
             std::memcpy(own.raw(), t.raw(), t.bytes());
             return Variable{Tensor::variable(
                 own, {name.is_none() ? "variable" : name.cast<std::string>(), trainable && is_floating(t.dtype())})};
           }),
           py::arg("value"), py::arg("trainable") = true, py::arg("name") = py::none(), py::arg("dtype") = py::none())
      .def_buffer([](Variable& v) { return buffer_of(v.tensor, true); })
      .def_property(
          "name", [](const Variable& v) { return v.tensor.variable_info()->name; },
          [](Variable& v, const std::string& name) { v.tensor.variable_info()->name = name; })
      .def_property(
          "trainable", [](const Variable& v) { return v.tensor.variable_info()->trainable; },
          [](Variable& v, bool trainable) {
            if (v.tensor.variable_info()->trainable != trainable) note_change();
            v.tensor.variable_info()->trainable = trainable;
          })
      .def_property_readonly(
          "value", [](const Variable& v) { return v.tensor; }, "The tensor that ops read.")
      .def_property_readonly(
          "version", [](const Variable& v) { return v.tensor.storage()->version(); },
          "How often fastnn has written this variable.")
      .def(
          "numpy", [](const Variable& v, bool writable) { return as_array(v.tensor, writable); },
          py::arg("writable") = false, "A live view as np.ndarray; read-only unless `writable`.")
      .def(
          "assign",
          [](const Variable& v, py::handle value) {
            call(assign(),
                 TensorList{v.tensor, cast_to(as_tensor(value, "value", v.tensor.dtype()), v.tensor.dtype())});
          },
          py::arg("value"), "Overwrite the values. ValueError if the shape differs.")
      .def(
          "assign_add",
          [](const Variable& v, py::handle value) {
            call(assign_add(),
                 TensorList{v.tensor, cast_to(as_tensor(value, "value", v.tensor.dtype()), v.tensor.dtype())});
          },
          py::arg("value"))
      .def("__repr__", [](const Variable& v) {
        return cat("<Variable '", v.tensor.variable_info()->name, "' shape=", v.tensor.shape(),
                   " dtype=", v.tensor.dtype(), v.tensor.variable_info()->trainable ? " " : " not trainable ",
                   values_text(v.tensor), ">");
      });
  bind_array_protocols(variable, [](const Variable& v) -> const Tensor& { return v.tensor; }, true);
  m.def("changes", &changes, "How often something that may change a recorded step has been noted.");
  m.def("note_change", &note_change);
  m.def(
      "assign_all",
      [](const py::typing::List<Variable>& variables, const py::typing::List<Tensor>& values) {
        if (variables.size() != values.size())
          throw ValueError(cat("assign_all: expected ", variables.size(), " values, got ", values.size()));
        // What nobody records and is small is copied here: a step of a small net sets its metrics back.
        constexpr size_t kSmall = 4096;
        const bool heard = !Recorder::of_this_thread().empty();
        for (size_t i = 0; i < variables.size(); ++i) {
          const Tensor &to = variables[i].cast<Variable&>().tensor, &from = values[i].cast<Tensor&>();
          if (!heard && from.has_data() && from.spec() == to.spec() && to.bytes() <= kSmall) {
            std::memcpy(to.raw(), from.raw(), to.bytes());
            to.storage()->bump();
          } else {
            call(assign(), TensorList{to, from});
          }
        }
      },
      py::arg("variables"), py::arg("values"), "Overwrite each variable's values.");
  m.def(
      "moving_average",
      [](const Variable& v, py::handle value, double momentum) {
        call(moving_average(momentum), TensorList{v.tensor, as_tensor(value, "value")});
      },
      py::arg("variable"), py::arg("value"), py::arg("momentum"),
      "variable = variable * momentum + value * (1 - momentum), in place.");
}

}  // namespace fastnn
