#include "ops/random.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"

namespace fastnn {

namespace {

using kernels::kRandomBlock;
using kernels::PhiloxKey;

// A number costs about a nanosecond; chunks are whole blocks.
constexpr int64_t kGrain = kChunkWork;
static_assert(kGrain % (2 * kRandomBlock) == 0);

// Seed and stream make the key; step and element the counter. The 32 bits of `stream` sit above the 40 bits of a
// block's index and the 56 bits of the step, more than either reaches.
PhiloxKey philox_key(RandomStream s, uint64_t step) {
  return {
      {static_cast<uint32_t>(s.seed), static_cast<uint32_t>(s.seed >> 32)},
      {0, s.stream << 8, static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32) | (s.stream & 0xFF000000u)}};
}

void check_step(const Spec& step, std::string_view op) {
  if (step.shape.rank() != 0 || step.dtype != DType::int64)
    throw ValueError(
        cat(op, ": expected step to be one int64 number, got shape ", step.shape, " and dtype ", step.dtype));
}

uint64_t step_of(const Tensor& step) { return static_cast<uint64_t>(*step.data<int64_t>()); }

class Dropout final : public Op {
 public:
  Dropout(double rate, RandomStream stream) : rate_(rate), stream_(stream) {}
  std::string_view name() const override { return "dropout"; }
  std::vector<Spec> infer(Specs x) const override {
    if (!(rate_ >= 0 && rate_ < 1)) throw ValueError(cat("dropout: expected 0 <= rate < 1, got ", rate_));
    if (!is_floating(x[0].dtype))
      throw TypeError(cat("dropout: expected x of dtype float32 or float64, got ", x[0].dtype));
    check_step(x[1], "dropout");
    return {x[0]};
  }
  void forward(Tensors x, Tensors y) const override { run(x[0], y[0], x[1], false); }
  bool reads_input(size_t i) const override { return i == 1; }
  void backward(const BackwardArgs& b) const override {  // the same mask again
    if (b.dx[0]) run(b.dy[0], b.dx[0].to, b.x[1], b.dx[0].accumulate);
  }

 private:
  void run(const Tensor& x, const Tensor& y, const Tensor& step, bool accumulate) const {
    const PhiloxKey key = philox_key(stream_, step_of(step));
    const auto threshold = static_cast<uint16_t>(std::fmin(std::nearbyint(rate_ * 0x1p16), 0x1p16 - 1));
    with_float(x.dtype(), "dropout", [&](auto zero) {
      using T = decltype(zero);
      const auto kernel = kernels_for<T>().random.dropout;
      const T* px = x.data<T>();
      T* py = y.data<T>();
      parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) {
        kernel(py + begin, px + begin, end - begin, static_cast<uint64_t>(begin), key, threshold,
               static_cast<T>(1 / (1 - rate_)), accumulate);
      });
    });
  }
  double rate_;
  RandomStream stream_;
};

class RandomNumbers final : public Op {
 public:
  RandomNumbers(Distribution kind, const Shape& shape, DType dtype, double a, double b, RandomStream stream)
      : kind_(kind), spec_{shape, dtype}, a_(a), b_(b), stream_(stream) {}
  std::string_view name() const override {
    return kind_ == Distribution::uniform  ? "random_uniform"
           : kind_ == Distribution::normal ? "random_normal"
                                           : "random_truncated_normal";
  }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override {
    check_step(x[0], name());
    if (!is_floating(spec_.dtype))
      throw TypeError(cat(name(), ": expected dtype float32 or float64, got ", spec_.dtype));
    for (int64_t d : spec_.shape)
      if (d < 0) throw ValueError(cat(name(), ": expected a shape of dimensions >= 0, got ", spec_.shape));
    const auto finite = [&](double v) {
      return std::isfinite(spec_.dtype == DType::float32 ? static_cast<float>(v) : v);
    };
    if (!finite(a_) || !finite(b_) || !finite(b_ - a_))
      throw ValueError(
          cat(name(), ": expected parameters that are finite in ", spec_.dtype, ", got ", a_, " and ", b_));
    if (kind_ == Distribution::uniform && a_ > b_)
      throw ValueError(cat(name(), ": expected minval <= maxval, got ", a_, " and ", b_));
    if (kind_ != Distribution::uniform && b_ < 0) throw ValueError(cat(name(), ": expected stddev >= 0, got ", b_));
    return {spec_};
  }
  void forward(Tensors x, Tensors y) const override {
    const PhiloxKey key = philox_key(stream_, step_of(x[0]));
    with_float(spec_.dtype, "random", [&](auto zero) {
      using T = decltype(zero);
      const auto& k = kernels_for<T>().random;
      const T a = static_cast<T>(a_), b = static_cast<T>(b_);
      const T largest = a < b ? std::nextafter(b, a) : a, span = static_cast<T>(b_ - a_);
      T* py = y[0].data<T>();
      parallel_for(y[0].size(), kGrain, [&](int64_t begin, int64_t end) {
        const auto first = static_cast<uint64_t>(begin);
        if (kind_ == Distribution::uniform)
          k.uniform(py + begin, end - begin, first, key, a, span, largest);
        else
          (kind_ == Distribution::normal ? k.normal : k.truncated_normal)(py + begin, end - begin, first, key, a, b);
      });
    });
  }

 private:
  Distribution kind_;
  Spec spec_;
  double a_, b_;
  RandomStream stream_;
};

}  // namespace

OpPtr dropout(double rate, RandomStream stream) { return std::make_shared<Dropout>(rate, stream); }
OpPtr random_numbers(Distribution kind, const Shape& shape, DType dtype, double a, double b, RandomStream stream) {
  return std::make_shared<RandomNumbers>(kind, shape, dtype, a, b, stream);
}

void random_bits(uint32_t* y, int64_t n, uint64_t first, RandomStream stream, uint64_t step) {
  kernels_for<float>().random.bits(y, n, first, philox_key(stream, step));
}

// Fisher and Yates. 64 bits per draw: the bias of taking the high half of a product is n / 2^64.
void random_permutation(int64_t* y, int64_t n, RandomStream stream, uint64_t step) {
  constexpr int64_t kDraws = 256;  // at a time: a block of four words for each, of which it takes two
  uint32_t words[4 * kDraws];
  for (int64_t i = 0; i < n; ++i) y[i] = i;
  for (int64_t end = n; end > 1;) {
    const int64_t begin = (end - 1) / kDraws * kDraws;
    random_bits(words, 4 * (end - begin), static_cast<uint64_t>(4 * begin), stream, step);
    for (int64_t i = end - 1; i >= std::max<int64_t>(begin, 1); --i) {
      const uint32_t* draw = words + 4 * (i - begin);
      const uint64_t word = draw[0] | static_cast<uint64_t>(draw[1]) << 32;
      const auto j = static_cast<int64_t>(static_cast<unsigned __int128>(word) * static_cast<uint64_t>(i + 1) >> 64);
      std::swap(y[i], y[j]);
    }
    end = begin;
  }
}

}  // namespace fastnn
