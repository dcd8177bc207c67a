#include "ops/winograd.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"
#include "ops/gemm.hpp"

namespace fastnn {

namespace {

constexpr int64_t kPoints = 36, kTile = 4, kInputTile = 6, kTaps = 9;

int64_t env(const char* name, int64_t value) {
  const char* s = std::getenv(name);
  return s ? std::atoll(s) : value;
}

#define kDepth env("WG_D", 64)
#define kDepthW env("WG_DW", 64)
#define kChunk env("WG_CH", 512)
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
double g_time[8];
struct Prof { ~Prof() { if (std::getenv("WG_PROF")) for (double t : g_time) std::printf("%.2f ", 1e3 * t); } } g_prof;
constexpr int64_t kLine = 16;  // elements: whole vectors of any instruction set

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Tiles of 4 x 4 pixels over a batch of images, left to right, top to bottom, image by image.
struct Tiles {
  int64_t images, rows, columns;

  explicit Tiles(const Shape& s) : images(s[0]), rows((s[1] + kTile - 1) / kTile), columns((s[2] + kTile - 1) / kTile) {}
  int64_t count() const { return images * rows * columns; }
};

// Walks the tiles from the t-th on, over an image with `size` x `size` pixels of it for each tile: those that begin
// before_h above and before_w left of the tile.
template <class T>
class TileWalk {
 public:
  TileWalk(T* image, const Shape& shape, const Tiles& tiles, int64_t t, int64_t size, int64_t before_h = 0,
           int64_t before_w = 0)
      : image_(image),
        tiles_(tiles),
        h_(shape[1]),
        w_(shape[2]),
        channels_(shape[3]),
        size_(size),
        before_h_(before_h),
        before_w_(before_w),
        n_(t / (tiles.rows * tiles.columns)),
        row_(t / tiles.columns % tiles.rows),
        column_(t % tiles.columns),
        next_(tile_here()) {}

  // The tile whose turn it is.
  kernels::WinogradTile<T> next() {
    kernels::WinogradTile<T> tile = next_;
    if (++column_ == tiles_.columns) {
      column_ = 0;
      if (++row_ == tiles_.rows) {
        row_ = 0;
        if (++n_ == tiles_.images) n_ = 0;  // after the last tile nothing is to come
      }
    }
    next_ = tile_here();
    tile.next = next_.data;
    return tile;
  }

 private:
  kernels::WinogradTile<T> tile_here() const {
    const int64_t i = row_ * kTile - before_h_, j = column_ * kTile - before_w_;
    const int64_t i0 = std::max<int64_t>(i, 0), j0 = std::max<int64_t>(j, 0);
    return {image_ + ((n_ * h_ + i0) * w_ + j0) * channels_,
            w_ * channels_,
            channels_,
            static_cast<int>(i0 - i),
            static_cast<int>(std::min(size_, h_ - i)),
            static_cast<int>(j0 - j),
            static_cast<int>(std::min(size_, w_ - j)),
            nullptr};
  }

  T* image_;
  Tiles tiles_;
  int64_t h_, w_, channels_, size_, before_h_, before_w_;
  int64_t n_, row_, column_;
  kernels::WinogradTile<T> next_;
};

// body(task, slot) for each task in [0, tasks): slots work side by side, each in scratch memory of its own.
template <class Body>
void for_each_task(int64_t tasks, int64_t slots, const Body& body) {
  std::atomic<int64_t> next{0};
  parallel_for(slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot)
      for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) body(task, slot);
  });
}

// Filters that are transformed together: those whose transformed kernel, or gradient of it, stays in L3.
int64_t filter_group(int64_t channels, int64_t filters, int64_t nr, size_t item) {
  const int64_t kBytes = env("WG_U", 12 << 20);
  const int64_t fit = kBytes / (kPoints * channels * static_cast<int64_t>(item)) / nr * nr;
  return std::clamp<int64_t>(fit, nr, round_up(filters, nr));
}

}  // namespace

template <class T>
void WinogradSum<T>::run() const {
  const auto& gemm = kernels_for<T>().gemm;
  const auto& winograd = kernels_for<T>().winograd;
  const Tiles tiles(to_shape);
  const int64_t K = from_shape[3], N = to_shape[3], nr = gemm.nr;
  if (tiles.count() == 0) return;
  const int64_t item = sizeof(T);

  const int64_t group = filter_group(K, N, nr, sizeof(T));
  const int64_t columns = std::min(round_up(env("WG_KB", 64), nr), group);  // of one product
  const int64_t block_bytes = env("WG_B", 448 * 1024);
  int64_t block = std::clamp<int64_t>(block_bytes / (kPoints * item * (K + columns)), env("WG_MIN", 24), 96) / 12 * 12;
  block = std::min(block, tiles.count());
  const int64_t blocks = (tiles.count() + block - 1) / block;
  const int64_t slots = std::min<int64_t>(blocks, num_threads());

  const int64_t v_row = round_up(K, kLine), m_row = round_up(columns, kLine);
  const int64_t v_point = block * v_row + kLine, m_point = block * m_row + kLine;
  const int64_t u_point = group * K;
  const int64_t kPackDepth = kDepth;
  const int64_t pack_tasks = (K + kPackDepth - 1) / kPackDepth;
  const int64_t pack_slots = std::min<int64_t>(num_threads(), pack_tasks * group / nr);
  const Scratch<T> u(kPoints * u_point);
  const Scratch<T> taps(pack_slots * kTaps * kPackDepth * nr);
  const Scratch<T> v(slots * kPoints * v_point);
  const Scratch<T> m(slots * kPoints * m_point);

  for (int64_t f0 = 0; f0 < N; f0 += group) {
    const int64_t filters = std::min(group, N - f0), panels = (filters + nr - 1) / nr;
    // As in gemm(): blocks of kDepth, in each the panels of all columns.
    double q0 = now();
    for_each_task(panels * pack_tasks, pack_slots, [&](int64_t task, int64_t slot) {
      const int64_t k = task % pack_tasks * kDepth, j = task / pack_tasks * nr;
      const int64_t k0 = k / kDepth * kDepth, depth = std::min(kDepth, K - k0);
      const int64_t rows = std::min(kPackDepth, K - k), size = rows * nr;
      T* const packed = &taps[slot * kTaps * kPackDepth * nr];
      for (int64_t t = 0; t < kTaps; ++t)
        gemm.pack_b(packed + t * size, kernel + t * tap + k * row + (f0 + j) * col, row, col, rows,
                    std::min(nr, filters - j));
      winograd.kernel(&u[group * k0 + j * depth + (k - k0) * nr], u_point, packed, size, size);
    });
    double q1 = now(); g_time[0] += q1 - q0;
    for_each_task(blocks, slots, [&](int64_t task, int64_t slot) {
      const int64_t t0 = task * block, count = std::min(block, tiles.count() - t0);
      T* const vs = &v[slot * kPoints * v_point];
      T* const ms = &m[slot * kPoints * m_point];
      double r0 = now();
      TileWalk<const T> sources(from, from_shape, tiles, t0, kInputTile, before_h, before_w);
      for (int64_t t = 0; t < count; ++t) winograd.input(vs + t * v_row, v_point, sources.next(), K);
      for (int64_t j = 0; j < filters; j += columns) {
        double r1 = now(); g_time[1] += r1 - r0;
        const int64_t n = std::min(columns, filters - j);
        for (int64_t p = 0; p < kPoints; ++p)
          for (int64_t k0 = 0; k0 < K; k0 += kDepth) {
            const int64_t depth = std::min(kDepth, K - k0);
            const T* const a = vs + p * v_point + k0;
            const T* const b = &u[p * u_point + group * k0 + j * depth];
            gemm.run({.m = count,
                      .n = n,
                      .k = depth,
                      .taps = 1,
                      .a = &a,
                      .a_row = v_row,
                      .a_col = 1,
                      .b = &b,
                      .b_row = nr,
                      .b_panel = nr * depth,
                      .b_padded = true,
                      .c = ms + p * m_point,
                      .c_row = m_row,
                      .bias = nullptr,
                      .accumulate = k0 > 0});
          }
        double r2 = now(); g_time[2] += r2 - r1;
        TileWalk<T> results(to + f0 + j, to_shape, tiles, t0, kTile);
        for (int64_t t = 0; t < count; ++t)
          winograd.output(results.next(), ms + t * m_row, m_point, n, bias ? bias + f0 + j : nullptr, accumulate);
        r0 = now(); g_time[3] += r0 - r2;
      }
    });
  }
}

template <class T>
void WinogradKernelGradient<T>::run() const {
  const auto& gemm = kernels_for<T>().gemm;
  const auto& winograd = kernels_for<T>().winograd;
  const Tiles tiles(dy_shape);
  const int64_t C = x_shape[3], F = dy_shape[3], nr = gemm.nr;
  const int64_t item = sizeof(T);
  if (tiles.count() == 0) {
    if (!accumulate) std::memset(dkernel, 0, static_cast<size_t>(kTaps * C * F) * sizeof(T));
    return;
  }

  const int64_t group = filter_group(C, F, nr, sizeof(T));
  const int64_t block =
      std::min(tiles.count(), std::clamp<int64_t>(env("WG_GB", 1 << 20) / (kPoints * item * (C + group)),
                                                  env("WG_GMIN", 128), env("WG_GMAX", 256)));
  const int64_t v_row = round_up(C, kLine) + kLine, v_point = block * v_row + kLine;
  const int64_t panel = block * nr, m_point = group * block + kLine;
  const int64_t u_row = round_up(group, kLine), u_point = C * u_row;
  const int64_t chunk = std::max<int64_t>(1, kChunk / block) * block;
  const bool sums_apart = accumulate && tiles.count() > chunk;
  const Scratch<T> v(kPoints * v_point);
  const Scratch<T> m(kPoints * m_point);
  const Scratch<T> du(kPoints * u_point);
  const Scratch<T> sums(sums_apart ? kTaps * C * F : 0);
  T* const dw = sums_apart ? sums.data() : dkernel;

  for (int64_t f0 = 0; f0 < F; f0 += group) {
    const int64_t filters = std::min(group, F - f0);
    for (int64_t t0 = 0; t0 < tiles.count(); t0 += block) {
      const int64_t count = std::min(block, tiles.count() - t0);
      double s0 = now();
      parallel_for(count, grain_for(3 * (C + filters)), [&](int64_t begin, int64_t end) {
        TileWalk<const T> inputs(x, x_shape, tiles, t0 + begin, kInputTile, before_h, before_w);
        TileWalk<const T> outputs(dy + f0, dy_shape, tiles, t0 + begin, kTile);
        for (int64_t t = begin; t < end; ++t) {
          winograd.input(&v[t * v_row], v_point, inputs.next(), C);
          winograd.gradient(&m[t * nr], m_point, nr, panel, outputs.next(), filters);
        }
      });
      double s1 = now(); g_time[4] += s1 - s0;
      parallel_for(kPoints, grain_for(count * C * filters / 32), [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p)
          for (int64_t t = 0; t < count; t += kDepthW) {
            const T* const a = &v[p * v_point + t * v_row];
            const T* const b = &m[p * m_point + t * nr];
            gemm.run({.m = C,
                      .n = filters,
                      .k = std::min(kDepthW, count - t),
                      .taps = 1,
                      .a = &a,
                      .a_row = 1,
                      .a_col = v_row,
                      .b = &b,
                      .b_row = nr,
                      .b_panel = panel,
                      .b_padded = true,
                      .c = &du[p * u_point],
                      .c_row = u_row,
                      .bias = nullptr,
                      .accumulate = t0 % chunk + t > 0});
          }
      });
      double s2 = now(); g_time[5] += s2 - s1;
      if ((t0 + count) % chunk == 0 || t0 + count == tiles.count())
        parallel_for(C, grain_for(10 * filters), [&](int64_t begin, int64_t end) {
          for (int64_t c = begin; c < end; ++c)
            winograd.kernel_gradient(dw + c * F + f0, C * F, &du[c * u_row], u_point, filters,
                                     t0 >= chunk || (accumulate && !sums_apart));
        });
      g_time[6] += now() - s2;
    }
  }
  if (sums_apart)
    parallel_for(kTaps * C * F, kChunkWork, [&](int64_t begin, int64_t end) {
      kernels_for<T>().reduce.sum_rows(dkernel + begin, dw + begin, 1, end - begin, end - begin, true);
    });
}

template struct WinogradSum<float>;
template struct WinogradSum<double>;
template struct WinogradKernelGradient<float>;
template struct WinogradKernelGradient<double>;

}  // namespace fastnn
