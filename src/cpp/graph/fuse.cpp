#include "graph/fuse.hpp"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/parallel.hpp"
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
    for (size_t n = 0; n < nodes_.size(); ++n) fold(n);
    for (size_t n = 0; n < nodes_.size(); ++n) loss_with_gradient(n);
    for (size_t n = 0; n < nodes_.size(); ++n) gradient_as_it_came(n);
    for (size_t n = 0; n < nodes_.size(); ++n) relu_after_pool(n);
    for (size_t n = 0; n < nodes_.size(); ++n) activation_into_reader(n);
    for (size_t n = 0; n < nodes_.size(); ++n) activation_into_producer(n);
    for (size_t n = 0; n < nodes_.size(); ++n) moments_into_producer(n);
    for (size_t n = 0; n < nodes_.size(); ++n) derivative_into_consumer(n);
    for (size_t n = 0; n < nodes_.size(); ++n) derivative_into_producer(n);
    split_gradients();
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
  static bool is_large(const Tensor& t) {
    constexpr size_t kLarge = 1 << 20;  // bytes; under it memory is cheap and stays in cache
    return t.shape().known() && t.bytes() >= kLarge;
  }
  size_t number(const Node* node) const { return static_cast<size_t>(node - nodes_.data()); }
  Tensor behind_views(Tensor t) {
    for (const Node* from = producer(t); from && from->op->is_view(); from = producer(t)) t = from->x[0];
    return t;
  }
  // Whether node `first` can read what node `last` does: it is there, and no variable is written in between.
  bool is_there(Tensor t, size_t first, size_t last) {
    if (const Node* from = producer(t); from && number(from) >= first) return false;
    t = behind_views(t);
    if (!t.has_data()) return true;
    for (size_t n = first; n < last; ++n)
      for (size_t i = 0; i < nodes_[n].op->writes(nodes_[n].x.size()); ++i)
        if (nodes_[n].x[i].has_data() && nodes_[n].x[i].storage() == t.storage()) return false;
    return true;
  }
  // A backward node of one gradient that is overwritten, of this op if one is named.
  static const BackwardOp* simple_backward(const Node* node, const Op* op) {
    const BackwardOp* b = node ? backward_of(*node) : nullptr;
    const bool simple = b && b->requests.size() == 1 && b->requests[0].accumulate < 0 && !b->requests[0].through;
    return simple && (!op || b->op().get() == op) ? b : nullptr;
  }

  // A small value that only constants go into is computed now: the ones that a gradient starts from, 1 / rows.
  void fold(size_t n) {
    constexpr int64_t kSmall = 4096;  // elements
    Node& node = nodes_[n];
    for (Tensor& t : node.x)
      if (const auto found = constants_.find(t.id()); found != constants_.end()) t = found->second;
    if (node.op->is_view() || node.op->refuses() || node.op->writes(node.x.size()) > 0) return;
    for (const Tensor& t : node.x)
      if (!node.op->ignores_values() && !constants_.contains(t.id())) return;
    std::vector<Tensor> y;
    for (const Tensor& t : node.y)
      if (!t.shape().known() || t.size() > kSmall || fetched_.contains(t.id())) return;
    for (size_t i = 0; i < node.y.size(); ++i)
      if (node.op->in_place_of(i) >= 0) return;  // it would start from memory that holds nothing
    for (const Tensor& t : node.y) y.push_back(Tensor::empty(t.shape(), t.dtype()));
    FlushToZero flush;
    node.op->forward(node.x, y);
    for (size_t i = 0; i < y.size(); ++i) constants_[node.y[i].id()] = constants_[y[i].id()] = y[i];
    dead_[n] = 1;
  }

  // A loss and its gradient as one node, where what the gradient is multiplied by does not wait for the loss.
  void loss_with_gradient(size_t n) {
    Node& loss = nodes_[n];
    if (dead_[n] || !loss.op->with_gradient(1)) return;
    const auto found = readers_.find(loss.x[1].id());
    if (found == readers_.end()) return;
    for (const size_t reader : found->second) {
      const BackwardOp* b = simple_backward(&nodes_[reader], loss.op.get());
      if (!b || b->requests[0].x != 1) continue;
      const Tensor dy = nodes_[reader].x[b->dy_at[0]];
      if (const Node* weighing = producer(dy); weighing && number(weighing) > n) {
        for (const Tensor& t : weighing->x)
          if (!is_there(t, n, number(weighing))) return;
        if (weighing->op->writes(weighing->x.size()) > 0) return;
      } else if (!is_there(dy, n, reader)) {
        return;
      }
      Node whole{loss.op->with_gradient(1), {loss.x[0], loss.x[1], dy}, loss.y, loss.scope};
      whole.y.push_back(nodes_[reader].y[0]);
      loss = std::move(whole);
      dead_[reader] = 1;
      if (const Node* weighing = producer(dy); weighing && number(weighing) > n) {
        const auto first = static_cast<std::ptrdiff_t>(n), last = static_cast<std::ptrdiff_t>(number(weighing));
        std::rotate(nodes_.begin() + first, nodes_.begin() + last, nodes_.begin() + last + 1);
        std::rotate(dead_.begin() + first, dead_.begin() + last, dead_.begin() + last + 1);
      }
      index();
      return;
    }
  }

  // The gradients of a sum are the one it was given, and are read where that lies. Whoever adds to one of them while
  // the other is still wanted gets a copy in the plan.
  void gradient_as_it_came(size_t n) {
    Node& node = nodes_[n];
    const BackwardOp* whole = dead_[n] ? nullptr : backward_of(node);
    if (!whole) return;
    const Tensor dy = node.x[whole->dy_at[0]];
    if (behind_views(dy).has_data()) return;    // a variable may be written before somebody reads the gradient
    std::vector<BackwardOp::Request> requests;  // that are left
    std::vector<Tensor> y;
    for (size_t k = 0; k < node.y.size(); ++k) {
      const auto& request = whole->requests[k];
      const Tensor& dx = node.y[k];
      const bool same = whole->op()->passes_gradient(request.x) && request.accumulate < 0 && dy.shape().known() &&
                        whole->x_spec()[request.x] == dy.spec() && !fetched_.contains(dx.id());
      if (!same) {
        requests.push_back(request);
        y.push_back(dx);
        continue;
      }
      for (const size_t reader : readers_[dx.id()])
        for (Tensor& t : nodes_[reader].x)
          if (t.id() == dx.id()) t = dy;
    }
    if (y.size() == node.y.size()) return;
    auto op = std::make_shared<BackwardOp>(*whole);
    op->requests = std::move(requests);
    dead_[n] = y.empty();
    node.y = std::move(y);
    node.op = std::move(op);
    index();
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
    const Tensor positions = pool->y[1];
    if (relu_back) {
      of_relu = simple_backward(relu_back, nullptr);
      const Tensor& dy = relu_back->x[of_relu->dy_at[0]];
      pool_back = producer(dy);
      if (!simple_backward(pool_back, pool->op.get()) || sole_reader(dy) != relu_back) return;
    }
    // Another pixel where none is positive: only the derivative of relu makes up for that.
    if (pool_back ? sole_reader(positions) != pool_back : readers_.contains(positions.id())) return;

    const Tensor pooled = Tensor::placeholder(pool->y[0].spec(), nullptr);
    Node new_pool{pool->op, {relu.x[0]}, pool->y, pool->scope}, new_relu{relu.op, {pooled}, {pool->y[0]}, relu.scope};
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

  // op(f(x)) as one node, where nobody else wants f(x).
  void activation_into_reader(size_t n) {
    Node& node = nodes_[n];
    Node* from = dead_[n] || node.x.empty() ? nullptr : producer(node.x[0]);
    const auto activation = from ? from->op->activation() : std::nullopt;
    if (!activation || sole_reader(node.x[0]) != &node || !is_there(from->x[0], number(from), n)) return;
    auto fused = node.op->preceded_by(*activation, node.x[0].spec());
    if (!fused) return;
    node.op = std::move(fused);
    node.x[0] = from->x[0];
    dead_[number(from)] = 1;
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
    if (from->op->differentiates(*activation)) whole_[from->op.get()] = number(from);
    from->op = std::move(fused);
    from->y[0] = node.y[0];
    producer_[node.y[0].id()] = number(from);
    dead_[n] = 1;
  }

  // The derivative of an activation as part of the backward of the op that it was fused into.
  void derivative_into_consumer(size_t n) {
    Node& node = nodes_[n];
    const BackwardOp* of_op = dead_[n] ? nullptr : backward_of(node);
    if (!of_op || !whole_.contains(of_op->op().get())) return;
    Tensor& dy = node.x[of_op->dy_at[0]];
    Node* derivative = producer(dy);
    const BackwardOp* of_activation = simple_backward(derivative, nullptr);
    if (!of_activation || !of_activation->op()->activation() || sole_reader(dy) != &node) return;
    const Node& forward = nodes_[whole_.at(of_op->op().get())];
    if (of_activation->y_at[0] < 0 || derivative->x[of_activation->y_at[0]].id() != forward.y[0].id()) return;
    auto op = of_op->of(forward.op, of_op->x_spec(), of_op->y_spec());
    for (size_t i = 0; i < op->y_at.size(); ++i)
      if (op->y_at[i] < 0 && forward.op->reads_output(i)) {
        op->y_at[i] = static_cast<int>(node.x.size());
        node.x.push_back(forward.y[i]);
      }
    node.x[op->dy_at[0]] = derivative->x[of_activation->dy_at[0]];
    node.op = std::move(op);
    dead_[number(derivative)] = 1;
    index();
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
      if (!is_there(node.x[at], number(from), n)) return;
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

  // The statistics of a batch normalisation, taken by the op that makes its input while that is in cache.
  void moments_into_producer(size_t n) {
    Node& node = nodes_[n];
    if (dead_[n] || node.x.empty() || !is_large(node.x[0])) return;
    const auto taking = node.op->from_moments(node.x[0].spec());
    Node* from = producer(node.x[0]);
    const auto giving = taking && from && from->y[0].id() == node.x[0].id() ? from->op->with_moments() : nullptr;
    if (!giving) return;
    std::vector<Spec> specs;
    for (const Tensor& t : from->x) specs.push_back(t.spec());
    const Tensor moments = Tensor::placeholder(giving->infer(specs).back(), nullptr);
    from->op = giving;
    from->y.push_back(moments);
    node.op = taking;
    node.x.push_back(moments);
    producer_[moments.id()] = number(from);
    readers_[moments.id()] = {n};
  }

  // The gradient of a kernel reads a large input that the gradient of the input does not: it goes first, and the
  // input's memory is free for the other.
  void split_gradients() {
    std::vector<Node> split;
    for (size_t n = 0; n < nodes_.size(); ++n) {
      if (dead_[n]) continue;
      Node& node = nodes_[n];
      const BackwardOp* whole = backward_of(node);
      const bool first = whole && whole->requests.size() > 1 && whole->requests[0].x == 0 && whole->x_at[0] >= 0 &&
                         !whole->op()->gradient_reads(0, 0) && is_large(node.x[whole->x_at[0]]);
      if (!first) {
        split.push_back(std::move(node));
        continue;
      }
      for (const bool of_input : {false, true}) {
        auto op = std::make_shared<BackwardOp>(whole->op(), whole->x_spec(), whole->y_spec());
        Node part{nullptr, {}, {}};
        auto take = [&](int at) {
          if (at < 0) return -1;
          part.x.push_back(node.x[at]);
          return static_cast<int>(part.x.size()) - 1;
        };
        for (size_t k = of_input ? 0 : 1; k < (of_input ? 1 : whole->requests.size()); ++k) {
          op->requests.push_back(whole->requests[k]);
          part.y.push_back(node.y[k]);
        }
        for (size_t i = 0; i < whole->x_at.size(); ++i) {
          bool read = false;
          for (const auto& request : op->requests) read |= whole->op()->gradient_reads(request.x, i);
          op->x_at.push_back(read ? take(whole->x_at[i]) : -1);
        }
        for (int at : whole->y_at) op->y_at.push_back(take(at));
        op->dy_at.push_back(take(whole->dy_at[0]));
        for (auto& request : op->requests) {
          request.accumulate = take(request.accumulate);
          request.at = take(request.at);
        }
        part.op = std::move(op);
        split.push_back(std::move(part));
      }
    }
    nodes_ = std::move(split);
    dead_.assign(nodes_.size(), 0);
    index();
  }

  // A large value that the backward pass reads is forgotten after the forward pass and computed again, where that is
  // one walk over what is kept anyway: of a normalisation only its input stays.
  void compute_again(size_t n, std::unordered_map<size_t, Node>& before) {
    const Node& node = nodes_[n];
    const auto again = dead_[n] ? std::nullopt : node.op->again();
    if (!again || fetched_.contains(node.y[0].id())) return;
    const Tensor value = node.y[0];
    if (!is_large(value)) return;
    const std::vector<size_t> readers = readers_[value.id()];  // in order
    size_t first = 0;
    while (first < readers.size() && !backward_of(nodes_[readers[first]])) ++first;
    if (first == 0 || first == readers.size() || before.contains(readers[first])) return;
    std::vector<Tensor> inputs;
    for (int i : again->x) inputs.push_back(node.x[i]);
    for (int i : again->y) inputs.push_back(node.y[i]);
    for (const Tensor& t : inputs) {
      const auto& others = readers_[t.id()];
      // Not a variable: what it holds may have been overwritten by then.
      const bool kept = !t.has_data() && (!is_large(t) || (!others.empty() && others.back() >= readers.back()));
      if (!kept) return;
    }
    const Tensor anew = Tensor::placeholder(value.spec(), nullptr);
    for (size_t r = first; r < readers.size(); ++r)
      for (Tensor& t : nodes_[readers[r]].x)
        if (t.id() == value.id()) t = anew;
    before[readers[first]] = {again->op, std::move(inputs), {anew}, node.scope};
  }

  std::vector<Node> nodes_;
  std::vector<char> dead_;
  std::unordered_set<uint64_t> fetched_;
  std::unordered_map<uint64_t, Tensor> constants_;
  std::unordered_map<const Op*, size_t> whole_;  // ops that became one with their activation: the node
  std::unordered_map<uint64_t, size_t> producer_;
  std::unordered_map<uint64_t, std::vector<size_t>> readers_;
};

}  // namespace

std::vector<Node> fuse(std::vector<Node> nodes, Tensors fetches) { return Fuser(std::move(nodes), fetches).run(); }

}  // namespace fastnn
