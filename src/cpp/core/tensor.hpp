// Tensor: shape, dtype and (unless it is a placeholder) storage. Always C-contiguous; 64-byte aligned when fastnn
// allocates. A Tensor is a cheap handle; two handles with the same id are the same value to a graph.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "core/shape.hpp"

namespace fastnn {

class Graph;

// Memory with an owner. `version` counts the writes fastnn itself makes, so that a tape can tell that a value it saved
// has changed since.
class Storage {
 public:
  static std::shared_ptr<Storage> allocate(size_t bytes);  // aligned, not initialised; MemoryError naming the bytes
  // Memory of somebody else; `release(owner)` is called when the last tensor lets go.
  static std::shared_ptr<Storage> borrow(void* data, size_t bytes, bool readonly, void* owner, void (*release)(void*));
  Storage(const Storage&) = delete;
  ~Storage();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  bool readonly() const { return readonly_; }
  uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  Storage() = default;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool readonly_ = false;
  void* owner_ = nullptr;
  void (*release_)(void*) = nullptr;
  std::atomic<uint64_t> version_{0};
};

// Counts what may change a recorded step without changing a shape: an attribute of a layer, a variable frozen. Cached
// programs look again when it has moved.
uint64_t changes();
void note_change();

// What makes a tensor a variable: it is trained, has a name, and a trace reads it anew at every run.
struct VariableInfo {
  std::string name;
  bool trainable = true;
};

class Tensor {
 public:
  Tensor() = default;                                    // undefined
  static Tensor empty(const Shape& shape, DType dtype);  // not initialised
  static Tensor zeros(const Shape& shape, DType dtype);
  static Tensor scalar(double value, DType dtype);  // 0-d
  static Tensor over(std::shared_ptr<Storage> storage, size_t offset, const Shape& shape, DType dtype);
  static Tensor placeholder(const Spec& spec, std::shared_ptr<Graph> graph);
  static Tensor variable(const Tensor& value, VariableInfo info);  // shares value's storage

  explicit operator bool() const { return impl_ != nullptr; }
  uint64_t id() const { return impl_->id; }
  const Spec& spec() const { return impl_->spec; }
  const Shape& shape() const { return impl_->spec.shape; }
  DType dtype() const { return impl_->spec.dtype; }
  int rank() const { return shape().rank(); }
  int64_t size() const { return numel(shape()); }
  size_t bytes() const { return bytes_of(spec()); }
  bool has_data() const { return impl_->storage != nullptr; }
  const std::shared_ptr<Storage>& storage() const { return impl_->storage; }
  size_t offset() const { return impl_->offset; }
  const std::shared_ptr<Graph>& graph() const { return impl_->graph; }  // of a placeholder
  VariableInfo* variable_info() const { return impl_->variable.get(); }

  void* raw() const {  // StateError for a placeholder
    if (!impl_->storage) [[unlikely]]
      refuse();
    return impl_->storage->data() + impl_->offset;
  }
  template <class T>
  T* data() const {
    return static_cast<T*>(raw());
  }
  Tensor view(const Shape& shape, size_t byte_offset = 0) const;  // same storage, same dtype
  // The same without a share in its memory, for as long as this one lives: counting shares costs more than a small op.
  Tensor borrowed() const {
    Tensor tensor;
    tensor.impl_ = std::shared_ptr<Impl>(std::shared_ptr<Impl>(), impl_.get());
    return tensor;
  }
  Tensor shell() const;  // same id and spec, no storage: what a tape keeps of a value that backward does not read

 private:
  struct Impl {
    uint64_t id = 0;
    Spec spec;
    std::shared_ptr<Storage> storage;
    size_t offset = 0;
    std::shared_ptr<Graph> graph;
    std::shared_ptr<VariableInfo> variable;
  };
  static Tensor make(const Spec& spec);
  [[noreturn]] void refuse() const;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fastnn
