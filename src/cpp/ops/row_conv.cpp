#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "core/parallel.hpp"
#include "core/per_thread.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"
#include "ops/sliding_sum.hpp"

namespace fastnn {

namespace {

// Multiply-adds that one chunk should hold; the chunks number kMaxChunks at most.
constexpr int64_t kTaskFmas = 8 * kChunkWork;
constexpr int64_t kMaxChunks = 32;
// The spread rows that a task reads stay in L2, and rows of the output that it writes at least.
constexpr int64_t kSpreadBytes = 256 * 1024;
constexpr int64_t kMostRows = 64;  // of an output that is not spread: still near when it is finished
constexpr int64_t kLeastRows = 9;  // shares of more than these have five or more, as many as tiles have row taps

// The gradient of the kernel goes over rows once for each phase of the filters and for a few taps at a time. Where the
// phases share cache lines, so many bytes of rows are gone over in all ways before the next ones, out of L1 (64 images
// of 28 x 28 x 3 to six filters, 3 x 3: 0.79 of the time), if that leaves vectors enough for the sums to be worth
// loading.
constexpr int64_t kNearBytes = 24 * 1024;
constexpr int64_t kLeastProducts = 32;

// Where rows pay. Filters of several vectors are the tiles' work but for few channels, where a tile's products are
// short: with 32 registers rows take 0.4 to 1.0 of the time up to kMostSharing channels. With 16 they win up to
// kMostSharingTaps columns of taps (0.4 to 0.9; nine of 224 x 224 pixels lose a tenth), in the gradient only while a
// pixel of dy is one cache line, whose halves two sums read (1.2 times as long at 32 filters); in float64 they lose.
constexpr int64_t kMostSharing = 8;
constexpr int64_t kMostSharingTaps = 6;
constexpr int64_t kLineFilters = 16;
// Where filters do not fill a vector: spreading a plane costs about as much as two taps of it; from kMostPlanes planes
// on it costs more than the lanes it saves, and folding wants kLeastFoldChannels products in a chain. The vectors at
// the borders have weights of their own, so that wide kernels would take much memory.
constexpr int64_t kMostPlanes = 16;
constexpr int64_t kLeastTaps = 4;
constexpr int64_t kMostColumnTaps = 16;
constexpr int64_t kLeastFoldChannels = 12;

// Vectors over images waste no lanes, at the price of two transpositions. Where filters fill three quarters of a vector
// they take 0.45 to 0.9 of the time of the others from kLeastImageChannels channels on (at three 0.75 to 1.45; eight
// images of seven filters 1.2), and tiles of the images that are left over 0.9 to 1.1 (one image, five by five 1.3); of
// fewer filters up to 2.8. With AVX-512 a group would be 32 images: not tried.
constexpr int64_t kLeastImageChannels = 6;
constexpr int kImageRows = 6;        // of the tiles of other instruction sets
constexpr int64_t kLeastImages = 5;  // of a group; tiles make fewer in less time
// Of a task's part of a group and what is made of it, which stay in L2.
constexpr int64_t kImageBytes = 384 * 1024;
constexpr int64_t kImageTasks = 8;  // few groups are cut so that they keep a few threads busy

constexpr int64_t kMostLanes = 16;  // of any kernels

// Whether the taps lie side by side.
bool is_run(const Axis& axis) {
  return axis.taps.back().offset - axis.taps.front().offset == std::ssize(axis.taps) - 1;
}

int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

}  // namespace

// How the rows of an image are spread for a sum over `columns` and what each vector of an output row reads.
template <class T>
struct RowPlan {
  using Int = std::conditional_t<sizeof(T) == sizeof(int32_t), int32_t, int64_t>;
  const kernels::ConvKernels<T>& kernel = kernels_for<T>().conv;
  const Axis &rows, &columns;
  Image from;
  int64_t groups, channels, filters;  // channels of a group, filters of all groups
  bool spreads;                       // or the image is read where it lies: filters that are whole vectors
  int64_t width, vectors, phases;     // of an output row: numbers, vectors; vectors until the filters repeat
  std::vector<int64_t> row_offsets;
  std::vector<int64_t> taps;      // of the columns, those that an output reads
  std::vector<int64_t> residues;  // of their pixels modulo the stride: a plane for each, and each channel
  std::vector<int64_t> offsets;   // tap by tap, channel by channel
  std::vector<int32_t> classes;
  std::vector<int32_t> spans;    // of each class, the first tap of one of its lanes and the one behind the last
  std::vector<int64_t> inner;    // of each tap, the first vector whose lanes all have it, the one behind the last
  std::vector<int64_t> y_at;     // where the vectors of an output row begin
  std::vector<int64_t> outside;  // where the vectors begin that have lanes outside the image or the row
  int64_t pad = 0;               // pixels of zeros before a spread row
  int64_t before;                // numbers before its first pixel, whole vectors
  int64_t row, plane_rows;       // numbers of a spread row, rows of a plane
  int64_t block_rows, blocks;    // rows of a task's output, tasks of an image
  int64_t steps;                 // kernels::RowConvArgs
  std::vector<int64_t> tap_at, lane_at;  // where in the kernel: row by row the taps; the filters and some once more
  bool in_order;                         // the filters lie side by side
  std::vector<int64_t> phase_pixels;     // kernels::SpreadArgs
  std::vector<T> phase_lanes;
  std::vector<T> masks;  // of the classes outside, tap by tap: all bits set in the lanes whose pixel is in the image

  RowPlan(const Axis& row_axis, const Axis& column_axis, const SlidingSizes& sizes)
      : rows(row_axis),
        columns(column_axis),
        from(sizes.from),
        groups(sizes.groups),
        channels(sizes.channels()),
        filters(sizes.to.channels),
        spreads(groups > 1 || filters % kernel.lanes != 0),
        width(column_axis.count * filters),
        vectors((width + kernel.lanes - 1) / kernel.lanes),
        phases(filters / std::gcd(filters, int64_t{kernel.lanes})) {
    for (const AxisTap& tap : rows.taps) row_offsets.push_back(tap.offset);

    const int64_t step = columns.from_step, lanes = kernel.lanes;
    int64_t inner_begin = 0, inner_end = columns.count;  // outputs that all the taps lie inside for
    int64_t behind = 0;
    std::vector<int64_t> residue_of, shift_of;
    for (int64_t q = 0; q < static_cast<int64_t>(columns.taps.size()); ++q) {
      const int64_t offset = columns.taps[q].offset, shift = floor_divide(offset, step);
      const int64_t begin = std::max<int64_t>(0, -floor_divide(offset, step)),
                    end = std::min(columns.count, floor_divide(from.w - 1 - offset, step) + 1);
      if (begin >= end) continue;
      inner_begin = std::max(inner_begin, begin);
      inner_end = std::min(inner_end, end);
      const int64_t residue = offset - shift * step;
      const auto known = std::find(residues.begin(), residues.end(), residue);
      residue_of.push_back(known - residues.begin());
      if (known == residues.end()) residues.push_back(residue);
      shift_of.push_back(shift);
      pad = std::max(pad, -shift);
      behind = std::max(behind, shift);
      taps.push_back(q);
    }
    for (int64_t j = 0, v = 0; j < width; j += lanes, ++v) {
      const bool inside = j >= inner_begin * filters && j + lanes <= inner_end * filters;
      classes.push_back(static_cast<int32_t>(inside ? v % phases : phases + static_cast<int64_t>(outside.size())));
      if (!inside) outside.push_back(j);
      y_at.push_back(moves() ? j : j + j / filters * (columns.to_step - 1) * filters);
    }

    std::vector<int32_t> whole;  // as spans, of all lanes
    for (int64_t c = 0; c < class_count(); ++c) {
      // Of how many lanes the pixel of a tap is in the image.
      const auto lane_pixels = pixels(c);
      auto count = [&](size_t t) {
        return c < phases ? lanes
                          : std::count_if(
                                lane_pixels.begin(), lane_pixels.begin() + lanes,
                                [&](int64_t pixel) { return has(pixel, taps[t]); });
      };
      auto add_span = [&](std::vector<int32_t>& to,
                          int64_t least) {  // the taps from the first to the last with so many
        size_t begin = 0, end = taps.size();
        while (begin < end && count(begin) < least) ++begin;
        while (end > begin && count(end - 1) < least) --end;
        to.push_back(static_cast<int32_t>(static_cast<int64_t>(begin) * channels));
        to.push_back(static_cast<int32_t>(static_cast<int64_t>(end) * channels));
      };
      add_span(spans, 1);
      add_span(whole, lanes);
    }
    inner.resize(2 * taps.size() * static_cast<size_t>(channels));
    for (int64_t v = 0; v < vectors; ++v)
      for (int64_t t = whole[2 * classes[v]]; t < whole[2 * classes[v] + 1]; ++t) {
        if (inner[2 * t + 1] == 0) inner[2 * t] = v;
        inner[2 * t + 1] = v + 1;
      }

    const int64_t row_pixels = (from.w - 1) / step + 1;
    before = (pad * filters + lanes - 1) / lanes * lanes;
    row = std::max(before + row_pixels * filters + lanes, vectors * lanes + before + behind * filters);
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
    row = ((row + line - 1) / line | 1) * line;  // an odd number of cache lines: rows do not fall on one another
    if (!spreads) row = from.w;
    const int64_t planes = static_cast<int64_t>(residues.size()) * channels;
    const int64_t reach = row_offsets.empty() ? 0 : row_offsets.back() - row_offsets.front();
    const int64_t fit = kSpreadBytes / static_cast<int64_t>(sizeof(T)) / std::max<int64_t>(1, planes * row);
    int64_t most = std::max((fit - reach - 1) / rows.from_step + 1, kLeastRows);
    if (!spreads) most = std::min(most, kMostRows);
    blocks = std::max<int64_t>(1, (rows.count + most - 1) / most);
    block_rows = (rows.count + blocks - 1) / blocks;
    const int64_t most_steps = std::max<int64_t>(1, block_rows + row_taps() - 1);
    steps = most_steps;
    if (filters % lanes != 0) {
      const int64_t near = kNearBytes / static_cast<int64_t>(sizeof(T)) / std::max<int64_t>(1, width + planes * row);
      const int64_t fit = std::max(near, kLeastProducts * phases / std::max<int64_t>(1, vectors) + 1);
      const int64_t parts = (most_steps + fit - 1) / fit;  // of one size
      steps = (most_steps + parts - 1) / parts;
    }
    plane_rows = std::min(from.h, (block_rows - 1) * rows.from_step + reach + 1);
    for (size_t t = 0; t < taps.size(); ++t)
      for (int64_t k = 0; k < channels; ++k)
        offsets.push_back(!spreads
                              ? columns.taps[taps[t]].offset * channels + k
                              : (residue_of[t] * channels + k) * plane_rows * row + before + shift_of[t] * filters);

    const auto layout = sizes.kernel();
    for (const AxisTap& r : rows.taps)
      for (const int64_t t : taps)
        for (int64_t k = 0; k < channels; ++k)
          tap_at.push_back((r.tap * sizes.columns.size + columns.taps[t].tap) * layout.tap + k * layout.row);
    const int64_t group_filters = filters / groups;
    for (int64_t i = 0; i < filters + lanes; ++i)
      lane_at.push_back(i < filters ? i / group_filters * layout.group + i % group_filters * layout.col
                                    : lane_at[i - filters]);
    in_order = layout.col == 1 && (groups == 1 || layout.group == group_filters);
    if (groups == 1 && (lanes + filters - 2) / filters * step * channels < lanes)
      for (int64_t j = 0; j < phases * lanes; ++j) {
        if (j % lanes == 0) phase_pixels.push_back(j / filters);
        const auto lane = static_cast<Int>((j / filters - phase_pixels.back()) * step * channels);
        std::memcpy(&phase_lanes.emplace_back(), &lane, sizeof lane);
      }
    for (int64_t c = phases; spreads && c < class_count(); ++c) {
      const auto lane_pixels = pixels(c);
      for (const int64_t t : taps)
        for (int64_t k = 0; k < channels; ++k)
          for (int64_t l = 0; l < lanes; ++l)
            std::memset(&masks.emplace_back(), has(lane_pixels[l], t) ? 0xFF : 0, sizeof(T));
    }
  }

  // Whether vectors hold parts of pixels that stand apart in y: rows are made elsewhere and moved.
  bool moves() const { return columns.to_step > 1 && filters % kernel.lanes != 0; }
  int64_t spread_size() const {
    return !spreads ? 0 : static_cast<int64_t>(residues.size()) * channels * plane_rows * row;
  }
  int64_t row_taps() const { return static_cast<int64_t>(row_offsets.size()); }
  int64_t all_taps() const { return static_cast<int64_t>(offsets.size()); }
  int64_t class_count() const { return phases + static_cast<int64_t>(outside.size()); }
  int64_t first_of(int64_t c) const { return c < phases ? c * kernel.lanes : outside[c - phases]; }
  // For each lane of a class the pixel of x that the offset of a tap counts from; without any taps behind the row.
  std::array<int64_t, kMostLanes> pixels(int64_t c) const {
    std::array<int64_t, kMostLanes> pixel;
    for (int64_t l = 0, j = first_of(c); l < kernel.lanes; ++l, ++j)
      pixel[l] = j < width ? j / filters * columns.from_step : -1 - columns.taps.back().offset;
    return pixel;
  }
  bool has(int64_t pixel, int64_t tap) const {
    pixel += columns.taps[tap].offset;
    return pixel >= 0 && pixel < from.w;
  }

  // One task: rows [h, h + count) of the output of an image. Chunks of tasks follow from the sizes alone.
  struct Item {
    int64_t image, h, count;
  };
  int64_t items() const { return from.n * blocks; }
  Item item(int64_t i) const {
    const int64_t h = i % blocks * rows.count / blocks;
    return {i / blocks, h, (i % blocks + 1) * rows.count / blocks - h};
  }
  int64_t chunk_items() const {
    const int64_t fmas = 1 + block_rows * width * row_taps() * all_taps();
    return std::max((kTaskFmas + fmas - 1) / fmas, (items() + kMaxChunks - 1) / kMaxChunks);
  }
  int64_t chunks() const { return (items() + chunk_items() - 1) / chunk_items(); }

  // `fresh`: into memory that holds anything. What no pixel is written to becomes zero then, and stays so.
  kernels::RowConvArgs<T> spread(const Item& item, const T* x, T* to, bool fresh) const {
    int64_t first = 0, last = 0;
    if (!row_offsets.empty()) {
      first = std::clamp<int64_t>(item.h * rows.from_step + row_offsets.front(), 0, from.h);
      last = std::clamp((item.h + item.count - 1) * rows.from_step + row_offsets.back() + 1, first, from.h);
    }
    const int64_t step = columns.from_step;
    for (size_t i = 0; spreads && i < residues.size(); ++i)
      for (int64_t k = 0; k < channels; ++k)
        kernel.spread({.to = to + (static_cast<int64_t>(i) * channels + k) * plane_rows * row,
                       .to_row = row,
                       .before = before,
                       .fresh_rows = fresh ? plane_rows : 0,
                       .from = x + ((item.image * from.h + first) * from.w + residues[i]) * from.channels + k,
                       .from_row = from.w * from.channels,
                       .rows = last - first,
                       .pixels = (from.w - 1 - residues[i]) / step + 1,
                       .pixel_step = step * from.channels,
                       .groups = groups,
                       .group_step = channels,
                       .repeat = filters / groups,
                       .phases = std::ssize(phase_pixels),
                       .phase_pixels = phase_pixels.data(),
                       .phase_lanes = phase_lanes.data()});
    return {.h = item.h,
            .rows = item.count,
            .width = width,
            .x = spreads ? to : x + item.image * from.h * from.w * channels,
            .x_pixel = spreads ? 0 : step * channels,
            .x_row = spreads ? row : from.w * channels,
            .x_first = spreads ? first : 0,
            .x_rows = from.h,
            .row_step = rows.from_step,
            .row_taps = row_taps(),
            .row_offsets = row_offsets.data(),
            .taps = all_taps(),
            .offsets = offsets.data(),
            .classes = classes.data(),
            .phases = phases,
            .spans = spans.data(),
            .inner = inner.data(),
            .steps = steps,
            .y_at = y_at.data()};
  }
};

namespace {

// A row of sums to where its pixels stand.
template <class T>
void move_pixels(T* to_row, const Axis& columns, const T* sums, int64_t filters, bool accumulate) {
  for (int64_t u = 0; u < columns.count; ++u, sums += filters) {
    T* const pixel = to_row + (u * columns.to_step + columns.to_first) * filters;
    for (int64_t f = 0; f < filters; ++f) pixel[f] = accumulate ? pixel[f] + sums[f] : sums[f];
  }
}

// Whether the row taps of a pixel whose filters are whole vectors share its numbers (kernels/conv.hpp), and that beats
// tiles of pixels by filters.
template <class T>
bool shares_rows(const Axis& rows, const Axis& columns, int64_t channels, int64_t filters, int64_t groups,
                 bool gradient) {
  const int64_t taps = std::ssize(rows.taps), lanes = kernels_for<T>().conv.lanes;
  if (groups > 1 || filters % lanes != 0 || (taps != 3 && taps != 5) || rows.count < taps || rows.from_step != 1 ||
      !is_run(rows) || !is_run(columns))
    return false;
  if (filters == lanes) return true;
  if (sizeof(T) == sizeof(double)) return false;
  if (lanes == kMostLanes) return channels <= kMostSharing;
  return channels * std::ssize(columns.taps) <= kMostSharingTaps && (!gradient || filters <= kLineFilters);
}

template <class T>
bool runs_along_rows(const Axis& rows, const Axis& columns, int64_t channels, int64_t filters, int64_t groups,
                     bool gradient) {
  const int64_t taps = static_cast<int64_t>(rows.taps.size() * columns.taps.size());
  if (taps == 0 || static_cast<int64_t>(columns.taps.size()) > kMostColumnTaps) return false;
  if (groups > 1 && std::min(channels, filters) == 1) return true;  // depthwise, in either direction
  if (shares_rows<T>(rows, columns, channels, filters, groups, gradient)) return true;
  return filters < kernels_for<T>().conv.lanes && channels <= kMostPlanes && (groups > 1 || taps >= kLeastTaps);
}

}  // namespace

template <class T>
size_t bytes_of_plan(const RowPlan<T>& plan) {
  size_t bytes = sizeof plan;
  auto add = [&](const auto&... lists) { bytes += (0 + ... + (lists.size() * sizeof lists[0])); };
  add(plan.row_offsets, plan.taps, plan.residues, plan.offsets, plan.classes, plan.spans, plan.inner, plan.y_at,
      plan.outside, plan.tap_at, plan.lane_at, plan.phase_pixels, plan.phase_lanes, plan.masks);
  return bytes;
}

template <class T>
std::shared_ptr<const RowPlan<T>> plan_along_rows(const Axis& rows, const Axis& columns, const SlidingSizes& sizes) {
  if (!runs_along_rows<T>(rows, columns, sizes.channels(), sizes.filters(), sizes.groups,
                          sizes.pass == Pass::kernel_gradient))
    return nullptr;
  return std::make_shared<const RowPlan<T>>(rows, columns, sizes);
}

template <class T>
bool runs_folded(const Axis& rows, const Axis& columns, const SlidingSizes& sizes) {
  return sizes.groups == 1 && sizes.filters() < kernels_for<T>().conv.lanes && sizes.channels() >= kLeastFoldChannels &&
         columns.from_step == 1 && columns.taps.size() > 1 && !rows.taps.empty() && is_run(columns);
}

// How far apart the source rows of one row of the output lie, of those that exist.
int64_t reach_of(const Axis& rows, const SlidingSizes& sizes) {
  return std::min(rows.taps.back().offset - rows.taps.front().offset, sizes.from.h);
}

// Rows of the output, all of them or a part, whose sums and what they read of a group of images have kImageBytes.
template <class T>
int64_t rows_over_images(const Axis& rows, const SlidingSizes& sizes) {
  const int64_t fit = kImageBytes / (kernels_for<T>().gemm.nr * static_cast<int64_t>(sizeof(T)));
  const int64_t from_row = sizes.from.w * sizes.from.channels, to_row = sizes.to.w * sizes.to.channels;
  if (sizes.from.h * from_row + sizes.to.h * to_row <= fit) return sizes.to.h;
  return (fit - reach_of(rows, sizes) * from_row) / (from_row + to_row);
}

template <class T>
bool runs_over_images(const Axis& rows, const Axis& columns, const SlidingSizes& sizes) {
  const auto& gemm = kernels_for<T>().gemm;
  const int64_t filters = sizes.filters();
  if (gemm.mr != kImageRows || sizes.groups > 1 || filters >= gemm.lanes || 4 * filters < 3 * gemm.lanes ||
      sizes.channels() < kLeastImageChannels || rows.from_step * rows.to_step > 1 ||
      columns.from_step * columns.to_step > 1 || rows.taps.size() * columns.taps.size() < 2 || !is_run(columns))
    return false;
  // Neighbouring parts turn the rows of their reach twice, which has to be worth it.
  const int64_t fit = rows_over_images<T>(rows, sizes);
  return fit > 0 && fit >= std::min(reach_of(rows, sizes), sizes.to.h);
}

template <class T>
void SlidingSum<T>::run_along_rows(const RowPlan<T>& plan) const {
  const Axis &rows = plan.rows, &columns = plan.columns;
  const Image& to_image = sizes.to;
  const int64_t lanes = plan.kernel.lanes, filters = plan.filters;

  // The kernel and the bias repeated along a row, for each class of vectors.
  const int64_t pack = (plan.row_taps() * plan.all_taps() + 1) * lanes;
  const int64_t classes = plan.spreads ? plan.class_count() : plan.phases;
  Scratch<T> weights(classes * pack);
  parallel_for(classes, grain_for(2 * pack), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t f = plan.first_of(c) % filters;
      T* const to = &weights[c * pack];
      plan.kernel.gather(
          {.to = to,
           .from = kernel,
           .at = plan.tap_at.data(),
           .rows = plan.row_taps(),
           .taps = plan.all_taps(),
           .lane_at = &plan.lane_at[f],
           .width = plan.in_order ? filters : 0,
           .masks = c < plan.phases ? nullptr : plan.masks.data() + (c - plan.phases) * plan.all_taps() * lanes});
      for (int64_t l = 0, i = f; l < lanes; ++l, i = i + 1 < filters ? i + 1 : 0)
        to[pack - lanes + l] = bias ? bias[i] : T(0);
    }
  });

  const int64_t to_row = to_image.w * to_image.channels;
  const bool whole = rows.to_step == 1 && columns.to_step == 1;  // a task's rows have all their pixels
  const int64_t apart = plan.moves() ? plan.block_rows * plan.width : 0;
  const int64_t partial_size = plan.vectors * plan.kernel.rows * lanes;
  const PerThread<T> spread(plan.spread_size() + partial_size + apart, plan.chunks());
  parallel_for(plan.items(), plan.chunk_items(), [&](int64_t begin, int64_t end) {
    const auto block = spread.take();
    T* const partial = block.data() + plan.spread_size();
    T* const moved = partial + partial_size;
    for (int64_t i = begin; i < end; ++i) {
      const auto item = plan.item(i);
      const auto args = plan.spread(item, from, block.data(), block.fresh() && i == begin);
      T* const first = to + (item.image * to_image.h + item.h * rows.to_step + rows.to_first) * to_row;
      if (apart == 0) {
        plan.kernel.forward(args, first + columns.to_first * filters, rows.to_step * to_row, weights.data(), partial,
                            accumulate);
        if (whole) finish(first, item.count * to_row);
        continue;
      }
      plan.kernel.forward(args, moved, plan.width, weights.data(), partial, false);
      for (int64_t h = 0; h < item.count; ++h)
        move_pixels(first + h * rows.to_step * to_row, columns, moved + h * plan.width, filters, accumulate);
    }
  });
}

// Groups of images whose numbers lie side by side, as many as a panel is wide: of each pixel a product of the kernel,
// filters by taps and channels, and a panel of what the taps read. The sums are those of tiles to the last bit, which
// make the images left over.
template <class T>
void SlidingSum<T>::run_over_images(const Part& part) const {
  const auto& gemm = kernels_for<T>().gemm;
  const Axis &rows = part.rows, &columns = part.columns;
  const auto layout = sizes.kernel();
  const int64_t images = sizes.to.n, most = gemm.nr, channels = sizes.channels(), filters = sizes.filters();
  const int64_t taps = std::ssize(columns.taps), row_taps = std::ssize(rows.taps);
  const int64_t from_row = sizes.from.w * channels, from_size = sizes.from.h * from_row;
  const int64_t to_row = sizes.to.w * filters, to_size = sizes.to.h * to_row;

  const int64_t groups = images / most + (images % most >= kLeastImages ? 1 : 0),
                made = std::min(images, groups * most);
  if (made < images) {
    SlidingSum rest = *this;
    rest.sizes.from.n = rest.sizes.to.n = images - made;
    rest.from += made * from_size;
    rest.to += made * to_size;
    rest.run_tiles({part}, false);
  }
  if (groups == 0) return;

  const int64_t reach = reach_of(rows, sizes), fit = rows_over_images<T>(rows, sizes);
  const int64_t parts =
      std::max((sizes.to.h + fit - 1) / fit, std::min(kImageTasks / groups, sizes.to.h / (reach + 1)));
  const int64_t part_rows = (sizes.to.h + parts - 1) / parts;
  Scratch<T> packed(row_taps * taps * channels * filters);  // tap by tap, channel by channel
  for (int64_t r = 0, at = 0; r < row_taps; ++r)
    for (int64_t q = 0; q < taps; ++q) {
      const T* const tap = kernel + (rows.taps[r].tap * sizes.columns.size + columns.taps[q].tap) * layout.tap;
      for (int64_t k = 0; k < channels; ++k)
        for (int64_t f = 0; f < filters; ++f) packed[at++] = tap[k * layout.row + f * layout.col];
    }
  std::vector<T> biases;
  for (int64_t i = 0; bias && i < part_rows * to_row; ++i) biases.push_back(bias[i % filters]);

  const int64_t turned_size = std::min(sizes.from.h, part_rows + reach) * from_row * most;
  const PerThread<T> memory(turned_size + part_rows * to_row * most, groups * parts);
  Scratch<const T*> pointers(groups * parts * 2 * row_taps);
  parallel_for(groups * parts, 1, [&](int64_t begin, int64_t end) {
    const auto block = memory.take();
    T *const turned = block.data(), *const sums = turned + turned_size;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / parts * most, count = std::min(most, images - n);
      const int64_t u0 = task % parts * sizes.to.h / parts, u1 = (task % parts + 1) * sizes.to.h / parts;
      const int64_t h0 = std::clamp<int64_t>(u0 + rows.taps.front().offset, 0, sizes.from.h);
      const int64_t h1 = std::clamp<int64_t>(u1 + rows.taps.back().offset, h0, sizes.from.h);
      gemm.pack_b(turned, from + n * from_size + h0 * from_row, 1, from_size, (h1 - h0) * from_row, count);
      const T** const a = &pointers[task * 2 * row_taps];
      const T** const b = a + row_taps;
      for (const Segment& rs : rows.segments)
        for (int64_t u = std::max(u0, rs.begin); u < std::min(u1, rs.end); ++u)
          for (const Segment& cs : columns.segments) {
            int64_t used = 0;
            for (int64_t r = rs.first_tap; r < rs.last_tap && cs.first_tap < cs.last_tap; ++r, ++used) {
              const int64_t h = u + rows.taps[r].offset - h0, w = cs.begin + columns.taps[cs.first_tap].offset;
              a[used] = &packed[(r * taps + cs.first_tap) * channels * filters];
              b[used] = turned + (h * from_row + w * channels) * most;
            }
            gemm.run({.m = filters,
                      .n = count,
                      .k = (cs.last_tap - cs.first_tap) * channels,
                      .taps = used,
                      .a = a,
                      .a_row = 1,
                      .a_col = filters,
                      .b = b,
                      .b_row = most,
                      .b_panel = most,
                      .b_padded = true,
                      .c = sums + ((u - u0) * to_row + cs.begin * filters) * count,
                      .c_row = count,
                      .bias = nullptr,
                      .accumulate = false,
                      .repeats = cs.end - cs.begin,
                      .b_step = channels * most,
                      .c_step = filters * count});
          }
      T* const first = to + n * to_size + u0 * to_row;
      const int64_t size = (u1 - u0) * to_row;
      gemm.add_turned(first, to_size, sums, count, size, bias ? biases.data() : nullptr, accumulate);
      for (int64_t i = 0; i < count; ++i) finish(first + i * to_size, size);
    }
  });
}

template <class T>
void SlidingSum<T>::run_folded(const Axis& rows, const Axis& columns) const {
  const auto& gemm = kernels_for<T>().gemm;
  const auto& conv = kernels_for<T>().conv;
  const Image &from_image = sizes.from, &to_image = sizes.to;
  const auto layout = sizes.kernel();
  const int64_t nr = gemm.nr, channels = from_image.channels, filters = to_image.channels;
  const int64_t row_taps = static_cast<int64_t>(rows.taps.size()), taps = static_cast<int64_t>(columns.taps.size());
  const int64_t n = taps * filters, panels = (n + nr - 1) / nr;

  Scratch<T> packed(panels * row_taps * channels * nr);
  for (int64_t p = 0; p < panels; ++p)
    for (int64_t r = 0; r < row_taps; ++r)
      for (int64_t j = 0; j < nr; ++j) {
        const int64_t i = (p * nr + j) / filters, f = (p * nr + j) % filters, t = taps - 1 - i;
        T* const panel = &packed[(p * row_taps + r) * channels * nr + j];
        const T* const b =
            i < taps
                ? kernel + (rows.taps[r].tap * sizes.columns.size + columns.taps[t].tap) * layout.tap + f * layout.col
                : nullptr;
        for (int64_t k = 0; k < channels; ++k) panel[k * nr] = b ? b[k * layout.row] : T(0);
      }
  std::vector<T> biases;
  for (int64_t i = 0; bias && i < filters + conv.lanes; ++i) biases.push_back(bias[i % filters]);

  const int64_t to_row = to_image.w * filters, from_row = from_image.w * channels;
  const int64_t row = n + conv.lanes;  // of the products of a pixel, and zeros
  const int64_t products_size = conv.lanes + from_image.w * row, width = columns.count * filters;
  const bool apart = columns.to_step > 1;  // the pixels of the output do not stand together
  const int64_t items = to_image.n * rows.count;
  const int64_t row_fmas = 1 + from_image.w * n * channels * row_taps;
  // Chunks of rows of one image.
  const int64_t chunk = std::clamp<int64_t>((kTaskFmas + row_fmas - 1) / row_fmas, (items + 63) / 64, items);
  const int64_t chunks = (items + chunk - 1) / chunk;
  const PerThread<T> products(products_size + (apart ? width : 0), chunks);
  Scratch<const T*> pointers(chunks * 2 * row_taps);
  const bool whole = rows.to_step == 1 && columns.to_step == 1;
  parallel_for(items, chunk, [&](int64_t begin, int64_t end) {
    const auto block = products.take();
    if (block.fresh()) std::memset(block.data(), 0, static_cast<size_t>(products_size) * sizeof(T));
    T* const first = block.data() + conv.lanes;
    T* const moved = block.data() + products_size;
    const T** const a = &pointers[begin / chunk * 2 * row_taps];
    const T** const b = a + row_taps;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / rows.count, u = i % rows.count;
      int64_t used = 0;
      for (int64_t r = 0; r < row_taps; ++r) {
        const int64_t h = u * rows.from_step + rows.taps[r].offset;
        if (h < 0 || h >= from_image.h) continue;
        a[used] = from + (image * from_image.h + h) * from_row;
        b[used++] = &packed[r * channels * nr];
      }
      gemm.run({.m = from_image.w,
                .n = n,
                .k = channels,
                .taps = used,
                .a = a,
                .a_row = channels,
                .a_col = 1,
                .b = b,
                .b_row = nr,
                .b_panel = row_taps * channels * nr,
                .b_padded = true,
                .c = first,
                .c_row = row,
                .bias = nullptr,
                .accumulate = false});
      T* const y = to + (image * to_image.h + u * rows.to_step + rows.to_first) * to_row;
      conv.fold({.y = apart ? moved : y,
                 .width = width,
                 .filters = filters,
                 .products = first,
                 .row = row,
                 .window = n,
                 .pixels = from_image.w,
                 .first = columns.taps.back().offset,
                 .bias = bias ? biases.data() : nullptr,
                 .accumulate = accumulate && !apart});
      if (apart) move_pixels(y, columns, moved, filters, accumulate);
      if (whole) finish(y, to_row);
    }
  });
}

template <class T>
void row_kernel_gradient(const RowPlan<T>& plan, const T* x, const T* dy, T* dw, bool accumulate) {
  const int64_t lanes = plan.kernel.lanes, channels = plan.channels, filters = plan.filters;
  const int64_t taps = static_cast<int64_t>(plan.taps.size()), row_taps = plan.row_taps();
  const int64_t columns_size = static_cast<int64_t>(plan.columns.taps.size());
  if (!accumulate) std::memset(dw, 0, static_cast<size_t>(row_taps * columns_size * channels * filters) * sizeof(T));
  if (plan.items() * plan.rows.count * plan.width == 0) return;

  const int64_t sums_size = plan.phases * row_taps * plan.all_taps() * lanes, chunks = plan.chunks();
  Scratch<T> sums(sums_size * chunks);
  const PerThread<T> spread(plan.spread_size(), chunks);
  const int64_t dy_row = plan.width;
  parallel_for(plan.items(), plan.chunk_items(), [&](int64_t begin, int64_t end) {
    T* const sum = &sums[begin / plan.chunk_items() * sums_size];
    std::memset(sum, 0, static_cast<size_t>(sums_size) * sizeof(T));
    const auto block = spread.take();
    for (int64_t i = begin; i < end; ++i) {
      const auto item = plan.item(i);
      const auto args = plan.spread(item, x, block.data(), block.fresh() && i == begin);
      plan.kernel.kernel_gradient(args, dy + (item.image * plan.rows.count + item.h) * dy_row, dy_row,
                                  plan.masks.data(), sum);
    }
  });
  if (chunks > 1)
    kernels_for<T>().reduce.sum_rows(sums.data(), sums.data() + sums_size, chunks - 1, sums_size, sums_size, true);

  // Lanes of one filter, in order.
  for (int64_t r = 0; r < row_taps; ++r)
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t k = 0; k < channels; ++k) {
        T* const to = dw + ((r * columns_size + plan.taps[t]) * channels + k) * filters;
        for (int64_t p = 0, f = 0; p < plan.phases; ++p) {
          const T* const sum = &sums[((p * row_taps + r) * taps * channels + t * channels + k) * lanes];
          for (int64_t l = 0; l < lanes; ++l, f = f + 1 < filters ? f + 1 : 0) to[f] += sum[l];
        }
      }
}

template std::shared_ptr<const RowPlan<float>> plan_along_rows(const Axis&, const Axis&, const SlidingSizes&);
template std::shared_ptr<const RowPlan<double>> plan_along_rows(const Axis&, const Axis&, const SlidingSizes&);
template size_t bytes_of_plan(const RowPlan<float>&);
template size_t bytes_of_plan(const RowPlan<double>&);
template bool runs_over_images<float>(const Axis&, const Axis&, const SlidingSizes&);
template bool runs_over_images<double>(const Axis&, const Axis&, const SlidingSizes&);
template bool runs_folded<float>(const Axis&, const Axis&, const SlidingSizes&);
template bool runs_folded<double>(const Axis&, const Axis&, const SlidingSizes&);
template void SlidingSum<float>::run_along_rows(const RowPlan<float>&) const;
template void SlidingSum<double>::run_along_rows(const RowPlan<double>&) const;
template void SlidingSum<float>::run_over_images(const Part&) const;
template void SlidingSum<double>::run_over_images(const Part&) const;
template void SlidingSum<float>::run_folded(const Axis&, const Axis&) const;
template void SlidingSum<double>::run_folded(const Axis&, const Axis&) const;
template void row_kernel_gradient(const RowPlan<float>&, const float*, const float*, float*, bool);
template void row_kernel_gradient(const RowPlan<double>&, const double*, const double*, double*, bool);

}  // namespace fastnn
