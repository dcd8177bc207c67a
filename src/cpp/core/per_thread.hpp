// Working memory for as many chunks of a parallel_for as run at one moment: a chunk takes a free block and gives it
// back, so that blocks stay in the cache of the thread that used them last.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/parallel.hpp"
#include "core/scratch.hpp"

namespace fastnn {

template <class T>
class PerThread {
 public:
  static constexpr int64_t kMaxChunks = 64;  // that may run at one moment

  // Blocks of n elements. Where more than kMaxChunks chunks run at once, the others wait for a block.
  PerThread(int64_t n, int64_t chunks)
      : size_((n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64 / static_cast<int64_t>(sizeof(T))),
        count_(std::min({int64_t{num_threads()}, chunks, kMaxChunks})),
        blocks_(size_ * count_) {}

  class Block {
   public:
    explicit Block(const PerThread& from) : from_(from) {
      for (;;)  // there is a free one, unless there are very many threads or more than there were
        for (index_ = 0; index_ < from_.count_; ++index_)
          if (!from_.taken_[index_].test_and_set(std::memory_order_acquire)) {
            fresh_ = !from_.used_[index_];
            from_.used_[index_] = true;
            return;
          }
    }
    ~Block() { from_.taken_[index_].clear(std::memory_order_release); }
    Block(const Block&) = delete;
    bool fresh() const { return fresh_; }  // nobody had it before
    T* data() const { return from_.blocks_.data() + index_ * from_.size_; }

   private:
    const PerThread& from_;
    int64_t index_ = 0;
    bool fresh_ = false;
  };
  Block take() const { return Block(*this); }

 private:
  int64_t size_, count_;
  Scratch<T> blocks_;
  mutable std::atomic_flag taken_[kMaxChunks];
  mutable bool used_[kMaxChunks] = {};  // each under its flag
};

}  // namespace fastnn
