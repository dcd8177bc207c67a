#include "graph/program.hpp"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <limits>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "core/parallel.hpp"
#include "graph/backward.hpp"
#include "graph/fuse.hpp"
#include "ops/shape.hpp"

namespace fastnn {

namespace {
constexpr size_t kAlignment = 64;
// Seconds on one thread from which a team pays. Waking it and its first hand-over cost about 10 us; in a stretch of
// many steps that is paid once, and a hand-over costs a fraction of a microsecond.
constexpr double kTeamPaysOnce = 100e-6;
constexpr double kTeamPaysOften = 20e-6;
constexpr double kBetweenChecks = 20e-3;  // seconds
constexpr int kFirstRuns = 3;             // of a program, timed on one thread
void (*g_interrupt_check)() = nullptr;
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

void set_interrupt_check(void (*check)()) { g_interrupt_check = check; }

Program::Program(const Graph& graph, Tensors feeds, Tensors fetches, int64_t capacity, std::shared_ptr<Arenas> arenas)
    : capacity_(capacity), arenas_(arenas ? std::move(arenas) : std::make_shared<Arenas>()) {
  const std::vector<Node> recorded = graph.nodes();
  const std::vector<Node> nodes = commit_last(fuse(without_dead(recorded, fetches), fetches));
  std::unordered_map<uint64_t, int> index;
  auto add = [&](const Tensor& t, Place place) {
    const int v = static_cast<int>(values_.size());
    index[t.id()] = v;
    Value value;
    value.spec = t.spec();
    value.place = place;
    value.root = v;
    values_.push_back(value);
    return v;
  };
  for (const Tensor& t : feeds) {
    Shape rest = t.shape();
    if (capacity > 0 && is_open(rest)) rest[0] = capacity;
    if (!rest.known()) throw ValueError(cat("program: expected feeds of known shape, got ", t.shape()));
    values_[add(t, Place::feed)].feed = static_cast<int>(feed_specs_.size());
    feed_specs_.push_back(t.spec());
  }
  auto find = [&](const Tensor& t) {
    if (const auto it = index.find(t.id()); it != index.end()) return it->second;
    if (!t.has_data())
      throw ValueError(cat("program: a placeholder of shape ", t.shape(), " is needed and not among the feeds"));
    const int v = add(t, Place::bound);
    values_[v].bound = t;
    return v;
  };
  for (const Node& node : nodes) {
    Step step{node.op, {}, {}, node.scope};
    calls_user_ |= node.op->calls_user();
    if (const auto* backward = dynamic_cast<const BackwardOp*>(node.op.get()); backward && capacity > 0)
      for (const Spec& spec : backward->x_spec())
        if (!spec.shape.known()) throw ValueError(cat("program: ", node.op->name(), " goes with one number of rows"));
    for (const Tensor& t : node.x) step.x.push_back(find(t));
    for (const Tensor& t : node.y) step.y.push_back(add(t, Place::arena));
    steps_.push_back(std::move(step));
  }
  for (const Tensor& t : fetches) fetches_.push_back(find(t));
  find_scopes(recorded);
  if (capacity > 0) {
    const std::vector<Spec> specs = specs_for(capacity);
    for (size_t v = 0; v < values_.size(); ++v) values_[v].spec = specs[v];
  }
  plan();
  looks_long_ = looks_long();
}

// The rates are those of a slow machine.
bool Program::looks_long() const {
  constexpr double kLong = 5e-3, kFlops = 20e9, kBytes = 5e9;
  double seconds = 0;
  std::vector<Spec> x, y;
  for (const Step& step : steps_) {
    x.clear();
    y.clear();
    for (int v : step.x) x.push_back(values_[v].spec);
    for (int v : step.y) y.push_back(values_[v].spec);
    seconds += step.op->flops(x, y) / kFlops;
    for (const Spec& spec : y) seconds += static_cast<double>(bytes_of(spec)) / kBytes;
  }
  return seconds >= kLong;
}

// The backward of an op belongs to the layer of the op.
void Program::find_scopes(const std::vector<Node>& recorded) {
  std::unordered_map<const Op*, const std::string*> scopes;
  for (const Node& node : recorded) scopes.try_emplace(node.op.get(), &node.scope);
  bool behind = false;
  for (Step& step : steps_) {
    const auto* backward = dynamic_cast<const BackwardOp*>(step.op.get());
    behind |= backward != nullptr;
    const auto found = scopes.try_emplace(backward ? backward->op().get() : step.op.get(), &step.scope);
    const bool made = found.second;  // by fusion; behind a backward step it computes again what was forgotten
    if (backward) step.scope = *found.first->second;
    step.backward = backward || step.scope == "gradient" || (behind && made);
  }
}

// What every value is when open feeds have so many rows: the ops are asked again.
std::vector<Spec> Program::specs_for(int64_t rows) const {
  std::vector<Spec> specs, x;
  for (const Value& value : values_) {
    specs.push_back(value.spec);
    if (value.feed >= 0 && is_open(feed_specs_[value.feed].shape)) specs.back().shape[0] = rows;
  }
  for (const Step& step : steps_) {
    x.clear();
    for (int v : step.x) x.push_back(specs[v]);
    const std::vector<Spec> y = step.op->infer(x);
    for (size_t i = 0; i < y.size(); ++i) specs[step.y[i]] = y[i];
  }
  return specs;
}

void Program::plan() {
  // Where each value is read last; a fetch is read by the copy that follows the last step.
  const int end = static_cast<int>(steps_.size());
  std::vector<int> last_read(values_.size(), -1);
  for (int s = 0; s < end; ++s)
    for (int v : steps_[s].x) last_read[v] = s;
  for (int v : fetches_) last_read[v] = end;

  // Memory is shared by views, and by accumulations whose start nobody reads afterwards; other accumulations get a
  // copy to start from. An output also takes the memory of an input that the step reads last, where the op allows it.
  std::vector<Step> steps;
  std::vector<int> root_last(values_.size(), -1);  // over all values that share a root, in the old numbering of steps
  for (size_t v = 0; v < values_.size(); ++v) root_last[v] = last_read[v];
  for (int s = 0; s < end; ++s) {
    Step& step = steps_[s];
    for (size_t i = 0; i < step.y.size(); ++i) {
      const int from = step.op->is_view() ? 0 : step.op->in_place_of(i);
      if (from < 0) continue;
      int& x = step.x[from];
      if (!step.op->is_view() && (values_[values_[x].root].place != Place::arena || root_last[values_[x].root] > s)) {
        Value copy;
        copy.spec = values_[x].spec;
        copy.root = static_cast<int>(values_.size());
        values_.push_back(copy);
        root_last.push_back(s);
        last_read.push_back(s);
        steps.push_back({copy_of(), {x}, {copy.root}, step.scope, step.backward});
        x = copy.root;
      }
      Value& target = values_[step.y[i]];
      target.root = values_[x].root;
      root_last[target.root] = std::max(root_last[target.root], last_read[step.y[i]]);
    }
    for (size_t i = 0; i < step.y.size(); ++i) {
      Value& target = values_[step.y[i]];
      if (target.root != step.y[i]) continue;
      for (size_t j = 0; j < step.x.size(); ++j) {
        const int root = values_[step.x[j]].root;
        const bool free = values_[root].place == Place::arena && root_last[root] <= s &&
                          bytes_of(values_[root].spec) == bytes_of(target.spec);
        if (!free || !step.op->may_overwrite(i, j)) continue;
        target.root = root;
        root_last[root] = std::max(s + 1, last_read[step.y[i]]);  // taken, even if nobody reads it
        break;
      }
    }
    steps.push_back(step);
  }
  steps_ = std::move(steps);

  // Liveness of roots in the final numbering.
  const int final_end = static_cast<int>(steps_.size());
  for (int s = 0; s < final_end; ++s) {
    for (const auto* list : {&steps_[s].x, &steps_[s].y})
      for (int v : *list) {
        Value& root = values_[values_[v].root];
        if (root.first < 0) root.first = s;
        root.last = s;
      }
  }
  for (int v : fetches_) values_[values_[v].root].last = final_end;

  for (const Step& step : steps_)
    if (!step.op->is_view())
      for (int v : step.y) value_bytes_ += aligned(bytes_of(values_[v].spec));

  // Each at the lowest offset that is free for as long as it lives; the best of three orders: the largest first (of
  // equals those that live on longest), those that live longest first, and the largest areas of both.
  std::vector<int> order;
  for (size_t v = 0; v < values_.size(); ++v) {
    const Value& value = values_[v];
    if (value.root == static_cast<int>(v) && value.place == Place::arena && value.first >= 0)
      order.push_back(static_cast<int>(v));
  }
  auto size = [&](int v) { return aligned(bytes_of(values_[v].spec)); };
  auto life = [&](int v) { return static_cast<size_t>(values_[v].last - values_[v].first + 1); };
  arena_bytes_ = SIZE_MAX;
  std::vector<size_t> best(order.size());
  for (int criterion = 0; criterion < 3; ++criterion) {
    std::vector<int> sorted = order;
    std::stable_sort(sorted.begin(), sorted.end(), [&](int a, int b) {
      return criterion == 0   ? std::pair(size(a), values_[a].last) > std::pair(size(b), values_[b].last)
             : criterion == 1 ? life(a) > life(b)
                              : size(a) * life(a) > size(b) * life(b);
    });
    if (const size_t bytes = place(sorted); bytes < arena_bytes_) {
      arena_bytes_ = bytes;
      for (size_t i = 0; i < order.size(); ++i) best[i] = values_[order[i]].offset;
    }
  }
  for (size_t i = 0; i < order.size(); ++i) values_[order[i]].offset = best[i];
}

size_t Program::place(const std::vector<int>& order) {
  size_t end = 0;
  std::vector<int> placed;  // sorted by offset
  for (int v : order) {
    Value& value = values_[v];
    const size_t bytes = aligned(bytes_of(value.spec));
    size_t offset = 0;
    for (int other : placed) {
      const Value& o = values_[other];
      if (o.last < value.first || value.last < o.first) continue;
      if (offset + bytes <= o.offset) break;
      offset = std::max(offset, o.offset + aligned(bytes_of(o.spec)));
    }
    value.offset = offset;
    end = std::max(end, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), v,
                                   [&](int a, int b) { return values_[a].offset < values_[b].offset; }),
                  v);
  }
  return end;
}

Program::Layout Program::make_layout(const std::shared_ptr<Storage>& arena, int64_t rows) const {
  Layout layout{rows, {}, {}, {}, {}};
  if (rows == 0) {
    for (const Value& value : values_) layout.specs.push_back(value.spec);
  } else {
    try {
      layout.specs = specs_for(rows);
    } catch (const std::exception& error) {
      throw RowsError(error.what());
    }
  }
  const std::vector<Spec>& specs = layout.specs;
  std::vector<Tensor> tensors(values_.size());
  for (size_t v = 0; v < values_.size(); ++v) {
    const Value& value = values_[v];
    const Value& root = values_[value.root];
    if (rows > 0 && bytes_of(specs[v]) > bytes_of(value.spec))
      throw RowsError(cat("program: a value of shape ", specs[v].shape, " is larger than its place for ", capacity_,
                          " rows, ", value.spec.shape));
    if (root.place == Place::arena)
      tensors[v] = Tensor::over(arena, root.offset, specs[v].shape, specs[v].dtype);
    else if (root.place == Place::bound)
      tensors[v] = value.root == static_cast<int>(v) ? value.bound : root.bound.view(specs[v].shape);
  }
  for (const Step& step : steps_) {
    if (step.op->is_view()) continue;
    for (int y : step.y)
      for (int x : step.x)  // what is computed in place is not smaller than its result
        if (values_[x].root == values_[y].root && bytes_of(specs[x]) != bytes_of(specs[y]))
          throw RowsError(cat("program: ", step.op->name(), " cannot compute in place for ", rows, " rows"));
    Layout::Call call{step.op.get(), {}, {}, step.op->writes(step.x.size())};
    for (size_t i = 0; i < step.x.size(); ++i) {
      const Value& root = values_[values_[step.x[i]].root];
      if (root.place == Place::feed) layout.patches.push_back({layout.calls.size(), i, step.x[i]});
      call.x.push_back(tensors[step.x[i]]);
    }
    for (int v : step.y) call.y.push_back(tensors[v]);
    layout.calls.push_back(std::move(call));
  }
  return layout;
}

Program::Layout& Program::layout_for(Workspace& workspace, int64_t rows) const {
  constexpr size_t kKept = 8;
  auto& layouts = workspace.layouts;
  const auto found = std::find_if(layouts.begin(), layouts.end(), [&](const Layout& l) { return l.rows == rows; });
  if (found != layouts.end()) {
    std::rotate(found, found + 1, layouts.end());
  } else {
    Layout made = make_layout(workspace.arena, rows);
    if (layouts.size() == kKept) layouts.erase(layouts.begin());
    layouts.push_back(std::move(made));
  }
  return layouts.back();
}

std::unique_ptr<Program::Workspace> Program::take_workspace() {
  auto arena = arenas_->take(arena_bytes_);
  const std::lock_guard lock(mutex_);
  const auto mine = std::find_if(idle_.begin(), idle_.end(), [&](const auto& w) { return w->arena == arena; });
  if (mine == idle_.end()) {
    idle_.clear();  // laid out over arenas that have been replaced, or serve another caller
    return std::make_unique<Workspace>(Workspace{std::move(arena), {}});
  }
  auto workspace = std::move(*mine);
  idle_.erase(mine);
  return workspace;
}

void Program::give_back(std::unique_ptr<Workspace> workspace) {
  Layout& layout = workspace->layouts.back();
  for (const auto& patch : layout.patches) layout.calls[patch.call].x[patch.input] = Tensor();
  arenas_->give_back(workspace->arena);
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(workspace));
}

Tensor Program::fed(const Layout& layout, Tensors feeds, int value) const {
  const Tensor& feed = feeds[static_cast<size_t>(values_[values_[value].root].feed)];
  return values_[value].root == value ? feed : feed.view(layout.specs[value].shape);
}

void Program::patch(Layout& layout, Tensors feeds) const {
  for (const auto& patch : layout.patches) layout.calls[patch.call].x[patch.input] = fed(layout, feeds, patch.feed);
}

void Program::execute(const Layout& layout) const {
  FlushToZero flush;
  using Clock = std::chrono::steady_clock;
  const double usual = serial_seconds_.load(std::memory_order_relaxed);
  bool checks = g_interrupt_check && (usual == 0 || usual > kBetweenChecks);
  Clock::time_point checked = checks ? Clock::now() : Clock::time_point();
  for (const auto& call : layout.calls) {
    checks &= call.writes == 0;  // what has begun to write is finished
    if (checks && std::chrono::duration<double>(Clock::now() - checked).count() > kBetweenChecks) {
      g_interrupt_check();
      checked = Clock::now();
    }
    call.op->forward(call.x, call.y);
    for (size_t i = 0; i < call.writes; ++i) call.x[i].storage()->bump();
  }
}

int64_t Program::check_feeds(Tensors feeds, bool rows_differ) const {
  if (feeds.size() != feed_specs_.size())
    throw ValueError(cat("program: expected ", feed_specs_.size(), " feeds, got ", feeds.size()));
  int64_t rows = 0;
  for (size_t i = 0; i < feeds.size(); ++i) {
    Spec spec = feeds[i].spec();
    const bool ranked = spec.shape.rank() > 0 && feed_specs_[i].shape.rank() > 0;
    if (rows_differ && ranked) {
      spec.shape[0] = feed_specs_[i].shape[0];
      spec.dtype = feed_specs_[i].dtype;
    } else if (ranked && is_open(feed_specs_[i].shape)) {
      if (rows == 0) rows = spec.shape[0];
      if (rows < 1 || rows > capacity_ || spec.shape[0] != rows)
        throw ValueError(
            cat("program: expected 1 to ", capacity_, " rows, as many in every feed, got shape ", spec.shape));
      spec.shape[0] = kUnknown;
    }
    if (spec != feed_specs_[i])
      throw ValueError(cat("program: expected feed ", i, " of shape ", feed_specs_[i].shape, " and dtype ",
                           feed_specs_[i].dtype, ", got ", feeds[i].shape(), " and ", feeds[i].dtype()));
  }
  return rows;
}

template <class Body>
void Program::run_steps(double team_pays, const Body& body, int64_t rows) {
  // The first runs are on one thread; of a step that looks long, which may run but once, the first is with a team and
  // the second on one thread. Then the faster of the two is taken, as last measured, and the other is tried now and
  // then, one thread more rarely if it was much slower: beside other work on the machine two threads that wait for each
  // other can lose to one. One slow run (the first after a pause, say) decides nothing. What is tried counts by its
  // best of a few runs, as the workers of the last team spin on for a while.
  constexpr int kPeriod = 64, kLongPeriod = 512, kTrialBegin = 8, kTrialEnd = 11;
  constexpr double kFewRows = 1.0 / 16, kMuch = 1.25, kNever = std::numeric_limits<double>::infinity();
  const double share = rows > 0 ? static_cast<double>(rows) / static_cast<double>(capacity_) : 1;
  const int timed = timed_.load(std::memory_order_relaxed);
  const double serial = serial_seconds_.load(std::memory_order_relaxed);
  const double with_others = team_seconds_.load(std::memory_order_relaxed);
  const bool can = !calls_user_ && num_threads() > 1, first = timed < (looks_long_ ? 2 : kFirstRuns);
  const bool may = can && !first && serial * share >= team_pays;
  const bool measured = share > kFewRows && (first || may);
  const int turn = timed % (with_others > 0 && serial > kMuch * with_others ? kLongPeriod : kPeriod);
  const bool trial = may && measured && turn >= kTrialBegin && turn < kTrialEnd;
  const bool team = first ? can && looks_long_ && timed == 0 : may && (with_others < serial) != trial;

  int64_t steps = 0;
  const auto start = std::chrono::steady_clock::now();
  if (team) {
    with_team([&] { steps = body(); });
  } else {
    const OneThread alone(!calls_user_);
    steps = body();
  }
  if (!measured) return;
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  const double now = spent.count() / share / static_cast<double>(std::max<int64_t>(steps, 1));
  const double before = team ? with_others : serial;
  double noted = before == 0 ? now : first ? std::min(before, now) : (before + std::min(now, 2 * before)) / 2;
  if (trial) {
    noted = std::min(now, tried_seconds_.load(std::memory_order_relaxed));
    tried_seconds_.store(turn == kTrialEnd - 1 ? kNever : noted, std::memory_order_relaxed);
  }
  if (!trial || turn == kTrialEnd - 1) (team ? team_seconds_ : serial_seconds_).store(noted, std::memory_order_relaxed);
  timed_.store(timed == INT_MAX ? kFirstRuns : timed + 1, std::memory_order_relaxed);
}

std::vector<Tensor> Program::run(Tensors feeds) {
  const int64_t rows = check_feeds(feeds, false);
  auto workspace = take_workspace();
  Layout& layout = layout_for(*workspace, rows);
  std::vector<Tensor> results;
  results.reserve(fetches_.size());
  patch(layout, feeds);
  run_steps(
      kTeamPaysOnce,
      [&] {
        execute(layout);
        return 1;
      },
      rows);
  for (int v : fetches_) {
    const Value& root = values_[values_[v].root];
    const Tensor result = Tensor::empty(layout.specs[v].shape, layout.specs[v].dtype);
    const void* source = root.place == Place::feed    ? fed(layout, feeds, v).raw()
                         : root.place == Place::bound ? root.bound.raw()
                                                      : workspace->arena->data() + root.offset;
    std::memcpy(result.raw(), source, result.bytes());
    results.push_back(result);
  }
  give_back(std::move(workspace));
  return results;
}

namespace {

// to[r] = from[rows[r]], cast; rows are [start, start + n) where `rows` is null.
void gather_rows(const Tensor& from, const int64_t* rows, int64_t start, const Tensor& to) {
  const int64_t n = to.shape()[0], width = to.size() / std::max<int64_t>(n, 1);
  with_dtype(from.dtype(), [&](auto source) {
    with_dtype(to.dtype(), [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      const From* x = from.data<From>();
      To* y = to.data<To>();
      const FlushToZero flush;  // as the workers do, or a denormal would depend on who gathers it
      parallel_for(n, grain_for(width), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const From* row = x + (rows ? rows[r] : start + r) * width;
          if constexpr (std::is_same_v<From, To>)
            std::memcpy(y + r * width, row, static_cast<size_t>(width) * sizeof(To));
          else
            for (int64_t i = 0; i < width; ++i) y[r * width + i] = static_cast<To>(row[i]);
        }
      });
    });
  });
}

}  // namespace

int64_t Program::run_rows(Tensors sources, const Tensor& order, int64_t first, int64_t last, double seconds) {
  check_feeds(sources, true);
  const int64_t batch = feed_specs_.empty() || feed_specs_[0].shape.empty() ? 0 : feed_specs_[0].shape[0];
  int64_t total = order ? order.size() : INT64_MAX;
  for (const Tensor& t : sources)
    if (!order && t.rank() > 0) total = std::min(total, t.shape()[0]);
  if (batch < 1 || first < 0 || last > total / batch)
    throw ValueError(
        cat("program: steps ", first, " to ", last, " of ", batch, " rows do not fit into ", total, " rows"));
  std::vector<int64_t> rows;  // a copy: `order` may be memory of the caller's, who can change it meanwhile
  if (order && first < last) {
    if (order.dtype() != DType::int64) throw TypeError(cat("order: expected int64, got ", order.dtype()));
    rows.assign(order.data<int64_t>() + first * batch, order.data<int64_t>() + last * batch);
    for (int64_t row : rows)
      for (const Tensor& t : sources)
        if (row < 0 || row >= t.shape()[0]) throw IndexError(cat("order: row ", row, " of ", t.shape()[0]));
  }
  for (const Spec& spec : feed_specs_)
    if (spec.shape.empty() || spec.shape[0] != batch)
      throw ValueError(cat("program: expected feeds of ", batch, " rows, got shape ", spec.shape));
  auto workspace = take_workspace();
  Layout& layout = layout_for(*workspace, 0);
  std::vector<Tensor>& feeds = layout.gathered;
  for (size_t i = feeds.size(); i < feed_specs_.size(); ++i)
    feeds.push_back(Tensor::empty(feed_specs_[i].shape, feed_specs_[i].dtype));
  patch(layout, feeds);
  const auto start = std::chrono::steady_clock::now();
  int64_t step = first;
  auto one_step = [&] {
    for (size_t i = 0; i < feeds.size(); ++i)
      gather_rows(sources[i], order ? rows.data() + (step - first) * batch : nullptr, step * batch, feeds[i]);
    execute(layout);
    ++step;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() <= seconds;
  };
  bool time_left = true;
  while (time_left && step < last)
    run_steps(kTeamPaysOften, [&] {
      const int64_t begin = step;
      const bool many = timed_.load(std::memory_order_relaxed) >= kFirstRuns;
      do time_left = one_step();
      while (many && time_left && step < last);
      return step - begin;
    });
  give_back(std::move(workspace));
  return step;
}

std::vector<Program::StepTime> Program::profile(Tensors feeds, int repeats) {
  const int64_t rows = check_feeds(feeds, false);
  auto workspace = take_workspace();
  Layout& layout = layout_for(*workspace, rows);
  patch(layout, feeds);

  struct Saved {  // what is written, to be put back
    Tensor tensor;
    std::vector<std::byte> bytes;
    explicit Saved(const Tensor& t)
        : tensor(t), bytes(static_cast<std::byte*>(t.raw()), static_cast<std::byte*>(t.raw()) + t.bytes()) {}
    Saved(Saved&&) = default;
    ~Saved() {
      if (tensor) std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(tensor.raw()));
    }
  };
  std::vector<Saved> saved;
  for (const auto& call : layout.calls)
    for (size_t i = 0; i < call.writes; ++i) {
      const void* at = call.x[i].raw();
      if (std::none_of(saved.begin(), saved.end(), [&](const Saved& s) { return s.tensor.raw() == at; }))
        saved.emplace_back(call.x[i]);
    }

  std::vector<std::vector<double>> seconds(layout.calls.size());
  auto run_once = [&](bool counts) {
    FlushToZero flush;
    for (size_t c = 0; c < layout.calls.size(); ++c) {
      const auto& call = layout.calls[c];
      const auto start = std::chrono::steady_clock::now();
      call.op->forward(call.x, call.y);
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      if (counts) seconds[c].push_back(spent.count());
      for (size_t i = 0; i < call.writes; ++i) call.x[i].storage()->bump();
    }
  };
  for (int run = 0; run < kFirstRuns; ++run)
    run_steps(
        kTeamPaysOften,
        [&] {
          run_once(false);
          return 1;
        },
        rows);
  run_steps(
      kTeamPaysOften,
      [&] {
        for (int run = 0; run < repeats; ++run) run_once(true);
        return repeats;
      },
      rows);

  std::vector<StepTime> times;
  size_t c = 0;
  for (const Step& step : steps_) {
    if (step.op->is_view()) continue;
    std::sort(seconds[c].begin(), seconds[c].end());
    std::vector<Spec> x, y;
    for (int v : step.x) x.push_back(layout.specs[v]);
    for (int v : step.y) y.push_back(layout.specs[v]);
    size_t bytes = 0;
    for (const auto* specs : {&x, &y})
      for (const Spec& spec : *specs) bytes += bytes_of(spec);
    times.push_back({step.scope, step.backward, std::string(step.op->name()), std::string(step.op->algorithm(x, y)),
                     y.empty() ? x[0].shape : y[0].shape, seconds[c].empty() ? 0 : seconds[c][seconds[c].size() / 2],
                     step.op->flops(x, y), static_cast<int64_t>(bytes)});
    ++c;
  }
  give_back(std::move(workspace));
  return times;
}

std::string Program::dump() const {
  auto text = [&](int v) {
    const Value& value = values_[v];
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
  out << steps_.size() << " steps, arena " << arena_bytes_ << " bytes of " << value_bytes_ << "\n";
  for (size_t s = 0; s < steps_.size(); ++s) {
    const Step& step = steps_[s];
    out << s << ": ";
    for (int v : step.y) {
      out << text(v);
      if (const Value& root = values_[values_[v].root]; root.place == Place::arena) out << '@' << root.offset;
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
