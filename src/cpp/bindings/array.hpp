// The one border check: what Python hands in becomes a Tensor here, and errors become Python's.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>

#include "graph/graph.hpp"

namespace fastnn {

namespace py = pybind11;

// A tensor of whatever `value` is: Tensor, Variable, anything with a buffer or __array__ or __dlpack__, lists, scalars.
// A C-contiguous, aligned, native array of a dtype that fastnn computes with is pinned, not copied. TypeError naming
// `argument` for what is no number. `scalar_dtype`: the dtype of Python scalars (they are weak); floatx by default.
Tensor as_tensor(py::handle value, const char* argument, std::optional<DType> scalar_dtype = {});
// Two operands: mixed dtypes promote as NumPy's, Python scalars follow the other operand.
std::pair<Tensor, Tensor> as_operands(py::handle a, const char* a_name, py::handle b, const char* b_name);
// What an array holds and where, if fastnn can read its memory as it stands; nothing is called or allocated.
struct PlainArray {
  Spec spec;
  const void* data;
};
std::optional<PlainArray> plain_array(py::handle value);
Tensor cast_to(const Tensor& x, DType dtype);  // on the tape; x itself where nothing changes

bool is_python_scalar(py::handle value);
DType floatx();
void set_floatx(DType dtype);
DType as_dtype(py::handle dtype);  // "float32", np.float32, np.dtype; TypeError
py::dtype numpy_dtype(DType dtype);
Shape as_shape(py::handle shape, const char* argument);   // int or sequence of ints and None
py::tuple shape_tuple(const Shape& shape);                // unknown as None
py::array as_array(const Tensor& tensor, bool writable);  // a view that keeps the memory alive

// Runs the op without the GIL.
std::vector<Tensor> call(const OpPtr& op, Tensors x, Tensors into = {});
Tensor call1(const OpPtr& op, std::initializer_list<Tensor> x);

}  // namespace fastnn
