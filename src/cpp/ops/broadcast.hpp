// Walks N operands broadcast to one shape, row by row, in parallel.
#pragma once
#include <array>

#include "core/parallel.hpp"
#include "core/shape.hpp"

namespace fastnn {

template <int N>
class BroadcastLoop {
 public:
  using Offsets = std::array<int64_t, N>;

  BroadcastLoop(const Shape& out, const std::array<Shape, N>& operands) {
    // Neighbouring dimensions merge where every operand walks them as one, so the inner row is as long as can be.
    for (int d = 0; d < out.rank(); ++d) {
      if (out[d] == 1) continue;
      Offsets stride;
      for (int p = 0; p < N; ++p) stride[p] = stride_of(operands[p], out, d);
      bool merge = rank_ > 0;
      for (int p = 0; p < N && merge; ++p) merge = strides_[rank_ - 1][p] == stride[p] * out[d];
      if (merge) {
        dims_[rank_ - 1] *= out[d];
        strides_[rank_ - 1] = stride;
      } else {
        dims_[rank_] = out[d];
        strides_[rank_++] = stride;
      }
    }
    if (rank_ == 0) {
      dims_[0] = 1;
      strides_[0].fill(0);
      rank_ = 1;
    }
  }

  const Offsets& inner_strides() const { return strides_[rank_ - 1]; }  // 0 or 1 each

  // The elements of operand p where it is one row that stands beside every row of the others, which have all; else 0.
  int64_t row_of(int p) const {
    if (rank_ != 2) return 0;
    for (int q = 0; q < N; ++q)
      if (strides_[1][q] != 1 || strides_[0][q] != (q == p ? 0 : dims_[1])) return 0;
    return dims_[1];
  }

  // row(first output element, offset per operand, elements)
  template <class Row>
  void run(int64_t work_per_element, const Row& row) const {
    const int64_t inner = dims_[rank_ - 1];
    int64_t rows = 1;
    for (int d = 0; d + 1 < rank_; ++d) rows *= dims_[d];
    if (inner == 0 || rows == 0) return;
    const Offsets& step = inner_strides();
    if (rows == 1) {
      parallel_for(inner, grain_for(work_per_element), [&](int64_t begin, int64_t end) {
        Offsets at;
        for (int p = 0; p < N; ++p) at[p] = begin * step[p];
        row(begin, at, end - begin);
      });
      return;
    }
    parallel_for(rows, grain_for(inner * work_per_element), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        Offsets at{};
        int64_t rest = r;
        for (int d = rank_ - 2; d >= 0; --d) {
          const int64_t index = rest % dims_[d];
          rest /= dims_[d];
          for (int p = 0; p < N; ++p) at[p] += index * strides_[d][p];
        }
        row(r * inner, at, inner);
      }
    });
  }

 private:
  static int64_t stride_of(const Shape& shape, const Shape& out, int d) {
    const int own = d - (out.rank() - shape.rank());
    if (own < 0 || shape[own] == 1) return 0;
    return numel(shape, own + 1, shape.rank());
  }

  int rank_ = 0;
  std::array<int64_t, kMaxRank> dims_{};
  std::array<Offsets, kMaxRank> strides_{};
};

}  // namespace fastnn
