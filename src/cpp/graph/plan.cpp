#include "graph/plan.hpp"

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "graph/backward.hpp"
#include "graph/fuse.hpp"
#include "graph/in_blocks.hpp"
#include "ops/shape.hpp"

namespace fastnn {

namespace {
constexpr size_t kAlignment = 64;
size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
bool is_open(const Shape& shape) { return shape.rank() > 0 && shape[0] == kUnknown; }

// What the fetches and the effects need.
std::vector<Node> without_dead(std::vector<Node> nodes, Tensors fetches) {
  std::unordered_set<uint64_t> needed;
  for (const Tensor& t : fetches) needed.insert(t.id());
  std::vector<Node> kept;
  for (size_t n = nodes.size(); n-- > 0;) {
    bool keep = nodes[n].op->refuses() || nodes[n].op->writes(nodes[n].x.size()) > 0;
    for (const Tensor& t : nodes[n].y) keep |= needed.contains(t.id());
    if (!keep) continue;
    for (const Tensor& t : nodes[n].x) needed.insert(t.id());
    kept.push_back(std::move(nodes[n]));
  }
  std::reverse(kept.begin(), kept.end());
  return kept;
}

// Writes of variables move behind all else: a step happens whole or not at all. Where a later node reads what a write
// has written, the writes so far come before it, and a new pair of computing and committing begins.
std::vector<Node> commit_last(std::vector<Node> nodes) {
  std::vector<Node> scheduled, waiting;
  std::unordered_set<const Storage*> written;
  std::unordered_set<uint64_t> results;
  std::unordered_map<uint64_t, const Storage*> viewed;  // by views of variables
  auto storage_of = [&](const Tensor& t) -> const Storage* {
    if (t.has_data()) return t.storage().get();
    const auto found = viewed.find(t.id());
    return found == viewed.end() ? nullptr : found->second;
  };
  auto commit = [&] {
    std::move(waiting.begin(), waiting.end(), std::back_inserter(scheduled));
    waiting.clear();
    written.clear();
    results.clear();
  };
  for (Node& node : nodes) {
    const size_t writes = node.op->writes(node.x.size());
    if (writes > 0) {
      for (size_t i = 0; i < writes; ++i) written.insert(storage_of(node.x[i]));
      for (const Tensor& t : node.y) results.insert(t.id());
      waiting.push_back(std::move(node));
      continue;
    }
    if (node.op->is_view())
      if (const Storage* storage = storage_of(node.x[0])) viewed[node.y[0].id()] = storage;
    for (const Tensor& t : node.x)
      if (const Storage* storage = storage_of(t); results.contains(t.id()) || (storage && written.contains(storage))) {
        commit();
        break;
      }
    scheduled.push_back(std::move(node));
  }
  commit();
  return scheduled;
}
}  // namespace

Plan::Plan(const Graph& graph, Tensors feeds, Tensors fetched, int64_t most_rows) : capacity(most_rows) {
  const std::vector<Node> recorded = graph.nodes();
  const std::vector<Node> nodes = commit_last(in_blocks(fuse(without_dead(recorded, fetched), fetched), fetched));
  std::unordered_map<uint64_t, int> index;
  auto add = [&](const Tensor& t, Place place) {
    const int v = static_cast<int>(values.size());
    index[t.id()] = v;
    Value value;
    value.spec = t.spec();
    value.place = place;
    value.root = v;
    values.push_back(value);
    return v;
  };
  for (const Tensor& t : feeds) {
    Shape rest = t.shape();
    if (capacity > 0 && is_open(rest)) rest[0] = capacity;
    if (!rest.known()) throw ValueError(cat("program: expected feeds of known shape, got ", t.shape()));
    values[add(t, Place::feed)].feed = static_cast<int>(feed_specs.size());
    feed_specs.push_back(t.spec());
  }
  auto find = [&](const Tensor& t) {
    if (const auto it = index.find(t.id()); it != index.end()) return it->second;
    if (!t.has_data())
      throw ValueError(cat("program: a placeholder of shape ", t.shape(), " is needed and not among the feeds"));
    const int v = add(t, Place::bound);
    values[v].bound = t;
    return v;
  };
  for (const Node& node : nodes) {
    Step step{node.op, {}, {}, node.scope};
    calls_user |= node.op->calls_user();
    if (const auto* backward = backward_of(node); backward && capacity > 0)
      for (const Spec& spec : backward->x_spec())
        if (!spec.shape.known()) throw ValueError(cat("program: ", node.op->name(), " goes with one number of rows"));
    for (const Tensor& t : node.x) step.x.push_back(find(t));
    for (const Tensor& t : node.y) step.y.push_back(add(t, Place::arena));
    steps.push_back(std::move(step));
  }
  for (const Tensor& t : fetched) fetches.push_back(find(t));
  find_scopes(recorded);
  if (capacity > 0) {
    const std::vector<Spec> specs = specs_for(capacity);
    for (size_t v = 0; v < values.size(); ++v) values[v].spec = specs[v];
  }
  share_memory();
  find_lives();
  place();
}

double Plan::slow_seconds() const {
  constexpr double kFlops = 20e9, kBytes = 5e9;  // a second
  double seconds = 0;
  std::vector<Spec> x, y;
  for (const Step& step : steps) {
    x.clear();
    y.clear();
    for (int v : step.x) x.push_back(values[v].spec);
    for (int v : step.y) y.push_back(values[v].spec);
    seconds += step.op->flops(x, y) / kFlops;
    for (const Spec& spec : y) seconds += static_cast<double>(bytes_of(spec)) / kBytes;
  }
  return seconds;
}

// The backward of an op belongs to the layer of the op.
void Plan::find_scopes(const std::vector<Node>& recorded) {
  std::unordered_map<const Op*, const std::string*> scopes;
  for (const Node& node : recorded) scopes.try_emplace(node.op.get(), &node.scope);
  bool behind = false;
  auto find = [&](Step& step, const Op* op, const std::string& scope) {
    const auto* backward = dynamic_cast<const BackwardOp*>(op);
    behind |= backward != nullptr;
    const auto found = scopes.try_emplace(backward ? backward->op().get() : op, &scope);
    const bool made = found.second;  // by fusion; behind a backward step it computes again what was forgotten
    if (backward) step.scope = *found.first->second;
    step.backward = backward || step.scope == "gradient" || (behind && made);
  };
  for (Step& step : steps) {
    if (const auto* blocks = dynamic_cast<const InBlocks*>(step.op.get()))
      for (const InBlocks::Part& part : blocks->parts()) find(step, part.op.get(), part.scope);
    else
      find(step, step.op.get(), step.scope);
  }
}

std::vector<Spec> Plan::specs_for(int64_t rows) const {
  std::vector<Spec> specs, x;
  for (const Value& value : values) {
    specs.push_back(value.spec);
    if (value.feed >= 0 && is_open(feed_specs[value.feed].shape)) specs.back().shape[0] = rows;
  }
  for (const Step& step : steps) {
    x.clear();
    for (int v : step.x) x.push_back(specs[v]);
    const std::vector<Spec> y = step.op->infer(x);
    for (size_t i = 0; i < y.size(); ++i) specs[step.y[i]] = y[i];
  }
  return specs;
}

// Memory is shared by views, and by accumulations whose start nobody reads afterwards or beside it; other accumulations
// get a copy to start from. An output also takes the memory of an input that the step reads last and once, where the op
// allows it: what it writes it must not want as another input.
void Plan::share_memory() {
  // Where each value is read last; a fetch is read by the copy that follows the last step.
  const int end = static_cast<int>(steps.size());
  std::vector<int> last_read(values.size(), -1);
  for (int s = 0; s < end; ++s)
    for (int v : steps[s].x) last_read[v] = s;
  for (int v : fetches) last_read[v] = end;

  std::vector<Step> with_copies;
  std::vector<int> root_last(values.size(), -1);  // over all values that share a root, in the old numbering of steps
  for (size_t v = 0; v < values.size(); ++v) root_last[v] = last_read[v];
  for (int s = 0; s < end; ++s) {
    Step& step = steps[s];
    const auto reads_once = [&](int root) {
      return std::count_if(step.x.begin(), step.x.end(), [&](int v) { return values[v].root == root; }) == 1;
    };
    for (size_t i = 0; i < step.y.size(); ++i) {
      const int from = step.op->is_view() ? 0 : step.op->in_place_of(i);
      if (from < 0) continue;
      int& x = step.x[from];
      const int root = values[x].root;
      const bool others = root_last[root] > s || !reads_once(root);
      if (!step.op->is_view() && (values[root].place != Place::arena || others)) {
        Value copy;
        copy.spec = values[x].spec;
        copy.root = static_cast<int>(values.size());
        values.push_back(copy);
        root_last.push_back(s);
        last_read.push_back(s);
        with_copies.push_back({copy_of(), {x}, {copy.root}, step.scope, step.backward});
        x = copy.root;
      }
      Value& target = values[step.y[i]];
      target.root = values[x].root;
      root_last[target.root] = std::max(root_last[target.root], last_read[step.y[i]]);
    }
    for (size_t i = 0; i < step.y.size(); ++i) {
      Value& target = values[step.y[i]];
      if (target.root != step.y[i]) continue;
      for (size_t j = 0; j < step.x.size(); ++j) {
        const int root = values[step.x[j]].root;
        const bool free = values[root].place == Place::arena && root_last[root] <= s && reads_once(root) &&
                          bytes_of(values[root].spec) == bytes_of(target.spec);
        if (!free || !step.op->may_overwrite(i, j)) continue;
        target.root = root;
        root_last[root] = std::max(s + 1, last_read[step.y[i]]);  // taken, even if nobody reads it
        break;
      }
    }
    with_copies.push_back(step);
  }
  steps = std::move(with_copies);
}

void Plan::find_lives() {
  const int end = static_cast<int>(steps.size());
  for (int s = 0; s < end; ++s) {
    for (const auto* list : {&steps[s].x, &steps[s].y})
      for (int v : *list) {
        Value& root = values[values[v].root];
        if (root.first < 0) root.first = s;
        root.last = s;
      }
  }
  for (int v : fetches) values[values[v].root].last = end;
}

void Plan::place() {
  for (const Step& step : steps)
    if (!step.op->is_view())
      for (int v : step.y) value_bytes += aligned(bytes_of(values[v].spec));

  // Each at the lowest offset that is free for as long as it lives; the best of three orders: the largest first (of
  // equals those that live on longest), those that live longest first, and the largest areas of both.
  std::vector<int> order;
  for (size_t v = 0; v < values.size(); ++v) {
    const Value& value = values[v];
    if (value.root == static_cast<int>(v) && value.place == Place::arena && value.first >= 0)
      order.push_back(static_cast<int>(v));
  }
  auto size = [&](int v) { return aligned(bytes_of(values[v].spec)); };
  auto life = [&](int v) { return static_cast<size_t>(values[v].last - values[v].first + 1); };
  arena_bytes = SIZE_MAX;
  std::vector<size_t> best(order.size());
  for (int criterion = 0; criterion < 3; ++criterion) {
    std::vector<int> sorted = order;
    std::stable_sort(sorted.begin(), sorted.end(), [&](int a, int b) {
      return criterion == 0   ? std::pair(size(a), values[a].last) > std::pair(size(b), values[b].last)
             : criterion == 1 ? life(a) > life(b)
                              : size(a) * life(a) > size(b) * life(b);
    });
    if (const size_t bytes = place(sorted); bytes < arena_bytes) {
      arena_bytes = bytes;
      for (size_t i = 0; i < order.size(); ++i) best[i] = values[order[i]].offset;
    }
  }
  for (size_t i = 0; i < order.size(); ++i) values[order[i]].offset = best[i];
}

size_t Plan::place(const std::vector<int>& order) {
  size_t end = 0;
  std::vector<int> placed;  // sorted by offset
  for (int v : order) {
    Value& value = values[v];
    const size_t bytes = aligned(bytes_of(value.spec));
    size_t offset = 0;
    for (int other : placed) {
      const Value& o = values[other];
      if (o.last < value.first || value.last < o.first) continue;
      if (offset + bytes <= o.offset) break;
      offset = std::max(offset, o.offset + aligned(bytes_of(o.spec)));
    }
    value.offset = offset;
    end = std::max(end, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), v,
                                   [&](int a, int b) { return values[a].offset < values[b].offset; }),
                  v);
  }
  return end;
}

std::string Plan::dump() const {
  auto text = [&](int v) {
    const Value& value = values[v];
    std::ostringstream out;
    if (value.feed >= 0)
      out << "feed" << value.feed;
    else if (value.place == Place::bound)
      out << (value.bound.variable_info() ? value.bound.variable_info()->name : "constant");
    else
      out << '%' << v;
    out << value.spec.shape;
    return out.str();
  };
  std::ostringstream out;
  out << steps.size() << " steps, arena " << arena_bytes << " bytes of " << value_bytes << "\n";
  for (size_t s = 0; s < steps.size(); ++s) {
    const Step& step = steps[s];
    out << s << ": ";
    for (int v : step.y) {
      out << text(v);
      if (const Value& root = values[values[v].root]; root.place == Place::arena) out << '@' << root.offset;
      out << ' ';
    }
    out << "= " << step.op->name() << '(';
    for (size_t i = 0; i < step.x.size(); ++i) out << (i ? ", " : "") << text(step.x[i]);
    out << ')';
    if (!step.scope.empty()) out << "  # " << step.scope;
    out << '\n';
  }
  return out.str();
}

}  // namespace fastnn
