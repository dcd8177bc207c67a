#include "ops/sliding_sum.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"

namespace fastnn {

namespace {

// Multiply-adds that one task of a parallel loop should hold.
constexpr int64_t kTaskFmas = 32 * kChunkWork;
// Images of a task are tiled together while their pixels stay in L2, and so are panels of the kernel.
constexpr int64_t kGroupBytes = 256 * 1024;
constexpr int64_t kPanelBytes = 320 * 1024;
// A batch that has so many tasks or more keeps a few threads busy.
constexpr int64_t kTasks = 8;

}  // namespace

template <class T>
SlidingPlan<T>::SlidingPlan(const SlidingSizes& all)
    : sizes(all),
      rows(all.pass == Pass::input_gradient ? backward_axes(all.rows) : std::vector{forward_axis(all.rows)}),
      columns(all.pass == Pass::input_gradient ? backward_axes(all.columns) : std::vector{forward_axis(all.columns)}) {
  for (const Axis& r : rows)
    for (const Axis& c : columns) {
      if ((r.taps.empty() || c.taps.empty()) && !sizes.has_bias) {
        gaps = true;
        continue;
      }
      const bool sums = sizes.pass != Pass::kernel_gradient;  // whose plan is one of rows or nothing
      Part part{r, c, sums && runs_over_images<T>(r, c, sizes), sums && runs_folded<T>(r, c, sizes), nullptr};
      if (!part.over_images && !part.folds) part.along_rows = plan_along_rows<T>(r, c, sizes);
      (part.along_rows || part.over_images || part.folds ? others : tiled).push_back(part);
    }
}

template <class T>
size_t SlidingPlan<T>::bytes() const {
  size_t bytes = (tiled.size() + others.size()) * sizeof(Part);
  for (const auto* axes : {&rows, &columns})
    for (const Axis& axis : *axes)
      bytes += sizeof(Axis) + axis.taps.size() * sizeof(AxisTap) + axis.segments.size() * sizeof(Segment);
  for (const Part& part : others)
    if (part.along_rows) bytes += bytes_of_plan(*part.along_rows);
  return bytes;
}

template <class T>
std::shared_ptr<const SlidingPlan<T>> sliding_plan(const SlidingSizes& sizes) {
  constexpr size_t kKept = 32, kLarge = 65536;  // plans; bytes of one, which is then made while much else is done
  thread_local std::vector<std::shared_ptr<const SlidingPlan<T>>> kept;
  thread_local size_t oldest = 0;
  for (const auto& plan : kept)
    if (plan->sizes == sizes) return plan;
  auto plan = std::make_shared<const SlidingPlan<T>>(sizes);
  if (plan->bytes() > kLarge) return plan;
  if (kept.size() < kKept)
    kept.push_back(plan);
  else
    kept[oldest++ % kKept] = plan;
  return plan;
}

template <class T>
void SlidingSum<T>::run() const {
  if (sizes.to.n * sizes.to.h * sizes.to.w * sizes.to.channels == 0) return;
  const auto plan = sliding_plan<T>(sizes);
  run_tiles(plan->tiled, plan->gaps && !accumulate);
  for (const Part& part : plan->others)
    if (part.over_images)
      run_over_images(part);
    else if (part.folds)
      run_folded(part.rows, part.columns);
    else
      run_along_rows(*part.along_rows);
}

template <class T>
void SlidingSum<T>::run_tiles(const std::vector<Part>& parts, bool clear) const {
  if (parts.empty() && !clear) return;
  const auto& gemm = kernels_for<T>().gemm;
  const int64_t nr = gemm.nr, mr = gemm.mr;
  const Image &from_image = sizes.from, &to_image = sizes.to;
  const int64_t K = sizes.channels(), N = sizes.filters(), groups = sizes.groups;
  const auto layout = sizes.kernel();
  const int64_t panels = (N + nr - 1) / nr;
  std::vector<int64_t> order;  // of the taps, part by part
  int64_t most_taps = 0, image_fmas = 0;
  for (const Part& part : parts) {
    const int64_t before = static_cast<int64_t>(order.size());
    for (const AxisTap& r : part.rows.taps)
      for (const AxisTap& q : part.columns.taps) order.push_back(r.tap * sizes.columns.size + q.tap);
    const int64_t part_taps = static_cast<int64_t>(order.size()) - before;
    most_taps = std::max(most_taps, part_taps);
    image_fmas += part.rows.count * part.columns.count * part_taps * K * N * groups;
  }

  // Panels of K rows per tap, taps in the order of the axes, so that taps on neighbouring pixels are one long product.
  const int64_t taps = static_cast<int64_t>(order.size()), panel = taps * K * nr;
  Scratch<T> packed(groups * panels * panel);
  parallel_for(groups * panels * taps, grain_for(K * nr / 2), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t t = task % taps, j = task / taps % panels, g = task / taps / panels;
      gemm.pack_b(&packed[(g * panels + j) * panel + t * K * nr],
                  kernel + order[t] * layout.tap + g * layout.group + j * nr * layout.col, layout.row, layout.col, K,
                  std::min(nr, N - j * nr));
    }
  });

  // Tasks of some panels, images and rows. A task's panels stay in L2 over all its rows, and a few tasks busy a few
  // threads; taps at the borders of the columns have whole tiles where tasks have many rows. How pixels are grouped
  // changes no bit, so it may follow the batch.
  const int64_t row_fmas = std::max<int64_t>(1, image_fmas / to_image.h);
  const int64_t from_row = from_image.w * from_image.channels, to_row = to_image.w * to_image.channels;
  const int64_t from_size = from_image.h * from_row, to_size = to_image.h * to_row;
  const int64_t image_bytes = std::max<int64_t>(1, (from_size + to_size) * static_cast<int64_t>(sizeof(T)));
  int64_t images = std::max(kTaskFmas / (row_fmas * to_image.h), std::min(mr, kGroupBytes / image_bytes));
  images = std::clamp<int64_t>(images, 1, std::max<int64_t>(1, to_image.n / kTasks));
  if (images > mr) images -= images % mr;
  const int64_t image_tasks = (to_image.n + images - 1) / images;
  const int64_t most_rows = std::max((to_image.h * image_tasks + kTasks - 1) / kTasks, kTaskFmas / row_fmas);
  const int64_t task_rows = std::clamp<int64_t>(most_rows, 1, to_image.h);
  const int64_t row_tasks = (to_image.h + task_rows - 1) / task_rows;
  const int64_t fit = std::max<int64_t>(1, kPanelBytes / std::max<int64_t>(1, panel * static_cast<int64_t>(sizeof(T))));
  const int64_t panel_tasks = (panels + fit - 1) / fit, task_columns = (panels + panel_tasks - 1) / panel_tasks * nr;
  const int64_t tasks = panel_tasks * image_tasks * row_tasks;

  Scratch<const T*> pointers(tasks * 2 * most_taps);
  const bool whole_rows = groups == 1;  // neighbouring pixels are one run of channels
  const bool whole = parts.size() == 1 && parts[0].rows.to_step == 1 && parts[0].columns.to_step == 1;

  // Rows [begin, end) of the images [n, n + count) that a task makes, and the filters from f on.
  struct Task {
    int64_t n, count, begin, end, f;
    // Which positions of an axis these rows are.
    int64_t first(const Axis& rows) const { return position(rows, begin); }
    int64_t last(const Axis& rows) const { return std::min(position(rows, end), rows.count); }
    static int64_t position(const Axis& rows, int64_t h) {
      return (std::max<int64_t>(h - rows.to_first, 0) + rows.to_step - 1) / rows.to_step;
    }
  };
  auto task_at = [&](int64_t i) {
    const int64_t n = i / row_tasks % image_tasks * images, h = i % row_tasks * task_rows;
    return Task{n, std::min(images, to_image.n - n), h, std::min(h + task_rows, to_image.h),
                i / row_tasks / image_tasks * task_columns};
  };
  // What a task reads, if not only some of its rows or columns: brought near by the task before it. At 16 channels a
  // large batch takes 1.4 times as long without, at stride 2 twice.
  struct Range {
    const T* begin;
    int64_t size;
  };
  auto input = [&](const Task& task) -> Range {
    int64_t first = from_image.h, last = 0;
    for (const Part& part : parts) {
      const Axis &rows = part.rows, &columns = part.columns;
      if (rows.from_step > std::ssize(rows.taps) || columns.from_step > std::ssize(columns.taps)) return {from, 0};
      const int64_t u0 = task.first(rows), u1 = task.last(rows);
      if (u0 >= u1) continue;
      first = std::min(first, std::max<int64_t>(u0 * rows.from_step + rows.taps.front().offset, 0));
      last = std::max(last, std::min((u1 - 1) * rows.from_step + rows.taps.back().offset + 1, from_image.h));
    }
    if (first >= last) return {from, 0};
    return {from + task.n * from_size + first * from_row, (task.count - 1) * from_size + (last - first) * from_row};
  };

  auto output = [&](const Task& task) -> Range {
    return {to + task.n * to_size + task.begin * to_row, (task.count - 1) * to_size + (task.end - task.begin) * to_row};
  };

  parallel_for(tasks, std::max<int64_t>(1, tasks / (2 * kTasks)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Task task = task_at(i);
      const int64_t count_f = std::min(task_columns, N - task.f);
      const T** const a = &pointers[i * 2 * most_taps];
      const T** const b = a + most_taps;
      // Its rows of whole pixels, or the parts of them that it makes.
      auto each_run = [&](const auto& body) {
        const int64_t size = (task.end - task.begin) * to_row;
        const int64_t run = panel_tasks == 1 ? size : count_f;  // rows of all channels are one run
        for (int64_t n = task.n; n < task.n + task.count; ++n)
          for (int64_t at = 0; at < size; at += std::max(run, N))
            body(to + n * to_size + task.begin * to_row + at + task.f, run);
      };
      if (clear) each_run([](T* run, int64_t n) { std::memset(run, 0, static_cast<size_t>(n) * sizeof(T)); });

      const Range next = i + 1 < end ? input(task_at(i + 1)) : Range{from, 0};
      // Pixels of several parities are written apart from each other, which nothing foresees (1.3 times as long).
      const bool scattered = i + 1 < end && parts.size() > 1;
      const Range next_to = scattered ? output(task_at(i + 1)) : Range{to, 0};
      const int64_t next_size = next.size + next_to.size;
      int64_t pixels = 0, done = 0, near = 0;  // near: how much of the next task's numbers is
      for (const Part& part : parts)
        pixels += (task.last(part.rows) - task.first(part.rows)) * part.columns.count * task.count * groups;
      int64_t first_tap = 0;
      for (const Part& part : parts) {
        const Axis &rows = part.rows, &columns = part.columns;
        const int64_t column_taps = std::ssize(columns.taps), part_tap = first_tap;
        first_tap += std::ssize(rows.taps) * column_taps;
        for (const Segment& rs : rows.segments) {
          const int64_t u0 = std::max(rs.begin, task.first(rows)), count_u = std::min(rs.end, task.last(rows)) - u0;
          if (count_u <= 0) continue;
          for (const Segment& cs : columns.segments) {
            // Tiles run along the axis of these pixels that wastes the fewest rows.
            const int64_t v0 = cs.begin, count_v = cs.end - cs.begin;
            struct Along {
              int64_t count, from, to;
            } along[3] = {{count_v, columns.from_step * from_image.channels, columns.to_step * to_image.channels},
                          {count_u, rows.from_step * from_row, rows.to_step * to_row},
                          {task.count, from_size, to_size}};
            auto cost = [&](const Along& axis) {
              // Each tile reads the panels once, and a short one still waits for its multiply-adds.
              const int64_t tiles = (axis.count + mr - 1) / mr;
              return (std::max<int64_t>(axis.count, 4) + tiles) * (task.count * count_u * count_v / axis.count);
            };
            for (int k = 1; k < 3; ++k)
              if (cost(along[k]) < cost(along[0])) std::swap(along[0], along[k]);

            for (int64_t i2 = 0; i2 < along[2].count; ++i2) {
              const int64_t from_at = task.n * from_size + u0 * rows.from_step * from_row +
                                      v0 * columns.from_step * from_image.channels + i2 * along[2].from;
              const int64_t to_at = task.n * to_size + (u0 * rows.to_step + rows.to_first) * to_row +
                                    (v0 * columns.to_step + columns.to_first) * to_image.channels + i2 * along[2].to;
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
                    b[used++] = &packed[(g * panels + task.f / nr) * panel + (part_tap + r * column_taps + q) * K * nr];
                  }
                done += along[0].count * along[1].count;
                const int64_t ahead = std::exchange(near, next_size > 0 ? next_size * done / pixels : 0);
                gemm.run({.m = along[0].count,
                          .n = count_f,
                          .k = K * std::max<int64_t>(run, 1),
                          .taps = used,
                          .a = a,
                          .a_row = along[0].from,
                          .a_col = 1,
                          .b = b,
                          .b_row = nr,
                          .b_panel = panel,
                          .b_padded = true,
                          .c = to + to_at + g * N + task.f,
                          .c_row = along[0].to,
                          .bias = bias ? bias + g * N + task.f : nullptr,
                          .accumulate = accumulate,
                          .repeats = along[1].count,
                          .a_step = along[1].from,
                          .c_step = along[1].to,
                          .ahead = ahead < next.size ? next.begin + ahead : next_to.begin + (ahead - next.size),
                          .ahead_size = near - ahead});
              }
            }
          }
        }
      }
      if (!finish || !whole) continue;
      typename Finish<T>::Part part(finish);
      each_run([&](T* run, int64_t n) { part(run, n); });
    }
  });
}

template std::shared_ptr<const SlidingPlan<float>> sliding_plan(const SlidingSizes&);
template std::shared_ptr<const SlidingPlan<double>> sliding_plan(const SlidingSizes&);
template void SlidingSum<float>::run() const;
template void SlidingSum<double>::run() const;

}  // namespace fastnn
