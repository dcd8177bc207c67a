#include <pybind11/stl.h>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "bindings/variable.hpp"
#include "core/parallel.hpp"
#include "graph/tape.hpp"

namespace fastnn {

namespace {

// A Python function on NumPy arrays as an op. It knows the function's key only: what C++ holds, Python's garbage
// collector does not see, and a model whose program held the model's own code would never be freed.
class PyFunction final : public Op {
 public:
  PyFunction(int64_t key, std::string name, std::vector<Spec> y)
      : key_(key), name_(std::move(name)), y_(std::move(y)) {}
  std::string_view name() const override { return name_; }
  bool differentiable() const override { return false; }  // a gradient comes by custom_gradient
  bool refuses() const override { return true; }
  bool calls_user() const override { return true; }
  std::vector<Spec> infer(Specs x) const override {
    std::vector<Spec> specs = y_;
    for (Spec& spec : specs) {
      if (spec.shape.empty() || spec.shape[0] != kUnknown) continue;
      if (x.empty() || x[0].shape.empty())
        throw ValueError(cat(name_, ": output_shapes: None is the first dimension of the first input, got ",
                             x.empty() ? "no input" : "a scalar"));
      spec.shape[0] = x[0].shape[0];
    }
    return specs;
  }
  void forward(Tensors x, Tensors y) const override {
    const py::gil_scoped_acquire acquire;
    const Unheard unheard([](const Recorder&) { return true; });
    const FlushToZero off(false);
    py::list inputs, outputs;
    for (const Tensor& t : x) inputs.append(as_array(t, false));
    for (const Tensor& t : y) outputs.append(as_array(t, true));
    py::module_::import("fastnn.custom").attr("run_function")(key_, name_, inputs, outputs);
  }

 private:
  int64_t key_;
  std::string name_;
  std::vector<Spec> y_;
};

}  // namespace

void bind_custom(py::module_& m) {
  m.def(
      "py_function",
      [](int64_t key, std::string name, const std::vector<Tensor>& inputs, const py::sequence& shapes,
         const py::sequence& dtypes) {
        std::vector<Spec> specs;
        for (size_t i = 0; i < shapes.size(); ++i) {
          specs.push_back({as_shape(shapes[i], "output_shapes"), as_dtype(dtypes[i])});
        }
        const auto y = call(std::make_shared<PyFunction>(key, std::move(name), std::move(specs)), inputs);
        std::vector<std::shared_ptr<Graph>> graphs;
        if (y[0].graph()) graphs.push_back(y[0].graph());
        for (const auto& recorder : Recorder::of_this_thread())
          if (auto graph = std::dynamic_pointer_cast<Graph>(recorder); graph && graph != y[0].graph())
            graphs.push_back(graph);
        return py::make_tuple(y, graphs);
      },
      py::arg("key"), py::arg("name"), py::arg("inputs"), py::arg("shapes"), py::arg("dtypes"),
      "The outputs of the function with this key, and the graphs that have a node for it now.");

  m.def(
      "is_heard",
      [] {
        for (const auto& recorder : Recorder::of_this_thread())
          if (recorder->recording()) return true;
        return false;
      },
      "Whether a tape or a graph records what runs on this thread.");

  py::class_<CustomFunction, std::shared_ptr<CustomFunction>>(
      m, "CustomFunction", "While entered, the tapes of this thread do not hear of the ops that run.")
      .def(py::init<>())
      .def("__enter__",
           [](py::object self) {
             self.cast<CustomFunction&>().begin();
             return self;
           })
      .def("__exit__", [](CustomFunction& f, const py::args&) { f.end(); })
      .def_property_readonly(
          "variables",
          [](const CustomFunction& f) {
            py::list variables;
            for (const Tensor& v : f.variables()) variables.append(Variable{v});
            return variables;
          },
          "The trainable variables that were read.")
      .def(
          "show",
          [](const CustomFunction& f, std::string name, int64_t key, const py::sequence& inputs,
             const std::vector<Tensor>& outputs) {
            std::vector<Tensor> x;
            for (py::handle item : inputs) x.push_back(as_tensor(item, "inputs"));
            const py::gil_scoped_release release;
            return f.show(custom_gradient(std::move(name), key, outputs.size()), x, outputs);
          },
          py::arg("name"), py::arg("key"), py::arg("inputs"), py::arg("outputs"),
          "Puts the function on the tapes that waited; those that took it, as an input is watched.");
}

}  // namespace fastnn
