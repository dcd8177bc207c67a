#include "graph/fuse.hpp"

#include <unordered_map>
#include <unordered_set>

#include "graph/backward.hpp"

namespace fastnn {

namespace {

class Fuser {
 public:
  Fuser(std::vector<Node> nodes, Tensors fetches) : nodes_(std::move(nodes)), dead_(nodes_.size(), 0) {
    for (const Tensor& t : fetches) fetched_.insert(t.id());
    index();
  }

  std::vector<Node> run() {
    for (size_t n = 0; n < nodes_.size(); ++n) relu_after_pool(n);
    for (size_t n = 0; n < nodes_.size(); ++n) activation_into_producer(n);
    for (size_t n = 0; n < nodes_.size(); ++n) derivative_into_producer(n);
    index();
    std::unordered_map<size_t, Node> before;  // nodes to go before these
    for (size_t n = 0; n < nodes_.size(); ++n) compute_again(n, before);
    std::vector<Node> left;
    for (size_t n = 0; n < nodes_.size(); ++n) {
      if (const auto found = before.find(n); found != before.end()) left.push_back(std::move(found->second));
      if (!dead_[n]) left.push_back(std::move(nodes_[n]));
    }
    return left;
  }

 private:
  void index() {
    producer_.clear();
    readers_.clear();
    for (size_t n = 0; n < nodes_.size(); ++n) {
      if (dead_[n]) continue;
      for (const Tensor& t : nodes_[n].y) producer_[t.id()] = n;
      for (const Tensor& t : nodes_[n].x) readers_[t.id()].push_back(n);
    }
  }
  static const BackwardOp* backward_of(const Node& node) { return dynamic_cast<const BackwardOp*>(node.op.get()); }
  // The one node that reads a value, and reads it once; null if others do or somebody fetches it.
  Node* sole_reader(const Tensor& t) {
    const auto found = readers_.find(t.id());
    if (fetched_.contains(t.id()) || found == readers_.end() || found->second.size() != 1) return nullptr;
    return &nodes_[found->second[0]];
  }
  Node* producer(const Tensor& t) {
    const auto found = producer_.find(t.id());
    return found == producer_.end() ? nullptr : &nodes_[found->second];
  }
  size_t number(const Node* node) const { return static_cast<size_t>(node - nodes_.data()); }
  // A backward node of one gradient that is overwritten, of this op if one is named.
  static const BackwardOp* simple_backward(const Node* node, const Op* op) {
    const BackwardOp* b = node ? backward_of(*node) : nullptr;
    const bool simple = b && b->requests.size() == 1 && b->requests[0].accumulate < 0 && !b->requests[0].through;
    return simple && (!op || b->op().get() == op) ? b : nullptr;
  }

  // pool(relu(x)) = relu(pool(x)), and the same backwards: relu and its derivative on a quarter of the values, and x
  // need not be kept. A window's maximum is the same pixel either way, unless none is positive and nothing flows back.
  void relu_after_pool(size_t n) {
    Node& relu = nodes_[n];
    const auto activation = relu.op->activation();
    if (dead_[n] || !activation || activation->kind != kernels::Unary::relu || fetched_.contains(relu.y[0].id()))
      return;
    const auto found = readers_.find(relu.y[0].id());
    if (found == readers_.end() || found->second.size() > 2) return;
    Node *pool = nullptr, *relu_back = nullptr;
    for (size_t reader : found->second) {
      if (nodes_[reader].op->commutes_with_relu() && !pool)
        pool = &nodes_[reader];
      else if (simple_backward(&nodes_[reader], relu.op.get()) && !relu_back)
        relu_back = &nodes_[reader];
      else
        return;
    }
    if (!pool) return;
    Node* pool_back = nullptr;
    const BackwardOp* of_relu = nullptr;
    if (relu_back) {
      of_relu = simple_backward(relu_back, nullptr);
      const Tensor& dy = relu_back->x[of_relu->dy_at[0]];
      pool_back = producer(dy);
      if (!simple_backward(pool_back, pool->op.get()) || sole_reader(dy) != relu_back) return;
    }

    const Tensor pooled = Tensor::placeholder(pool->y[0].spec(), nullptr);
    Node new_pool{pool->op, {relu.x[0]}, pool->y}, new_relu{relu.op, {pooled}, {pool->y[0]}};
    new_pool.y[0] = pooled;
    if (pool_back) {
      const BackwardOp& of_pool = *simple_backward(pool_back, nullptr);
      const Tensor gradient = Tensor::placeholder(pooled.spec(), nullptr);
      auto op =
          std::make_shared<BackwardOp>(relu.op, std::vector<Spec>{pooled.spec()}, std::vector<Spec>{pooled.spec()});
      op->x_at = {-1};
      op->y_at = {0};
      op->dy_at = {1};
      op->requests = {{.x = 0, .accumulate = -1}};
      Node new_relu_back{op, {new_relu.y[0], pool_back->x[of_pool.dy_at[0]]}, {gradient}};
      Node new_pool_back{pool_back->op, pool_back->x, relu_back->y};
      new_pool_back.x[of_pool.dy_at[0]] = gradient;
      *pool_back = std::move(new_relu_back);
      *relu_back = std::move(new_pool_back);
    }
    *pool = std::move(new_relu);
    relu = std::move(new_pool);
    index();
  }

  // f(op(x)) as one node, where nobody else wants op(x).
  void activation_into_producer(size_t n) {
    Node& node = nodes_[n];
    const auto activation = node.op->activation();
    if (dead_[n] || !activation) return;
    Node* from = producer(node.x[0]);
    if (!from || from->y[0].id() != node.x[0].id() || sole_reader(node.x[0]) != &node) return;
    auto fused = from->op->followed_by(*activation);
    if (!fused) return;
    from->op = std::move(fused);
    from->y[0] = node.y[0];
    producer_[node.y[0].id()] = number(from);
    dead_[n] = 1;
  }

  // The derivative of an activation, multiplied in by the node whose gradient it would read.
  void derivative_into_producer(size_t n) {
    Node& node = nodes_[n];
    const BackwardOp* derivative = dead_[n] ? nullptr : simple_backward(&node, nullptr);
    if (!derivative || !derivative->op()->activation()) return;
    const int at = derivative->x_at[0] >= 0 ? derivative->x_at[0] : derivative->y_at[0];
    if (at < 0) return;
    const Tensor& dy = node.x[derivative->dy_at[0]];
    if (sole_reader(dy) != &node) return;
    Node *last = producer(dy), *from = last;
    Tensor made = dy;  // by `from`; views of it lead here
    while (from && from->op->is_view() && sole_reader(from->x[0]) == from) {
      made = from->x[0];
      from = producer(made);
    }
    const BackwardOp* source = from ? backward_of(*from) : nullptr;
    if (!source) return;
    for (size_t k = 0; k < source->requests.size(); ++k) {
      const auto& request = source->requests[k];
      if (from->y[k].id() != made.id() || request.through || !source->op()->finishes_gradient(request.x)) continue;
      auto op = std::make_shared<BackwardOp>(*source);
      op->requests[k].through = *derivative->op()->activation();
      op->requests[k].at = static_cast<int>(from->x.size());
      from->x.push_back(node.x[at]);
      readers_[node.x[at].id()].push_back(number(from));
      from->op = std::move(op);
      (from == last ? from->y[k] : last->y[0]) = node.y[0];
      producer_[node.y[0].id()] = number(last);
      dead_[n] = 1;
      return;
    }
  }

  // A large value that the backward pass reads is forgotten after the forward pass and computed again, where that is
  // one walk over what is kept anyway: of a normalisation only its input stays.
  void compute_again(size_t n, std::unordered_map<size_t, Node>& before) {
    constexpr int64_t kLarge = 1 << 20;  // bytes; under it memory is cheap and stays in cache
    const Node& node = nodes_[n];
    const auto again = dead_[n] ? std::nullopt : node.op->again();
    if (!again || fetched_.contains(node.y[0].id())) return;
    const Tensor value = node.y[0];
    if (numel(value.shape()) * static_cast<int64_t>(item_size(value.dtype())) < kLarge) return;
    const std::vector<size_t> readers = readers_[value.id()];  // in order
    size_t first = 0;
    while (first < readers.size() && !backward_of(nodes_[readers[first]])) ++first;
    if (first == 0 || first == readers.size() || before.contains(readers[first])) return;
    std::vector<Tensor> inputs;
    for (int i : again->x) inputs.push_back(node.x[i]);
    for (int i : again->y) inputs.push_back(node.y[i]);
    for (const Tensor& t : inputs) {
      const auto& others = readers_[t.id()];
      const bool small = numel(t.shape()) * static_cast<int64_t>(item_size(t.dtype())) < kLarge;
      // Not a variable: what it holds may have been overwritten by then.
      const bool kept = !t.has_data() && (small || (!others.empty() && others.back() >= readers.back()));
      if (!kept) return;
    }
    const Tensor anew = Tensor::placeholder(value.spec(), nullptr);
    for (size_t r = first; r < readers.size(); ++r)
      for (Tensor& t : nodes_[readers[r]].x)
        if (t.id() == value.id()) t = anew;
    before[readers[first]] = {again->op, std::move(inputs), {anew}};
  }

  std::vector<Node> nodes_;
  std::vector<char> dead_;
  std::unordered_set<uint64_t> fetched_;
  std::unordered_map<uint64_t, size_t> producer_;
  std::unordered_map<uint64_t, std::vector<size_t>> readers_;
};

}  // namespace

std::vector<Node> fuse(std::vector<Node> nodes, Tensors fetches) { return Fuser(std::move(nodes), fetches).run(); }

}  // namespace fastnn
