#include "ops/gemm.hpp"

#include <algorithm>

#include "core/parallel.hpp"
#include "core/per_thread.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"

namespace fastnn {

namespace {

// Bytes of A that stay in L2 while panels of B pass: 288 rows of kGemmDepth products in float32, 144 in float64, both
// multiples of the register tiles (6 and 12 rows).
constexpr int64_t kRowBlockBytes = 288 * kGemmDepth * sizeof(float);
// Panels that stay in L2 beside them, and the fewest that a block of A should meet there.
constexpr int64_t kPanels = 8, kFewPanels = 4;
// Multiply-adds that a task should hold at least, 1 to 2 us on one thread, and how many tasks are enough; few are
// enough where more would need blocks of rows, and with them all panels packed first.
constexpr int64_t kTaskFmas = 128 * 1024;
constexpr int64_t kTasks = 8, kFewTasks = 4;
// Packing B, a read and a write of all of it, pays where so many tiles of rows read it: with six rows to a tile from
// the third on (13 x 512 x 512: 27 us in two tiles, 47 with packing; AVX2), with the twelve of AVX-512, which do more
// with what a step fetches, much later (128 x 512 x 784: 449 us with packing, 424 without). And not where its blocks
// are so small that L2 hands out their rows as they lie (64 x 128 x 128: 10.1 us with packing, 9.1 without; AVX2 17.7
// and 17.1).
constexpr int64_t kSixRows = 6, kPackTiles = 2, kPackTilesOfTwelve = 12;
constexpr int64_t kPackBytes = 64 * 1024;
// Six rows do little with what a step fetches of A, so it may pay to lay A out in tiles, one behind the other, for all
// panels that read them: for a transposed A, whose step is a cache line each, from kTilePanels on (AVX2 on Zen 3, dW of
// 128 x 512 x 512: from 78 % of the peak to 91 %, of 256 x 1024 x 1024 from 79 % to 91 %), for an A of rows if besides
// L2 does not hold it and more panels read it (1024 x 1024 x 1024: from 85 % to 89 %, in float64 0.95 of the time;
// 2048 x 256 x 256 lost). The threads share that, piece by piece, before the product begins, which has to hold
// kTileFmas for it: smaller ones lost on two threads. Up to kTileBytes, half of the L3 cache of Zen 3 (2000^T x 2000 x
// 600: 0.89 of the time, 1400^T x 1400 x 512 in float64 0.83, both 16 MB; one of four on two threads 1.05); of what is
// larger, blocks are laid out by the tasks that read them, and only where columns a multiple of kAliasBytes apart fill
// few sets of the L1 cache, with at least kAliasPanels panels.
constexpr int64_t kTilePanels = 16, kTilePanelsOfRows = 32, kTileRows = 48;
constexpr int64_t kTileFmas = 16 * 1024 * 1024;
constexpr int64_t kTileBytes = 16384 * 1024;
constexpr int64_t kAliasBytes = 4096, kAliasPanels = 8;
// What a tile of C starts with is asked for before its sums begin where so much of C was written since that L2 has lost
// it (float64, 1024 x 1024 x 1024 with AVX-512: from 77 % of the peak to 87 %; into L1 twelve rows a power of two apart
// would push each other out).
constexpr int64_t kL2Bytes = 512 * 1024;
// C^T = B^T A^T pays where a product leaves so many thirds of a vector idle: one where the rows of A^T are rows in
// memory (128 x 2 x 64: 1.4 us, 0.35 turned), two where they have to be packed.
// And not for the few numbers of A that cost more to pack than the idle lanes do (a step of a net of 4, 16 and 3 units
// on 32 rows: 2.09 us turned, 1.97 without; AVX-512).
constexpr int64_t kIdleThirds = 1, kIdleThirdsPacked = 2, kFewToPack = 1024;

}  // namespace

template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, T* c, int64_t c_row, const T* bias,
          bool accumulate, const Finish<T>& finish) {
  if (m == 0 || n == 0) return;
  constexpr int64_t size = sizeof(T), line = 64 / size;
  const auto& kernel = kernels_for<T>().gemm;
  const int64_t nr = kernel.nr, panels = (n + nr - 1) / nr;
  // Few columns leave lanes idle; the rows of A fill them. (Sums that C starts with would be added in another order.)
  const int64_t idle = (kernel.lanes - n % kernel.lanes) % kernel.lanes;
  const int64_t thirds = a.row == 1 ? kIdleThirds : size == 4 ? kIdleThirdsPacked : 3;
  if (panels == 1 && m >= nr && 3 * idle >= thirds * kernel.lanes && (a.row == 1 || m * k >= kFewToPack) &&
      !(accumulate && k > kGemmDepth)) {
    const Scratch<T> turned(n * m);
    gemm<T>(n, m, k, {b.data, b.col, b.row}, {a.data, a.col, a.row}, turned.data(), m, nullptr, false);
    kernel.add_turned(c, c_row, turned.data(), m, n, bias, accumulate);
    if (finish)
      for (int64_t r = 0; r < m; ++r) finish(c + r * c_row, n);
    return;
  }
  const int64_t depths = std::max<int64_t>(1, (k + kGemmDepth - 1) / kGemmDepth);
  const int64_t pack_tiles = kernel.mr > kSixRows ? kPackTilesOfTwelve : kPackTiles;
  const bool pack = b.col != 1 || (m > pack_tiles * kernel.mr && std::min(k, kGemmDepth) * n * size > kPackBytes);

  // How C is cut changes no bit, so it may follow whether workers stand by (a region of their own costs them more).
  const int64_t fmas = m * n * k;
  const bool cut = in_team() || (fmas >= kChunkWork * kFmaPerWork && !is_serial());
  int64_t tasks = cut ? std::clamp<int64_t>(fmas / kTaskFmas, 1, kTasks) : 1;
  // Tasks of all rows pack the panels that they are about to use themselves. Where there are too few columns for that,
  // tasks have blocks of rows, and all panels are packed first, for all of them.
  const int64_t rows_in_cache = kRowBlockBytes / (kGemmDepth * size);
  int64_t row_block = m, column_block = tasks == 1 ? panels * nr : std::min(panels, kPanels) * nr;
  auto enough = [&] {
    return tasks == 1 || (m + row_block - 1) / row_block * ((n + column_block - 1) / column_block) >= tasks;
  };
  while (!enough() && column_block > kFewPanels * nr) column_block = (column_block / nr + 1) / 2 * nr;
  if (!enough() && m > rows_in_cache) {
    row_block = rows_in_cache;
    column_block = std::min(panels, kPanels) * nr;
  }
  while (!enough() && column_block > nr) column_block = (column_block / nr + 1) / 2 * nr;
  tasks = std::min(tasks, kFewTasks);
  while (!enough() && row_block > 2 * kernel.mr) row_block = (row_block / kernel.mr + 1) / 2 * kernel.mr;
  const int64_t row_tasks = (m + row_block - 1) / row_block;
  const int64_t all = row_tasks * ((n + column_block - 1) / column_block);

  // One row reads B once, along as much of its rows as there is (1 x 1024 x 1024 with AVX2: 0.9 times as long).
  const int64_t group = (m == 1 && !pack ? panels : std::min(panels, kPanels)) * nr;
  const bool pack_inside = pack && row_tasks == 1;
  Scratch<T> packed(pack && !pack_inside ? panels * nr * k : 0);
  if (pack && !pack_inside) {
    const int64_t groups = (n + group - 1) / group;
    parallel_for(depths * groups, grain_for(kGemmDepth * group / 4), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t k0 = task / groups * kGemmDepth, j = task % groups * group, depth = std::min(kGemmDepth, k - k0);
        if (depth > 0)
          kernel.pack_b(&packed[panels * nr * k0 + j * depth], b.data + k0 * b.row + j * b.col, b.row, b.col, depth,
                        std::min(group, n - j));
      }
    });
  }

  const int64_t rows_of_block = std::min(row_block, rows_in_cache);
  const bool may_tile = kernel.pack_a && (pack || n % nr == 0) && m >= kTileRows;
  const bool tile_all = may_tile && fmas >= kTileFmas && m * k * size <= kTileBytes &&
                        (a.row == 1 ? panels >= kTilePanels : panels >= kTilePanelsOfRows && m * k * size > kL2Bytes);
  const bool tile_blocks =
      may_tile && !tile_all && panels >= kAliasPanels && a.row == 1 && a.col * size % kAliasBytes == 0;
  const int64_t tiled_rows = m + 2 * kernel.mr;  // the last tiles may be short
  const Scratch<T> tiled(tile_all ? tiled_rows * k : 0);
  if (tile_all) {
    // Of each block of rows, as the tasks have them, pieces of whole tiles; the last one has what is left.
    const int64_t blocks = (m + rows_of_block - 1) / rows_of_block;
    const int64_t most = std::max<int64_t>(1, rows_of_block / kTileRows);
    parallel_for(depths * blocks * most, 1, [&](int64_t task, int64_t) {
      const int64_t k0 = task / most / blocks * kGemmDepth, i = task / most % blocks * rows_of_block;
      const int64_t depth = std::min(kGemmDepth, k - k0), height = std::min(rows_of_block, m - i);
      const int64_t piece = task % most, pieces = std::max<int64_t>(1, height / kTileRows);
      if (piece >= pieces) return;
      const int64_t first = i + piece * kTileRows, end = piece + 1 < pieces ? first + kTileRows : i + height;
      kernel.pack_a(&tiled[tiled_rows * k0 + first * depth], kernel.mr * depth, a.data + first * a.row + k0 * a.col,
                    a.row, a.col, end - first, depth);
    });
  }
  const int64_t tiles =
      tile_blocks ? ((rows_of_block + 2 * kernel.mr) * std::min(k, kGemmDepth) + line - 1) / line * line : 0;
  const PerThread<T> own(tiles + (pack_inside ? group * std::min(k, kGemmDepth) : 0), all);

  parallel_for(all, 1, [&](int64_t begin, int64_t end) {
    const auto block = own.take();
    T* const panel = block.data() + tiles;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t i = task % row_tasks * row_block, j = task / row_tasks * column_block;
      const int64_t rows = std::min(row_block, m - i), columns = std::min(column_block, n - j);
      for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += kGemmDepth) {
        const int64_t depth = std::min(kGemmDepth, k - k0);
        for (int64_t j0 = j; j0 < j + columns; j0 += group) {
          const int64_t width = std::min(group, j + columns - j0);
          const T* b_tap = b.data + k0 * b.row + j0 * b.col;
          if (pack_inside) {
            if (depth > 0) kernel.pack_b(panel, b_tap, b.row, b.col, depth, width);
            b_tap = panel;
          } else if (pack) {
            b_tap = packed.data() + panels * nr * k0 + j0 * depth;
          }
          for (int64_t i0 = i; i0 < i + rows; i0 += rows_in_cache) {
            const int64_t height = std::min(rows_in_cache, i + rows - i0);
            Matrix<T> tap{a.data + i0 * a.row + k0 * a.col, a.row, a.col};
            const bool tiled_here = tile_all || tile_blocks;
            if (tile_all) {
              tap.data = tiled.data() + tiled_rows * k0 + i0 * depth;
            } else if (tile_blocks) {
              kernel.pack_a(block.data(), kernel.mr * depth, tap.data, tap.row, tap.col, height, depth);
              tap.data = block.data();
            }
            kernel.run({.m = height,
                        .n = width,
                        .k = depth,
                        .taps = 1,
                        .a = &tap.data,
                        .a_row = tap.row,
                        .a_col = tiled_here ? kernel.mr : tap.col,
                        .a_tile = tiled_here ? kernel.mr * depth : 0,
                        .b = &b_tap,
                        .b_row = pack ? nr : b.row,
                        .b_panel = pack ? nr * depth : nr,
                        .b_padded = pack,
                        .c = c + i0 * c_row + j0,
                        .c_row = c_row,
                        .bias = bias && k0 + kGemmDepth >= k ? bias + j0 : nullptr,
                        .accumulate = accumulate || k0 > 0,
                        .c_is_far = (accumulate || k0 > 0) && rows * columns * size > kL2Bytes});
          }
        }
      }
      if (finish) {
        typename Finish<T>::Part part(finish);
        if (columns == c_row)
          part(c + i * c_row, rows * columns);
        else
          for (int64_t r = i; r < i + rows; ++r) part(c + r * c_row + j, columns);
      }
    }
  });
}

template void gemm(int64_t, int64_t, int64_t, Matrix<float>, Matrix<float>, float*, int64_t, const float*, bool,
                   const Finish<float>&);
template void gemm(int64_t, int64_t, int64_t, Matrix<double>, Matrix<double>, double*, int64_t, const double*, bool,
                   const Finish<double>&);

}  // namespace fastnn
