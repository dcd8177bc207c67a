// apply(): the one way an op runs. With data it runs its kernel at once; with placeholders it only infers and appends a
// node. A Graph is the list of nodes: what a tape walks backwards and what a program is compiled from.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ops/op.hpp"

namespace fastnn {

// Placeholders stand in a node as shells (id and spec): holding them whole would tie the graph to itself.
struct Node {
  OpPtr op;
  std::vector<Tensor> x, y;
  std::string scope = {};  // what this thread was at when it recorded: the name of a layer
};

// Sets the scope of the ops that this thread records from now on; returns the one before.
std::string set_scope(std::string scope);

// Something that hears of every op that runs on the thread of start() until stop(). That thread shares the ownership,
// so that a recorder dropped by another thread is not gone under its feet.
class Recorder : public std::enable_shared_from_this<Recorder> {
 public:
  virtual ~Recorder() = default;
  virtual void record(const OpPtr& op, Tensors x, Tensors y) = 0;
  void start();  // again where it was stopped
  void stop();
  bool recording() const { return recording_; }
  // Those of this thread, in the order of their start.
  static const std::vector<std::shared_ptr<Recorder>>& of_this_thread();

 private:
  std::atomic<bool> recording_{false};
};

// While it lives, those of the thread's recorders that `which` holds for hear of nothing. Ends on the same thread.
class Unheard {
 public:
  explicit Unheard(bool (*which)(const Recorder&));
  ~Unheard();
  Unheard(const Unheard&) = delete;
  const std::vector<std::shared_ptr<Recorder>>& recorders() const { return recorders_; }

 private:
  std::vector<std::shared_ptr<Recorder>> recorders_;
};

class Graph final : public Recorder {
 public:
  // While a tracing graph records, ops that read variables are appended instead of run: their values are those of a
  // later run. A graph that does not trace lists what was run.
  explicit Graph(bool tracing) : tracing_(tracing) {}
  Tensor placeholder(const Spec& spec) {
    return Tensor::placeholder(spec, std::static_pointer_cast<Graph>(shared_from_this()));
  }
  void record(const OpPtr& op, Tensors x, Tensors y) override;
  bool tracing() const { return tracing_; }
  std::vector<Node> nodes() const;

 private:
  bool tracing_;
  mutable std::mutex mutex_;  // of nodes_: ops on placeholders append from any thread
  std::vector<Node> nodes_;
};

// `into`: outputs to write (same specs, with data) instead of new ones; undefined entries are allocated.
std::vector<Tensor> apply(const OpPtr& op, Tensors x, Tensors into = {});
Tensor apply1(const OpPtr& op, std::initializer_list<Tensor> x);

}  // namespace fastnn
