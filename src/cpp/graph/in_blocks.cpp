#include "graph/in_blocks.hpp"

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>

#include "graph/backward.hpp"

namespace fastnn {

namespace {

// A backward op for so many rows. Behind the first block the gradients of whole inputs are added to.
OpPtr of_block(const OpPtr& op, int64_t rows, bool first) {
  const auto* whole = dynamic_cast<const BackwardOp*>(op.get());
  if (!whole) return op;
  std::vector<Spec> x = whole->x_spec(), y = whole->y_spec();
  x[0].shape[0] = rows;
  for (Spec& spec : y) spec.shape[0] = rows;
  auto part = whole->of(whole->op(), std::move(x), std::move(y));
  for (auto& request : part->requests)
    if (!first && request.x > 0) request.accumulate = 0;
  return part;
}

}  // namespace

InBlocks::InBlocks(std::vector<Value> values, std::vector<Part> parts, size_t inputs, int64_t block)
    : values_(std::move(values)), parts_(std::move(parts)), inputs_(inputs), block_(block) {
  for (const Part& part : parts_) name_ += cat(name_.empty() ? "" : " > ", part.op->name());
}

std::vector<Spec> InBlocks::infer(Specs) const {
  std::vector<Spec> y;
  for (size_t v = inputs_; v < values_.size(); ++v) y.push_back(values_[v].spec);
  y.back().shape[0] = block_;
  return y;
}

void InBlocks::forward(Tensors x, Tensors y) const {
  const int last = static_cast<int>(values_.size()) - 1;
  const int64_t rows = values_[last].spec.shape[0];
  for (int64_t begin = 0; begin < rows; begin += block_) {
    const int64_t count = std::min(block_, rows - begin);
    auto block_of = [&](const std::vector<int>& values) {
      std::vector<Tensor> tensors;
      for (int v : values) {
        const size_t n = static_cast<size_t>(v);
        Tensor t = n < inputs_ ? x[n] : y[n - inputs_];
        if (values_[v].by_rows) {
          Shape shape = t.shape();
          const size_t row_bytes = t.bytes() / static_cast<size_t>(shape[0]);
          shape[0] = count;
          t = t.view(shape, v == last ? 0 : static_cast<size_t>(begin) * row_bytes);
        }
        tensors.push_back(std::move(t));
      }
      return tensors;
    };
    for (const Part& part : parts_) of_block(part.op, count, begin == 0)->forward(block_of(part.x), block_of(part.y));
  }
}

std::vector<Spec> InBlocks::specs(const std::vector<int>& which) const {
  std::vector<Spec> specs;
  for (int v : which) specs.push_back(values_[v].spec);
  return specs;
}

double InBlocks::flops(Specs, Specs) const {
  double sum = 0;
  for (const Part& part : parts_) sum += part.op->flops(specs(part.x), specs(part.y));
  return sum;
}

std::string_view InBlocks::algorithm(Specs, Specs) const {
  for (const Part& part : parts_)
    if (const std::string_view one = part.op->algorithm(specs(part.x), specs(part.y)); !one.empty()) return one;
  return {};
}

namespace {

bool reads_by_rows(const Node& node, size_t i) {
  const BackwardOp* const b = backward_of(node);
  if (!b) return i == 0;
  const int at = static_cast<int>(i);
  bool by_rows = b->x_at[0] == at || b->dy_at[0] == at;
  for (int y : b->y_at) by_rows |= y == at;
  for (const auto& request : b->requests) by_rows |= request.at == at;
  return by_rows;
}
bool makes_by_rows(const Node& node, size_t i) {
  const BackwardOp* const b = backward_of(node);
  return !b || b->requests[i].x == 0;
}

// The first hands its one output to all the others.
Node together(std::span<const Node> nodes, int64_t block) {
  const Tensor& between = nodes[0].y[0];
  std::vector<InBlocks::Value> values;
  std::vector<InBlocks::Part> parts;
  std::vector<Tensor> x, y;
  for (const Node& node : nodes) {
    InBlocks::Part part{node.op, {}, {}, node.scope};
    for (size_t i = 0; i < node.x.size(); ++i) {
      const Tensor& t = node.x[i];
      const bool outside = t.id() != between.id();
      part.x.push_back(outside ? static_cast<int>(values.size()) : -1);
      if (!outside) continue;
      values.push_back({t.spec(), reads_by_rows(node, i)});
      x.push_back(t);
    }
    parts.push_back(std::move(part));
  }
  for (size_t n = 1; n < nodes.size(); ++n)
    for (size_t i = 0; i < nodes[n].y.size(); ++i) {
      const Tensor& t = nodes[n].y[i];
      parts[n].y.push_back(static_cast<int>(values.size()));
      values.push_back({t.spec(), makes_by_rows(nodes[n], i)});
      y.push_back(t);
    }
  const int last = static_cast<int>(values.size());
  values.push_back({between.spec(), true});
  parts[0].y.push_back(last);
  for (InBlocks::Part& part : parts) std::replace(part.x.begin(), part.x.end(), -1, last);
  const size_t inputs = x.size();
  auto op = std::make_shared<InBlocks>(std::move(values), std::move(parts), inputs, block);
  y.push_back(Tensor::placeholder(op->infer({}).back(), nullptr));
  return {std::move(op), std::move(x), std::move(y), nodes[0].scope};
}

bool known(const Node& node) {
  for (const auto* tensors : {&node.x, &node.y})
    for (const Tensor& t : *tensors)
      if (!t.shape().known()) return false;
  return true;
}

// Rows of a block of the sums that a node computes, forward or backward; 0 if it has no such.
int64_t rows_of_block(const Node& node) {
  if (const BackwardOp* const b = backward_of(node)) {
    for (const auto& request : b->requests)
      if (request.accumulate >= 0) return 0;
    return b->op()->block_rows(b->x_spec());
  }
  std::vector<Spec> x;
  for (const Tensor& t : node.x) x.push_back(t.spec());
  return node.op->block_rows(x);
}

}  // namespace

std::vector<Node> in_blocks(std::vector<Node> nodes, Tensors fetches) {
  std::unordered_map<uint64_t, int> reads;
  for (const Tensor& t : fetches) ++reads[t.id()];
  for (const Node& node : nodes)
    for (const Tensor& t : node.x) ++reads[t.id()];
  // Whether the node and some right behind it can go in blocks: how many nodes, of so many rows.
  auto chain_at = [&](size_t n) -> std::pair<size_t, int64_t> {
    const Node& first = nodes[n];
    if (first.y.size() != 1 || !known(first) || first.y[0].rank() == 0) return {0, 0};
    const BackwardOp* const b = backward_of(first);
    int64_t block = b ? 0 : rows_of_block(first);
    if (b ? b->requests[0].x != 0 || b->requests[0].accumulate >= 0 || !b->op()->by_rows() : block == 0) return {0, 0};
    int left = reads[first.y[0].id()];
    size_t end = n + 1;
    for (; end < nodes.size() && left > 0; ++end) {
      const Node& node = nodes[end];
      const auto here =
          std::count_if(node.x.begin(), node.x.end(), [&](const Tensor& t) { return t.id() == first.y[0].id(); });
      const BackwardOp* const of = backward_of(node);
      const int64_t rows = b && of ? rows_of_block(node) : block;
      const bool fits =
          b ? of && node.x[of->dy_at[0]].id() == first.y[0].id() && rows > 0 && (block == 0 || rows == block)
            : !of && node.op->by_rows() && node.x[0].id() == first.y[0].id();
      block = rows;
      if (!fits || here != 1 || !known(node)) return {0, 0};
      --left;
    }
    return left == 0 && block < first.y[0].shape()[0] ? std::pair{end - n, block} : std::pair{size_t{0}, int64_t{0}};
  };
  std::vector<Node> result;
  for (size_t n = 0; n < nodes.size();) {
    const auto [count, block] = chain_at(n);
    result.push_back(count > 1 ? together({&nodes[n], count}, block) : std::move(nodes[n]));
    n += std::max<size_t>(count, 1);
  }
  return result;
}

}  // namespace fastnn
