// 3 x 3 convolution of stride 1 by Winograd's F(4x4, 3x3) (kernels/winograd.hpp): blocks of tiles are transformed, meet
// the transformed kernel in 36 matrix products, and are transformed back, while they stay in cache.
//
// A sum over channels is cut into chains of fma by their number, and tiles whose results overlap belong to one image
// and are added in its order, so the bits of an image depend neither on its batch nor on the threads. The gradient of
// the kernel sums over tiles in blocks cut by the problem's size, in order.
#pragma once
#include <cstdint>

#include "core/shape.hpp"
#include "ops/finish.hpp"

namespace fastnn {

// to[n, i, j, f] = (accumulate ? to : 0) + sum over r, q < 3 and c of from[n, i + r - before_h, j + q - before_w, c] *
// B_t[c, f] + bias[f], t = 3 * r + q, over the pixels inside the image. B_t[c, f] = kernel[t * tap + c * row + f *
// col].
template <class T>
struct WinogradSum {
  T* to;
  Shape to_shape;  // (N, H, W, channels)
  const T* from;
  Shape from_shape;
  int64_t before_h, before_w;
  const T* kernel;
  int64_t tap, row, col;
  const T* bias;  // or null
  bool accumulate;
  Finish<T> finish;
  // The sum of from[n, i - r, j - q, c] instead, where `to` is two pixels larger than `from` each way and before_h and
  // before_w are 0: the adjoint of the sum above, with tiles over `from` whose results overlap in `to`.
  bool scatter = false;

  void run() const;
};

// Whether images of these shapes are summed faster by scattering: 11 x 11 pixels are 9 tiles, the 13 x 13 that they
// came from 16. By the images' size only.
bool scatter_pays(const Shape& to, const Shape& from);

// dkernel[r, q, c, f] = (accumulate ? dkernel : 0) + sum over n, i, j of x[n, i + r - before_h, j + q - before_w, c] *
// dy[n, i, j, f]
template <class T>
struct WinogradKernelGradient {
  T* dkernel;
  const T* x;
  Shape x_shape;
  const T* dy;
  Shape dy_shape;
  int64_t before_h, before_w;
  bool accumulate;

  void run() const;
};

}  // namespace fastnn
