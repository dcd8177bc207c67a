// Memory that the programs of one model take turns with: as large as the largest of them needs, whatever their number.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "core/tensor.hpp"

namespace fastnn {

class Arenas {
 public:
  // One that nobody else has, of at least `bytes`. One that is free and too small is let go.
  std::shared_ptr<Storage> take(size_t bytes) {
    std::shared_ptr<Storage> arena;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        arena = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (!arena || arena->bytes() < bytes) {
      arena.reset();
      arena = Storage::allocate(bytes);
    }
    return arena;
  }
  void give_back(std::shared_ptr<Storage> arena) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(arena));
  }

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<Storage>> free_;
};

}  // namespace fastnn
