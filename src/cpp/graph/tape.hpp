// The tape: what was run since it started, walked backwards. On placeholders the backward ops are appended to their
// graph like any other op.
#pragma once
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "graph/graph.hpp"

namespace fastnn {

class Tape final : public Recorder {
 public:
  Tape(bool persistent, bool watch_variables) : persistent_(persistent), watch_variables_(watch_variables) {}
  void watch(const Tensor& tensor);
  bool persistent() const { return persistent_; }
  void record(const OpPtr& op, Tensors x, Tensors y) override { add(op, x, y); }
  bool add(const OpPtr& op, Tensors x, Tensors y);  // false: y depends on nothing that is watched

  // d(sum of targets) / d(source), one per source, undefined where the targets do not depend on it. `seeds`: dy per
  // target, undefined for ones. `into`: where to put a source's gradient, undefined for a tensor of its own.
  // Contributions add in reverse recording order. StateError when a value that is read has been overwritten since, or
  // on a second call to a tape that is not persistent. `pullback` gives the gradients of custom_gradient(key), one per
  // input and undefined where there is none, from one per output, undefined for integers.
  using Pullback = std::function<std::vector<Tensor>(int64_t key, Tensors dy)>;
  std::vector<Tensor> gradient(Tensors targets, Tensors seeds, Tensors sources, Tensors into, const Pullback& pullback);

 private:
  struct Entry {
    OpPtr op;
    std::vector<Tensor> x, y;        // shells where backward does not read
    std::vector<uint64_t> versions;  // of the storages kept, x then y
  };
  bool persistent_, watch_variables_, used_ = false;
  std::mutex mutex_;  // of what follows: gradient() may be asked from another thread than the one that records
  std::unordered_set<uint64_t> active_;  // ids watched or computed from one that is
  std::vector<Entry> entries_;
};

// What stands on a tape for a function whose gradient the user gives: Python keeps the pullback under the key. It never
// runs itself.
OpPtr custom_gradient(std::string name, int64_t key, size_t outputs);

// Stands in for the tapes of a thread while such a function runs: they are to see the function, and not its ops.
class CustomFunction final : public Recorder {
 public:
  void begin();
  void end();
  void record(const OpPtr& op, Tensors x, Tensors y) override;
  const std::vector<Tensor>& variables() const { return variables_; }  // the trainable ones that were read
  // Shows it to the tapes that waited. Returns those that took it, as y depends on what they watch.
  std::vector<std::shared_ptr<Tape>> show(const OpPtr& op, Tensors x, Tensors y) const;

 private:
  std::unique_ptr<Unheard> unheard_;
  std::vector<std::shared_ptr<Tape>> tapes_;
  std::vector<Tensor> variables_;
};

}  // namespace fastnn
