#include <pybind11/stl.h>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "graph/tape.hpp"

namespace fastnn {

void bind_graph(py::module_& m) {
  py::class_<Graph, std::shared_ptr<Graph>>(m, "Graph",
      "The list of ops that ran (or, on placeholders, that would run) while the graph records.\n\n"
      "With `tracing` ops that read variables are listed instead of run: their values are those of a later run.")
      .def(py::init<bool>(), py::arg("tracing") = true)
      .def("placeholder", [](Graph& g, py::handle shape, py::handle dtype) {
        return g.placeholder({as_shape(shape, "shape"), as_dtype(dtype)});
      }, py::arg("shape"), py::arg("dtype") = "float32",
           "A tensor with a shape (None for an unknown dimension) and a dtype but no data.")
      .def("__enter__", [](py::object self) {
        self.cast<Graph&>().start();
        return self;
      })
      .def("__exit__", [](Graph& g, const py::args&) { g.stop(); })
      .def_property_readonly("nodes", [](const Graph& g) {
        py::list nodes;
        for (const Node& node : g.nodes()) {
          py::list x, y;
          for (const Tensor& t : node.x) x.append(t);
          for (const Tensor& t : node.y) y.append(t);
          nodes.append(py::make_tuple(std::string(node.op->name()), x, y));
        }
        return nodes;
      }, "One tuple (op name, inputs, outputs) per node, in the order of recording.");

  auto tensors = [](const py::sequence& list, const char* argument) {
    std::vector<Tensor> result;
    for (py::handle item : list) result.push_back(item.is_none() ? Tensor() : as_tensor(item, argument));
    return result;
  };
  py::class_<Tape, std::shared_ptr<Tape>>(m, "Tape")
      .def(py::init<bool, bool>(), py::arg("persistent"), py::arg("watch_accessed_variables"))
      .def("start", &Tape::start)
      .def("stop", &Tape::stop)
      .def("watch", [](Tape& tape, py::handle tensor) { tape.watch(as_tensor(tensor, "tensor")); }, py::arg("tensor"))
      .def("gradient",
           [tensors](Tape& tape, const py::sequence& targets, const py::sequence& sources, const py::sequence& seeds,
                     const py::sequence& into) {
             const auto t = tensors(targets, "target"), s = tensors(sources, "sources"),
                        d = tensors(seeds, "output_gradients"), o = tensors(into, "into");
             std::vector<Tensor> result;
             {
               py::gil_scoped_release release;
               result = tape.gradient(t, d, s, o);
             }
             py::list gradients;
             for (const Tensor& g : result) gradients.append(g ? py::cast(g) : py::object(py::none()));
             return gradients;
           },
           py::arg("targets"), py::arg("sources"), py::arg("seeds") = py::tuple(), py::arg("into") = py::tuple());
}

}  // namespace fastnn
