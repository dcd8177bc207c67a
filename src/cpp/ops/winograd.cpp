#include "ops/winograd.hpp"

#include <algorithm>
#include <cstring>

#include "core/parallel.hpp"
#include "core/per_thread.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"
#include "ops/gemm.hpp"

namespace fastnn {

namespace {

constexpr int64_t kPoints = 36, kTile = 4, kInputTile = 6, kTaps = 9;

constexpr int64_t kLine = 16;  // elements: whole vectors of any instruction set, and whole cache lines

// Blocks of tiles. Transformed inputs and results of one stay in L2 (512 KiB on Zen 3), of a multiple of the rows of
// every register tile, and at least so many that the transformed kernel, which is read once per block, comes at a few
// bytes a cycle from L3.
constexpr int64_t kBlockBytes = 448 * 1024;
constexpr int64_t kMinBlock = 24;
constexpr int64_t kMaxBlock = 96;
constexpr int64_t kBlockStep = 12;
// A batch that has so many blocks or more keeps a few threads busy.
constexpr int64_t kTasks = 8;
// Filters of one product: its result stays in L2 beside the inputs.
constexpr int64_t kColumns = 64;
// Filters are worked on in groups whose transformed kernel takes a part of L3; every group transforms the inputs again
// (256 channels and filters, 8 x 8: two groups take 0.95 of the time of three; one group, where others use L3 too, up
// to 1.13).
constexpr int64_t kGroupBytes = 5120 * 1024;
constexpr int64_t kMinGroup = 64;

// The way back from 36 points to 16 pixels multiplies the rounding errors of the sums over channels by about seven, so
// these have shorter chains than in gemm(), of one length, which are added in order. That keeps the error at 512
// channels where it is at 64, for about 5 % of the time.
constexpr int64_t kChain = 48;

// Scattering writes 36 pixels a tile where gathering writes 16: with as many tiles it takes 3 to 12 % longer, with 9 of
// 16 0.6 times as long, with 36 of 49 0.75 to 0.85, with 100 of 121 0.85 to 0.95. An image's tiles are one block's.
constexpr int64_t kScatterTiles = 5, kGatherTiles = 6;

// The gradient of the kernel: tiles of one chain, and of one sum of chains, which is then transformed back; those sums
// are added in order. Threads have sums of their own where these take little memory, and else share each step of one.
// A batch of one chain needs no sums but those of a few channels, which stay in L2 until they are transformed back.
constexpr int64_t kGradientBlock = 64;
constexpr int64_t kChunkTiles = 512, kMinChunkTiles = 128;
constexpr int64_t kMaxChunks = 8;
constexpr int64_t kGradientTasks = 4;  // where the tiles suffice, so that a few threads need not share one
constexpr int64_t kOwnBytes = 2048 * 1024;
constexpr int64_t kPartBytes = 384 * 1024, kPartStep = 12;
// Its filters are worked on in groups whose sums take a part of L3 (256 channels and filters, 8 x 8: two groups take
// 0.92 of the time of four; one group 0.92 to 1.3).
constexpr int64_t kGradientBytes = 5120 * 1024;
constexpr int64_t kTransformTiles = 8;  // of a task

// Tiles are fetched so many elements of a pixel ahead: one tile of 64 channels, four of 16, where one comes too late
// from beyond L3 (forward, 512 x 32 x 32 x 16: 13.3 ms with one, 11.2 with two, 10.3 with four).
constexpr int64_t kAhead = 64, kMaxAhead = 4;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Tiles of 4 x 4 pixels over a batch of images, left to right, top to bottom, image by image.
struct Tiles {
  int64_t images, rows, columns;

  explicit Tiles(const Shape& s)
      : images(s[0]), rows((s[1] + kTile - 1) / kTile), columns((s[2] + kTile - 1) / kTile) {}
  int64_t of_image() const { return rows * columns; }
  int64_t count() const { return images * of_image(); }
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
        here_(tiles, t),
        ahead_(tiles, t + std::clamp<int64_t>(kAhead / channels_, 1, kMaxAhead)) {}

  // The tile whose turn it is.
  kernels::WinogradTile<T> next() {
    const int64_t i = here_.row * kTile - before_h_, j = here_.column * kTile - before_w_;
    const kernels::WinogradTile<T> tile{first_pixel(here_),
                                        w_ * channels_,
                                        channels_,
                                        static_cast<int>(std::max<int64_t>(-i, 0)),
                                        static_cast<int>(std::min(size_, h_ - i)),
                                        static_cast<int>(std::max<int64_t>(-j, 0)),
                                        static_cast<int>(std::min(size_, w_ - j)),
                                        first_pixel(ahead_)};
    here_.step(tiles_);
    ahead_.step(tiles_);
    return tile;
  }

 private:
  struct Place {
    int64_t n, row, column;

    Place(const Tiles& tiles, int64_t t)
        : n(t / (tiles.rows * tiles.columns) % tiles.images),
          row(t / tiles.columns % tiles.rows),
          column(t % tiles.columns) {}
    void step(const Tiles& tiles) {
      if (++column < tiles.columns) return;
      column = 0;
      if (++row < tiles.rows) return;
      row = 0;
      if (++n == tiles.images) n = 0;  // after the last tile nothing is to come
    }
  };

  T* first_pixel(const Place& at) const {
    const int64_t i = std::max<int64_t>(at.row * kTile - before_h_, 0);
    const int64_t j = std::max<int64_t>(at.column * kTile - before_w_, 0);
    return image_ + ((at.n * h_ + i) * w_ + j) * channels_;
  }

  T* image_;
  Tiles tiles_;
  int64_t h_, w_, channels_, size_, before_h_, before_w_;
  Place here_, ahead_;
};

// Filters of a group: as many as fit into so many bytes, in whole panels, groups of about one size.
int64_t filter_group(int64_t channels, int64_t filters, int64_t nr, int64_t item, int64_t bytes) {
  const int64_t most = std::max(bytes / (kPoints * channels * item) / nr * nr, round_up(kMinGroup, nr));
  const int64_t groups = (filters + most - 1) / most;
  return round_up((filters + groups - 1) / groups, nr);
}

}  // namespace

bool scatter_pays(const Shape& to, const Shape& from) {
  const int64_t gathered = Tiles(to).of_image(), scattered = Tiles(from).of_image();
  return to[1] == from[1] + 2 && to[2] == from[2] + 2 && scattered <= kMaxBlock &&
         kScatterTiles * gathered >= kGatherTiles * scattered;
}

template <class T>
void WinogradSum<T>::run() const {
  if (scatter && accumulate) {  // what is added is one complete sum
    const int64_t size = numel(to_shape);
    const Scratch<T> sum(size);
    WinogradSum alone = *this;
    alone.to = sum.data();
    alone.accumulate = false;
    alone.finish = {};
    alone.run();
    parallel_for(size, grain_for(1), [&](int64_t begin, int64_t end) {
      kernels_for<T>().reduce.sum_rows(to + begin, sum.data() + begin, 1, end - begin, size, true);
      if (finish) finish(to + begin, end - begin);
    });
    return;
  }
  const auto& gemm = kernels_for<T>().gemm;
  const auto& winograd = kernels_for<T>().winograd;
  constexpr int64_t item = sizeof(T);
  const Tiles tiles(scatter ? from_shape : to_shape);
  const int64_t K = from_shape[3], N = to_shape[3], nr = gemm.nr;
  if (tiles.count() == 0) return;

  const int64_t chains = (K + kChain - 1) / kChain, chain = (K + chains - 1) / chains;
  const int64_t group = filter_group(K, N, nr, item, kGroupBytes), columns = std::min(round_up(kColumns, nr), group);
  // How tiles are grouped changes no bit, so it may follow the batch.
  int64_t block = std::clamp<int64_t>(kBlockBytes / (kPoints * item * (K + columns)), kMinBlock, kMaxBlock);
  block = std::min(block / kBlockStep * kBlockStep, round_up((tiles.count() + kTasks - 1) / kTasks, kBlockStep));
  if (scatter)  // whole images: their tiles overlap
    block = std::max<int64_t>(1, block / tiles.of_image()) * tiles.of_image();
  const int64_t blocks = (tiles.count() + block - 1) / block;

  // The values of a point lie a line more apart than they are many: at powers of two they would share a few cache sets.
  const int64_t u_point = group * K + kLine, taps = kTaps * chain * nr;
  const int64_t v_row = round_up(K, kLine), v_point = block * v_row + kLine;
  const int64_t m_row = round_up(columns, kLine), m_point = block * m_row + kLine;
  const Scratch<T> u_of_all(kPoints * u_point);
  const PerThread<T> packing(taps, group / nr * chains), tiling(kPoints * (v_point + m_point), blocks);
  T* const u = u_of_all.data();

  for (int64_t f0 = 0; f0 < N; f0 += group) {
    const int64_t filters = std::min(group, N - f0), panels = (filters + nr - 1) / nr;
    // The kernel: for each point the panels of all filters.
    parallel_for(panels * chains, 1, [&](int64_t task, int64_t) {
      const int64_t k0 = task % chains * chain, depth = std::min(chain, K - k0), j = task / chains * nr;
      const auto memory = packing.take();
      T* const packed = memory.data();
      for (int64_t t = 0; t < kTaps; ++t)
        gemm.pack_b(packed + t * depth * nr, kernel + t * tap + k0 * row + (f0 + j) * col, row, col, depth,
                    std::min(nr, filters - j));
      winograd.kernel(u + j * K + k0 * nr, u_point, packed, depth * nr, depth * nr);
    });
    parallel_for(blocks, 1, [&](int64_t task, int64_t) {
      const int64_t t0 = task * block, count = std::min(block, tiles.count() - t0);
      const auto memory = tiling.take();
      T* const v = memory.data();
      T* const m = v + kPoints * v_point;
      TileWalk<const T> sources(from, from_shape, tiles, t0, scatter ? kTile : kInputTile, before_h, before_w);
      for (int64_t t = 0; t < count; ++t) {
        if (scatter)
          winograd.gradient(v + t * v_row, v_point, v_row, 0, sources.next(), K);
        else
          winograd.input(v + t * v_row, v_point, sources.next(), K);
      }
      for (int64_t j = 0; j < filters; j += columns) {
        const int64_t n = std::min(columns, filters - j);
        const T *const a = v, *const b = u + j * K;
        gemm.run({.m = count,
                  .n = n,
                  .k = K,
                  .taps = 1,
                  .a = &a,
                  .a_row = v_row,
                  .a_col = 1,
                  .b = &b,
                  .b_row = nr,
                  .b_panel = nr * K,
                  .b_padded = true,
                  .c = m,
                  .c_row = m_row,
                  .bias = nullptr,
                  .accumulate = false,
                  .repeats = kPoints,
                  .a_step = v_point,
                  .b_step = u_point,
                  .c_step = m_point,
                  .chain = chain});
        TileWalk<T> results(to + f0 + j, to_shape, tiles, t0, scatter ? kInputTile : kTile);
        typename Finish<T>::Part part(finish);
        const auto complete = [&](T* first, int64_t stride, int64_t h, int64_t w) {
          const int64_t run = n == N ? w : 1;  // neighbouring pixels of all channels are one run
          for (int64_t pixel = 0; pixel < h * w; pixel += run)
            part(first + pixel / w * stride + pixel % w * N, run * n);
        };
        const T* const shift = bias ? bias + f0 + j : nullptr;
        for (int64_t t = 0; t < count; ++t) {
          const kernels::WinogradTile<T> tile = results.next();
          if (scatter) {
            const bool above = t % tiles.of_image() >= tiles.columns, left = t % tiles.columns > 0;
            winograd.input_gradient(tile, m + t * m_row, m_point, n, shift, above, left);
          } else {
            winograd.output(tile, m + t * m_row, m_point, n, shift, accumulate);
            if (finish) complete(tile.data, tile.row, tile.row_end, tile.column_end);
          }
        }
        if (finish && scatter) {
          const int64_t pixels = to_shape[1] * to_shape[2], n0 = t0 / tiles.of_image();
          complete(to + n0 * pixels * N + f0 + j, 0, 1, count / tiles.of_image() * pixels);
        }
      }
    });
  }
}

template <class T>
void WinogradKernelGradient<T>::run() const {
  const auto& gemm = kernels_for<T>().gemm;
  const auto& winograd = kernels_for<T>().winograd;
  constexpr int64_t item = sizeof(T);
  const Tiles tiles(dy_shape);
  const int64_t C = x_shape[3], F = dy_shape[3], nr = gemm.nr, size = kTaps * C * F;
  if (tiles.count() == 0) {
    if (!accumulate) std::memset(dkernel, 0, static_cast<size_t>(size) * sizeof(T));
    return;
  }

  const int64_t block = std::min(kGradientBlock, tiles.count());
  const bool one_chain = block == tiles.count();
  const int64_t group = one_chain ? round_up(F, nr) : filter_group(C, F, nr, item, kGradientBytes);
  const int64_t fit = kPartBytes / (kPoints * item * group) / kPartStep * kPartStep;
  const int64_t part = one_chain ? std::min(std::max(fit, kPartStep), C) : C, parts = (C + part - 1) / part;

  const int64_t v_row = round_up(C, kLine) + kLine, v_point = block * v_row + kLine;
  const int64_t panel = block * nr, m_point = group * block + kLine;
  const int64_t u_row = round_up(group, kLine), u_point = part * u_row + kLine;
  const int64_t transforms = kPoints * (v_point + m_point), sums = kPoints * u_point;

  const bool own = group >= F && (transforms + sums) * item <= kOwnBytes;
  int64_t chunks = std::max<int64_t>(1, tiles.count() / kChunkTiles);
  if (own) chunks = std::max(chunks, std::min(tiles.count() / kMinChunkTiles, kGradientTasks));
  chunks = std::min(chunks, kMaxChunks);
  const int64_t chunk = round_up((tiles.count() + chunks - 1) / chunks, kGradientBlock);
  chunks = (tiles.count() + chunk - 1) / chunk;

  // v and m of tiles [t0, t0 + count).
  auto transform = [&](T* v, int64_t t0, int64_t count, int64_t f0, int64_t filters) {
    T* const m = v + kPoints * v_point;
    parallel_for(count, kTransformTiles, [&](int64_t begin, int64_t end) {
      TileWalk<const T> inputs(x, x_shape, tiles, t0 + begin, kInputTile, before_h, before_w);
      TileWalk<const T> outputs(dy + f0, dy_shape, tiles, t0 + begin, kTile);
      for (int64_t t = begin; t < end; ++t) {
        winograd.input(v + t * v_row, v_point, inputs.next(), C);
        winograd.gradient(m + t * nr, m_point, nr, panel, outputs.next(), filters);
      }
    });
  };
  // u[p] = (add ? u[p] : 0) + their products at points [begin, end), for channels [c0, c0 + channels).
  auto multiply = [&](T* u, const T* v, int64_t begin, int64_t end, int64_t c0, int64_t channels, int64_t filters,
                      int64_t count, bool add) {
    const T* const a = v + begin * v_point + c0;
    const T* const b = v + kPoints * v_point + begin * m_point;
    gemm.run({.m = channels,
              .n = filters,
              .k = count,
              .taps = 1,
              .a = &a,
              .a_row = 1,
              .a_col = v_row,
              .b = &b,
              .b_row = nr,
              .b_panel = panel,
              .b_padded = true,
              .c = u + begin * u_point,
              .c_row = u_row,
              .bias = nullptr,
              .accumulate = add,
              .repeats = end - begin,
              .a_step = v_point,
              .b_step = m_point,
              .c_step = u_point,
              .c_is_far = add});
  };
  // to, channels [c0, c0 + channels) and filters [f0, f0 + filters) of a kernel.
  auto transform_back = [&](T* to, const T* u, int64_t c0, int64_t channels, int64_t f0, int64_t filters, bool add) {
    parallel_for(channels, grain_for(4 * filters), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c)
        winograd.kernel_gradient(to + (c0 + c) * F + f0, C * F, u + c * u_row, u_point, filters, add);
    });
  };
  // A chunk of chains. The threads share it; inside of a task, parallel_for is serial.
  auto sum_chunk = [&](T* memory, int64_t first, int64_t f0, int64_t filters) {
    const int64_t last = std::min(first + chunk, tiles.count());
    for (int64_t t0 = first; t0 < last; t0 += block) {
      const int64_t count = std::min(block, last - t0);
      transform(memory, t0, count, f0, filters);
      parallel_for(kPoints, grain_for(C * filters * count / kFmaPerWork), [&](int64_t begin, int64_t end) {
        multiply(memory + transforms, memory, begin, end, 0, C, filters, count, t0 > first);
      });
    }
  };

  if (one_chain) {
    const Scratch<T> memory(transforms);
    const PerThread<T> of_parts(sums, parts);
    transform(memory.data(), 0, block, 0, F);
    parallel_for(parts, 1, [&](int64_t task, int64_t) {
      const int64_t c0 = task * part, channels = std::min(part, C - c0);
      const auto u = of_parts.take();
      multiply(u.data(), memory.data(), 0, kPoints, c0, channels, F, block, false);
      transform_back(dkernel, u.data(), c0, channels, 0, F, accumulate);
    });
  } else if (own && chunks > 1) {
    const PerThread<T> of_threads(transforms + sums, chunks);
    const Scratch<T> partial(chunks * size);
    parallel_for(chunks, 1, [&](int64_t task, int64_t) {
      const auto memory = of_threads.take();
      sum_chunk(memory.data(), task * chunk, 0, F);
      transform_back(partial.data() + task * size, memory.data() + transforms, 0, C, 0, F, false);
    });
    parallel_for(size, grain_for(chunks), [&](int64_t begin, int64_t end) {
      kernels_for<T>().reduce.sum_rows(dkernel + begin, partial.data() + begin, chunks, end - begin, size, accumulate);
    });
  } else {
    const Scratch<T> memory(transforms + sums);
    for (int64_t f0 = 0; f0 < F; f0 += group)
      for (int64_t first = 0; first < tiles.count(); first += chunk) {
        const int64_t filters = std::min(group, F - f0);
        sum_chunk(memory.data(), first, f0, filters);
        transform_back(dkernel, memory.data() + transforms, 0, C, f0, filters, accumulate || first > 0);
      }
  }
}

template struct WinogradSum<float>;
template struct WinogradSum<double>;
template struct WinogradKernelGradient<float>;
template struct WinogradKernelGradient<double>;

}  // namespace fastnn
