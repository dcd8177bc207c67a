#include <pybind11/stl.h>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "bindings/variable.hpp"
#include "ops/optimizer.hpp"

namespace fastnn {

namespace {

// What will be written in place: never a silent copy of it.
Tensor in_place(py::handle value, const char* argument) {
  if (py::isinstance<Tensor>(value) || py::isinstance<Variable>(value)) return as_tensor(value, argument);
  if (!py::isinstance<py::array>(value))
    throw TypeError(cat(argument, ": expected a NumPy array or a Variable, which is updated in place, got ",
                        std::string(py::str(py::type::of(value).attr("__name__")))));
  const auto array = py::reinterpret_borrow<py::array>(value);
  const std::string dtype = py::str(array.dtype());
  if (dtype != "float32" && dtype != "float64")
    throw TypeError(cat(argument, ": is updated in place, expected dtype float32 or float64, got ", dtype));
  if (!array.writeable()) throw ValueError(cat(argument, ": is updated in place, got a read-only array"));
  const bool aligned = reinterpret_cast<uintptr_t>(array.data()) % static_cast<size_t>(array.itemsize()) == 0;
  if (!(array.flags() & py::array::c_style) || !aligned)
    throw ValueError(cat(argument,
                         ": is updated in place, expected a C-contiguous array; np.ascontiguousarray makes a "
                         "contiguous copy to work on"));
  return as_tensor(value, argument);
}

void update(const OpPtr& op, const py::sequence& weights, const py::sequence& slots, const py::sequence& gradients,
            py::handle learning_rate, py::handle step) {
  if (weights.size() != gradients.size())
    throw ValueError(cat("gradient: expected ", weights.size(), ", one per variable, got ", gradients.size()));
  std::vector<Tensor> x;
  for (py::handle w : weights) x.push_back(in_place(w, "variable"));
  if (x.empty()) return;
  const DType dtype = x[0].dtype();
  for (py::handle s : slots) x.push_back(in_place(s, "slot"));
  for (py::handle g : gradients) x.push_back(cast_to(as_tensor(g, "gradient", dtype), dtype));
  x.push_back(as_tensor(learning_rate, "learning_rate", DType::float64));
  x.push_back(as_tensor(step, "step", DType::int64));
  if (op->writes(x.size()) != weights.size() + slots.size())
    throw ValueError(cat("slot: ", op->name(), " takes another number of slots than ", slots.size()));
  call(op, x);
}

}  // namespace

void bind_optimizer(py::module_& m) {
  py::enum_<MomentumForm>(m, "MomentumForm")
      .value("keras", MomentumForm::keras)
      .value("torch", MomentumForm::torch)
      .value("lesson", MomentumForm::lesson);
  m.def(
      "sgd_update",
      [](const py::sequence& w, const py::sequence& s, const py::sequence& g, py::handle learning_rate, py::handle step,
         double momentum, MomentumForm form, bool nesterov, double weight_decay) {
        update(sgd_update({momentum, form, nesterov, weight_decay}), w, s, g, learning_rate, step);
      },
      py::arg("weights"), py::arg("slots"), py::arg("gradients"), py::arg("learning_rate"), py::arg("step"),
      py::arg("momentum"), py::arg("form"), py::arg("nesterov"), py::arg("weight_decay"));
  m.def(
      "rmsprop_update",
      [](const py::sequence& w, const py::sequence& s, const py::sequence& g, py::handle learning_rate, py::handle step,
         double rho, double momentum, double epsilon, bool centered, bool epsilon_inside, double weight_decay) {
        update(rmsprop_update({rho, momentum, epsilon, centered, epsilon_inside, weight_decay}), w, s, g, learning_rate,
               step);
      },
      py::arg("weights"), py::arg("slots"), py::arg("gradients"), py::arg("learning_rate"), py::arg("step"),
      py::arg("rho"), py::arg("momentum"), py::arg("epsilon"), py::arg("centered"), py::arg("epsilon_inside"),
      py::arg("weight_decay"));
  m.def(
      "adam_update",
      [](const py::sequence& w, const py::sequence& s, const py::sequence& g, py::handle learning_rate, py::handle step,
         double beta_1, double beta_2, double epsilon, bool amsgrad, bool epsilon_after_correction,
         double weight_decay) {
        update(adam_update({beta_1, beta_2, epsilon, amsgrad, epsilon_after_correction, weight_decay}), w, s, g,
               learning_rate, step);
      },
      py::arg("weights"), py::arg("slots"), py::arg("gradients"), py::arg("learning_rate"), py::arg("step"),
      py::arg("beta_1"), py::arg("beta_2"), py::arg("epsilon"), py::arg("amsgrad"), py::arg("epsilon_after_correction"),
      py::arg("weight_decay"));
  m.def(
      "segment_layout",
      [](const std::vector<int64_t>& sizes, py::handle dtype) {
        SegmentLayout layout = segment_layout(sizes, as_dtype(dtype));
        return std::make_pair(layout.offset, layout.size);
      },
      py::arg("sizes"), py::arg("dtype"), "Where each variable starts in a flat slot, and the slot's size.");
}

}  // namespace fastnn
