#include "core/blocks.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <new>

namespace fastnn {

namespace {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector
// From two of them on memory starts on a huge page and asks for more: an arena of 100 MB is 50 entries of the TLB
// instead of 25,000.
constexpr size_t kHugePage = size_t{1} << 21;
constexpr size_t kLarge = 2 * kHugePage;

std::align_val_t alignment_of(size_t bytes) { return std::align_val_t{bytes >= kLarge ? kHugePage : kAlignment}; }
void* fresh(size_t bytes) { return ::operator new(bytes, alignment_of(bytes), std::nothrow); }
void give_up(void* block, size_t bytes) { ::operator delete(block, alignment_of(bytes)); }

// malloc gives large blocks back to the system when they are freed, which clears the pages of the next ones, one by
// one: a convolution with a result of 17 MB took 7.1 ms instead of 4.4.
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
  // Nobody waits: who comes while another thread is here goes to malloc, as does the child of a fork in that moment.
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
  const bool large = bytes >= kLarge;
  if (large)
    if (void* const kept = g_kept.take(bytes)) return kept;
  void* block = fresh(bytes);
  if (!block) {
    g_kept.clear();
    block = fresh(bytes);
  }
#if defined(__linux__)
  if (block && large) madvise(block, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return block;
}

void free_block(void* block, size_t bytes) {
  if (bytes < kLarge || !g_kept.keep(block, bytes)) give_up(block, bytes);
}

}  // namespace fastnn
