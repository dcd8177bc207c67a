// Mean and sum of squared differences per channel, over chunks of rows cut by the problem's size alone: what batch
// normalisation starts from. It takes them itself, or the op that makes its input does, each chunk while it is in
// cache.
#pragma once
#include <algorithm>
#include <atomic>
#include <new>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "core/shape.hpp"
#include "kernels/table.hpp"

namespace fastnn {

struct MomentChunks {
  int64_t rows, channels;
  // 256 KB of float32: half of a small L2.
  int64_t size() const { return std::max<int64_t>(1, 2 * kChunkWork / channels); }
  int64_t count() const { return (rows + size() - 1) / size(); }
  int64_t rows_of(int64_t chunk) const { return std::min(size(), rows - chunk * size()); }
  // Means, then squares: a row of channels for each chunk.
  Spec spec() const { return {{2, rows == kUnknown ? kUnknown : count(), channels}, DType::float64}; }
};

// Takes the moments of each chunk as soon as all its values have been reported.
template <class T>
class ChannelMoments {
 public:
  ChannelMoments(const T* x, const MomentChunks& chunks, double* moments)
      : x_(x), chunks_(chunks), moments_(moments), left_(chunks.count()) {
    for (int64_t i = 0; i < chunks.count(); ++i)
      new (&left_[i]) std::atomic<int64_t>(chunks.rows_of(i) * chunks.channels);
  }
  ChannelMoments(const ChannelMoments&) = delete;

  // n values of a chunk are complete; whoever reports the last ones takes its moments.
  void report(int64_t chunk, int64_t n) const {
    if (left_[chunk].fetch_sub(n, std::memory_order_acq_rel) == n) take(chunk);
  }
  void take(int64_t chunk) const {
    const int64_t C = chunks_.channels;
    double* const means = moments_ + chunk * C;
    kernels_for<T>().norm.channel_moments(means, means + chunks_.count() * C, x_ + chunk * chunks_.size() * C,
                                          chunks_.rows_of(chunk), C);
  }
  int64_t values_of_chunk() const { return chunks_.size() * chunks_.channels; }

 private:
  const T* x_;
  MomentChunks chunks_;
  double* moments_;
  Scratch<std::atomic<int64_t>> left_;
};

}  // namespace fastnn
