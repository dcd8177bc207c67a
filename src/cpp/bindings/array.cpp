#include "bindings/array.hpp"

#include <pybind11/numpy.h>

#include "bindings/variable.hpp"
#include "ops/elementwise.hpp"

namespace fastnn {

namespace {

std::atomic<DType> g_floatx{DType::float32};

// The object of exactly this class, null if it is something else: isinstance() of a class of pybind11 is a call into
// Python, and ops ask for each of their operands.
template <class T>
T* exactly(py::handle value) {
  static const PyTypeObject* const type = reinterpret_cast<PyTypeObject*>(py::type::of<T>().ptr());
  if (Py_TYPE(value.ptr()) != type) return nullptr;
  return static_cast<T*>(
      reinterpret_cast<py::detail::instance*>(value.ptr())->get_value_and_holder().template value_ptr<T>());
}

std::optional<DType> exact_dtype(const py::dtype& dtype) {
  if (dtype.byteorder() == '>') return {};
  const auto size = dtype.itemsize();
  switch (dtype.kind()) {
    case 'b':
      return DType::boolean;
    case 'u':
      return size == 1 ? std::optional(DType::uint8) : std::nullopt;
    case 'i':
      return size == 4 ? std::optional(DType::int32) : size == 8 ? std::optional(DType::int64) : std::nullopt;
    case 'f':
      return size == 4 ? std::optional(DType::float32) : size == 8 ? std::optional(DType::float64) : std::nullopt;
    default:
      return {};
  }
}

// The dtype that other numbers are converted to; TypeError for what is none.
DType nearest_dtype(const py::dtype& dtype, const char* argument) {
  const auto size = dtype.itemsize();
  switch (dtype.kind()) {
    case 'b':
      return DType::boolean;
    case 'u':
      return size == 1 ? DType::uint8 : size == 2 ? DType::int32 : DType::int64;
    case 'i':
      return size <= 4 ? DType::int32 : DType::int64;
    case 'f':
      return size <= 4 ? DType::float32 : DType::float64;
    case 'c':
      throw TypeError(cat(argument, ": ", std::string(py::str(dtype)), " is not supported; use ", argument, ".real"));
    case 'O':
      throw TypeError(cat(argument,
                          ": expected an array of numbers, got dtype object (ragged lists, strings or "
                          "Python objects)"));
    default:
      throw TypeError(cat(argument, ": expected an array of numbers, got dtype ", std::string(py::str(dtype))));
  }
}

bool has_dlpack_only(py::handle value) {
  return py::hasattr(value, "__dlpack__") && !py::hasattr(value, "__array__") && !PyObject_CheckBuffer(value.ptr());
}

py::array to_array(py::handle value, const char* argument) {
  if (py::isinstance<py::array>(value)) return py::reinterpret_borrow<py::array>(value);
  if (value.is_none()) throw TypeError(cat(argument, ": expected an array of numbers, got None"));
  const py::module_ numpy = py::module_::import("numpy");
  try {
    if (has_dlpack_only(value)) return numpy.attr("from_dlpack")(value).cast<py::array>();
    return numpy.attr("asarray")(value).cast<py::array>();
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_ValueError) || !py::isinstance<py::sequence>(value)) throw;
    throw TypeError(cat(argument, ": expected an array of numbers, got ragged lists"));
  }
}

Tensor pin(const py::array& array, DType dtype) {
  Shape shape;
  for (py::ssize_t d = 0; d < array.ndim(); ++d) shape.push_back(array.shape(d));
  auto* owner = new Py_buffer;
  // A buffer export and not a mere reference: NumPy then refuses to move the memory under us.
  if (PyObject_GetBuffer(array.ptr(), owner, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) {
    delete owner;
    throw py::error_already_set();
  }
  auto release = [](void* p) {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    auto* buffer = static_cast<Py_buffer*>(p);
    PyBuffer_Release(buffer);
    delete buffer;
  };
  return Tensor::over(
      Storage::borrow(owner->buf, static_cast<size_t>(array.nbytes()), owner->readonly != 0, owner, release), 0, shape,
      dtype);
}

Tensor from_array(const py::array& array, DType dtype) {
  if (array.ndim() > kMaxRank)
    throw ValueError(cat("expected an array of at most ", kMaxRank, " dimensions, got ", array.ndim()));
  const bool direct = exact_dtype(array.dtype()) == dtype && (array.flags() & py::array::c_style) &&
                      reinterpret_cast<uintptr_t>(array.data()) % item_size(dtype) == 0 && array.size() > 0;
  if (direct) return pin(array, dtype);
  const py::object copy =
      py::module_::import("numpy").attr("array")(array, py::arg("dtype") = numpy_dtype(dtype), py::arg("order") = "C",
                                                 py::arg("copy") = true, py::arg("ndmin") = 0);
  const auto contiguous = copy.cast<py::array>();
  if (contiguous.size() > 0) return pin(contiguous, dtype);
  Shape shape;
  for (py::ssize_t d = 0; d < contiguous.ndim(); ++d) shape.push_back(contiguous.shape(d));
  return Tensor::empty(shape, dtype);
}

}  // namespace

std::optional<PlainArray> plain_array(py::handle value) {
  if (!py::isinstance<py::array>(value)) return {};
  const auto* array = py::detail::array_proxy(value.ptr());
  const auto* descr = py::detail::array_descriptor_proxy(array->descr);
  constexpr int kReadable = int{py::array::c_style} | int{py::detail::npy_api::NPY_ARRAY_ALIGNED_};
  if ((array->flags & kReadable) != kReadable || descr->byteorder == '>' || array->nd > kMaxRank) return {};
  PlainArray plain{{}, array->data};
  switch (descr->type_num) {
    case py::detail::npy_api::NPY_BOOL_:
      plain.spec.dtype = DType::boolean;
      break;
    case py::detail::npy_api::NPY_UBYTE_:
      plain.spec.dtype = DType::uint8;
      break;
    case py::detail::npy_api::NPY_INT_:
      plain.spec.dtype = DType::int32;
      break;
    case py::detail::npy_api::NPY_LONG_:
      if (sizeof(long) != 8) return {};
      [[fallthrough]];
    case py::detail::npy_api::NPY_LONGLONG_:
      plain.spec.dtype = DType::int64;
      break;
    case py::detail::npy_api::NPY_FLOAT_:
      plain.spec.dtype = DType::float32;
      break;
    case py::detail::npy_api::NPY_DOUBLE_:
      plain.spec.dtype = DType::float64;
      break;
    default:
      return {};
  }
  for (int d = 0; d < array->nd; ++d) plain.spec.shape.push_back(array->dimensions[d]);
  return plain;
}

DType floatx() { return g_floatx; }
void set_floatx(DType dtype) {
  if (!is_floating(dtype)) throw TypeError(cat("floatx: expected float32 or float64, got ", dtype));
  g_floatx = dtype;
}

bool is_python_scalar(py::handle value) {
  return PyBool_Check(value.ptr()) || PyLong_CheckExact(value.ptr()) || PyFloat_CheckExact(value.ptr());
}

Tensor as_tensor(py::handle value, const char* argument, std::optional<DType> scalar_dtype) {
  if (const Tensor* tensor = exactly<Tensor>(value)) return *tensor;
  if (const Variable* variable = exactly<Variable>(value)) return variable->tensor;
  if (py::isinstance<Tensor>(value)) return value.cast<Tensor>();
  if (py::isinstance<Variable>(value)) return value.cast<Variable&>().tensor;
  if (is_python_scalar(value)) {
    const bool is_float = PyFloat_CheckExact(value.ptr());
    const DType own = is_float ? floatx() : PyBool_Check(value.ptr()) ? DType::boolean : DType::int64;
    DType dtype = scalar_dtype.value_or(own);
    // Weak, but not of a lesser kind: 5 is no bool and 0.5 no integer.
    if ((is_float && !is_floating(dtype)) || dtype == DType::boolean) dtype = own;
    if (is_floating(dtype)) {
      const double number = PyFloat_AsDouble(value.ptr());
      if (number == -1 && PyErr_Occurred()) throw py::error_already_set();
      return Tensor::scalar(number, dtype);
    }
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    Tensor tensor = Tensor::empty({}, dtype);
    with_dtype(dtype, [&](auto zero) {
      using T = decltype(zero);
      *tensor.data<T>() = static_cast<T>(number);
      if (overflow != 0 || static_cast<long long>(*tensor.data<T>()) != number)
        throw ValueError(cat(argument, ": ", std::string(py::str(value)), " is out of the range of ", dtype));
    });
    return tensor;
  }
  const py::array array = to_array(value, argument);
  const bool from_list = py::isinstance<py::list>(value) || py::isinstance<py::tuple>(value);
  const auto exact = exact_dtype(array.dtype());
  DType dtype = exact ? *exact : nearest_dtype(array.dtype(), argument);
  if (from_list && dtype == DType::float64) dtype = floatx();
  return from_array(array, dtype);
}

Tensor cast_to(const Tensor& x, DType dtype) { return x.dtype() == dtype ? x : call1(cast(dtype), {x}); }

std::pair<Tensor, Tensor> as_operands(py::handle a, const char* a_name, py::handle b, const char* b_name) {
  const bool weak_a = is_python_scalar(a), weak_b = is_python_scalar(b);
  if (weak_a && !weak_b) {
    const Tensor tb = as_tensor(b, b_name);
    const Tensor ta = as_tensor(a, a_name, tb.dtype());
    return {ta, cast_to(tb, promote(ta.dtype(), tb.dtype()) == tb.dtype() ? tb.dtype() : ta.dtype())};
  }
  const Tensor ta = as_tensor(a, a_name);
  Tensor tb = as_tensor(b, b_name, weak_b ? std::optional(ta.dtype()) : std::nullopt);
  if (weak_b)  // an int tensor and a Python float meet in floatx
    return {promote(ta.dtype(), tb.dtype()) == ta.dtype() ? ta : cast_to(ta, tb.dtype()), tb};
  const DType dtype = promote(ta.dtype(), tb.dtype());
  return {cast_to(ta, dtype), cast_to(tb, dtype)};
}

DType as_dtype(py::handle dtype) {
  constexpr DType kAll[] = {DType::float32, DType::float64, DType::int64, DType::int32, DType::uint8, DType::boolean};
  if (PyUnicode_Check(dtype.ptr()))
    for (DType known : kAll)
      if (PyUnicode_CompareWithASCIIString(dtype.ptr(), name(known)) == 0) return known;
  py::dtype numpy;
  try {
    numpy = py::dtype::from_args(py::reinterpret_borrow<py::object>(dtype));
  } catch (py::error_already_set&) {
    throw TypeError(
        cat("dtype: expected one of bool, uint8, int32, int64, float32, float64, got ", std::string(py::repr(dtype))));
  }
  const auto exact = exact_dtype(numpy);
  if (!exact)
    throw TypeError(
        cat("dtype: expected one of bool, uint8, int32, int64, float32, float64, got ", std::string(py::str(numpy))));
  return *exact;
}

py::dtype numpy_dtype(DType dtype) {
  return with_dtype(dtype, [](auto zero) { return py::dtype::of<decltype(zero)>(); });
}

Shape as_shape(py::handle shape, const char* argument) {
  auto dimension = [&](py::handle d) -> int64_t {
    if (d.is_none()) return kUnknown;
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(d.ptr()));
    if (!index) {
      PyErr_Clear();
      throw TypeError(cat(argument, ": expected an int or a sequence of ints, got ", std::string(py::repr(shape))));
    }
    const Py_ssize_t size = PyLong_AsSsize_t(index.ptr());
    if (size == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      throw ValueError(cat(argument, ": ", std::string(py::str(index)), " is out of range"));
    }
    return size;
  };
  if (py::isinstance<py::sequence>(shape) && !py::isinstance<py::str>(shape)) {
    Shape result;
    for (py::handle d : shape) result.push_back(dimension(d));
    return result;
  }
  return {dimension(shape)};
}

py::tuple shape_tuple(const Shape& shape) {
  py::tuple tuple(shape.rank());
  for (int d = 0; d < shape.rank(); ++d)
    tuple[d] = shape[d] == kUnknown ? py::object(py::none()) : py::object(py::int_(shape[d]));
  return tuple;
}

py::array as_array(const Tensor& tensor, bool writable) {
  void* data = tensor.raw();
  std::vector<py::ssize_t> shape(tensor.shape().begin(), tensor.shape().end());
  const py::capsule owner(new Tensor(tensor), [](void* p) { delete static_cast<Tensor*>(p); });
  py::array array(numpy_dtype(tensor.dtype()), shape, data, owner);
  if (!writable || tensor.storage()->readonly())
    py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return array;
}

std::vector<Tensor> call(const OpPtr& op, Tensors x, Tensors into) {
  // Only tensors from here on: a borrowed array is released through a deleter that takes the GIL itself.
  py::gil_scoped_release release;
  return apply(op, x, into);
}

Tensor call1(const OpPtr& op, std::initializer_list<Tensor> x) { return call(op, Tensors(x.begin(), x.size()))[0]; }

}  // namespace fastnn
