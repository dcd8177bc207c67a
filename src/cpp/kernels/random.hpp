// Philox 4x32-10 many blocks at a time, and what is made of its bits: uniform and normal numbers and dropout. The
// counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11): a draw is a pure
// function of (key, counter), so the same element gets the same number on any thread count.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

// The key and the parts of the counter that do not change from block to block.
struct PhiloxKey {
  uint32_t key[2];
  uint32_t
      counter[4];  // block `index` adds its low 32 bits to counter[0], which is 0, and ors the rest into counter[1]
};

// Numbers are made this many at a time; `first` of every kernel but bits is a multiple of it, that of dropout of two.
constexpr int64_t kRandomBlock = 256;
// Dropout takes half a word for a number: the low halves of so many words, then their high ones.
constexpr int64_t kDropoutGroup = 16;

template <class T>
struct RandomKernels {
  // The words of blocks first / 4, first / 4 + 1, ...
  void (*bits)(uint32_t* y, int64_t n, uint64_t first, const PhiloxKey& key);
  // y = (accumulate ? y : 0) + (half a word < threshold ? 0 : scale x)
  void (*dropout)(T* y, const T* x, int64_t n, uint64_t first, const PhiloxKey& key, uint16_t threshold, T scale,
                  bool accumulate);
  // One word per float, two per double.
  void (*uniform)(T* y, int64_t n, uint64_t first, const PhiloxKey& key, T low, T span, T largest);
  void (*normal)(T* y, int64_t n, uint64_t first, const PhiloxKey& key, T mean, T deviation);
  void (*truncated_normal)(T* y, int64_t n, uint64_t first, const PhiloxKey& key, T mean, T deviation);
};

}  // namespace fastnn::kernels
