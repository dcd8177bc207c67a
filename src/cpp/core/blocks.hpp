// Memory of tensors and ops: aligned, not initialised. The large blocks that were freed last are kept for the next
// ones.
#pragma once
#include <cstddef>

namespace fastnn {

void* take_block(size_t bytes);  // nullptr where there is no memory
void free_block(void* block, size_t bytes);

}  // namespace fastnn
