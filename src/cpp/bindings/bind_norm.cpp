#include <algorithm>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/norm.hpp"
#include "ops/softmax.hpp"

namespace fastnn {

namespace {

void append(std::vector<Tensor>& inputs, py::handle value, const char* argument) {
  if (!value.is_none()) inputs.push_back(as_tensor(value, argument));
}

double positive(double epsilon) {
  if (!(epsilon >= 0)) throw ValueError(cat("epsilon: expected a number >= 0, got ", epsilon));
  return epsilon;
}

// How many trailing axes `axis` names: -1, or all of the last ones in any order.
int trailing_axes(py::handle axis, int rank) {
  const Shape given = as_shape(axis, "axis");
  uint32_t bits = 0;
  for (int64_t a : given) bits |= 1u << normalize_axis(a, rank, "layer_normalization");
  const uint32_t last = ((1u << rank) - 1) & ~((1u << (rank - std::min(rank, given.rank()))) - 1);
  if (given.rank() == 0 || bits != last)
    throw ValueError(
        cat("axis: expected the last axis or axes of x, -1 or (-2, -1) say, got ", std::string(py::str(axis))));
  return given.rank();
}

}  // namespace

void bind_norm(py::module_& m) {
  m.def(
      "softmax", [](py::handle x, int64_t axis) { return call1(softmax(axis), {as_tensor(x, "x")}); }, py::arg("x"),
      py::arg("axis") = -1);
  m.def(
      "log_softmax", [](py::handle x, int64_t axis) { return call1(log_softmax(axis), {as_tensor(x, "x")}); },
      py::arg("x"), py::arg("axis") = -1);
  m.def(
      "batch_normalization_training",
      [](py::handle x, py::handle gamma, py::handle beta, int64_t axis, double epsilon) {
        std::vector<Tensor> inputs{as_tensor(x, "x")};
        append(inputs, gamma, "gamma");
        append(inputs, beta, "beta");
        const auto y =
            call(batch_normalization_training(axis, positive(epsilon), !gamma.is_none(), !beta.is_none()), inputs);
        return py::make_tuple(y[0], y[1], y[2]);
      },
      py::arg("x"), py::arg("gamma") = py::none(), py::arg("beta") = py::none(), py::arg("axis") = -1,
      py::arg("epsilon") = 1e-3);
  m.def(
      "batch_normalization",
      [](py::handle x, py::handle mean, py::handle variance, py::handle gamma, py::handle beta, int64_t axis,
         double epsilon) {
        std::vector<Tensor> inputs{as_tensor(x, "x"), as_tensor(mean, "mean"), as_tensor(variance, "variance")};
        append(inputs, gamma, "gamma");
        append(inputs, beta, "beta");
        return call(batch_normalization(axis, positive(epsilon), !gamma.is_none(), !beta.is_none()), inputs)[0];
      },
      py::arg("x"), py::arg("mean"), py::arg("variance"), py::arg("gamma") = py::none(), py::arg("beta") = py::none(),
      py::arg("axis") = -1, py::arg("epsilon") = 1e-3);
  m.def(
      "layer_normalization",
      [](py::handle x, py::handle gamma, py::handle beta, py::handle axis, double epsilon) {
        std::vector<Tensor> inputs{as_tensor(x, "x")};
        append(inputs, gamma, "gamma");
        append(inputs, beta, "beta");
        const int axes = trailing_axes(axis, inputs[0].rank());
        return call(layer_normalization(axes, positive(epsilon), !gamma.is_none(), !beta.is_none()), inputs)[0];
      },
      py::arg("x"), py::arg("gamma") = py::none(), py::arg("beta") = py::none(), py::arg("axis") = -1,
      py::arg("epsilon") = 1e-3);
}

}  // namespace fastnn
