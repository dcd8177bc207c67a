// The tape: what was run since it started, walked backwards. On placeholders the backward ops are appended to their
// graph like any other op.
#pragma once
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "graph/graph.hpp"

namespace fastnn {

class Tape final : public Recorder {
 public:
  Tape(bool persistent, bool watch_variables) : persistent_(persistent), watch_variables_(watch_variables) {}
  void watch(const Tensor& tensor);
  void record(const OpPtr& op, Tensors x, Tensors y) override;

  // d(sum of targets) / d(source), one per source, undefined where the targets do not depend on it. `seeds`: dy per
  // target, undefined for ones. `into`: where to put a source's gradient, undefined for a tensor of its own.
  // Contributions add in reverse recording order. StateError when a value that is read has been overwritten since, or
  // on a second call to a tape that is not persistent.
  std::vector<Tensor> gradient(Tensors targets, Tensors seeds, Tensors sources, Tensors into);

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

}  // namespace fastnn
