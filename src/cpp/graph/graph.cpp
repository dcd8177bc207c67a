#include "graph/graph.hpp"

#include <algorithm>
#include <utility>

#include "core/parallel.hpp"

namespace fastnn {

namespace {

thread_local std::vector<std::shared_ptr<Recorder>> t_recorders;
thread_local std::string t_scope;

// The graph that must take the op instead of its kernel running now, if any.
Graph* symbolic_graph(const Op& op, Tensors x) {
  Graph* found = nullptr;
  bool later = op.calls_user();  // a variable's value, or what the user's code gives, is that of a later run
  for (const Tensor& t : x) {
    if (t.graph() && found && found != t.graph().get())
      throw ValueError("placeholders of two different graphs meet in one op");
    if (t.graph()) found = t.graph().get();
    later |= t.variable_info() != nullptr;
  }
  if (found || !later) return found;
  for (auto it = t_recorders.rbegin(); it != t_recorders.rend(); ++it)
    if (auto* graph = dynamic_cast<Graph*>(it->get()); graph && graph->tracing() && graph->recording()) return graph;
  return nullptr;
}

void run(const Op& op, Tensors x, std::vector<Tensor>& y, Tensors into, const std::vector<Spec>& specs) {
  if (op.is_view()) {
    y.push_back(x[0].view(specs[0].shape));
    return;
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    const bool given = i < into.size() && into[i];
    if (given && into[i].spec() != specs[i])
      throw ValueError(cat(op.name(), ": expected an output of shape ", specs[i].shape, " and dtype ", specs[i].dtype,
                           ", got ", into[i].shape(), " and ", into[i].dtype()));
    if (given && into[i].storage()->readonly())
      throw ValueError(cat(op.name(), ": expected an output that can be written, got a read-only one"));
    y.push_back(given ? into[i] : Tensor::empty(specs[i].shape, specs[i].dtype));
  }
  const size_t writes = op.writes(x.size());
  for (size_t i = 0; i < writes; ++i)
    if (x[i].storage()->readonly())
      throw ValueError(cat(op.name(), ": argument ", i + 1, " is read-only and would be written in place"));
  FlushToZero flush;
  op.forward(x, y);
  for (size_t i = 0; i < writes; ++i) x[i].storage()->bump();
}

}  // namespace

std::string set_scope(std::string scope) { return std::exchange(t_scope, std::move(scope)); }

void Recorder::start() {
  if (recording_.exchange(true)) return;
  t_recorders.push_back(shared_from_this());
}

void Recorder::stop() {
  recording_ = false;
  // Stopped from another thread, its own thread lets go at its next op.
  std::erase_if(t_recorders, [](const auto& recorder) { return !recorder->recording(); });
}

const std::vector<std::shared_ptr<Recorder>>& Recorder::of_this_thread() { return t_recorders; }

Unheard::Unheard(bool (*which)(const Recorder&)) {
  std::vector<std::shared_ptr<Recorder>> others;
  for (auto& recorder : t_recorders) (which(*recorder) ? recorders_ : others).push_back(std::move(recorder));
  t_recorders = std::move(others);
}

Unheard::~Unheard() {
  // Those that were stopped meanwhile stay away, and one that was started again is there already.
  std::erase_if(recorders_, [](const auto& recorder) {
    return !recorder->recording() || std::ranges::find(t_recorders, recorder) != t_recorders.end();
  });
  t_recorders.insert(t_recorders.begin(), recorders_.begin(), recorders_.end());
}

void Graph::record(const OpPtr& op, Tensors x, Tensors y) {
  Node node{op, {}, {}, t_scope};
  for (const Tensor& t : x) node.x.push_back(t.graph() ? t.shell() : t);
  for (const Tensor& t : y) node.y.push_back(t.graph() ? t.shell() : t);
  const std::lock_guard lock(mutex_);
  nodes_.push_back(std::move(node));
}

std::vector<Node> Graph::nodes() const {
  const std::lock_guard lock(mutex_);
  return nodes_;
}

std::vector<Tensor> apply(const OpPtr& op, Tensors x, Tensors into) {
  std::vector<Spec> x_specs;
  x_specs.reserve(x.size());
  for (const Tensor& t : x) x_specs.push_back(t.spec());
  const std::vector<Spec> specs = op->infer(x_specs);

  std::vector<Tensor> y;
  y.reserve(specs.size());
  Graph* graph = symbolic_graph(*op, x);
  if (graph) {
    for (const Spec& spec : specs) y.push_back(graph->placeholder(spec));
    graph->record(op, x, y);
    // A tape is to see that what it noted before is another value than what is read from here on.
    for (size_t i = 0; i < op->writes(x.size()); ++i)
      if (x[i].has_data()) x[i].storage()->bump();
  } else {
    run(*op, x, y, into, specs);
  }
  for (const auto& recorder : t_recorders)
    if (recorder.get() != graph && recorder->recording()) recorder->record(op, x, y);
  return y;
}

Tensor apply1(const OpPtr& op, std::initializer_list<Tensor> x) { return apply(op, Tensors(x.begin(), x.size()))[0]; }

}  // namespace fastnn
