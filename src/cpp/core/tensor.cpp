#include "core/tensor.hpp"

#include <cstring>

#include "core/blocks.hpp"

namespace fastnn {

namespace {
// Behind the end of memory: it keeps the pointer of a tensor without elements valid and aligned.
constexpr size_t kSpare = 64;

uint64_t next_id() {
  static std::atomic<uint64_t> counter{1};
  return counter.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

namespace {
std::atomic<uint64_t> g_changes{0};
}
uint64_t changes() { return g_changes.load(std::memory_order_relaxed); }
void note_change() { g_changes.fetch_add(1, std::memory_order_relaxed); }

std::shared_ptr<Storage> Storage::allocate(size_t bytes) {
  std::shared_ptr<Storage> storage(new Storage);
  void* data = take_block(bytes + kSpare);
  if (!data) throw MemoryError(cat("could not allocate ", bytes, " bytes for a tensor"));
  storage->data_ = static_cast<std::byte*>(data);
  storage->bytes_ = bytes;
  return storage;
}

std::shared_ptr<Storage> Storage::borrow(void* data, size_t bytes, bool readonly, void* owner, void (*release)(void*)) {
  std::shared_ptr<Storage> storage(new Storage);
  storage->data_ = static_cast<std::byte*>(data);
  storage->bytes_ = bytes;
  storage->readonly_ = readonly;
  storage->owner_ = owner;
  storage->release_ = release;
  return storage;
}

Storage::~Storage() {
  if (release_)
    release_(owner_);
  else
    free_block(data_, bytes_ + kSpare);
}

Tensor Tensor::make(const Spec& spec) {
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>();
  tensor.impl_->id = next_id();
  tensor.impl_->spec = spec;
  return tensor;
}

Tensor Tensor::empty(const Shape& shape, DType dtype) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(numel(shape), static_cast<int64_t>(item_size(dtype)), &bytes))
    throw ValueError(cat("shape ", shape, ": more than 2**63 bytes"));
  return over(Storage::allocate(static_cast<size_t>(bytes)), 0, shape, dtype);
}

Tensor Tensor::zeros(const Shape& shape, DType dtype) {
  Tensor tensor = empty(shape, dtype);
  std::memset(tensor.raw(), 0, tensor.bytes());
  return tensor;
}

Tensor Tensor::scalar(double value, DType dtype) {
  Tensor tensor = empty({}, dtype);
  with_dtype(dtype, [&](auto zero) { *tensor.data<decltype(zero)>() = static_cast<decltype(zero)>(value); });
  return tensor;
}

Tensor Tensor::over(std::shared_ptr<Storage> storage, size_t offset, const Shape& shape, DType dtype) {
  Tensor tensor = make({shape, dtype});
  tensor.impl_->storage = std::move(storage);
  tensor.impl_->offset = offset;
  return tensor;
}

Tensor Tensor::placeholder(const Spec& spec, std::shared_ptr<Graph> graph) {
  Tensor tensor = make(spec);
  tensor.impl_->graph = std::move(graph);
  return tensor;
}

Tensor Tensor::variable(const Tensor& value, VariableInfo info) {
  Tensor tensor = over(value.storage(), value.offset(), value.shape(), value.dtype());
  tensor.impl_->variable = std::make_shared<VariableInfo>(std::move(info));
  return tensor;
}

void Tensor::refuse() const {
  throw StateError(cat("a placeholder of shape ", shape(),
                       " has no data: it stands for a value of a later run, so its "
                       "numbers cannot be read or decide anything while the step is recorded; run_eagerly=True (in "
                       "compile, or fastnn.config.run_eagerly) runs steps with data"));
}

Tensor Tensor::view(const Shape& shape, size_t byte_offset) const {
  return over(storage(), offset() + byte_offset, shape, dtype());
}

Tensor Tensor::shell() const {
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>();
  tensor.impl_->id = id();
  tensor.impl_->spec = spec();
  return tensor;
}

}  // namespace fastnn
