#include "ops/conv.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"
#include "ops/finish.hpp"
#include "ops/reduce.hpp"
#include "ops/sliding_sum.hpp"
#include "ops/window.hpp"
#include "ops/winograd.hpp"

namespace fastnn {

namespace {

std::atomic<ConvAlgorithm> g_algorithm{ConvAlgorithm::automatic};

// Multiply-adds that one task of a parallel loop should hold.
constexpr int64_t kTaskFmas = 32 * kChunkWork;
// Images of a task are tiled together while their pixels stay in L2.
constexpr int64_t kGroupBytes = 256 * 1024;
// dW: pixels summed in one chain while x and dy stay in cache, and pixels of one task with partial sums of its own.
constexpr int64_t kBlockPixels = 256;
constexpr int64_t kChunkPixels = 2048;
constexpr int64_t kMaxChunks = 32;
constexpr int64_t kFilterBlock = 128;

// What Winograd's convolution needs to be the faster one, measured with AVX2 and AVX-512: channels and filters, pixels
// along the output's sides, and the share of its tiles of 4 x 4 that lies inside the output (in eighths: 5 x 5 outputs
// fill 3 of 8 and lose, 6 x 6 and 9 x 9 fill 4.5), more of it where few channels leave the transforms a larger part.
constexpr int64_t kWinogradChannels = 16, kWinogradSize = 4;
constexpr int64_t kFewChannels = 32, kShareOfFew = 5, kShareOfMany = 4;

}  // namespace

template <class T>
void SlidingSum<T>::run(const Axis& rows, const Axis& columns) const {
  const auto& gemm = kernels_for<T>().gemm;
  const int64_t nr = gemm.nr, mr = gemm.mr;
  const int64_t K = from_image.channels / groups, N = to_image.channels / groups;
  const int64_t panels = (N + nr - 1) / nr;
  const int64_t row_taps = static_cast<int64_t>(rows.taps.size()),
                column_taps = static_cast<int64_t>(columns.taps.size());
  const int64_t taps = row_taps * column_taps;
  const int64_t pixels = rows.count * columns.count;
  if (pixels == 0 || N == 0 || to_image.n == 0) return;
  if (runs_folded<T>(rows, columns, K, N, groups)) {
    run_folded(rows, columns);
    return;
  }
  if (runs_along_rows<T>(rows, columns, K, N, groups)) {
    run_along_rows(rows, columns);
    return;
  }

  // Panels of K rows per tap, taps in the order of the axes, so that taps on neighbouring pixels are one long product.
  const int64_t panel = taps * K * nr;
  Scratch<T> packed(groups * panels * panel);
  parallel_for(groups * panels * taps, grain_for(K * nr / 2), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t t = task % taps, j = task / taps % panels, g = task / taps / panels;
      const int64_t tap = rows.taps[t / column_taps].tap * taps_w + columns.taps[t % column_taps].tap;
      gemm.pack_b(&packed[(g * panels + j) * panel + t * K * nr], kernel + tap * b_tap + g * b_group + j * nr * b_col,
                  b_row, b_col, K, std::min(nr, N - j * nr));
    }
  });

  // Tasks of some images and some rows. How pixels are grouped changes no bit, so it may follow the batch.
  const int64_t row_fmas = std::max<int64_t>(1, columns.count * taps * K * N * groups);
  const int64_t image_bytes = (from_image.h * from_image.w * from_image.channels + pixels * to_image.channels) *
                              static_cast<int64_t>(sizeof(T));
  int64_t images =
      std::max(kTaskFmas / (row_fmas * rows.count), std::min(mr, kGroupBytes / std::max<int64_t>(1, image_bytes)));
  images = std::clamp<int64_t>(images, 1, to_image.n);
  const int64_t task_rows = images > 1 ? rows.count : std::clamp<int64_t>(4 * kTaskFmas / row_fmas, 1, rows.count);
  const int64_t image_tasks = (to_image.n + images - 1) / images, row_tasks = (rows.count + task_rows - 1) / task_rows;

  Scratch<const T*> pointers(image_tasks * row_tasks * 2 * taps);
  const int64_t from_row = from_image.w * from_image.channels, to_row = to_image.w * to_image.channels;
  const int64_t from_size = from_image.h * from_row, to_size = to_image.h * to_row;
  const bool whole_rows = groups == 1;                           // neighbouring pixels are one run of channels
  const bool whole = rows.to_step == 1 && columns.to_step == 1;  // a task's rows have all their pixels

  parallel_for(image_tasks * row_tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const T** const a = &pointers[task * 2 * taps];
      const T** const b = a + taps;
      const int64_t n0 = task / row_tasks * images, count_n = std::min(images, to_image.n - n0);
      const int64_t task_begin = task % row_tasks * task_rows, task_end = std::min(task_begin + task_rows, rows.count);
      for (const Segment& rs : rows.segments) {
        const int64_t u0 = std::max(rs.begin, task_begin), count_u = std::min(rs.end, task_end) - u0;
        if (count_u <= 0) continue;
        for (const Segment& cs : columns.segments) {
          // Tiles run along the axis of these count_n x count_u x count_v pixels that wastes the fewest rows.
          const int64_t v0 = cs.begin, count_v = cs.end - cs.begin;
          struct Along {
            int64_t count, from, to;
          } along[3] = {{count_v, columns.from_step * from_image.channels, columns.to_step * to_image.channels},
                        {count_u, rows.from_step * from_row, rows.to_step * to_row},
                        {count_n, from_size, to_size}};
          auto cost = [&](const Along& axis) {
            const int64_t rest = axis.count % mr;  // a short tile still waits for its multiply-adds
            return (axis.count - rest + (rest == 0 ? 0 : std::max<int64_t>(rest, 4))) *
                   (count_n * count_u * count_v / axis.count);
          };
          for (int i = 1; i < 3; ++i)
            if (cost(along[i]) < cost(along[0])) std::swap(along[0], along[i]);

          for (int64_t i2 = 0; i2 < along[2].count; ++i2)
            for (int64_t i1 = 0; i1 < along[1].count; ++i1) {
              const int64_t from_at = n0 * from_size + u0 * rows.from_step * from_row +
                                      v0 * columns.from_step * from_image.channels + i2 * along[2].from +
                                      i1 * along[1].from;
              const int64_t to_at = n0 * to_size + (u0 * rows.to_step + rows.to_first) * to_row +
                                    (v0 * columns.to_step + columns.to_first) * to_image.channels + i2 * along[2].to +
                                    i1 * along[1].to;
              for (int64_t g = 0; g < groups; ++g) {
                int64_t used = 0, run = 0;
                for (int64_t r = rs.first_tap; r < rs.last_tap; ++r)
                  for (int64_t q = cs.first_tap; q < cs.last_tap; q += run) {
                    run = 1;
                    if (whole_rows &&
                        columns.taps[cs.last_tap - 1].offset - columns.taps[q].offset == cs.last_tap - 1 - q)
                      run = cs.last_tap - q;
                    a[used] = from + (from_at + rows.taps[r].offset * from_row +
                                      columns.taps[q].offset * from_image.channels + g * K);
                    b[used++] = &packed[g * panels * panel + (r * column_taps + q) * K * nr];
                  }
                gemm.run({.m = along[0].count,
                          .n = N,
                          .k = K * std::max<int64_t>(run, 1),
                          .taps = used,
                          .a = a,
                          .a_row = along[0].from,
                          .a_col = 1,
                          .b = b,
                          .b_row = nr,
                          .b_panel = panel,
                          .b_padded = true,
                          .c = to + to_at + g * N,
                          .c_row = along[0].to,
                          .bias = bias ? bias + g * N : nullptr,
                          .accumulate = accumulate});
              }
            }
        }
      }
      if (finish && whole)
        for (int64_t n = n0; n < n0 + count_n; ++n)
          finish(to + n * to_size + task_begin * to_row, (task_end - task_begin) * to_row);
    }
  });
}

namespace {

// dW[r, q, c, f] = sum over images and outputs of x[its pixel for (r, q), c] * dy[f]. Chunks of the pixels have partial
// sums of their own, added in order; inside, blocks of dy are packed once for all taps.
template <class T>
void kernel_gradient(const Window& wh, const Window& ww, int64_t groups, const T* x, const Image& in, const T* dy,
                     int64_t filters, T* dw, bool accumulate) {
  const auto& gemm = kernels_for<T>().gemm;
  const int64_t nr = gemm.nr, C = in.channels / groups, F = filters / groups;
  const int64_t size = wh.size * ww.size * C * filters;
  if (size == 0) return;
  const Axis image_rows = forward_axis(wh), columns = forward_axis(ww);
  if (runs_along_rows<T>(image_rows, columns, C, F, groups)) {
    row_kernel_gradient(wh, ww, groups, x, in, dy, filters, dw, accumulate);
    return;
  }
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
  };
  std::vector<Unit> units;
  struct Reach {  // the output rows that a kernel row is used by
    int64_t begin, end;
  };
  std::vector<Reach> reaches(wh.size, {wh.out, 0});
  for (const Segment& s : image_rows.segments)
    for (int64_t r = s.first_tap; r < s.last_tap; ++r)
      reaches[r] = {std::min(reaches[r].begin, s.begin), std::max(reaches[r].end, s.end)};
  if (groups == 1 && ww.dilation == 1) {  // taps on neighbouring pixels are one run of channels
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

  Scratch<T> packed(tasks * block_pixels * filter_block);
  Scratch<T> partial(chunks == 1 && !accumulate ? 0 : chunks * size);
  T* const sums = chunks == 1 && !accumulate ? dw : partial.data();
  parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t chunk = task / (groups * filter_blocks), g = task / filter_blocks % groups;
      const int64_t f0 = task % filter_blocks * filter_block, count_f = std::min(filter_block, F - f0);
      T* const panels = &packed[task * block_pixels * filter_block];
      T* const sum = sums + chunk * size + g * F + f0;
      for (int64_t i = 0; i < wh.size * ww.size * C; ++i)
        std::memset(sum + i * filters, 0, static_cast<size_t>(count_f) * sizeof(T));
      const int64_t chunk_end = std::min((chunk + 1) * chunk_rows, rows);
      for (int64_t row0 = chunk * chunk_rows; row0 < chunk_end; row0 += block_rows) {
        const int64_t row1 = std::min(row0 + block_rows, chunk_end), block = (row1 - row0) * ww.out;
        gemm.pack_b(panels, dy + row0 * ww.out * filters + g * F + f0, filters, 1, block, count_f);
        for (int64_t r = 0; r < wh.size; ++r)
          for (const Unit& unit : units) {
            // Products run along a row of outputs, or down a column where that is longer (at the borders).
            const T* a[kBlockPixels];
            const T* b[kBlockPixels];
            const int64_t width = unit.v1 - unit.v0;
            int64_t used = 0, depth = 0;
            bool down = false;
            auto flush = [&] {
              if (used > 0)
                gemm.run({.m = (unit.q1 - unit.q0) * C,
                          .n = count_f,
                          .k = depth,
                          .taps = used,
                          .a = a,
                          .a_row = 1,
                          .a_col = down ? wh.stride * in.w * in.channels : ww.stride * in.channels,
                          .b = b,
                          .b_row = down ? ww.out * nr : nr,
                          .b_panel = block * nr,
                          .b_padded = true,
                          .c = sum + (r * ww.size + unit.q0) * C * filters,
                          .c_row = filters,
                          .bias = nullptr,
                          .accumulate = true});
              used = 0;
            };
            auto add = [&](int64_t row, int64_t v, bool add_down, int64_t add_depth) {
              if (down != add_down || depth != add_depth) flush();
              down = add_down;
              depth = add_depth;
              const int64_t n = row / wh.out, h = row % wh.out * wh.stride + r * wh.dilation - wh.before;
              const int64_t w = v * ww.stride + unit.q0 * ww.dilation - ww.before;
              a[used] = x + ((n * in.h + h) * in.w + w) * in.channels + g * C;
              b[used++] = panels + ((row - row0) * ww.out + v) * nr;
            };
            const Reach reach = reaches[r];
            for (int64_t row = row0; row < row1;) {  // image by image, the rows that have this tap
              const int64_t top = row / wh.out * wh.out, next = std::min(top + wh.out, row1);
              const int64_t first = std::max(row, top + reach.begin), last = std::min(next, top + reach.end);
              if (last - first > width)
                for (int64_t v = unit.v0; v < unit.v1; ++v) add(first, v, true, last - first);
              else
                for (int64_t i = first; i < last; ++i) add(i, unit.v0, false, width);
              row = next;
            }
            flush();
          }
      }
    }
  });
  if (sums != dw)
    parallel_for(size, grain_for(chunks), [&](int64_t begin, int64_t end) {
      kernels_for<T>().reduce.sum_rows(dw + begin, sums + begin, chunks, end - begin, size, accumulate);
    });
}

// y[n, i, j, f] = sum_{r, q, c} x[n, i*s + r*d - before, j*s + q*d - before, c] * kernel[r, q, c, f] + bias[f], over
// the pixels inside the image only: padding never multiplies a weight. dx, dkernel: the same sum over the other two of
// (x, kernel, y); db = sum of dy over all pixels.
class Conv2d final : public Op {
 public:
  Conv2d(const ConvParams& params, bool has_bias, std::optional<Activation> then = std::nullopt, bool moments = false)
      : p_(params), has_bias_(has_bias), then_(then), moments_(moments), name_(name_with("conv2d", then)) {
    if (moments) name_ += "+moments";
  }
  std::string_view name() const override { return name_; }
  std::shared_ptr<const Op> followed_by(const Activation& then) const override {
    return then_ || moments_ ? nullptr : std::make_shared<Conv2d>(p_, has_bias_, then);
  }
  std::shared_ptr<const Op> with_moments() const override {
    return moments_ ? nullptr : std::make_shared<Conv2d>(p_, has_bias_, then_, true);
  }
  // Pixels of one parity leave no whole rows to finish.
  bool finishes_gradient(size_t i) const override { return i == 0 && p_.stride_h == 1 && p_.stride_w == 1; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape &in = x[0].shape, &kernel = x[1].shape;
    if (kernel.rank() != 4)
      throw ValueError(cat("conv2d: expected kernel of shape (height, width, in, out), got ", kernel));
    if (p_.groups < 1 || (kernel[3] != kUnknown && kernel[3] % p_.groups != 0))
      throw ValueError(cat("conv2d: expected groups >= 1 that divide the ", kernel[3], " filters, got ", p_.groups));
    int64_t channels = kernel[2];
    if (channels != kUnknown && __builtin_mul_overflow(channels, p_.groups, &channels))
      throw ValueError(cat("conv2d: ", p_.groups, " groups of ", kernel[2], " channels are too many"));
    if (kernel[2] == 0 || kernel[3] == 0)
      throw ValueError(cat("conv2d: expected kernel of at least one channel and one filter, got ", kernel));
    if (in.rank() != 4 || !same_dim(in[3], channels)) {
      const bool first = in.rank() == 4 && in[1] == channels;
      throw ValueError(cat("conv2d: expected x of shape (batch, height, width, ",
                           channels == kUnknown ? "channels" : cat(channels), "), got ", in,
                           first ? "; channels go last: x.transpose(0, 2, 3, 1)" : ""));
    }
    if (x[0].dtype != x[1].dtype)
      throw TypeError(cat("conv2d: expected x and kernel of one dtype, got ", x[0].dtype, " and ", x[1].dtype));
    if (!is_floating(x[0].dtype)) throw TypeError(cat("conv2d: expected float32 or float64, got ", x[0].dtype));
    if (has_bias_ && (x[2].shape.rank() != 1 || !same_dim(x[2].shape[0], kernel[3]) || x[2].dtype != x[0].dtype))
      throw ValueError(cat("conv2d: expected bias of shape ", Shape{kernel[3]}, " and dtype ", x[0].dtype, ", got ",
                           x[2].shape, " and ", x[2].dtype));
    if (std::max(p_.stride_h, p_.stride_w) > 1 && std::max(p_.dilation_h, p_.dilation_w) > 1)
      throw ValueError(cat("conv2d: expected strides or dilation_rate to be 1, got strides ",
                           Shape{p_.stride_h, p_.stride_w}, " and dilation_rate ",
                           Shape{p_.dilation_h, p_.dilation_w}));
    check_window("conv2d", "kernel", "height", in[1], kernel[0], p_.stride_h, p_.dilation_h, p_.same);
    check_window("conv2d", "kernel", "width", in[2], kernel[1], p_.stride_w, p_.dilation_w, p_.same);
    const Spec y{{in[0], rows(in, kernel).out, columns(in, kernel).out, kernel[3]}, x[0].dtype};
    return moments_ ? std::vector{y, MomentChunks{numel(y.shape, 0, 3), kernel[3]}.spec()} : std::vector{y};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "conv2d", [&](auto zero) {
      using T = decltype(zero);
      const Shape& kernel = x[1].shape();
      const int64_t C = kernel[2], F = kernel[3];
      std::optional<ChannelMoments<T>> moments;
      if (moments_) moments.emplace(y[0].data<T>(), MomentChunks{y[0].size() / F, F}, y[1].data<double>());
      const Finish<T> finish(then_, y[0], moments ? &*moments : nullptr);
      if (uses_winograd(x[0].spec(), kernel)) {
        WinogradSum<T>{y[0].data<T>(),
                       y[0].shape(),
                       x[0].data<T>(),
                       x[0].shape(),
                       rows(x[0].shape(), kernel).before,
                       columns(x[0].shape(), kernel).before,
                       x[1].data<T>(),
                       C * F,
                       F,
                       1,
                       has_bias_ ? x[2].data<T>() : nullptr,
                       false,
                       finish}
            .run();
        return;
      }
      const SlidingSum<T> sum{y[0].data<T>(),
                              image(y[0].shape()),
                              x[0].data<T>(),
                              image(x[0].shape()),
                              x[1].data<T>(),
                              C * F,
                              F,
                              1,
                              F / p_.groups,
                              kernel[1],
                              p_.groups,
                              has_bias_ ? x[2].data<T>() : nullptr,
                              false,
                              finish};
      sum.run(forward_axis(rows(x[0].shape(), kernel)), forward_axis(columns(x[0].shape(), kernel)));
    });
  }
  double flops(Specs x, Specs y) const override {
    return 2.0 * static_cast<double>(numel(y[0].shape)) * static_cast<double>(numel(x[1].shape, 0, 3));
  }
  std::string_view algorithm(Specs x, Specs) const override {
    return uses_winograd(x[0], x[1].shape) ? "winograd" : "direct";
  }
  bool reads_input(size_t i) const override { return i < 2; }
  bool gradient_reads(size_t of, size_t input) const override { return of + input == 1; }
  void backward(const BackwardArgs& b) const override {
    with_float(b.x_spec[0].dtype, "conv2d", [&](auto zero) {
      using T = decltype(zero);
      const Shape &in = b.x_spec[0].shape, &kernel = b.x_spec[1].shape, &out = b.y_spec[0].shape;
      const int64_t C = kernel[2], F = kernel[3];
      const Window wh = rows(in, kernel), ww = columns(in, kernel);
      const T* dy = b.dy[0].data<T>();
      const bool winograd = uses_winograd(b.x_spec[0], kernel);
      if (b.dx[0] && winograd) {  // y's sum over the kernel turned by 180 degrees
        const T* const last_tap = b.x[1].data<T>() + 8 * C * F;
        WinogradSum<T>{b.dx[0].to.template data<T>(),
                       in,
                       dy,
                       out,
                       2 - wh.before,
                       2 - ww.before,
                       last_tap,
                       -C * F,
                       1,
                       F,
                       nullptr,
                       b.dx[0].accumulate,
                       Finish<T>(b.dx[0])}
            .run();
      } else if (b.dx[0]) {
        const SlidingSum<T> sum{b.dx[0].to.template data<T>(),
                                image(in),
                                dy,
                                image(out),
                                b.x[1].data<T>(),
                                C * F,
                                1,
                                F,
                                F / p_.groups,
                                kernel[1],
                                p_.groups,
                                nullptr,
                                b.dx[0].accumulate,
                                Finish<T>(b.dx[0])};
        const std::vector<Axis> all_columns = backward_axes(ww);
        for (const Axis& h : backward_axes(wh))
          for (const Axis& w : all_columns) sum.run(h, w);
      }
      if (b.dx[1] && winograd)
        WinogradKernelGradient<T>{
            b.dx[1].to.template data<T>(), b.x[0].data<T>(), in, dy, out, wh.before, ww.before, b.dx[1].accumulate}
            .run();
      else if (b.dx[1])
        kernel_gradient<T>(wh, ww, p_.groups, b.x[0].data<T>(), image(in), dy, F, b.dx[1].to.template data<T>(),
                           b.dx[1].accumulate);
      if (has_bias_ && b.dx[2])
        sum_axes<T>(dy, {numel(out, 0, 3), F}, 1u, b.dx[2].to.template data<T>(), b.dx[2].accumulate);
    });
  }

 private:
  static Image image(const Shape& s) { return {s[0], s[1], s[2], s[3]}; }
  Window rows(const Shape& in, const Shape& kernel) const {
    return window(in[1], kernel[0], p_.stride_h, p_.dilation_h, p_.same);
  }
  Window columns(const Shape& in, const Shape& kernel) const {
    return window(in[2], kernel[1], p_.stride_w, p_.dilation_w, p_.same);
  }
  // By what every run of the layer has in common: not by the batch.
  bool uses_winograd(const Spec& x, const Shape& kernel) const {
    if (p_.algorithm == ConvAlgorithm::direct || kernel[0] != 3 || kernel[1] != 3 || p_.groups != 1 ||
        std::max({p_.stride_h, p_.stride_w, p_.dilation_h, p_.dilation_w}) > 1)
      return false;
    if (p_.algorithm == ConvAlgorithm::winograd) return true;
    const int64_t channels = std::min(kernel[2], kernel[3]);
    const int64_t h = rows(x.shape, kernel).out, w = columns(x.shape, kernel).out;
    const int64_t in_tiles = (h + 3) / 4 * 4 * ((w + 3) / 4 * 4);
    return x.dtype == DType::float32 && channels >= kWinogradChannels && std::min(h, w) >= kWinogradSize &&
           8 * h * w >= (channels < kFewChannels ? kShareOfFew : kShareOfMany) * in_tiles;
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

OpPtr conv2d(const ConvParams& params, bool has_bias) { return std::make_shared<Conv2d>(params, has_bias); }

}  // namespace fastnn
