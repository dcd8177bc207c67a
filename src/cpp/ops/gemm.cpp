#include "ops/gemm.hpp"

#include <algorithm>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"

namespace fastnn {

namespace {

// Rows that stay in L2 (with kGemmDepth products: 144 KB in float32) while a panel of B passes: BLIS's MC on Zen,
// rounded to a multiple of both register tiles (6 and 12 rows).
constexpr int64_t kRowBlock = 144;
// Columns of one task, at most.
constexpr int64_t kColumnBlock = 256;
// Multiply-adds that a task should hold at least, about 2 us on one thread, and how many tasks are enough.
constexpr int64_t kTaskFmas = 128 * 1024;
constexpr int64_t kTasks = 8;
// Under this many rows packing B (a read and a write of all of it) costs more than it saves.
constexpr int64_t kPackRows = 8;
// Multiply-adds per nanosecond and thread, for deciding when threads pay.
constexpr int64_t kFmaPerWork = 32;

}  // namespace

template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, T* c, int64_t c_row, const T* bias,
          bool accumulate, const Finish<T>& finish) {
  if (m == 0 || n == 0) return;
  const auto& kernel = kernels_for<T>().gemm;
  const int64_t nr = kernel.nr, panels = (n + nr - 1) / nr;
  const int64_t depths = std::max<int64_t>(1, (k + kGemmDepth - 1) / kGemmDepth);
  const bool pack = m >= kPackRows || b.col != 1;
  Scratch<T> packed(pack ? panels * nr * k : 0);
  auto pack_panels = [&](int64_t k0, int64_t j, int64_t columns) {
    const int64_t depth = std::min(kGemmDepth, k - k0);
    if (depth > 0)
      kernel.pack_b(&packed[panels * nr * k0 + j * depth], b.data + k0 * b.row + j * b.col, b.row, b.col, depth,
                    columns);
  };

  // How C is cut changes no bit, so it may follow whether workers stand by (a region of their own costs them more).
  const int64_t fmas = m * n * k;
  const int64_t tasks =
      in_team() || fmas >= kChunkWork * kFmaPerWork ? std::clamp<int64_t>(fmas / kTaskFmas, 1, kTasks) : 1;
  int64_t row_block = tasks == 1 ? m : std::min(m, kRowBlock);
  int64_t column_block = tasks == 1 ? panels * nr : std::min(panels * nr, std::max(kColumnBlock, nr));
  auto row_tasks = [&] { return (m + row_block - 1) / row_block; };
  auto column_tasks = [&] { return (n + column_block - 1) / column_block; };
  while (row_tasks() * column_tasks() < tasks && column_block > nr) column_block = (column_block / nr + 1) / 2 * nr;
  while (row_tasks() * column_tasks() < tasks && row_block > 2 * kernel.mr)
    row_block = (row_block / kernel.mr + 1) / 2 * kernel.mr;
  const int64_t rows_of_tasks = row_tasks(), all = rows_of_tasks * column_tasks();
  // Where a task has all rows it packs its own columns, in its own cache.
  const bool pack_inside = pack && rows_of_tasks == 1;
  if (pack && !pack_inside)
    parallel_for(depths * panels, grain_for(kGemmDepth * nr / 4), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        pack_panels(task / panels * kGemmDepth, task % panels * nr, std::min(nr, n - task % panels * nr));
    });
  parallel_for(all, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t i = task % rows_of_tasks * row_block, j = task / rows_of_tasks * column_block;
      const int64_t columns = std::min(column_block, n - j);
      for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += kGemmDepth) {
        const int64_t depth = std::min(kGemmDepth, k - k0);
        if (pack_inside) pack_panels(k0, j, columns);
        const T* const a_tap = a.data + i * a.row + k0 * a.col;
        const T* const b_tap = pack ? packed.data() + panels * nr * k0 + j * depth : b.data + k0 * b.row + j;
        kernel.run({.m = std::min(row_block, m - i),
                    .n = columns,
                    .k = depth,
                    .taps = 1,
                    .a = &a_tap,
                    .a_row = a.row,
                    .a_col = a.col,
                    .b = &b_tap,
                    .b_row = pack ? nr : b.row,
                    .b_panel = pack ? nr * depth : nr,
                    .b_padded = pack,
                    .c = c + i * c_row + j,
                    .c_row = c_row,
                    .bias = bias && k0 + kGemmDepth >= k ? bias + j : nullptr,
                    .accumulate = accumulate || k0 > 0});
      }
      if (finish) {
        const int64_t rows = std::min(row_block, m - i);
        if (columns == c_row)
          finish(c + i * c_row, rows * columns);
        else
          for (int64_t r = i; r < i + rows; ++r) finish(c + r * c_row + j, columns);
      }
    }
  });
}

template void gemm(int64_t, int64_t, int64_t, Matrix<float>, Matrix<float>, float*, int64_t, const float*, bool,
                   const Finish<float>&);
template void gemm(int64_t, int64_t, int64_t, Matrix<double>, Matrix<double>, double*, int64_t, const double*, bool,
                   const Finish<double>&);

}  // namespace fastnn
