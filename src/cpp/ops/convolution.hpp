// A convolution of known sizes in its three passes, by whichever algorithm suits it. A transposed convolution is made
// of the same three.
#pragma once
#include <string>

#include "ops/conv.hpp"
#include "ops/sliding_sum.hpp"

namespace fastnn {

struct Convolution {
  Image in, out;
  Window rows, columns;
  int64_t groups;
  bool winograd;

  // With a bias for every channel of what is written, or null.
  template <class T>
  void forward(T* y, const T* x, const T* kernel, const T* bias, bool accumulate, const Finish<T>& finish) const;
  template <class T>
  void input_gradient(T* dx, const T* dy, const T* kernel, const T* bias, bool accumulate,
                      const Finish<T>& finish) const;
  template <class T>
  void kernel_gradient(T* dkernel, const T* x, const T* dy, bool accumulate) const;

 private:
  static Shape shape(const Image& image) { return {image.n, image.h, image.w, image.channels}; }
};

// Of the windows of a convolution of `channels` and `filters`.
bool uses_winograd(const ConvParams& params, const Window& rows, const Window& columns, int64_t channels,
                   int64_t filters, int64_t groups, DType dtype);

// What every convolution asks of its inputs, x, kernel and bias; the channels of x and the filters are the kernel's.
void check_convolution(const std::string& op, const ConvParams& params, Specs x, bool has_bias, int64_t channels,
                       int64_t filters);
int64_t multiply_dims(int64_t a, int64_t b, const std::string& op);  // carries the unknown through

}  // namespace fastnn
