#include "core/blocks.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace fastnn {

namespace {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector
// Small memory is cut out of malloc's own, which keeps what is freed at hand: it does not for aligned memory (a call of
// one and its end: 60 ns, 20 this way).
constexpr size_t kSmall = 512;
// From two of them on memory starts on a huge page and asks for more: an arena of 100 MB is 50 entries of the TLB
// instead of 25,000.
constexpr size_t kHugePage = size_t{1} << 21;
constexpr size_t kLarge = 2 * kHugePage;

void* fresh_aligned(size_t bytes) {
  if (bytes > kSmall) return ::operator new(bytes, std::align_val_t{kAlignment}, std::nothrow);
  void* const all = std::malloc(bytes + kAlignment);
  if (!all) return nullptr;
  const uintptr_t at = (reinterpret_cast<uintptr_t>(all) / kAlignment + 1) * kAlignment;
  void** const block = reinterpret_cast<void**>(at);
  block[-1] = all;
  return block;
}
void give_up_aligned(void* block, size_t bytes) {
  if (bytes > kSmall)
    ::operator delete(block, std::align_val_t{kAlignment});
  else if (block)
    std::free(static_cast<void**>(block)[-1]);
}

#if defined(__linux__)
// Large blocks are mappings of their own: in malloc's heaps those that are kept would hold up all that lies below them.
size_t mapped(size_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }
void* fresh(size_t bytes) {
  if (bytes < kLarge) return fresh_aligned(bytes);
  if (bytes > PTRDIFF_MAX) return nullptr;
  const size_t size = mapped(bytes);
  void* const all = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  std::byte* const from = static_cast<std::byte*>(all);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(from) % kHugePage) % kHugePage;
  if (before > 0) munmap(from, before);
  if (before < kHugePage) munmap(from + before + size, kHugePage - before);
  madvise(from + before, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return from + before;
}
void give_up(void* block, size_t bytes) {
  if (bytes < kLarge)
    give_up_aligned(block, bytes);
  else
    munmap(block, mapped(bytes));
}
#else
void* fresh(size_t bytes) { return fresh_aligned(bytes); }
void give_up(void* block, size_t bytes) { give_up_aligned(block, bytes); }
#endif

// The system clears the pages of every new mapping, one by one: a convolution with a result of 17 MB took 7.1 ms
// instead of 4.4.
class KeptBlocks {
 public:
  // nullptr where none has this size.
  void* take(size_t bytes) {
    const Turn turn(busy_);
    if (!turn.mine) return nullptr;
    for (int i = count_ - 1; i >= 0; --i)
      if (kept_[i].bytes == bytes) {
        void* const block = kept_[i].block;
        forget(i);
        return block;
      }
    return nullptr;
  }
  // Whether it keeps the block, perhaps in place of older ones.
  bool keep(void* block, size_t bytes) {
    if (bytes > kMostBytes) return false;
    const Turn turn(busy_);
    if (!turn.mine) return false;
    while (count_ == kMost || bytes_ + bytes > kMostBytes) drop_oldest();
    kept_[count_++] = {block, bytes};
    bytes_ += bytes;
    return true;
  }
  void clear() {
    const Turn turn(busy_);
    while (turn.mine && count_ > 0) drop_oldest();
  }

 private:
  static constexpr int kMost = 32;
  static constexpr size_t kMostBytes = size_t{128} << 20;
  struct Block {
    void* block;
    size_t bytes;
  };
  // Nobody waits: who comes while another thread is here goes to the system, as does the child of a fork in that
  // moment.
  struct Turn {
    std::atomic_flag& busy;
    const bool mine;
    explicit Turn(std::atomic_flag& flag) : busy(flag), mine(!flag.test_and_set(std::memory_order_acquire)) {}
    ~Turn() {
      if (mine) busy.clear(std::memory_order_release);
    }
  };

  void drop_oldest() {
    give_up(kept_[0].block, kept_[0].bytes);
    forget(0);
  }
  void forget(int i) {
    bytes_ -= kept_[i].bytes;
    std::copy(kept_ + i + 1, kept_ + count_, kept_ + i);
    --count_;
  }

  std::atomic_flag busy_;
  Block kept_[kMost];  // the oldest first
  int count_ = 0;
  size_t bytes_ = 0;
};
KeptBlocks g_kept;  // never destroyed: tensors may outlive every destructor

}  // namespace

void* take_block(size_t bytes) {
  if (bytes >= kLarge)
    if (void* const kept = g_kept.take(bytes)) return kept;
  void* block = fresh(bytes);
  if (!block) {
    g_kept.clear();
    block = fresh(bytes);
  }
  return block;
}

void free_block(void* block, size_t bytes) {
  if (bytes < kLarge || !g_kept.keep(block, bytes)) give_up(block, bytes);
}

}  // namespace fastnn
