#include "graph/tape.hpp"

#include <string>

#include "graph/backward.hpp"
#include "ops/elementwise.hpp"
#include "ops/shape.hpp"

namespace fastnn {

namespace {

struct Slot {
  Tensor gradient;
  bool owned = false;  // by this walk: later contributions may be added in place
};

}  // namespace

void Tape::watch(const Tensor& tensor) {
  if (!is_floating(tensor.dtype()))
    throw TypeError(cat("watch: expected a float32 or float64 tensor, got ", tensor.dtype()));
  const std::lock_guard lock(mutex_);
  active_.insert(tensor.id());
}

void Tape::record(const OpPtr& op, Tensors x, Tensors y) {
  const std::lock_guard lock(mutex_);
  bool depends = false;
  for (size_t i = 0; i < x.size(); ++i) {
    const Tensor& t = x[i];
    if (watch_variables_ && t.variable_info() && t.variable_info()->trainable && is_floating(t.dtype()))
      active_.insert(t.id());
    depends |= op->has_gradient(i) && active_.contains(t.id());
  }
  if (!depends || !op->differentiable()) return;
  Entry entry{op, {}, {}, {}};
  for (size_t i = 0; i < x.size(); ++i) entry.x.push_back(op->reads_input(i) ? x[i] : x[i].shell());
  for (size_t i = 0; i < y.size(); ++i) entry.y.push_back(op->reads_output(i) ? y[i] : y[i].shell());
  if (is_floating(y[0].dtype())) active_.insert(y[0].id());
  for (const auto* list : {&entry.x, &entry.y})
    for (const Tensor& t : *list)
      if (t.has_data()) entry.versions.push_back(t.storage()->version());
  entries_.push_back(std::move(entry));
}

std::vector<Tensor> Tape::gradient(Tensors targets, Tensors seeds, Tensors sources, Tensors into) {
  stop();
  const std::lock_guard lock(mutex_);
  if (used_ && !persistent_)
    throw StateError(
        "gradient: this tape is not persistent and has been used; GradientTape(persistent=True) allows more");
  used_ = true;

  std::unordered_set<uint64_t> needed;
  std::unordered_map<uint64_t, Tensor> destination;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!is_floating(sources[i].dtype())) continue;  // labels and indices have no gradient
    needed.insert(sources[i].id());
    if (i < into.size() && into[i]) destination[sources[i].id()] = into[i];
  }
  std::unordered_set<uint64_t> is_source = needed;
  std::vector<char> on_path(entries_.size(), 0);
  for (size_t e = 0; e < entries_.size(); ++e) {
    const Entry& entry = entries_[e];
    for (size_t i = 0; i < entry.x.size(); ++i)
      if (entry.op->has_gradient(i) && needed.contains(entry.x[i].id())) on_path[e] = 1;
    if (on_path[e] && is_floating(entry.y[0].dtype())) needed.insert(entry.y[0].id());
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

  for (size_t e = entries_.size(); e-- > 0;) {
    if (!on_path[e]) continue;
    const Entry& entry = entries_[e];
    const auto dy = slots.find(entry.y[0].id());
    if (dy == slots.end()) continue;

    size_t kept = 0;
    for (const auto* list : {&entry.x, &entry.y})
      for (const Tensor& t : *list)
        if (t.has_data() && t.storage()->version() != entry.versions[kept++])
          throw StateError(
              cat("gradient: ", entry.op->name(), " needs a value of shape ", t.shape(),
                  " that has been overwritten since it was recorded; ask for the gradient before assigning"));

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
  if (!persistent_) entries_.clear();
  return gradients;
}

}  // namespace fastnn
