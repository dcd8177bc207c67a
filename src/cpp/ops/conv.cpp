#include "ops/conv.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

#include "core/parallel.hpp"
#include "core/per_thread.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"
#include "ops/convolution.hpp"
#include "ops/reduce.hpp"
#include "ops/winograd.hpp"

namespace fastnn {

namespace {

std::atomic<ConvAlgorithm> g_algorithm{ConvAlgorithm::automatic};

// dW: pixels summed in one chain while x and dy stay in cache, and pixels of one task with partial sums of its own: few
// tasks, for 32 of them spent 4 % of the time at 64 channels on their sums.
constexpr int64_t kBlockPixels = 512;
constexpr int64_t kChunkPixels = 2048;
constexpr int64_t kMaxChunks = 8;
// Channels in so many tiles' rows or more are a product for each tap of a kernel row; fewer fill the tiles better if
// the taps of a row are one run of channels, which leaves the borders short products of their own.
constexpr int64_t kTapTiles = 2;
constexpr int64_t kFilterBlock = 128;
// x is laid out in tiles where each of its numbers meets so many products, or fewer where pixels that follow one
// another are so many bytes apart, and several panels of dy (3 x 3, 64 to 256 channels: 0.8 to 0.9 of the time, in
// float64 0.55 to 0.75; 1 x 1, 1024 to 256 channels 0.7; of one panel, or of 64 channels and filters and one pixel, 1.0
// to 1.5). The tiles of a part of the channels stay in L2 beside the panels.
constexpr int64_t kTileProducts = 128, kFarProducts = 32, kFarBytes = 512;
constexpr int64_t kTileChannels = 16;
constexpr int64_t kTileBytes = 256 * 1024;
// dy is read where it lies if a pixel's filters are whole vectors in so many bytes.
constexpr int64_t kWholeBytes = 128;

// The gradients of kernel and bias are summed over blocks of images whose dy has so many bytes, and pixels for as many
// chunks as there may be: a program that runs pooling and the convolution by such blocks finds dy in cache (the MNIST
// convnet's step on 512 images takes 0.77 of the time; 1, 2 and 4 MB are alike). Where each number of dy meets more
// products than this, memory is no matter.
constexpr int64_t kBlockBytes = 2 << 20;
constexpr int64_t kLeastBlockPixels = kMaxChunks * kChunkPixels;
constexpr int64_t kMostBlockDepth = 256;

// What Winograd's convolution needs to be the faster one, measured with AVX2 and AVX-512: channels and filters, pixels
// along the output's sides, and the share of its tiles of 4 x 4 that lies inside the output (in eighths: 5 x 5 outputs
// fill 3 of 8 and lose, 6 x 6 and 9 x 9 fill 4.5), more of it where few channels leave the transforms a larger part.
constexpr int64_t kWinogradChannels = 16, kWinogradSize = 4;
constexpr int64_t kFewChannels = 32, kShareOfFew = 5, kShareOfMany = 4;

// Where the rows of x, of all images, begin and end that an output row reads.
int64_t input_begin(const Window& wh, int64_t row) {
  return row / wh.out * wh.in + std::clamp<int64_t>(row % wh.out * wh.stride - wh.before, 0, wh.in);
}
int64_t input_end(const Window& wh, int64_t row) {
  const int64_t h = row % wh.out * wh.stride - wh.before + (wh.size - 1) * wh.dilation + 1;
  return row / wh.out * wh.in + std::clamp<int64_t>(h, 0, wh.in);
}

// The rows of x that a block of output rows reads, some of their channels, as the A of a product in tiles: one pixel
// behind the other. Of a kernel of one pixel only the pixels that it reads.
template <class T>
struct TiledInput {
  static constexpr int64_t item = sizeof(T), line = 64 / item;
  const kernels::GemmKernels<T>& gemm = kernels_for<T>().gemm;
  const Window &wh, &ww;
  const int64_t pixel;                  // numbers of x
  const int64_t row_step, column_step;  // of the pixels of x that are kept
  const int64_t width;                  // how many of a row are
  const int64_t row, column;            // from an output's pixel to those of the next row and column, in a tile
  int64_t tile = 0;                     // from a tile to the next
  int64_t channels = 0;                 // of all tiles, or 0: it does not pay

  // The blocks are `block_rows` rows of the chunks of `rows` rows of all images.
  TiledInput(const Window& wh, const Window& ww, int64_t pixel, int64_t group_channels, int64_t filters, int64_t rows,
             int64_t chunk_rows, int64_t block_rows)
      : wh(wh),
        ww(ww),
        pixel(pixel),
        row_step(wh.size == 1 ? wh.stride : 1),
        column_step(ww.size == 1 ? ww.stride : 1),
        width((ww.in - 1) / column_step + 1),
        row(wh.stride / row_step * width * gemm.mr),
        column(ww.stride / column_step * gemm.mr) {
    const int64_t read = wh.stride / row_step * (ww.stride / column_step);  // for each output
    const int64_t products = wh.size * ww.size * filters / read, apart = ww.stride * pixel * item;
    if (!gemm.pack_a || filters <= gemm.nr || group_channels < kTileChannels ||
        products < (apart < kFarBytes ? kTileProducts : kFarProducts))
      return;
    int64_t pixels = 1;
    for (int64_t first = 0; first < rows; first += chunk_rows)
      for (int64_t row0 = first, last = std::min(first + chunk_rows, rows); row0 < last; row0 += block_rows)
        pixels = std::max(pixels, (end(std::min(row0 + block_rows, last)) - begin(row0)) * width);
    const int64_t most = kTileBytes / (pixels * item) / gemm.mr * gemm.mr;
    if (most < kTileChannels) return;
    const int64_t parts = (group_channels + most - 1) / most;
    channels = std::min(group_channels, ((group_channels + parts - 1) / parts + gemm.mr - 1) / gemm.mr * gemm.mr);
    tile = ((pixels * gemm.mr + line - 1) / line | 1) * line;  // an odd number of cache lines: they fall into all sets
  }
  int64_t size() const { return channels > 0 ? (channels / gemm.mr + 2) * tile : 0; }

  // `count` channels of what output rows [row0, row1) read; x begins with the first of them.
  void pack(T* to, const T* x, int64_t row0, int64_t row1, int64_t count) const {
    const int64_t first = begin(row0), rows = end(row1) - first;
    if (row_step == 1 && column_step == 1) {
      gemm.pack_a(to, tile, x + first * width * pixel, 1, pixel, count, rows * width);
      return;
    }
    for (int64_t i = first; i < first + rows; ++i) {
      const int64_t from = row_step == 1 ? i : i / wh.out * wh.in + i % wh.out * row_step;
      gemm.pack_a(to + (i - first) * width * gemm.mr, tile, x + from * ww.in * pixel, 1, column_step * pixel, count,
                  width);
    }
  }
  // Where in a tile pixel (h, w) of image n lies, if that begins with what output row row0 reads.
  int64_t at(int64_t row0, int64_t n, int64_t h, int64_t w) const {
    const int64_t i = row_step == 1 ? n * wh.in + h : n * wh.out + h / row_step;
    return ((i - begin(row0)) * width + w / column_step) * gemm.mr;
  }

 private:
  int64_t begin(int64_t row0) const { return row_step == 1 ? input_begin(wh, row0) : row0; }
  int64_t end(int64_t row1) const { return row_step == 1 ? input_end(wh, row1 - 1) : row1; }
};

// dW[r, q, c, f] = sum over images and outputs of x[its pixel for (r, q), c] * dy[f]. Chunks of the pixels have partial
// sums of their own, added in order; inside, blocks of dy are packed once for all taps.
template <class T>
void kernel_gradient(const Window& wh, const Window& ww, int64_t groups, const T* x, const Image& in, const T* dy,
                     int64_t filters, T* dw, bool accumulate) {
  const auto& gemm = kernels_for<T>().gemm;
  const int64_t nr = gemm.nr, C = in.channels / groups, F = filters / groups;
  const int64_t size = wh.size * ww.size * C * filters;
  if (size == 0) return;
  const auto plan =
      sliding_plan<T>({wh, ww, in, {in.n, wh.out, ww.out, filters}, groups, Pass::kernel_gradient, false});
  if (!plan->others.empty() && plan->others[0].along_rows) {
    row_kernel_gradient(*plan->others[0].along_rows, x, dy, dw, accumulate);
    return;
  }
  const Axis &image_rows = plan->rows[0], &columns = plan->columns[0];
  const int64_t rows = in.n * wh.out;  // of all images
  const int64_t block_rows = std::clamp<int64_t>(kBlockPixels / std::max<int64_t>(1, ww.out), 1, kBlockPixels);
  const int64_t block_pixels = block_rows * ww.out;
  const int64_t chunk_pixels = std::max(kChunkPixels, rows * ww.out / kMaxChunks);
  const int64_t most_rows = std::max<int64_t>(1, chunk_pixels / std::max<int64_t>(1, block_pixels)) * block_rows;
  const int64_t chunks = std::max<int64_t>(1, (rows + most_rows - 1) / most_rows);
  const int64_t chunk_rows = (rows + chunks - 1) / chunks;  // of one size, so that threads have the same to do
  const int64_t filter_block = std::min(kFilterBlock, (F + nr - 1) / nr * nr),
                filter_blocks = (F + filter_block - 1) / filter_block;
  const int64_t tasks = chunks * groups * filter_blocks;

  // Products of one call: taps [q0, q1) of a kernel row, output columns [v0, v1).
  struct Unit {
    int64_t q0, q1, v0, v1;
    int64_t products() const { return (q1 - q0) * (v1 - v0); }
  };
  std::vector<Unit> units;
  struct Reach {  // the output rows that a kernel row is used by
    int64_t begin, end;
  };
  std::vector<Reach> reaches(wh.size, {wh.out, 0});
  for (const Segment& s : image_rows.segments)
    for (int64_t r = s.first_tap; r < s.last_tap; ++r)
      reaches[r] = {std::min(reaches[r].begin, s.begin), std::max(reaches[r].end, s.end)};
  if (groups == 1 && ww.dilation == 1 && C < kTapTiles * gemm.mr) {
    for (const Segment& s : columns.segments)
      if (s.first_tap < s.last_tap) units.push_back({s.first_tap, s.last_tap, s.begin, s.end});
  } else {
    for (int64_t q = 0; q < ww.size; ++q)
      for (const Segment& s : columns.segments)
        if (s.first_tap <= q && q < s.last_tap) {
          if (!units.empty() && units.back().q0 == q && units.back().v1 == s.begin)
            units.back().v1 = s.end;
          else
            units.push_back({q, q + 1, s.begin, s.end});
        }
  }

  int64_t all_products = 0;
  for (const Unit& unit : units) all_products += wh.size * unit.products();
  const bool apart = F % kernels_for<T>().conv.lanes != 0 || filters * static_cast<int64_t>(sizeof(T)) > kWholeBytes;
  const int64_t b_row = apart ? nr : filters;

  const TiledInput<T> tiles(wh, ww, in.channels, C, F, rows, chunk_rows, block_rows);
  const bool tiled = tiles.channels > 0;
  const int64_t part_channels = tiled ? tiles.channels : C, parts = (C + part_channels - 1) / part_channels;
  const int64_t next_row = tiled ? tiles.row : wh.stride * in.w * in.channels;
  const int64_t next_column = tiled ? tiles.column : ww.stride * in.channels;

  const PerThread<T> packed(tiles.size() + (apart ? block_pixels * filter_block : 0), tasks);
  Scratch<T> partial(chunks == 1 && !accumulate ? 0 : chunks * size);
  T* const sums = chunks == 1 && !accumulate ? dw : partial.data();
  parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t chunk = task / (groups * filter_blocks), g = task / filter_blocks % groups;
      const int64_t f0 = task % filter_blocks * filter_block, count_f = std::min(filter_block, F - f0);
      const auto memory = packed.take();
      T* const tiled_x = memory.data();
      T* const panels = tiled_x + tiles.size();
      T* const sum = sums + chunk * size + g * F + f0;
      for (int64_t i = 0; i < wh.size * ww.size * C; ++i)
        std::memset(sum + i * filters, 0, static_cast<size_t>(count_f) * sizeof(T));
      const int64_t chunk_end = std::min((chunk + 1) * chunk_rows, rows);
      for (int64_t row0 = chunk * chunk_rows; row0 < chunk_end; row0 += block_rows) {
        const int64_t row1 = std::min(row0 + block_rows, chunk_end), block = (row1 - row0) * ww.out;
        const T* const dy_block = dy + row0 * ww.out * filters + g * F + f0;
        if (apart) gemm.pack_b(panels, dy_block, filters, 1, block, count_f);
        // What of x the next block reads and this one does not, and dy where it is not copied, in parts as large as the
        // products beside them. Reading them when they are due takes 5 % longer at 64 channels, 13 % at 16 and 32.
        const int64_t row2 = std::min(row1 + block_rows, chunk_end);
        const T* const next_x = x + input_end(wh, row1 - 1) * in.w * in.channels;
        const T* const next_dy = dy + row1 * ww.out * filters;
        const int64_t next_x_size = groups > 1 || wh.stride > wh.size || ww.stride > ww.size
                                        ? 0
                                        : x + input_end(wh, row2 - 1) * in.w * in.channels - next_x;
        const int64_t next_size = next_x_size + (apart ? 0 : (row2 - row1) * ww.out * filters);
        int64_t products = 0;
        for (int64_t c0 = 0; c0 < C; c0 += part_channels) {
          const int64_t count_c = std::min(part_channels, C - c0);
          if (tiled) tiles.pack(tiled_x, x + g * C + c0, row0, row1, count_c);
          for (int64_t r = 0; r < wh.size; ++r)
            for (const Unit& unit : units) {
              const int64_t part = next_size * products / (parts * all_products);
              const T* const ahead = part < next_x_size ? next_x + part : next_dy + (part - next_x_size);
              products += unit.products();
              int64_t ahead_size = next_size * products / (parts * all_products) - part;

              // Products run along a row of outputs, or down a column where that is longer (at the borders).
              const T* a[kBlockPixels];
              const T* b[kBlockPixels];
              const int64_t width = unit.v1 - unit.v0;
              int64_t used = 0, depth = 0;
              bool down = false;
              auto flush = [&] {
                if (used > 0)
                  gemm.run({.m = (unit.q1 - unit.q0) * count_c,  // several taps at once are of all channels
                            .n = count_f,
                            .k = depth,
                            .taps = used,
                            .a = a,
                            .a_row = 1,
                            .a_col = down ? next_row : next_column,
                            .a_tile = tiles.tile,
                            .b = b,
                            .b_row = down ? ww.out * b_row : b_row,
                            .b_panel = apart ? block * nr : nr,
                            .b_padded = apart,
                            .c = sum + ((r * ww.size + unit.q0) * C + c0) * filters,
                            .c_row = filters,
                            .bias = nullptr,
                            .accumulate = true,
                            .ahead = ahead,
                            .ahead_size = std::exchange(ahead_size, 0)});
                used = 0;
              };
              auto add = [&](const T* from, const T* to, bool add_down, int64_t add_depth) {
                if (down != add_down || depth != add_depth) flush();
                down = add_down;
                depth = add_depth;
                a[used] = from;
                b[used++] = to;
              };
              const Reach reach = reaches[r];
              if (tiled && wh.size * ww.size == 1)  // their rows follow one another: one long tap, 0.96 to 0.99
                add(tiled_x, apart ? panels : dy_block, false, block);
              else
                for (int64_t row = row0, next; row < row1; row = next) {  // image by image, the rows that have this tap
                  const int64_t n = row / wh.out, top = n * wh.out;
                  next = std::min(top + wh.out, row1);
                  const int64_t first = std::max(row, top + reach.begin), last = std::min(next, top + reach.end);
                  if (first >= last) continue;
                  const int64_t h = (first - top) * wh.stride + r * wh.dilation - wh.before;
                  const int64_t w = unit.v0 * ww.stride + unit.q0 * ww.dilation - ww.before;
                  const T* from =
                      tiled ? tiled_x + tiles.at(row0, n, h, w) : x + ((n * in.h + h) * in.w + w) * in.channels + g * C;
                  const T* to = (apart ? panels : dy_block) + ((first - row0) * ww.out + unit.v0) * b_row;
                  if (last - first > width)
                    for (int64_t v = 0; v < width; ++v, from += next_column, to += b_row)
                      add(from, to, true, last - first);
                  else
                    for (int64_t i = first; i < last; ++i, from += next_row, to += ww.out * b_row)
                      add(from, to, false, width);
                }
              flush();
            }
        }
      }
    }
  });
  if (sums != dw)
    parallel_for(size, grain_for(chunks), [&](int64_t begin, int64_t end) {
      kernels_for<T>().reduce.sum_rows(dw + begin, sums + begin, chunks, end - begin, size, accumulate);
    });
}

}  // namespace

// By what every run of the layer has in common: not by the batch.
bool uses_winograd(const ConvParams& params, const Window& rows, const Window& columns, int64_t channels,
                   int64_t filters, int64_t groups, DType dtype) {
  if (params.algorithm == ConvAlgorithm::direct || rows.size != 3 || columns.size != 3 || groups != 1 ||
      std::max({params.stride_h, params.stride_w, params.dilation_h, params.dilation_w}) > 1)
    return false;
  if (params.algorithm == ConvAlgorithm::winograd) return true;
  const int64_t least = std::min(channels, filters), h = rows.out, w = columns.out;
  const int64_t in_tiles = (h + 3) / 4 * 4 * ((w + 3) / 4 * 4);
  return dtype == DType::float32 && least >= kWinogradChannels && std::min(h, w) >= kWinogradSize &&
         8 * h * w >= (least < kFewChannels ? kShareOfFew : kShareOfMany) * in_tiles;
}

template <class T>
void Convolution::forward(T* y, const T* x, const T* kernel, const T* bias, bool accumulate,
                          const Finish<T>& finish) const {
  if (in.n == 0) return;  // however large the images are
  const int64_t C = in.channels / groups, F = out.channels;
  if (winograd) {
    WinogradSum<T>{y,     shape(out), x, shape(in), rows.before, columns.before, kernel,
                   C * F, F,          1, bias,      accumulate,  finish}
        .run();
    return;
  }
  SlidingSum<T>{{rows, columns, in, out, groups, Pass::output, bias != nullptr}, y, x, kernel, bias, accumulate, finish}
      .run();
}

template <class T>
void Convolution::input_gradient(T* dx, const T* dy, const T* kernel, const T* bias, bool accumulate,
                                 const Finish<T>& finish) const {
  if (in.n == 0) return;  // however large the images are
  const int64_t C = in.channels / groups, F = out.channels;
  if (winograd && scatter_pays(shape(in), shape(out))) {
    WinogradSum<T>{dx, shape(in), dy, shape(out), 0, 0, kernel, C * F, 1, F, bias, accumulate, finish, true}.run();
    return;
  }
  if (winograd) {  // y's sum over the kernel turned by 180 degrees
    const T* const last_tap = kernel + 8 * C * F;
    WinogradSum<T>{dx, shape(in), dy,   shape(out), 2 - rows.before, 2 - columns.before, last_tap, -C * F,
                   1,  F,         bias, accumulate, finish}
        .run();
    return;
  }
  SlidingSum<T>{
      {rows, columns, out, in, groups, Pass::input_gradient, bias != nullptr}, dx, dy, kernel, bias, accumulate, finish}
      .run();
}

template <class T>
void Convolution::kernel_gradient(T* dkernel, const T* x, const T* dy, bool accumulate) const {
  if (in.n == 0) {  // its images may be of any size: none of their pixels is looked at
    if (!accumulate) std::fill_n(dkernel, rows.size * columns.size * (in.channels / groups) * out.channels, T(0));
    return;
  }
  if (winograd)
    WinogradKernelGradient<T>{dkernel, x, shape(in), dy, shape(out), rows.before, columns.before, accumulate}.run();
  else
    fastnn::kernel_gradient<T>(rows, columns, groups, x, in, dy, out.channels, dkernel, accumulate);
}

template void Convolution::forward(float*, const float*, const float*, const float*, bool, const Finish<float>&) const;
template void Convolution::forward(double*, const double*, const double*, const double*, bool,
                                   const Finish<double>&) const;
template void Convolution::input_gradient(float*, const float*, const float*, const float*, bool,
                                          const Finish<float>&) const;
template void Convolution::input_gradient(double*, const double*, const double*, const double*, bool,
                                          const Finish<double>&) const;
template void Convolution::kernel_gradient(float*, const float*, const float*, bool) const;
template void Convolution::kernel_gradient(double*, const double*, const double*, bool) const;

int64_t multiply_dims(int64_t a, int64_t b, const std::string& op) {
  if (a == kUnknown || b == kUnknown) return kUnknown;
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) throw ValueError(cat(op, ": ", a, " times ", b, " is too large"));
  return product;
}

void check_convolution(const std::string& op, const ConvParams& params, Specs x, bool has_bias, int64_t channels,
                       int64_t filters) {
  const Shape &in = x[0].shape, &kernel = x[1].shape;
  const bool flat = params.rank == 1;
  if (channels == 0 || filters == 0)
    throw ValueError(cat(op, ": expected kernel of at least one channel and one filter, got ", kernel));
  if (in.rank() != params.rank + 2 || !same_dim(in.back(), channels)) {
    const bool first = in.rank() == params.rank + 2 && in[1] == channels;
    throw ValueError(cat(op, ": expected x of shape (batch, ", flat ? "length, " : "height, width, ",
                         channels == kUnknown ? "channels" : cat(channels), "), got ", in,
                         first ? cat("; channels go last: x.transpose(", flat ? "0, 2, 1)" : "0, 2, 3, 1)") : ""));
  }
  if (x[0].dtype != x[1].dtype)
    throw TypeError(cat(op, ": expected x and kernel of one dtype, got ", x[0].dtype, " and ", x[1].dtype));
  if (!is_floating(x[0].dtype)) throw TypeError(cat(op, ": expected float32 or float64, got ", x[0].dtype));
  if (has_bias && (x[2].shape.rank() != 1 || !same_dim(x[2].shape[0], filters) || x[2].dtype != x[0].dtype))
    throw ValueError(cat(op, ": expected bias of shape ", Shape{filters}, " and dtype ", x[0].dtype, ", got ",
                         x[2].shape, " and ", x[2].dtype));
  if (std::max(params.stride_h, params.stride_w) > 1 && std::max(params.dilation_h, params.dilation_w) > 1)
    throw ValueError(cat(op, ": expected strides or dilation_rate to be 1, got strides ",
                         flat ? Shape{params.stride_w} : Shape{params.stride_h, params.stride_w}, " and dilation_rate ",
                         flat ? Shape{params.dilation_w} : Shape{params.dilation_h, params.dilation_w}));
}

namespace {

// y[n, i, j, f] = sum_{r, q, c} x[n, i*s + r*d - before, j*s + q*d - before, c] * kernel[r, q, c, f] + bias[f], over
// the pixels inside the image only: padding never multiplies a weight. dx, dkernel: the same sum over the other two of
// (x, kernel, y); db = sum of dy over all pixels. In one dimension it is an image of one row; depthwise, a group for
// every channel.
class Conv final : public Op {
 public:
  Conv(const ConvParams& params, bool has_bias, std::optional<Activation> then = std::nullopt, bool moments = false)
      : p_(params), has_bias_(has_bias), then_(then), moments_(moments), name_(name_with(title(), then)) {
    if (moments) name_ += "+moments";
  }
  std::string_view name() const override { return name_; }
  std::shared_ptr<const Op> followed_by(const Activation& then) const override {
    return then_ || moments_ ? nullptr : std::make_shared<Conv>(p_, has_bias_, then);
  }
  std::shared_ptr<const Op> with_moments() const override {
    return moments_ ? nullptr : std::make_shared<Conv>(p_, has_bias_, then_, true);
  }
  // Pixels of one parity leave no whole rows to finish.
  bool finishes_gradient(size_t i) const override { return i == 0 && p_.stride_h == 1 && p_.stride_w == 1; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape& kernel = x[1].shape;
    const std::string op(title());
    if (kernel.rank() != p_.rank + 2)
      throw ValueError(cat(op, ": expected kernel of shape (", p_.rank == 1 ? "size, " : "height, width, ",
                           p_.depthwise ? "channels, multiplier" : "in, out", "), got ", kernel));
    if (p_.groups < 1 || (!p_.depthwise && kernel.back() != kUnknown && kernel.back() % p_.groups != 0))
      throw ValueError(cat(op, ": expected groups >= 1 that divide the ", kernel.back(), " filters, got ", p_.groups));
    const Kernel k = sizes_of(kernel);
    check_convolution(op, p_, x, has_bias_, multiply_dims(k.channels, k.groups, op), k.filters);
    const Shape in = as_image(x[0].shape);
    if (p_.rank == 2) check_window(op, "kernel", "height", in[1], k.h, p_.stride_h, p_.dilation_h, p_.padding);
    check_window(op, "kernel", p_.rank == 1 ? "length" : "width", in[2], k.w, p_.stride_w, p_.dilation_w, p_.padding);
    Shape out{in[0], rows(in, k).out, columns(in, k).out, k.filters};
    if (p_.rank == 1) out.erase(1);
    const Spec y{out, x[0].dtype};
    return moments_ ? std::vector{y, MomentChunks{numel(out, 0, p_.rank + 1), k.filters}.spec()} : std::vector{y};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "convolution", [&](auto zero) {
      using T = decltype(zero);
      std::optional<ChannelMoments<T>> moments;
      if (moments_) {
        const int64_t filters = y[0].shape().back();
        moments.emplace(y[0].data<T>(), MomentChunks{y[0].size() / filters, filters}, y[1].data<double>());
      }
      of(x[0].spec(), x[1].shape())
          .template forward<T>(y[0].data<T>(), x[0].data<T>(), x[1].data<T>(), has_bias_ ? x[2].data<T>() : nullptr,
                               false, Finish<T>(then_, y[0], moments ? &*moments : nullptr));
    });
  }
  double flops(Specs x, Specs y) const override {
    const Kernel k = sizes_of(x[1].shape);
    return 2.0 * static_cast<double>(numel(y[0].shape)) * static_cast<double>(k.h * k.w * k.channels);
  }
  std::string_view algorithm(Specs x, Specs) const override {
    return of(x[0], x[1].shape).winograd ? "winograd" : "direct";
  }
  bool reads_input(size_t i) const override { return i < 2; }
  bool gradient_reads(size_t of, size_t input) const override { return of + input == 1; }
  void backward(const BackwardArgs& b) const override {
    with_float(b.x_spec[0].dtype, "convolution", [&](auto zero) {
      using T = decltype(zero);
      const Convolution conv = of(b.x_spec[0], b.x_spec[1].shape);
      if (b.dx[0])
        conv.input_gradient<T>(b.dx[0].to.template data<T>(), b.dy[0].data<T>(), b.x[1].data<T>(), nullptr,
                               b.dx[0].accumulate, Finish<T>(b.dx[0]));
      const int64_t n = conv.in.n, rows = images_of_block(conv, b.x_spec[0].dtype), block = rows > 0 ? rows : n;
      int64_t first = 0;
      do {  // also of no images
        Convolution part = conv;
        part.in.n = part.out.n = std::min(block, n - first);
        auto rows_of = [&](const Tensor& t) { return t.data<T>() + (first > 0 ? first * (t.size() / n) : 0); };
        if (b.dx[1])
          part.kernel_gradient<T>(b.dx[1].to.template data<T>(), rows_of(b.x[0]), rows_of(b.dy[0]),
                                  b.dx[1].accumulate || first > 0);
        if (has_bias_ && b.dx[2])
          sum_axes<T>(rows_of(b.dy[0]), {part.out.n * conv.out.h * conv.out.w, conv.out.channels}, 1u,
                      b.dx[2].to.template data<T>(), b.dx[2].accumulate || first > 0);
        first += block;
      } while (first < n);
    });
  }
  bool by_rows() const override { return !moments_; }
  int64_t block_rows(Specs x) const override {
    return by_rows() ? images_of_block(of(x[0], x[1].shape), x[0].dtype) : 0;
  }

 private:
  struct Kernel {
    int64_t h, w, channels, filters, groups;  // channels of a group
  };
  const char* title() const {
    if (p_.depthwise) return p_.rank == 1 ? "depthwise_conv1d" : "depthwise_conv2d";
    return p_.rank == 1 ? "conv1d" : "conv2d";
  }
  Kernel sizes_of(const Shape& kernel) const {
    const Shape k = as_image_kernel(kernel);
    if (p_.depthwise) return {k[0], k[1], 1, multiply_dims(k[2], k[3], title()), k[2]};
    return {k[0], k[1], k[2], k[3], p_.groups};
  }
  Window rows(const Shape& in, const Kernel& k) const {
    return window(in[1], k.h, p_.stride_h, p_.dilation_h, p_.padding);
  }
  Window columns(const Shape& in, const Kernel& k) const {
    return window(in[2], k.w, p_.stride_w, p_.dilation_w, p_.padding);
  }
  Convolution of(const Spec& x, const Shape& kernel) const {
    const Kernel k = sizes_of(kernel);
    const Shape in = as_image(x.shape);
    const Window h = rows(in, k), w = columns(in, k);
    return {{in[0], in[1], in[2], in[3]},
            {in[0], h.out, w.out, k.filters},
            h,
            w,
            k.groups,
            uses_winograd(p_, h, w, k.channels, k.filters, k.groups, x.dtype)};
  }
  static int64_t images_of_block(const Convolution& conv, DType dtype) {
    const int64_t depth = conv.rows.size * conv.columns.size * conv.in.channels / conv.groups;
    if (conv.winograd || depth > kMostBlockDepth || conv.in.n == 0) return 0;
    const int64_t pixels = std::max<int64_t>(1, conv.out.h * conv.out.w);
    const int64_t bytes = pixels * conv.out.channels * static_cast<int64_t>(item_size(dtype));
    const int64_t most = std::max((kBlockBytes + bytes - 1) / bytes, (kLeastBlockPixels + pixels - 1) / pixels);
    const int64_t blocks = (conv.in.n + most - 1) / most;  // of one size
    return blocks > 1 ? (conv.in.n + blocks - 1) / blocks : most;
  }

  ConvParams p_;
  bool has_bias_;
  std::optional<Activation> then_;
  bool moments_;
  std::string name_;
};

}  // namespace

ConvAlgorithm conv_algorithm() { return g_algorithm; }
void set_conv_algorithm(ConvAlgorithm algorithm) {
  if (g_algorithm.exchange(algorithm) != algorithm) note_change();
}

OpPtr conv(const ConvParams& params, bool has_bias) { return std::make_shared<Conv>(params, has_bias); }

}  // namespace fastnn
