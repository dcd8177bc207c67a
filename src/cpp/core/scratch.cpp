#include "core/scratch.hpp"

#include <new>
#include <vector>

#include "core/error.hpp"

namespace fastnn {

namespace {

constexpr std::align_val_t kAlignment{64};

// Blocks in the order they were taken; those behind `used` are free and kept for the next call.
struct Stack {
  struct Block {
    std::byte* data;
    size_t bytes;
  };
  std::vector<Block> blocks;
  size_t used = 0;
  ~Stack() {
    for (const Block& b : blocks) ::operator delete(b.data, kAlignment);
  }
};
thread_local Stack t_stack;

}  // namespace

std::byte* scratch_push(size_t bytes) {
  Stack& s = t_stack;
  if (s.used == s.blocks.size()) s.blocks.push_back({nullptr, 0});
  Stack::Block& block = s.blocks[s.used];
  if (block.bytes < bytes) {
    ::operator delete(block.data, kAlignment);
    block = {nullptr, 0};
    void* data = ::operator new(bytes, kAlignment, std::nothrow);
    if (!data) throw MemoryError(cat("could not allocate ", bytes, " bytes of working memory"));
    block = {static_cast<std::byte*>(data), bytes};
  }
  ++s.used;
  return block.data;
}

void scratch_pop() { --t_stack.used; }

size_t scratch_bytes() {
  size_t bytes = 0;
  for (const Stack::Block& b : t_stack.blocks) bytes += b.bytes;
  return bytes;
}

}  // namespace fastnn
