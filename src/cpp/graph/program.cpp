#include "graph/program.hpp"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <limits>

#include "core/parallel.hpp"

namespace fastnn {

namespace {
// Seconds on one thread from which a team pays. Waking it and its first hand-over cost about 10 us; in a stretch of
// many steps that is paid once, and a hand-over costs a fraction of a microsecond.
constexpr double kTeamPaysOnce = 100e-6;
constexpr double kTeamPaysOften = 20e-6;
constexpr double kBetweenChecks = 20e-3;  // seconds
constexpr int kFirstRuns = 3;             // of a program, before it chooses
constexpr double kStretch = 1e-3;         // seconds of steps that make one run: choices are soon looked at again
constexpr double kLong = 5e-3;            // seconds, of a run on a slow machine
void (*g_interrupt_check)() = nullptr;
bool is_open(const Shape& shape) { return shape.rank() > 0 && shape[0] == kUnknown; }
}  // namespace

void set_interrupt_check(void (*check)()) { g_interrupt_check = check; }

Program::Program(const Graph& graph, Tensors feeds, Tensors fetches, int64_t capacity, std::shared_ptr<Arenas> arenas)
    : plan_(graph, feeds, fetches, capacity),
      looks_long_(plan_.slow_seconds() >= kLong),
      arenas_(arenas ? std::move(arenas) : std::make_shared<Arenas>()) {}

Program::Layout Program::make_layout(const std::shared_ptr<Storage>& arena, int64_t rows) const {
  Layout layout{rows, {}, {}, {}, {}};
  if (rows == 0) {
    for (const Plan::Value& value : plan_.values) layout.specs.push_back(value.spec);
  } else {
    try {
      layout.specs = plan_.specs_for(rows);
    } catch (const std::exception& error) {
      throw RowsError(error.what());
    }
  }
  const std::vector<Spec>& specs = layout.specs;
  std::vector<Tensor> tensors(plan_.values.size());
  for (size_t v = 0; v < plan_.values.size(); ++v) {
    const Plan::Value& value = plan_.values[v];
    const Plan::Value& root = plan_.values[value.root];
    if (rows > 0 && bytes_of(specs[v]) > bytes_of(value.spec))
      throw RowsError(cat("program: a value of shape ", specs[v].shape, " is larger than its place for ",
                          plan_.capacity, " rows, ", value.spec.shape));
    if (root.place == Plan::Place::arena)
      tensors[v] = Tensor::over(arena, root.offset, specs[v].shape, specs[v].dtype);
    else if (root.place == Plan::Place::bound)
      tensors[v] = value.root == static_cast<int>(v) ? value.bound : root.bound.view(specs[v].shape);
  }
  for (const Plan::Step& step : plan_.steps) {
    if (step.op->is_view()) continue;
    for (int y : step.y)
      for (int x : step.x)  // what is computed in place is not smaller than its result
        if (plan_.values[x].root == plan_.values[y].root && bytes_of(specs[x]) != bytes_of(specs[y]))
          throw RowsError(cat("program: ", step.op->name(), " cannot compute in place for ", rows, " rows"));
    Layout::Call call{step.op.get(), {}, {}, step.op->writes(step.x.size())};
    for (size_t i = 0; i < step.x.size(); ++i) {
      const Plan::Value& root = plan_.values[plan_.values[step.x[i]].root];
      if (root.place == Plan::Place::feed) layout.patches.push_back({layout.calls.size(), i, step.x[i]});
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
  auto arena = arenas_->take(plan_.arena_bytes);
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
  const Tensor& feed = feeds[static_cast<size_t>(plan_.values[plan_.values[value].root].feed)];
  return plan_.values[value].root == value ? feed : feed.view(layout.specs[value].shape);
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
  if (feeds.size() != plan_.feed_specs.size())
    throw ValueError(cat("program: expected ", plan_.feed_specs.size(), " feeds, got ", feeds.size()));
  int64_t rows = 0;
  for (size_t i = 0; i < feeds.size(); ++i) {
    Spec spec = feeds[i].spec();
    const bool ranked = spec.shape.rank() > 0 && plan_.feed_specs[i].shape.rank() > 0;
    if (rows_differ && ranked) {
      spec.shape[0] = plan_.feed_specs[i].shape[0];
      spec.dtype = plan_.feed_specs[i].dtype;
    } else if (ranked && is_open(plan_.feed_specs[i].shape)) {
      if (rows == 0) rows = spec.shape[0];
      if (rows < 1 || rows > plan_.capacity || spec.shape[0] != rows)
        throw ValueError(
            cat("program: expected 1 to ", plan_.capacity, " rows, as many in every feed, got shape ", spec.shape));
      spec.shape[0] = kUnknown;
    }
    if (spec != plan_.feed_specs[i])
      throw ValueError(cat("program: expected feed ", i, " of shape ", plan_.feed_specs[i].shape, " and dtype ",
                           plan_.feed_specs[i].dtype, ", got ", feeds[i].shape(), " and ", feeds[i].dtype()));
  }
  return rows;
}

template <class Body>
void Program::run_steps(double team_pays, const Body& body, int64_t rows) {
  // The first runs are on one thread; of a step that looks long, which may run but once, all but the second are with a
  // team: the very first touches its memory for the first time and decides nothing. Then the faster of the two is
  // taken, as last measured, and the other is tried now and then, one thread later and more rarely if it was much
  // slower: beside other work on the machine two threads that wait for each other can lose to one. A slow run or two
  // (the first after a pause, beside workers of others that spin on for a while) decide nothing: what is noted follows
  // the median, by an eighth a run at most. What is tried counts by its best of a few runs.
  constexpr int kPeriod = 64, kLongPeriod = 512, kTrialBegin = 8, kTrialRuns = 3;
  constexpr double kFewRows = 1.0 / 16, kMuch = 1.25, kStep = 1.125, kNever = std::numeric_limits<double>::infinity();
  const double share = rows > 0 ? static_cast<double>(rows) / static_cast<double>(plan_.capacity) : 1;
  const int timed = timed_.load(std::memory_order_relaxed);
  const double serial = serial_seconds_.load(std::memory_order_relaxed);
  const double with_others = team_seconds_.load(std::memory_order_relaxed);
  const bool can = !plan_.calls_user && num_threads() > 1, first = timed < kFirstRuns;
  const bool may = can && !first && serial * share >= team_pays;
  const bool measured = share > kFewRows && (first || may);
  const bool much = with_others > 0 && serial > kMuch * with_others;
  const int turn = timed % (much ? kLongPeriod : kPeriod), begin = much ? kLongPeriod - kTrialRuns : kTrialBegin;
  const bool trial = may && measured && turn >= begin && turn < begin + kTrialRuns;
  const bool last_trial = trial && turn == begin + kTrialRuns - 1;
  const bool team = first ? can && looks_long_ && timed != 1 : may && (with_others < serial) != trial;

  int64_t steps = 0;
  const auto start = std::chrono::steady_clock::now();
  if (team) {
    with_team([&] { steps = body(); });
  } else {
    const OneThread alone(!plan_.calls_user);
    steps = body();
  }
  if (!measured) return;
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  const double now = spent.count() / share / static_cast<double>(std::max<int64_t>(steps, 1));
  const double before = team ? with_others : serial;
  double noted = before == 0 ? now : first ? std::min(before, now) : std::clamp(now, before / kStep, before * kStep);
  if (trial) {
    noted = std::min(now, tried_seconds_.load(std::memory_order_relaxed));
    tried_seconds_.store(last_trial ? kNever : noted, std::memory_order_relaxed);
  }
  if (!trial || last_trial) (team ? team_seconds_ : serial_seconds_).store(noted, std::memory_order_relaxed);
  timed_.store(timed == INT_MAX ? kFirstRuns : timed + 1, std::memory_order_relaxed);
}

std::vector<Tensor> Program::run(Tensors feeds) {
  const int64_t rows = check_feeds(feeds, false);
  auto workspace = take_workspace();
  Layout& layout = layout_for(*workspace, rows);
  std::vector<Tensor> results;
  results.reserve(plan_.fetches.size());
  patch(layout, feeds);
  run_steps(
      kTeamPaysOnce,
      [&] {
        execute(layout);
        return 1;
      },
      rows);
  for (int v : plan_.fetches) {
    const Plan::Value& root = plan_.values[plan_.values[v].root];
    const Tensor result = Tensor::empty(layout.specs[v].shape, layout.specs[v].dtype);
    const void* source = root.place == Plan::Place::feed    ? fed(layout, feeds, v).raw()
                         : root.place == Plan::Place::bound ? root.bound.raw()
                                                            : workspace->arena->data() + root.offset;
    std::memcpy(result.raw(), source, result.bytes());
    results.push_back(result);
  }
  give_back(std::move(workspace));
  return results;
}

namespace {

// body(r, where row r comes from); those are [start, ...) where `rows` is null.
template <class Body>
void for_rows(int64_t n, int64_t width, const int64_t* rows, int64_t start, const Body& body) {
  parallel_for(n, grain_for(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) body(r, rows ? rows[r] : start + r);
  });
}

// to[r] = from[rows[r]], cast.
void gather_rows(const Tensor& from, const int64_t* rows, int64_t start, const Tensor& to) {
  const int64_t n = to.shape()[0], width = to.size() / std::max<int64_t>(n, 1);
  if (from.dtype() == to.dtype()) {
    const auto* x = from.data<std::byte>();
    auto* y = to.data<std::byte>();
    const size_t bytes = static_cast<size_t>(width) * item_size(to.dtype());
    auto copy = [&](auto size) {
      const auto apart = static_cast<int64_t>(size());
      for_rows(n, width, rows, start,
               [&](int64_t r, int64_t row) { std::memcpy(y + r * apart, x + row * apart, size()); });
    };
    // A copy of a size that the compiler knows is a move or two, a call as long as the rest of a small net's gathering.
    if (bytes == 4) return copy([] { return size_t{4}; });
    if (bytes == 8) return copy([] { return size_t{8}; });
    if (bytes == 16) return copy([] { return size_t{16}; });
    return copy([=] { return bytes; });
  }
  with_dtype(from.dtype(), [&](auto source) {
    with_dtype(to.dtype(), [&](auto target) {
      using To = decltype(target);
      const auto* x = from.data<decltype(source)>();
      To* y = to.data<To>();
      for_rows(n, width, rows, start, [&](int64_t r, int64_t row) {
        for (int64_t i = 0; i < width; ++i) y[r * width + i] = static_cast<To>(x[row * width + i]);
      });
    });
  });
}

}  // namespace

int64_t Program::run_rows(Tensors sources, const Tensor& order, int64_t first, int64_t last, double seconds) {
  check_feeds(sources, true);
  const int64_t batch =
      plan_.feed_specs.empty() || plan_.feed_specs[0].shape.empty() ? 0 : plan_.feed_specs[0].shape[0];
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
    uint64_t limit = UINT64_MAX;
    for (const Tensor& t : sources) limit = std::min(limit, static_cast<uint64_t>(t.shape()[0]));
    for (int64_t row : rows)
      if (static_cast<uint64_t>(row) >= limit) throw IndexError(cat("order: row ", row, " of ", limit));
  }
  for (const Spec& spec : plan_.feed_specs)
    if (spec.shape.empty() || spec.shape[0] != batch)
      throw ValueError(cat("program: expected feeds of ", batch, " rows, got shape ", spec.shape));
  auto workspace = take_workspace();
  Layout& layout = layout_for(*workspace, 0);
  std::vector<Tensor>& feeds = layout.gathered;
  for (size_t i = feeds.size(); i < plan_.feed_specs.size(); ++i)
    feeds.push_back(Tensor::empty(plan_.feed_specs[i].shape, plan_.feed_specs[i].dtype));
  patch(layout, feeds);
  const auto start = std::chrono::steady_clock::now();
  auto spent = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  int64_t step = first;
  bool time_left = true;
  while (time_left && step < last)
    run_steps(kTeamPaysOften, [&] {
      const FlushToZero flush;  // a denormal must not depend on who gathers it; and once for all steps
      const int64_t begin = step;
      const double end = timed_.load(std::memory_order_relaxed) < kFirstRuns ? 0 : spent() + kStretch;
      double now = 0;
      do {
        for (size_t i = 0; i < feeds.size(); ++i)
          gather_rows(sources[i], order ? rows.data() + (step - first) * batch : nullptr, step * batch, feeds[i]);
        execute(layout);
        ++step;
        now = spent();
        time_left = now <= seconds;
      } while (time_left && now <= end && step < last);
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
  for (const Plan::Step& step : plan_.steps) {
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

}  // namespace fastnn
