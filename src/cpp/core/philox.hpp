// Philox 4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11).
// A draw is a pure function of (key, counter), so the same element gets the same number on any thread count.
#pragma once
#include <array>
#include <cstdint>

namespace fastnn {

using PhiloxBlock = std::array<uint32_t, 4>;

inline PhiloxBlock philox(PhiloxBlock counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// What identifies a stream of draws: seed and stream make the key; step and element the counter.
struct PhiloxStream {
  uint64_t seed;
  uint32_t stream;
  uint64_t step;
  // Block `index` holds the draws of elements 4*index .. 4*index+3. The 32 bits of `stream` sit above the 40 bits of
  // the index and the 56 bits of the step, more than either reaches.
  PhiloxBlock block(uint64_t index) const {
    return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32) | (stream << 8),
                   static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32) | (stream & 0xFF000000u)},
                  {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  }
};

// Uniform on [0, 1) with 24 bits: every value is exact in float32.
inline float uniform24(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

}  // namespace fastnn
