// The transforms of Winograd's convolution F(4x4, 3x3) (Lavin & Gray, arXiv:1509.09308): 36 multiplications for 4 x 4
// outputs of a 3 x 3 kernel instead of 144.
//
//   Y  = A^T [ sum_c (B^T d_c B) o (G g_c G^T) ] A            a tile of 4 x 4 outputs from 6 x 6 inputs d
//   dD = B [ sum_f (A dY_f A^T) o (G g_f G^T) ] B^T           what it adds to the gradient of those 6 x 6 inputs
//   dG = G^T [ sum_tiles (B^T d B) o (A dY A^T) ] G           the gradient of the kernel, with the same matrices
//
// The points are 0, +-5/8, +-3/2 and infinity, not the textbook's 0, +-1, +-2: every constant is dyadic, so exact in
// float32, the signs still pair up to butterflies, and the error is less than half as large. Root mean square and
// largest error over the result's root mean square, in float32 with AVX2, inputs as behind a relu and He's kernels
// (benchmarks/winograd.py; the last rows with kA = 1 and kB = 2):
//
//   channels                    y                  dx                 dkernel
//       64  direct              2.9e-7  2.8e-6     4.2e-7  4.3e-6     1.9e-7  1.1e-6
//           0, +-5/8, +-3/2     5.1e-7  5.0e-6     6.0e-7  4.9e-6     6.5e-7  3.7e-6
//           0, +-1, +-2         1.1e-6  2.2e-5     1.3e-6  1.6e-5     1.4e-6  1.5e-5
//      256  direct              5.8e-7  6.5e-6     8.0e-7  8.2e-6     1.6e-7  1.8e-6
//           0, +-5/8, +-3/2     6.1e-7  5.1e-6     7.2e-7  5.7e-6     4.9e-7  6.1e-6
//           0, +-1, +-2         1.3e-6  1.7e-5     1.6e-6  2.5e-5     1.1e-6  1.7e-5
//
// F(2x2, 3x3) is left out, by its count of operations: 4 multiplications an output where F(4x4) has 2.25, and 1.8 times
// the transformed numbers. Where F(4x4)'s tiles reach over the image they come to the same at 5 x 5 and 6 x 6 outputs
// (5.76 and 4), and the direct sum, which skips the padding, has 6.76 of the first, 5.4 at 3 x 3 (F(2x2): 7.1) and 4 at
// 2 x 2 (4): nothing is left to pay for the transforms with. Only 2 x 2 outputs of unpadded images would gain.
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
  T* next;  // where the data of a tile that comes after this one begins: fetched meanwhile
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
  // d = B m B^T of a tile of 6 x 6 pixels, the part of it inside the image. Tiles share two rows and two columns: to
  // those in the first rows (above) and the first columns (left) it is added, the others begin with bias, or null.
  void (*input_gradient)(const WinogradTile<T>& d, const T* m, int64_t point, int64_t channels, const T* bias,
                         bool above, bool left);
  // u = G g G^T, elementwise over n elements for each of the nine taps g[t * tap + i], computed in double and rounded
  // once. n is a multiple of the vector.
  void (*kernel)(T* u, int64_t point, const T* g, int64_t tap, int64_t n);
  // dg[t * tap + i] = (accumulate ? dg[t * tap + i] : 0) + G^T du G, elementwise over n elements, likewise in double.
  void (*kernel_gradient)(T* dg, int64_t tap, const T* du, int64_t point, int64_t n, bool accumulate);
};

}  // namespace fastnn::kernels
