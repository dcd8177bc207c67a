#include <pybind11/stl.h>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "core/parallel.hpp"
#include "graph/program.hpp"
#include "graph/tape.hpp"

namespace fastnn {

void bind_graph(py::module_& m) {
  set_interrupt_check([] {
    const py::gil_scoped_acquire acquire;
    const FlushToZero off(false);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  });
  m.def("set_scope", &set_scope, py::arg("scope"),
        "Name what this thread records from now on, as profiles show it; returns the name before.");
  py::class_<Graph, std::shared_ptr<Graph>>(
      m, "Graph", py::dynamic_attr(),
      "The list of ops that ran (or, on placeholders, that would run) while the graph records.\n\n"
      "With `tracing` ops that read variables are listed instead of run: their values are those of a later run.")
      .def(py::init<bool>(), py::arg("tracing") = true)
      .def(
          "placeholder",
          [](Graph& g, py::handle shape, py::handle dtype) {
            const Spec spec{as_shape(shape, "shape"), as_dtype(dtype)};
            for (int64_t d : spec.shape)
              if (d < 0 && d != kUnknown)
                throw ValueError(cat("shape: expected dimensions >= 0 or None, got ", spec.shape));
            return g.placeholder(spec);
          },
          py::arg("shape"), py::arg("dtype") = "float32",
          "A tensor with a shape (None for an unknown dimension) and a dtype but no data.")
      .def("__enter__",
           [](py::object self) {
             self.cast<Graph&>().start();
             return self;
           })
      .def("__exit__", [](Graph& g, const py::args&) { g.stop(); })
      .def_property_readonly(
          "nodes",
          [](const Graph& g) {
            py::list nodes;
            for (const Node& node : g.nodes()) {
              py::list x, y;
              for (const Tensor& t : node.x) x.append(t);
              for (const Tensor& t : node.y) y.append(t);
              nodes.append(py::make_tuple(std::string(node.op->name()), x, y));
            }
            return nodes;
          },
          "One tuple (op name, inputs, outputs) per node, in the order of recording.")
      .def_property_readonly(
          "scopes",
          [](const Graph& g) {
            py::list scopes;
            for (const Node& node : g.nodes()) scopes.append(node.scope);
            return scopes;
          },
          "What `set_scope` had said when each node was recorded.")
      .def_property_readonly(
          "functions",
          [](const py::object& self) {
            return py::list(self.attr("__dict__").attr("setdefault")("_functions", py::list()));
          },
          "The Python functions that nodes call. Nodes hold their keys only: who runs the graph keeps this list.");

  py::class_<Arenas, std::shared_ptr<Arenas>>(m, "Arenas", "Memory that the programs of one model take turns with.")
      .def(py::init<>());

  py::class_<Program>(m, "Program",
                      "A recorded graph compiled for its shapes: dead nodes dropped, every value placed in one arena.")
      .def(
          py::init([](const Graph& graph, const std::vector<Tensor>& feeds, const std::vector<Tensor>& fetches,
                      int64_t capacity, std::shared_ptr<Arenas> arenas) {
            return std::make_unique<Program>(graph, feeds, fetches, capacity, std::move(arenas));
          }),
          py::arg("graph"), py::arg("feeds"), py::arg("fetches"), py::arg("capacity") = 0,
          py::arg("arenas") = std::shared_ptr<Arenas>(),
          "capacity: up to how many rows a run takes where the first dimension of feeds is None. arenas: those that it "
          "shares with other programs.")
      .def(
          "run",
          [](Program& program, const py::sequence& values) {
            std::vector<Tensor> feeds;
            for (py::handle value : values) feeds.push_back(as_tensor(value, "feeds"));
            py::gil_scoped_release release;
            return program.run(feeds);
          },
          py::arg("feeds"), "Run once; the values of the fetches.")
      .def(
          "run_rows",
          [](Program& program, const py::sequence& values, const py::object& order, int64_t first, int64_t last,
             double seconds) {
            std::vector<Tensor> sources;
            for (py::handle value : values) sources.push_back(as_tensor(value, "sources"));
            const Tensor rows = order.is_none() ? Tensor() : as_tensor(order, "order");
            py::gil_scoped_release release;
            return program.run_rows(sources, rows, first, last, seconds);
          },
          py::arg("sources"), py::arg("order"), py::arg("first"), py::arg("last"), py::arg("seconds"),
          "Run steps [first, last) of an epoch on rows of whole arrays; the step to go on with after `seconds`.")
      .def(
          "profile",
          [](Program& program, const py::sequence& values, int repeats) {
            std::vector<Tensor> feeds;
            for (py::handle value : values) feeds.push_back(as_tensor(value, "feeds"));
            std::vector<Program::StepTime> times;
            {
              py::gil_scoped_release release;
              times = program.profile(feeds, repeats);
            }
            py::list rows;
            for (const auto& t : times)
              rows.append(py::make_tuple(t.scope, t.backward, t.name, t.algorithm, shape_tuple(t.output), t.seconds,
                                         t.flops, t.bytes));
            return rows;
          },
          py::arg("feeds"), py::arg("repeats") = 20,
          "One tuple (scope, whether of the backward pass, op name, algorithm, shape of the first output, median "
          "seconds, floating-point operations, bytes read and written) per step. Variables are as before.")
      .def_property_readonly("capacity", &Program::capacity)
      .def_property_readonly("steps", &Program::steps)
      .def_property_readonly("arena_bytes", &Program::arena_bytes)
      .def_property_readonly("value_bytes", &Program::value_bytes, "If every value had memory of its own.")
      .def("dump", &Program::dump, "The steps, one line each.");

  auto tensors = [](const py::sequence& list, const char* argument) {
    std::vector<Tensor> result;
    for (py::handle item : list) result.push_back(item.is_none() ? Tensor() : as_tensor(item, argument));
    return result;
  };
  py::class_<Tape, std::shared_ptr<Tape>>(m, "Tape", py::dynamic_attr())
      .def(py::init<bool, bool>(), py::arg("persistent"), py::arg("watch_accessed_variables"))
      .def("start", &Tape::start)
      .def("stop", &Tape::stop)
      .def(
          "watch",
          [](Tape& tape, py::handle tensor) {
            const Tensor t = as_tensor(tensor, "tensor");
            // Another thread may hold the tape and wait for the GIL, to release an array.
            py::gil_scoped_release release;
            tape.watch(t);
          },
          py::arg("tensor"))
      .def(
          "gradient",
          [tensors](const py::object& self, const py::sequence& targets, const py::sequence& sources,
                    const py::sequence& seeds, const py::sequence& into) {
            Tape& tape = self.cast<Tape&>();
            auto pullback = [&](int64_t key, Tensors dy) {
              const py::gil_scoped_acquire acquire;
              py::list upstream;
              for (const Tensor& g : dy) upstream.append(g ? py::cast(g) : py::object(py::none()));
              const py::object pullback = self.attr("pullbacks").attr(tape.persistent() ? "get" : "pop")(key);
              return tensors(pullback(*upstream), "gradient");
            };
            const auto t = tensors(targets, "target"), s = tensors(sources, "sources"),
                       d = tensors(seeds, "output_gradients"), o = tensors(into, "into");
            std::vector<Tensor> result;
            {
              py::gil_scoped_release release;
              result = tape.gradient(t, d, s, o, pullback);
            }
            py::list gradients;
            for (const Tensor& g : result) gradients.append(g ? py::cast(g) : py::object(py::none()));
            return gradients;
          },
          py::arg("targets"), py::arg("sources"), py::arg("seeds") = py::tuple(), py::arg("into") = py::tuple())
      .def_property_readonly(
          "pullbacks",
          [](const py::object& self) {
            return py::dict(self.attr("__dict__").attr("setdefault")("_pullbacks", py::dict()));
          },
          "The gradients that functions bring with them, by key: here and not in C++, where a function that knows the "
          "tape would keep it for ever.");
}

}  // namespace fastnn
