#include "core/scratch.hpp"

#include <algorithm>
#include <vector>

#include "core/blocks.hpp"
#include "core/error.hpp"

namespace fastnn {

namespace {

constexpr size_t kLine = 64;

std::byte* allocate(size_t bytes) { return static_cast<std::byte*>(take_block(bytes)); }

// One block, as large as the most that an op ever had, cut in the order of the calls. What does not fit while that is
// being learnt has memory of its own.
struct Stack {
  struct Part {
    size_t bytes;
    std::byte* apart;  // or null: in the block
  };
  std::byte* block = nullptr;
  size_t size = 0, used = 0;   // of the block
  size_t taken = 0, most = 0;  // in all
  std::vector<Part> parts;
  ~Stack() { free_block(block, size); }
};
thread_local Stack t_stack;

}  // namespace

std::byte* scratch_push(size_t bytes) {
  Stack& s = t_stack;
  bytes = (bytes + kLine - 1) / kLine * kLine;
  if (s.parts.empty() && s.size < s.most) {
    free_block(s.block, s.size);
    s.block = allocate(s.most);
    s.size = s.block ? s.most : 0;
    if (!s.block) s.most = 0;  // there was room for it once; what is asked for now may be little
  }
  s.parts.reserve(s.parts.size() + 1);
  std::byte* apart = nullptr;
  if (s.used + bytes <= s.size)
    s.used += bytes;
  else if (!(apart = allocate(bytes)))
    throw MemoryError(cat("could not allocate ", bytes, " bytes of working memory"));
  s.parts.push_back({bytes, apart});
  s.taken += bytes;
  s.most = std::max(s.most, s.taken);
  return apart ? apart : s.block + s.used - bytes;
}

void scratch_pop() {
  Stack& s = t_stack;
  const Stack::Part part = s.parts.back();
  s.parts.pop_back();
  s.taken -= part.bytes;
  if (part.apart)
    free_block(part.apart, part.bytes);
  else
    s.used -= part.bytes;
}

size_t scratch_bytes() {
  size_t bytes = t_stack.size;
  for (const Stack::Part& part : t_stack.parts) bytes += part.apart ? part.bytes : 0;
  return bytes;
}

}  // namespace fastnn
