// The transforms of Winograd's convolution F(4x4, 3x3) (Lavin & Gray, arXiv:1509.09308): 36 multiplications for 4 x 4
// outputs of a 3 x 3 kernel instead of 144.
//
//   Y  = A^T [ sum_c (B^T d_c B) o (G g_c G^T) ] A            a tile of 4 x 4 outputs from 6 x 6 inputs d
//   dG = G^T [ sum_tiles (B^T d B) o (A dY A^T) ] G           the gradient of the kernel, with the same three matrices
//
// The points are 0, +-5/8, +-3/2 and infinity, not the textbook's 0, +-1, +-2: every constant is dyadic, so exact in
// float32, the signs still pair up to butterflies, and the error is less than half as large (benchmarks/winograd.py):
//
//   float32, root mean square (and largest) error over the outputs' root mean square, 64 / 256 channels
//                        y                             dx                            dkernel
//   direct               @DIRECT@
//   0, +-5/8, +-3/2      @OURS@
//   0, +-1, +-2          @TEXTBOOK@
//
// Vectors run over channels. Point (i, j) of 6 x 6 is number 6 * i + j, and its values lie `point` elements behind
// those of the point before.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

// The part of a tile that lies inside the image: rows and columns [begin, end) of it.
template <class T>
struct WinogradTile {
  T* data;  // pixel (row_begin, column_begin), channel 0
  int64_t row, column;
  int row_begin, row_end;
  int column_begin, column_end;
  T* next;  // where the data of the tile that comes after this one begins: fetched meanwhile
};

template <class T>
struct WinogradKernels {
  // v = B^T d B of a tile of 6 x 6 pixels, zeros outside the image. v has room for whole vectors of channels.
  void (*input)(T* v, int64_t point, const WinogradTile<const T>& d, int64_t channels);
  // y = (accumulate ? y : 0) + A^T m A + bias, the part of it inside the image; bias may be null.
  void (*output)(const WinogradTile<T>& y, const T* m, int64_t point, int64_t channels, const T* bias, bool accumulate);
  // m = A dy A^T of a tile of 4 x 4 pixels, zeros outside the image. Channel c goes to m[c / width * panel + c %
  // width]: panels that gemm reads as its B. width is a multiple of the vector.
  void (*gradient)(T* m, int64_t point, int64_t width, int64_t panel, const WinogradTile<const T>& dy,
                   int64_t channels);
  // u = G g G^T, elementwise over n elements for each of the nine taps g[t * tap + i], computed in double and rounded
  // once. n is a multiple of the vector.
  void (*kernel)(T* u, int64_t point, const T* g, int64_t tap, int64_t n);
  // dg[t * tap + i] = G^T du G, elementwise over n elements, likewise in double.
  void (*kernel_gradient)(T* dg, int64_t tap, const T* du, int64_t point, int64_t n);
};

}  // namespace fastnn::kernels
