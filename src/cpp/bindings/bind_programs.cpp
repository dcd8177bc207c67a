#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "graph/program.hpp"

namespace fastnn {

namespace {

// Python's own limit on the depth of calls: a list that holds itself ends in a RecursionError.
struct Recursion {
  Recursion() {
    if (Py_EnterRecursiveCall(" in a nested structure") != 0) throw py::error_already_set();
  }
  ~Recursion() { Py_LeaveRecursiveCall(); }
  Recursion(const Recursion&) = delete;
};

// The arguments of a call: their leaves, and a signature of structure, shapes and dtypes.
class Arguments {
 public:
  struct Leaf {
    py::handle object;
    PlainArray array;
    Tensor tensor;  // of what is no plain array
    Tensor as_it_is() const { return tensor ? tensor : as_tensor(object, "argument"); }
  };

  // convert: whether what is no plain array becomes one; otherwise it is left out, and `plain` is false.
  Arguments(const py::tuple& args, bool convert) : convert_(convert) {
    leaves.reserve(4);
    signature.reserve(96);
    for (py::handle item : args) collect(item);
    const int64_t first = leaves.empty() || leaves[0].array.spec.shape.empty() ? 0 : leaves[0].array.spec.shape[0];
    const bool alike = std::all_of(leaves.begin(), leaves.end(), [&](const Leaf& leaf) {
      return leaf.array.spec.shape.rank() > 0 && leaf.array.spec.shape[0] == first;
    });
    rows = alike ? first : 0;
  }

  // With any number of rows.
  std::string open_signature() const {
    std::string open = signature;
    for (size_t at : row_positions_) std::memcpy(open.data() + at, &kUnknown, sizeof kUnknown);
    return open;
  }

  std::vector<Leaf> leaves;
  std::string signature;
  int64_t rows = 0;  // the first dimension of every leaf, 0 where they differ or there is none
  bool plain = true;

 private:
  void collect(py::handle value) {
    if (value.is_none()) {
      signature += 'N';
    } else if (const auto array = plain_array(value)) {
      add({value, *array, {}});
    } else if (py::isinstance<Tensor>(value)) {
      add(value, value.cast<Tensor>());
    } else if (PyTuple_CheckExact(value.ptr()) || PyList_CheckExact(value.ptr())) {
      const Recursion recursion;
      signature += PyTuple_CheckExact(value.ptr()) ? '(' : '[';
      for (py::handle item : value) collect(item);
      signature += ')';
    } else if (PyDict_CheckExact(value.ptr())) {
      const Recursion recursion;
      signature += '{';
      for (auto item : py::reinterpret_borrow<py::dict>(value)) {
        signature += std::string(py::repr(item.first)) + ':';
        collect(item.second);
      }
      signature += '}';
    } else if (convert_) {
      add(value, as_tensor(value, "argument"));
    } else {
      plain = false;
    }
  }
  void add(py::handle object, const Tensor& tensor) {
    add({object, {tensor.spec(), tensor.has_data() ? tensor.raw() : nullptr}, tensor});
  }
  void add(const Leaf& leaf) {
    const Spec& spec = leaf.array.spec;
    signature += static_cast<char>('a' + static_cast<int>(spec.dtype));
    signature += static_cast<char>('0' + spec.shape.rank());
    if (spec.shape.rank() > 0) row_positions_.push_back(signature.size());
    for (int64_t d : spec.shape) signature.append(reinterpret_cast<const char*>(&d), sizeof d);
    leaves.push_back(leaf);
  }

  bool convert_;
  std::vector<size_t> row_positions_;
};

// to = from, cast; as many elements.
void copy_cast(const PlainArray& from, const Tensor& to) {
  if (from.spec.dtype == to.dtype()) {
    std::memcpy(to.raw(), from.data, to.bytes());
    return;
  }
  with_dtype(from.spec.dtype, [&](auto source) {
    with_dtype(to.dtype(), [&](auto target) {
      const auto* x = static_cast<const decltype(source)*>(from.data);
      auto* y = to.data<decltype(target)>();
      for (int64_t i = 0, n = to.size(); i < n; ++i) y[i] = static_cast<decltype(target)>(x[i]);
    });
  });
}

// The programs of one recorded function by the signature of its arguments, and the shortest way from a call to its
// results: a look at the arguments, a look-up, the run.
class Programs {
 public:
  explicit Programs(size_t limit) : limit_(limit) {}

  // What the program of these arguments gives. NotImplemented where there is none, or where something was noted since
  // `check`, so that the caller has to look first. `checked`: only for arguments that `accept` was told of, which are
  // then cast and reshaped as the program wants them, and the results are arrays. `before` is called when nothing is in
  // the way of the run.
  py::object run(const py::tuple& args, const py::object& before, bool checked) {
    const auto unknown = py::reinterpret_borrow<py::object>(Py_NotImplemented);
    if (changes() != changes_) return unknown;
    const Arguments arguments(args, !checked);
    if (!arguments.plain) return unknown;
    const std::shared_ptr<Entry> entry = checked ? find(accepted_, arguments) : find(entries_, arguments);
    if (!entry) return unknown;
    if (!before.is_none()) before();
    for (py::handle hook : entry->hooks) hook();
    if (changes() != changes_) return unknown;
    return run(*entry, arguments, checked);
  }

  py::object find(const py::tuple& args) {
    const std::shared_ptr<Entry> entry = find(entries_, Arguments(args, true));
    return entry ? entry->run : py::none();
  }

  // run: has `program`, `hooks` (called before each run) and `assemble` (makes the results of a list of tensors; None
  // for a single one or none).
  void put(const py::bytes& signature, const py::object& run) {
    auto entry = std::make_shared<Entry>();
    entry->run = run;
    entry->program = run.attr("program").cast<Program*>();
    entry->hooks = run.attr("hooks").cast<py::list>();
    entry->assemble = run.attr("assemble");
    entry->used = ++clock_;
    entries_[std::string(signature)] = std::move(entry);
    accepted_.clear();  // a program for more rows takes the place of one for fewer
    if (entries_.size() > limit_)
      entries_.erase(std::min_element(entries_.begin(), entries_.end(),
                                      [](const auto& a, const auto& b) { return a.second->used < b.second->used; }));
  }

  // From now on, until something is noted, `run` takes `args` for the arguments `converted`, whose program is there.
  void accept(const py::tuple& args, const py::tuple& converted) {
    const Arguments from(args, false), to(converted, false);
    bool same = from.plain && to.plain && from.leaves.size() == to.leaves.size() && from.rows == to.rows;
    for (size_t i = 0; same && i < from.leaves.size(); ++i)
      same = numel(from.leaves[i].array.spec.shape) == numel(to.leaves[i].array.spec.shape);
    const auto entry = find(entries_, to);
    if (!same || !entry || changes() != changes_) return;
    if (accepted_.size() > 4 * limit_) accepted_.clear();
    accepted_[entry->program->capacity() > 0 ? from.open_signature() : from.signature] = entry;
  }

  void check() { changes_ = changes(), accepted_.clear(); }
  void clear() {
    accepted_.clear();
    entries_.clear();
  }
  size_t size() const { return entries_.size(); }

  int traverse(visitproc visit, void* arg) const {
    for (const auto& [signature, entry] : entries_) {
      Py_VISIT(entry->run.ptr());
      Py_VISIT(entry->hooks.ptr());
      Py_VISIT(entry->assemble.ptr());
    }
    return 0;
  }

 private:
  struct Entry {
    py::object run, assemble;
    py::list hooks;
    Program* program = nullptr;
    std::vector<Tensor> feeds;  // memory for small arguments; moved out while a run uses it
    uint64_t used = 0;
  };
  using Entries = std::unordered_map<std::string, std::shared_ptr<Entry>>;

  std::shared_ptr<Entry> find(const Entries& entries, const Arguments& arguments) {
    auto found = entries.find(arguments.signature);
    if (found == entries.end() && arguments.rows > 0) {
      found = entries.find(arguments.open_signature());
      if (found != entries.end() && arguments.rows > found->second->program->capacity()) return nullptr;
    }
    if (found == entries.end()) return nullptr;
    found->second->used = ++clock_;
    return found->second;
  }

  static py::object run(Entry& entry, const Arguments& arguments, bool arrays) {
    // Copying what is small is cheaper than an export of its buffer, which NumPy wants for memory that must not move.
    constexpr size_t kCopied = 16384;
    const auto& specs = entry.program->feed_specs();
    std::vector<Tensor> feeds = std::move(entry.feeds);
    entry.feeds.clear();
    feeds.resize(specs.size());
    for (size_t i = 0; i < specs.size(); ++i) {
      const Arguments::Leaf& leaf = arguments.leaves[i];
      Spec spec = specs[i];
      if (spec.shape.rank() > 0 && spec.shape[0] == kUnknown) spec.shape[0] = arguments.rows;
      const bool known = feeds[i] && feeds[i].spec() == spec;
      if (!leaf.array.data || bytes_of(spec) > kCopied) {
        feeds[i] = cast_to(leaf.as_it_is(), spec.dtype);
        if (feeds[i].shape() != spec.shape) feeds[i] = feeds[i].view(spec.shape);
        continue;
      }
      if (!known) feeds[i] = Tensor::empty(spec.shape, spec.dtype);
      copy_cast(leaf.array, feeds[i]);
    }
    std::vector<Tensor> results;
    try {
      py::gil_scoped_release release;
      results = entry.program->run(feeds);
      for (Tensor& feed : feeds)
        if (feed.bytes() > kCopied) feed = Tensor();
    } catch (const RowsError&) {
      return py::reinterpret_borrow<py::object>(Py_NotImplemented);
    }
    entry.feeds = std::move(feeds);
    auto object = [&](Tensor& t) { return arrays ? py::object(as_array(t, true)) : py::cast(std::move(t)); };
    if (entry.assemble.is_none()) return results.empty() ? py::object(py::tuple()) : object(results[0]);
    py::list objects;
    for (Tensor& t : results) objects.append(object(t));
    return entry.assemble(std::move(objects));
  }

  size_t limit_;
  Entries entries_, accepted_;  // accepted: some of the entries, by signatures of what may be given instead
  uint64_t changes_ = ~uint64_t{0}, clock_ = 0;
};

// The programs' Python side may lead back to who holds them (an optimizer that knows its model): the collector has to
// see it.
py::custom_type_setup collected() {
  return py::custom_type_setup([](PyHeapTypeObject* heap_type) {
    auto* type = &heap_type->ht_type;
    type->tp_flags |= Py_TPFLAGS_HAVE_GC;
    type->tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
      Py_VISIT(Py_TYPE(self));
      return py::detail::is_holder_constructed(self) ? py::cast<Programs&>(py::handle(self)).traverse(visit, arg) : 0;
    };
    type->tp_clear = [](PyObject* self) {
      if (py::detail::is_holder_constructed(self)) py::cast<Programs&>(py::handle(self)).clear();
      return 0;
    };
  });
}

}  // namespace

void bind_programs(py::module_& m) {
  py::class_<Programs>(m, "Programs", collected(),
                       "Compiled programs by the signature of arguments: structure, shapes and dtypes.")
      .def(py::init<size_t>(), py::arg("limit"))
      .def("run", py::overload_cast<const py::tuple&, const py::object&, bool>(&Programs::run), py::arg("args"),
           py::arg("before") = py::none(), py::arg("checked") = false,
           "The results for these arguments (arrays if they were checked), or NotImplemented where no known program "
           "fits.")
      .def("find", py::overload_cast<const py::tuple&>(&Programs::find), py::arg("args"))
      .def("put", &Programs::put, py::arg("signature"), py::arg("run"))
      .def("accept", &Programs::accept, py::arg("args"), py::arg("converted"),
           "Let `run(checked=True)` take `args` for `converted`, until something is noted.")
      .def("check", &Programs::check, "The programs are those for everything that was noted up to now.")
      .def("clear", &Programs::clear)
      .def("__len__", &Programs::size);
  m.def(
      "collect",
      [](const py::tuple& args) {
        const Arguments arguments(args, true);
        py::list tensors;
        for (const auto& leaf : arguments.leaves) tensors.append(leaf.as_it_is());
        return py::make_tuple(tensors, py::bytes(arguments.signature), py::bytes(arguments.open_signature()),
                              arguments.rows);
      },
      py::arg("args"),
      "The leaves of nested lists, tuples and dicts as tensors (None left out), a signature to tell structures, shapes "
      "and dtypes apart, the same for any number of rows, and the number of rows (0 where leaves differ).");
}

}  // namespace fastnn
