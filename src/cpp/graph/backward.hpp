// The backward of an op as an op of its own: eager, tape and program run it like any other.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.hpp"

namespace fastnn {

// Inputs: the x, y and dy that are needed, what accumulating gradients start from, and what finishing ones read;
// outputs: the gradients asked for.
class BackwardOp final : public Op {
 public:
  BackwardOp(OpPtr op, std::vector<Spec> x_spec, std::vector<Spec> y_spec)
      : op_(std::move(op)),
        x_spec_(std::move(x_spec)),
        y_spec_(std::move(y_spec)),
        name_(std::string(op_->name()) + "_backward") {}

  std::vector<Tensor> inputs;          // gathered while the node is built; moved out before apply
  std::vector<int> x_at, y_at, dy_at;  // index into inputs, -1: not there
  struct Request {
    int x;                                             // which input's gradient
    int accumulate;                                    // index into inputs, -1: overwrite
    std::optional<Activation> through = std::nullopt;  // see Gradient
    int at = -1;                                       // index into inputs
  };
  std::vector<Request> requests;

  // The same gradients of another op, or of other sizes.
  std::shared_ptr<BackwardOp> of(OpPtr op, std::vector<Spec> x_spec, std::vector<Spec> y_spec) const;

  const OpPtr& op() const { return op_; }
  const std::vector<Spec>& x_spec() const { return x_spec_; }
  const std::vector<Spec>& y_spec() const { return y_spec_; }
  std::string_view name() const override { return name_; }
  std::vector<Spec> infer(Specs) const override;
  int in_place_of(size_t output) const override { return requests[output].accumulate; }
  bool may_overwrite(size_t output, size_t input) const override;
  void forward(Tensors in, Tensors out) const override;
  // A product's gradients are products as large as itself, one for each operand.
  double flops(Specs, Specs) const override;
  std::string_view algorithm(Specs, Specs) const override { return op_->algorithm(x_spec_, y_spec_); }
  void backward(const BackwardArgs&) const override {
    throw StateError(cat(name_, ": gradients of gradients are not offered"));
  }

 private:
  OpPtr op_;
  std::vector<Spec> x_spec_, y_spec_;
  std::string name_;
};

// Null if the node is of the forward pass.
inline const BackwardOp* backward_of(const Node& node) { return dynamic_cast<const BackwardOp*>(node.op.get()); }

}  // namespace fastnn
