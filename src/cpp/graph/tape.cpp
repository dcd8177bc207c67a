#include "graph/tape.hpp"

#include <algorithm>

#include "graph/backward.hpp"
#include "ops/elementwise.hpp"
#include "ops/shape.hpp"

namespace fastnn {

namespace {

class CustomGradient final : public Op {
 public:
  CustomGradient(std::string name, int64_t key, size_t outputs) : key(key), name_(std::move(name)), outputs_(outputs) {}
  const int64_t key;
  std::string_view name() const override { return name_; }
  std::vector<Spec> infer(Specs) const override { throw StateError(cat(name_, ": runs op by op")); }
  void forward(Tensors, Tensors) const override {}
  bool reads_input(size_t) const override { return true; }           // whatever the pullback reads
  bool reads_output(size_t) const override { return outputs_ > 1; }  // for zeros in its place

 private:
  std::string name_;
  size_t outputs_;
};

struct Slot {
  Tensor gradient;
  bool owned = false;  // by this walk: later contributions may be added in place
};

// The outputs that carry a gradient.
Tensors with_gradient(const Op& op, Tensors y) { return dynamic_cast<const CustomGradient*>(&op) ? y : y.first(1); }

}  // namespace

void Tape::watch(const Tensor& tensor) {
  if (!is_floating(tensor.dtype()))
    throw TypeError(cat("watch: expected a float32 or float64 tensor, got ", tensor.dtype()));
  const std::lock_guard lock(mutex_);
  active_.insert(tensor.id());
}

bool Tape::add(const OpPtr& op, Tensors x, Tensors y) {
  const std::lock_guard lock(mutex_);
  bool depends = false;
  for (size_t i = 0; i < x.size(); ++i) {
    const Tensor& t = x[i];
    if (watch_variables_ && t.variable_info() && t.variable_info()->trainable && is_floating(t.dtype()))
      active_.insert(t.id());
    depends |= op->has_gradient(i) && active_.contains(t.id());
  }
  if (!depends || !op->differentiable()) return false;
  Entry entry{op, {}, {}, {}};
  for (size_t i = 0; i < x.size(); ++i) entry.x.push_back(op->reads_input(i) ? x[i] : x[i].shell());
  for (size_t i = 0; i < y.size(); ++i) entry.y.push_back(op->reads_output(i) ? y[i] : y[i].shell());
  for (const Tensor& t : with_gradient(*op, y))
    if (is_floating(t.dtype())) active_.insert(t.id());
  for (const auto* list : {&entry.x, &entry.y})
    for (const Tensor& t : *list)
      if (t.has_data()) entry.versions.push_back(t.storage()->version());
  entries_.push_back(std::move(entry));
  return true;
}

std::vector<Tensor> Tape::gradient(Tensors targets, Tensors seeds, Tensors sources, Tensors into,
                                   const Pullback& pullback) {
  stop();
  std::unordered_set<uint64_t> needed;
  std::vector<Entry> entries;  // a pullback may ask this tape itself, so the lock is not held while it runs
  {
    const std::lock_guard lock(mutex_);
    if (used_ && !persistent_)
      throw StateError(
          "gradient: this tape is not persistent and has been used; GradientTape(persistent=True) allows more");
    used_ = true;
    // What nobody watched was not recorded everywhere: a gradient of it would be a part of it.
    for (const Tensor& t : sources)
      if (active_.contains(t.id())) needed.insert(t.id());
    if (persistent_)
      entries = entries_;
    else
      entries.swap(entries_);
  }

  std::unordered_map<uint64_t, Tensor> destination;
  for (size_t i = 0; i < sources.size(); ++i)
    if (needed.contains(sources[i].id()) && i < into.size() && into[i]) destination[sources[i].id()] = into[i];
  std::unordered_set<uint64_t> is_source = needed;
  std::vector<char> on_path(entries.size(), 0);
  for (size_t e = 0; e < entries.size(); ++e) {
    const Entry& entry = entries[e];
    for (size_t i = 0; i < entry.x.size(); ++i)
      if (entry.op->has_gradient(i) && needed.contains(entry.x[i].id())) on_path[e] = 1;
    if (on_path[e])
      for (const Tensor& t : with_gradient(*entry.op, entry.y))
        if (is_floating(t.dtype())) needed.insert(t.id());
  }

  std::unordered_map<uint64_t, Slot> slots;
  auto add = [&](uint64_t id, const Tensor& contribution, bool owned) {
    Slot& slot = slots[id];
    if (!slot.gradient)
      slot = {contribution, owned};
    else
      slot = {apply1(binary(kernels::Binary::add), {slot.gradient, contribution}), true};
  };
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!needed.contains(targets[i].id())) continue;
    if (i < seeds.size() && seeds[i]) {
      if (seeds[i].spec() != targets[i].spec())
        throw ValueError(cat("output_gradients: expected shape ", targets[i].shape(), " and dtype ", targets[i].dtype(),
                             ", got ", seeds[i].shape(), " and ", seeds[i].dtype()));
      add(targets[i].id(), seeds[i], false);
    } else {
      add(targets[i].id(), apply1(fill_like(1), {targets[i]}), true);
    }
  }

  for (size_t e = entries.size(); e-- > 0;) {
    if (!on_path[e]) continue;
    const Entry& entry = entries[e];
    const Tensors y = with_gradient(*entry.op, entry.y);
    if (std::ranges::none_of(y, [&](const Tensor& t) { return slots.contains(t.id()); })) continue;

    size_t kept = 0;
    for (const auto* list : {&entry.x, &entry.y})
      for (const Tensor& t : *list)
        if (t.has_data() && t.storage()->version() != entry.versions[kept++])
          throw StateError(
              cat("gradient: ", entry.op->name(), " needs a value of shape ", t.shape(),
                  " that has been overwritten since it was recorded; ask for the gradient before assigning"));

    if (const auto* custom = dynamic_cast<const CustomGradient*>(entry.op.get())) {
      std::vector<Tensor> dy;
      for (const Tensor& t : y) {
        const auto found = slots.find(t.id());
        dy.push_back(found != slots.end()     ? found->second.gradient
                     : is_floating(t.dtype()) ? apply1(fill_like(0), {t})
                                              : Tensor());
      }
      const auto dx = pullback(custom->key, dy);
      for (size_t i = 0; i < dx.size(); ++i)
        if (dx[i] && needed.contains(entry.x[i].id())) add(entry.x[i].id(), dx[i], false);
      continue;
    }

    const auto dy = slots.find(entry.y[0].id());
    const uint64_t x0 = entry.x[0].id();
    if (entry.op->is_view() && !slots.contains(x0) && !destination.contains(x0)) {
      // The gradient of a view is the view of the gradient. Nobody reads it as dy any more, unless y is a source.
      const Tensor viewed = apply1(reshape_to(entry.x[0].shape()), {dy->second.gradient});
      add(x0, viewed, dy->second.owned && !is_source.contains(entry.y[0].id()));
      continue;
    }

    std::vector<Spec> x_spec, y_spec;
    for (const Tensor& t : entry.x) x_spec.push_back(t.spec());
    for (const Tensor& t : entry.y) y_spec.push_back(t.spec());
    auto op = std::make_shared<BackwardOp>(entry.op, std::move(x_spec), std::move(y_spec));
    auto push = [&](std::vector<int>& at, const Tensor& t, bool present) {
      at.push_back(present ? static_cast<int>(op->inputs.size()) : -1);
      if (present) op->inputs.push_back(t);
    };
    for (size_t i = 0; i < entry.x.size(); ++i) push(op->x_at, entry.x[i], entry.op->reads_input(i));
    for (size_t i = 0; i < entry.y.size(); ++i) push(op->y_at, entry.y[i], entry.op->reads_output(i));
    push(op->dy_at, dy->second.gradient, true);
    std::vector<Tensor> outputs;  // where in-place accumulation or a destination is possible
    std::vector<bool> separate;   // to be added to the slot afterwards: the same tensor twice, or memory not ours
    std::unordered_set<uint64_t> seen;
    for (size_t i = 0; i < entry.x.size(); ++i) {
      const uint64_t id = entry.x[i].id();
      if (!entry.op->has_gradient(i) || !needed.contains(id)) continue;
      const auto found = slots.find(id);
      const bool fresh = found == slots.end(), twice = !seen.insert(id).second;
      const bool accumulate = !twice && !fresh && found->second.owned;
      op->requests.push_back({static_cast<int>(i), accumulate ? static_cast<int>(op->inputs.size()) : -1});
      separate.push_back(twice || (!fresh && !accumulate));
      if (accumulate) op->inputs.push_back(found->second.gradient);
      const bool has_destination = destination.contains(id);
      outputs.push_back(accumulate                           ? found->second.gradient
                        : fresh && !twice && has_destination ? destination[id]
                                                             : Tensor());
      if (outputs.back() && !outputs.back().has_data()) outputs.back() = Tensor();
    }
    const std::vector<Tensor> inputs = std::move(op->inputs);
    op->inputs.clear();
    const auto dx = apply(op, inputs, outputs);
    for (size_t r = 0; r < dx.size(); ++r) {
      const uint64_t id = entry.x[op->requests[r].x].id();
      if (separate[r])
        add(id, dx[r], true);
      else
        slots[id] = {dx[r], true};
    }
  }

  std::vector<Tensor> gradients;
  for (size_t i = 0; i < sources.size(); ++i) {
    const auto found = slots.find(sources[i].id());
    Tensor gradient = found == slots.end() ? Tensor() : found->second.gradient;
    // A contribution that could not be written in place (a seed, a sum of separate parts) still goes where it was
    // asked.
    const bool elsewhere =
        gradient && i < into.size() && into[i] && gradient.has_data() && gradient.raw() != into[i].raw();
    if (elsewhere) gradient = apply(copy_of(), Tensors(&gradient, 1), Tensors(&into[i], 1))[0];
    gradients.push_back(gradient);
  }
  return gradients;
}

OpPtr custom_gradient(std::string name, int64_t key, size_t outputs) {
  return std::make_shared<CustomGradient>(std::move(name), key, outputs);
}

void CustomFunction::begin() {
  unheard_ = std::make_unique<Unheard>([](const Recorder& r) { return dynamic_cast<const Tape*>(&r) != nullptr; });
  for (const auto& recorder : unheard_->recorders()) tapes_.push_back(std::static_pointer_cast<Tape>(recorder));
  start();
}

void CustomFunction::end() {
  stop();
  unheard_.reset();
}

void CustomFunction::record(const OpPtr&, Tensors x, Tensors) {
  for (const Tensor& t : x) {
    const bool known = std::ranges::any_of(variables_, [&](const Tensor& v) { return v.id() == t.id(); });
    if (!known && t.variable_info() && t.variable_info()->trainable) variables_.push_back(t);
  }
}

std::vector<std::shared_ptr<Tape>> CustomFunction::show(const OpPtr& op, Tensors x, Tensors y) const {
  std::vector<std::shared_ptr<Tape>> taken;
  for (const auto& tape : tapes_)
    if (tape->recording() && tape->add(op, x, y)) taken.push_back(tape);
  return taken;
}

}  // namespace fastnn
