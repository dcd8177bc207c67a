#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/random.hpp"
#include "ops/shape.hpp"

namespace fastnn {

namespace {

// Any Python int: negative seeds and seeds of more than 64 bits are taken modulo 2^64.
RandomStream as_stream(const py::int_& seed, uint32_t stream) {
  const uint64_t low = PyLong_AsUnsignedLongLongMask(seed.ptr());
  if (PyErr_Occurred()) throw py::error_already_set();
  return {low, stream};
}

// The value a variable has now: it may be advanced before backward runs.
Tensor as_step(py::handle step) {
  const Tensor t = as_tensor(step, "step", DType::int64);
  if (t.dtype() != DType::int64 && is_floating(t.dtype()))
    throw TypeError(cat("step: expected an integer, got dtype ", t.dtype()));
  return t.variable_info() ? call1(copy_of(), {t}) : cast_to(t, DType::int64);
}

}  // namespace

void bind_random(py::module_& m) {
  m.def(
      "dropout",
      [](py::handle x, double rate, const py::int_& seed, uint32_t stream, py::handle step) {
        return call1(dropout(rate, as_stream(seed, stream)), {as_tensor(x, "x"), as_step(step)});
      },
      py::arg("x"), py::arg("rate"), py::arg("seed"), py::arg("stream"), py::arg("step"));

  auto bind_numbers = [&m](const char* name, Distribution kind) {
    m.def(
        name,
        [kind](py::handle shape, double a, double b, const py::object& dtype, const py::int_& seed, uint32_t stream,
               py::handle step) {
          return call1(random_numbers(kind, as_shape(shape, "shape"), dtype.is_none() ? floatx() : as_dtype(dtype), a,
                                      b, as_stream(seed, stream)),
                       {as_step(step)});
        },
        py::arg("shape"), py::arg("a"), py::arg("b"), py::arg("dtype"), py::arg("seed"), py::arg("stream"),
        py::arg("step"));
  };
  bind_numbers("random_uniform", Distribution::uniform);
  bind_numbers("random_normal", Distribution::normal);
  bind_numbers("random_truncated_normal", Distribution::truncated_normal);

  m.def(
      "random_bits",
      [](int64_t n, uint64_t first, const py::int_& seed, uint32_t stream, uint64_t step) {
        if (n < 0 || first % 4 != 0) throw ValueError("random_bits: expected n >= 0 and first a multiple of 4");
        py::array_t<uint32_t> y(n);
        random_bits(y.mutable_data(), n, first, as_stream(seed, stream), step);
        return y;
      },
      py::arg("n"), py::arg("first"), py::arg("seed"), py::arg("stream"), py::arg("step"),
      "The Philox words of elements first, first + 1, ... as np.uint32.");
  m.def(
      "random_permutation",
      [](int64_t n, const py::int_& seed, uint32_t stream, uint64_t step) {
        if (n < 0) throw ValueError(cat("permutation: expected n >= 0, got ", n));
        py::array_t<int64_t> y(n);
        random_permutation(y.mutable_data(), n, as_stream(seed, stream), step);
        return y;
      },
      py::arg("n"), py::arg("seed"), py::arg("stream"), py::arg("step"));
}

}  // namespace fastnn
