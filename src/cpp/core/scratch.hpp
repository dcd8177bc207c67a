// Working memory of one op call: packed panels, partial sums. Taken before a parallel region, given back in reverse
// order; a thread keeps as much as the op with the most, so the steady state neither allocates nor faults pages in.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fastnn {

std::byte* scratch_push(size_t bytes);  // 64-byte aligned, not initialised; MemoryError naming the bytes
void scratch_pop();
size_t scratch_bytes();  // that this thread keeps

template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t n)
      : data_(reinterpret_cast<T*>(n > 0 ? scratch_push(static_cast<size_t>(n) * sizeof(T)) : kNothing)),
        taken_(n > 0) {}
  ~Scratch() {
    if (taken_) scratch_pop();
  }
  Scratch(const Scratch&) = delete;
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  // What a block of no elements points to: its address may be asked for.
  alignas(64) static inline std::byte kNothing[64];
  T* data_;
  bool taken_;
};

}  // namespace fastnn
