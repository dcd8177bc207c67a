#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/comparison.hpp"
#include "ops/indexing.hpp"

namespace fastnn {

namespace {

// uint8 counts as an index, too.
Tensor as_indices(py::handle indices, const char* argument) {
  const Tensor t = as_tensor(indices, argument);
  const bool no_list = t.has_data() && t.size() == 0 && is_floating(t.dtype());  // [] is a list of floats to NumPy
  return t.dtype() == DType::uint8 || no_list ? cast_to(t, DType::int64) : t;
}

}  // namespace

void bind_indexing(py::module_& m) {
  m.def(
      "slice",
      [](py::handle x, const py::sequence& keys) {
        std::vector<Range> ranges;
        for (py::handle key : keys) {
          Range range;
          if (PySlice_Check(key.ptr())) {
            Py_ssize_t start, stop, step;
            if (PySlice_Unpack(key.ptr(), &start, &stop, &step) != 0) throw py::error_already_set();
            range = {false, start, stop, step};
          } else {
            range = {true, key.cast<int64_t>(), 0, 1};
          }
          ranges.push_back(range);
        }
        return call1(slice(std::move(ranges)), {as_tensor(x, "x")});
      },
      py::arg("x"), py::arg("keys"));
  m.def(
      "take",
      [](py::handle x, py::handle indices, int64_t axis) {
        return call1(take(axis), {as_tensor(x, "x"), as_indices(indices, "indices")});
      },
      py::arg("x"), py::arg("indices"), py::arg("axis"));
  m.def(
      "take_along_axis",
      [](py::handle x, py::handle indices, int64_t axis) {
        return call1(take_along_axis(axis), {as_tensor(x, "x"), as_indices(indices, "indices")});
      },
      py::arg("x"), py::arg("indices"), py::arg("axis"));
  m.def(
      "one_hot",
      [](py::handle x, int64_t num_classes, int64_t axis, py::handle dtype) {
        return call1(one_hot(num_classes, axis, dtype.is_none() ? floatx() : as_dtype(dtype)), {as_indices(x, "x")});
      },
      py::arg("x"), py::arg("num_classes"), py::arg("axis") = -1, py::arg("dtype") = py::none());
  m.def(
      "top_k",
      [](py::handle x, int64_t k) {
        const Tensor t = as_tensor(x, "x");
        const auto y = call(top_k(k), Tensors(&t, 1));
        return py::make_tuple(y[0], y[1]);
      },
      py::arg("x"), py::arg("k"));

  auto bind_compare = [&m](const char* name, kernels::Compare kind) {
    m.def(
        name,
        [kind](py::handle x1, py::handle x2) {
          const auto [a, b] = as_operands(x1, "x1", x2, "x2");
          return call1(compare(kind), {a, b});
        },
        py::arg("x1"), py::arg("x2"));
  };
#define FASTNN_BIND(name) bind_compare(#name, kernels::Compare::name);
  FASTNN_COMPARE(FASTNN_BIND)
#undef FASTNN_BIND
  m.def(
      "where",
      [](py::handle condition, py::handle x1, py::handle x2) {
        const auto [a, b] = as_operands(x1, "x1", x2, "x2");
        return call1(where(), {cast_to(as_tensor(condition, "condition"), DType::boolean), a, b});
      },
      py::arg("condition"), py::arg("x1"), py::arg("x2"));
  auto bind_rounding = [&m](const char* name, Rounding kind) {
    m.def(
        name,
        [kind](py::handle x) {
          const Tensor t = as_tensor(x, "x");
          return call1(rounding(kind), {is_floating(t.dtype()) ? t : cast_to(t, floatx())});
        },
        py::arg("x"));
  };
  bind_rounding("floor", Rounding::floor);
  bind_rounding("ceil", Rounding::ceil);
  bind_rounding("round", Rounding::round);
}

}  // namespace fastnn
