// What is done to values that an op has just computed, while they are in cache: an activation after a forward pass, or
// its derivative after a gradient; and the moments of what then stands there. The bits are those of ops of their own.
#pragma once
#include <string>

#include "kernels/table.hpp"
#include "ops/moments.hpp"
#include "ops/op.hpp"

namespace fastnn {

template <class T>
class Finish {
 public:
  Finish() = default;
  Finish(const std::optional<Activation>& function, const Tensor& y, const ChannelMoments<T>* moments = nullptr)
      : function_(function), first_(y.data<T>()), moments_(moments) {}
  explicit Finish(const Gradient& gradient)
      : function_(gradient.through), at_(gradient.through ? gradient.at.data<T>() : nullptr) {
    if (gradient) first_ = gradient.to.data<T>();
  }
  explicit operator bool() const { return function_ || moments_; }

  // Values [p, p + n) of the tensor are complete.
  void operator()(T* p, int64_t n) const { Part{*this}(p, n); }

  // The same for one thread's values, a few at a time: threads meet once a chunk of moments.
  class Part {
   public:
    explicit Part(const Finish& whole) : whole_(whole) {}
    ~Part() { report(); }
    Part(const Part&) = delete;
    void operator()(T* p, int64_t n) {
      whole_.apply(p, n);
      if (!whole_.moments_) return;
      for (int64_t at = p - whole_.first_, end = at + n; at < end;) {
        if (at < begin_ || at >= end_) enter(at);
        const int64_t next = std::min(end_, end);
        complete_ += next - at;
        at = next;
      }
    }

   private:
    // The chunk that holds value `at`, kept: a division for each run of pixels is 1 % of a step of ResNet-20.
    void enter(int64_t at) {
      report();
      const int64_t size = whole_.moments_->values_of_chunk();
      chunk_ = at / size;
      begin_ = chunk_ * size;
      end_ = begin_ + size;
    }
    void report() {
      if (complete_ > 0) whole_.moments_->report(chunk_, complete_);
      complete_ = 0;
    }
    const Finish& whole_;
    int64_t chunk_ = 0, begin_ = 0, end_ = 0;  // values of the chunk
    int64_t complete_ = 0;
  };

 private:
  void apply(T* p, int64_t n) const {
    if (!function_) return;
    const auto& kernel = kernels_for<T>().elementwise.unary[static_cast<int>(function_->kind)];
    const T a = static_cast<T>(function_->a), b = static_cast<T>(function_->b);
    if (!at_)
      kernel.forward(p, p, n, a, b);
    else
      kernel.backward(p, p, at_ + (p - first_), at_ + (p - first_), n, a, b, false);
  }

  std::optional<Activation> function_;
  const T* at_ = nullptr;  // what the derivative reads
  T* first_ = nullptr;
  const ChannelMoments<T>* moments_ = nullptr;
};

// The name of an op that an activation has been fused into.
std::string name_with(std::string_view op, const std::optional<Activation>& then);

}  // namespace fastnn
