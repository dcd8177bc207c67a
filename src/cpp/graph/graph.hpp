// apply(): the one way an op runs. With data it runs its kernel at once; with placeholders it only infers and appends a
// node. A Graph is the list of nodes: what a tape walks backwards and what a program is compiled from.
#pragma once
#include <memory>
#include <vector>

#include "ops/op.hpp"

namespace fastnn {

struct Node {
  OpPtr op;
  std::vector<Tensor> x, y;
};

// Something that hears of every op that runs on this thread between start() and stop().
class Recorder {
 public:
  virtual ~Recorder() { stop(); }
  virtual void record(const OpPtr& op, Tensors x, Tensors y) = 0;
  void start();
  void stop();
  bool recording() const { return recording_; }

 private:
  bool recording_ = false;
};

class Graph : public Recorder, public std::enable_shared_from_this<Graph> {
 public:
  // While a tracing graph records, ops that read variables are appended instead of run: their values are those of a
  // later run. A graph that does not trace lists what was run.
  explicit Graph(bool tracing) : tracing_(tracing) {}
  ~Graph() override { stop(); }
  Tensor placeholder(const Spec& spec) { return Tensor::placeholder(spec, shared_from_this()); }
  void record(const OpPtr& op, Tensors x, Tensors y) override;
  bool tracing() const { return tracing_; }
  const std::vector<Node>& nodes() const { return nodes_; }

 private:
  bool tracing_;
  std::vector<Node> nodes_;
};

// `into`: outputs to write (same specs, with data) instead of new ones; undefined entries are allocated.
std::vector<Tensor> apply(const OpPtr& op, Tensors x, Tensors into = {});
Tensor apply1(const OpPtr& op, std::initializer_list<Tensor> x);

}  // namespace fastnn
