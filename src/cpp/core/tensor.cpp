#include "core/tensor.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstring>
#include <new>

namespace fastnn {

namespace {
constexpr size_t kAlignment = 64;  // a cache line, and the widest vector
// From here on memory starts on a huge page and asks for more of them: an arena of 100 MB is 50 entries of the TLB
// instead of 25,000.
constexpr size_t kHugePage = size_t{1} << 21;
std::align_val_t alignment_of(size_t bytes) {
  return std::align_val_t{bytes >= 2 * kHugePage ? kHugePage : kAlignment};
}

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
  // One spare vector behind the end keeps a zero-sized tensor's pointer valid and aligned.
  void* data = ::operator new(bytes + kAlignment, alignment_of(bytes), std::nothrow);
  if (!data) throw MemoryError(cat("could not allocate ", bytes, " bytes for a tensor"));
#if defined(__linux__)
  if (bytes >= 2 * kHugePage) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
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
    ::operator delete(data_, alignment_of(bytes_));
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

void* Tensor::raw() const {
  if (!impl_->storage)
    throw StateError(cat("a placeholder of shape ", shape(),
                         " has no data: it stands for a value of a later run, so its "
                         "numbers cannot be read or decide anything while the step is recorded; run_eagerly=True (in "
                         "compile, or fastnn.config.run_eagerly) runs steps with data"));
  return impl_->storage->data() + impl_->offset;
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
