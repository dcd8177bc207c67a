// Neighbouring nodes in turn for some rows at a time, so that what is large between them stays in cache: a convolution
// and the pooling behind it; the gradients of the two. The bits are those of the nodes one by one.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "graph/graph.hpp"

namespace fastnn {

class InBlocks final : public Op {
 public:
  struct Value {
    Spec spec;
    bool by_rows;  // a part sees its block of rows, or the whole value
  };
  struct Part {
    OpPtr op;
    std::vector<int> x, y;  // values
    std::string scope;
  };
  // Values are the inputs, the outputs and last what the first part hands to the others: one more output, of a block.
  InBlocks(std::vector<Value> values, std::vector<Part> parts, size_t inputs, int64_t block);

  std::span<const Part> parts() const { return parts_; }
  std::string_view name() const override { return name_; }
  std::vector<Spec> infer(Specs) const override;
  void forward(Tensors x, Tensors y) const override;
  bool differentiable() const override { return false; }
  double flops(Specs, Specs) const override;
  std::string_view algorithm(Specs, Specs) const override;

 private:
  std::vector<Spec> specs(const std::vector<int>& which) const;

  std::vector<Value> values_;
  std::vector<Part> parts_;
  size_t inputs_;
  int64_t block_;
  std::string name_;
};

// The nodes of a program, in order, with the same values for the fetches; those in blocks that gain by it.
std::vector<Node> in_blocks(std::vector<Node> nodes, Tensors fetches);

}  // namespace fastnn
