#include "ops/norm.hpp"

#include <algorithm>
#include <cmath>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"
#include "ops/finish.hpp"
#include "ops/moments.hpp"

namespace fastnn {

namespace {

// x as (outer, channels, inner). One channel is one long row: the channels-last code then sees it as a run.
struct Channels {
  int64_t outer, channels, inner;
  Channels(const Shape& shape, int axis)
      : outer(numel(shape, 0, axis)), channels(shape[axis]), inner(numel(shape, axis + 1, shape.rank())) {
    if (channels == 1) {
      inner *= outer;
      outer = 1;
    }
  }
  int64_t count() const { return outer * inner; }  // values per channel
  bool last() const { return inner == 1; }
  MomentChunks chunks() const { return {outer, channels}; }  // where channels are last
};

template <class T>
kernels::ReluAfter<T> from_channel(kernels::ReluAfter<T> relu, int64_t c) {
  return relu.scale ? kernels::ReluAfter<T>{relu.scale + c, relu.shift + c} : relu;
}

// The longest run summed at once where channels are not last.
constexpr int64_t kRun = 16384;
template <class Body>
void for_runs(const Channels& v, int64_t channel, const Body& body) {  // body(first element, count)
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t i = 0; i < v.inner; i += kRun)
      body((o * v.channels + channel) * v.inner + i, std::min(kRun, v.inner - i));
}

// Mean and biased variance per channel from those of chunks, which are combined in a fixed order (Chan, Golub, LeVeque
// 1979).
void combine(const MomentChunks& chunks, const double* moments, double* mean, double* variance) {
  const int64_t C = chunks.channels;
  const double *means = moments, *squares = moments + chunks.count() * C;
  const double n = static_cast<double>(chunks.rows);
  std::fill_n(mean, C, 0.0);
  std::fill_n(variance, C, 0.0);
  for (int64_t i = 0; i < chunks.count(); ++i)
    for (int64_t c = 0; c < C; ++c) mean[c] += means[i * C + c] * static_cast<double>(chunks.rows_of(i));
  for (int64_t c = 0; c < C; ++c) mean[c] /= n;
  for (int64_t i = 0; i < chunks.count(); ++i)
    for (int64_t c = 0; c < C; ++c) {
      const double d = means[i * C + c] - mean[c];
      variance[c] += squares[i * C + c] + d * d * static_cast<double>(chunks.rows_of(i));
    }
  for (int64_t c = 0; c < C; ++c) variance[c] /= n;
}

// Mean and biased variance per channel, in double.
template <class T>
void moments(const T* x, const Channels& v, double* mean, double* variance) {
  const auto& k = kernels_for<T>().norm;
  if (v.last()) {
    const MomentChunks chunks = v.chunks();
    Scratch<double> of_chunks(2 * chunks.count() * v.channels);
    const ChannelMoments<T> take(x, chunks, of_chunks.data());
    parallel_for(chunks.count(), 1, [&](int64_t chunk, int64_t) { take.take(chunk); });
    combine(chunks, of_chunks.data(), mean, variance);
    return;
  }
  parallel_for(v.channels, grain_for(v.count()), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      double n = 0, m = 0, q = 0;
      for_runs(v, c, [&](int64_t at, int64_t count) {
        double run_mean, run_squares;
        k.run_moments(&run_mean, &run_squares, x + at, count);
        const double run = static_cast<double>(count), d = run_mean - m;
        q += run_squares + d * d * (n * run / (n + run));
        n += run;
        m += d * (run / n);
      });
      mean[c] = m;
      variance[c] = q / n;
    }
  });
}

// Per channel sum(dy) and sum(dy (x - mean)), dy taken to before the relu if there is one.
template <class T>
void gradient_sums(const T* dy, const T* x, const T* mean, kernels::ReluAfter<T> relu, const Channels& v, double* sum,
                   double* product) {
  const auto& k = kernels_for<T>().norm;
  if (v.last()) {
    const MomentChunks chunks = v.chunks();
    const int64_t C = v.channels, count = chunks.count();
    Scratch<double> sums(count * C), products(count * C);
    parallel_for(count, 1, [&](int64_t i, int64_t) {
      const int64_t at = i * chunks.size() * C;
      k.channel_gradients(&sums[i * C], &products[i * C], dy + at, x + at, mean, relu, chunks.rows_of(i), C);
    });
    std::fill_n(sum, C, 0.0);
    std::fill_n(product, C, 0.0);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < C; ++c) {
        sum[c] += sums[i * C + c];
        product[c] += products[i * C + c];
      }
    return;
  }
  parallel_for(v.channels, grain_for(v.count()), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      sum[c] = product[c] = 0;
      for_runs(v, c, [&](int64_t at, int64_t count) {
        double run_sum, run_product;
        k.run_gradients(&run_sum, &run_product, dy + at, x + at, mean + c, from_channel(relu, c), count);
        sum[c] += run_sum;
        product[c] += run_product;
      });
    }
  });
}

// body(first element, rows, columns, first parameter, parameter step) over blocks that share one layout of parameters.
template <class Body>
void for_blocks(const Channels& v, const Body& body) {
  if (v.last()) {
    parallel_for(v.outer, grain_for(v.channels),
                 [&](int64_t begin, int64_t end) { body(begin * v.channels, end - begin, v.channels, 0, 1); });
    return;
  }
  const int64_t pieces = (v.inner + kRun - 1) / kRun;
  parallel_for(v.outer * v.channels * pieces, grain_for(std::min(v.inner, kRun)), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t run = task / pieces, first = task % pieces * kRun;
      body(run * v.inner + first, 1, std::min(kRun, v.inner - first), run % v.channels, 0);
    }
  });
}

// to[c] = (accumulate ? to[c] : 0) + f(c), where somebody asked.
template <class T, class F>
void write_channels(const Gradient& to, int64_t channels, const F& f) {
  if (!to) return;
  T* p = to.to.data<T>();
  for (int64_t c = 0; c < channels; ++c) p[c] = (to.accumulate ? p[c] : T(0)) + static_cast<T>(f(c));
}

template <class T>
void normalize(T* y, const T* x, const T* mean, const T* scale, const T* shift, const Channels& v,
               const std::optional<Activation>& then, const Tensor& whole) {
  const auto kernel = kernels_for<T>().norm.forward;
  const bool relu = then && then->kind == kernels::Unary::relu;
  const Finish<T> finish(relu ? std::nullopt : then, whole);
  for_blocks(v, [&](int64_t at, int64_t rows, int64_t columns, int64_t c, int64_t step) {
    kernel(y + at, x + at, mean + c, scale + c, shift + c, step, rows, columns, relu);
    finish(y + at, rows * columns);
  });
}

// y = scale (x - mean) + shift per channel, with the mean, scale and shift that a batch normalisation has left.
class Normalize final : public Op {
 public:
  Normalize(int64_t axis, std::optional<Activation> then)
      : axis_(axis), then_(then), name_(name_with("normalize", then)) {}
  std::string_view name() const override { return name_; }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override { return {x[0]}; }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "normalize", [&](auto zero) {
      using T = decltype(zero);
      const Channels v(x[0].shape(), normalize_axis(axis_, x[0].rank(), "normalize"));
      if (v.channels == 0 || v.count() == 0) return;
      const T *px = x[0].data<T>(), *mean = x[1].data<T>(), *scale = x[2].data<T>(), *shift = x[3].data<T>();
      normalize(y[0].data<T>(), px, mean, scale, shift, v, then_, y[0]);
    });
  }

 private:
  int64_t axis_;
  std::optional<Activation> then_;
  std::string name_;
};

class BatchNormalization final : public Op {
 public:
  BatchNormalization(int64_t axis, double epsilon, bool training, bool has_gamma, bool has_beta,
                     std::optional<Activation> then = std::nullopt, bool takes_moments = false)
      : axis_(axis),
        epsilon_(epsilon),
        training_(training),
        gamma_(has_gamma ? (training ? 1 : 3) : 0),
        beta_(has_beta ? (training ? 1 : 3) + (has_gamma ? 1 : 0) : 0),
        then_(then),
        takes_moments_(takes_moments),
        name_(name_with(title(), then)) {}
  std::string_view name() const override { return name_; }
  std::shared_ptr<const Op> followed_by(const Activation& then) const override {
    if (then_ || takes_moments_) return nullptr;
    return std::make_shared<BatchNormalization>(axis_, epsilon_, training_, gamma_ > 0, beta_ > 0, then);
  }
  std::shared_ptr<const Op> from_moments(const Spec& x) const override {
    // Axes of size 1 behind the channels make them last too, but not those of the convolution.
    const bool last = view(x.shape).last() && view(x.shape).channels == x.shape[x.shape.rank() - 1];
    if (!training_ || takes_moments_ || !last) return nullptr;
    return std::make_shared<BatchNormalization>(axis_, epsilon_, true, gamma_ > 0, beta_ > 0, then_, true);
  }
  bool finishes_gradient(size_t i) const override { return i == 0; }
  std::optional<Again> again() const override {
    if (!training_) return std::nullopt;
    return Again{std::make_shared<Normalize>(axis_, then_), {0}, {1, 3, 4}};
  }
  bool may_overwrite(size_t output, size_t input) const override { return output == 0 && input == 0; }
  bool gradient_may_overwrite(size_t i, bool) const override { return i == 0; }
  std::vector<Spec> infer(Specs x) const override {
    const Spec& in = x[0];
    if (!is_floating(in.dtype))
      throw TypeError(cat(title(), ": expected x of dtype float32 or float64, got ", in.dtype));
    const int axis = normalize_axis(axis_, in.shape.rank(), title());
    int64_t channels = in.shape[axis];
    for (size_t i = 1; i < x.size() - (takes_moments_ ? 1 : 0); ++i) {
      const char* what = i == gamma_ ? "gamma" : i == beta_ ? "beta" : i == 1 ? "mean" : "variance";
      if (x[i].dtype != in.dtype)
        throw TypeError(cat(title(), ": expected ", what, " of x's dtype ", in.dtype, ", got ", x[i].dtype));
      if (x[i].shape.rank() != 1 || !same_dim(x[i].shape[0], channels))
        throw ValueError(cat(title(), ": expected ", what, " of shape (", in.shape[axis], ",), the size of axis ",
                             axis_, " of x ", in.shape, ", got ", x[i].shape));
      channels = known_dim(channels, x[i].shape[0]);
    }
    if (!training_) return {in};
    for (int d = 0; d < in.shape.rank(); ++d)
      if (d != axis && in.shape[d] == 0)
        throw ValueError(cat(title(), ": expected at least one value per channel, got x of shape ", in.shape));
    const Spec parameter{{channels}, in.dtype};
    return {in, parameter, parameter, parameter, parameter};  // y, mean, variance, scale and shift
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), title(), [&](auto zero) {
      using T = decltype(zero);
      const Channels v = view(x[0].shape());
      const int64_t C = v.channels;
      if (C == 0 || v.count() == 0) return;
      const T* px = x[0].data<T>();
      Scratch<double> moment(training_ ? 2 * C : 0);
      Scratch<T> parameters(training_ ? 0 : 2 * C);
      T* const scale = training_ ? y[3].data<T>() : parameters.data();
      T* const shift = training_ ? y[4].data<T>() : parameters.data() + C;
      if (takes_moments_)
        combine(v.chunks(), x.back().data<double>(), moment.data(), moment.data() + C);
      else if (training_)
        moments(px, v, moment.data(), moment.data() + C);
      const T *gamma = gamma_ ? x[gamma_].data<T>() : nullptr, *beta = beta_ ? x[beta_].data<T>() : nullptr;
      T* mean = training_ ? y[1].data<T>() : x[1].data<T>();
      for (int64_t c = 0; c < C; ++c) {
        double rest = 0;  // the part of the mean that T has no room for
        if (training_) {
          mean[c] = static_cast<T>(moment[c]);
          y[2].data<T>()[c] = static_cast<T>(moment[C + c]);
          rest = moment[c] - static_cast<double>(mean[c]);
        }
        const double variance = training_ ? moment[C + c] : static_cast<double>(x[2].data<T>()[c]);
        const double s = (gamma ? static_cast<double>(gamma[c]) : 1.0) / std::sqrt(variance + epsilon_);
        scale[c] = static_cast<T>(s);
        shift[c] = static_cast<T>((beta ? static_cast<double>(beta[c]) : 0.0) - rest * s);
      }
      normalize(y[0].data<T>(), px, mean, scale, shift, v, then_, y[0]);
    });
  }
  bool reads_input(size_t i) const override { return i == 0 || i == gamma_ || (!training_ && i < 3); }
  bool reads_output(size_t i) const override { return training_ && i > 0 && (i < 3 || then_); }
  bool differentiates(const Activation& then) const override { return training_ && then.kind == kernels::Unary::relu; }
  // With x^ = (x - mean) rstd: dbeta = sum dy, dgamma = sum dy x^. Inference: dx = gamma rstd dy. Training, where mean
  // and variance move with x: dx = gamma rstd (dy - mean(dy) - x^ mean(dy x^)).
  void backward(const BackwardArgs& b) const override {
    with_float(b.x_spec[0].dtype, title(), [&](auto zero) {
      using T = decltype(zero);
      const Channels v = view(b.x_spec[0].shape);
      const int64_t C = v.channels;
      const T *x = b.x[0].data<T>(), *dy = b.dy[0].data<T>();
      const T* mean = (training_ ? b.y[1] : b.x[1]).template data<T>();
      const T* variance = (training_ ? b.y[2] : b.x[2]).template data<T>();
      const T* gamma = gamma_ ? b.x[gamma_].data<T>() : nullptr;
      kernels::ReluAfter<T> relu;
      if (then_) relu = {b.y[3].data<T>(), b.y[4].data<T>()};
      Scratch<double> sum(C), product(C), rstd(C);
      bool sums = training_;
      for (size_t i = 1; i < b.dx.size(); ++i) sums |= static_cast<bool>(b.dx[i]);
      if (sums && C > 0) gradient_sums(dy, x, mean, relu, v, sum.data(), product.data());
      for (int64_t c = 0; c < C; ++c) rstd[c] = 1 / std::sqrt(static_cast<double>(variance[c]) + epsilon_);
      const auto scale_of = [&](int64_t c) { return (gamma ? static_cast<double>(gamma[c]) : 1.0) * rstd[c]; };
      if (b.dx[0] && v.count() > 0) {
        Scratch<T> scale(C), slope(C), center(C);
        const double n = static_cast<double>(v.count());
        for (int64_t c = 0; c < C; ++c) {
          scale[c] = static_cast<T>(scale_of(c));
          slope[c] = training_ ? static_cast<T>(rstd[c] * rstd[c] * product[c] / n) : T(0);
          center[c] = training_ ? static_cast<T>(sum[c] / n) : T(0);
        }
        const auto kernel = kernels_for<T>().norm.backward;
        T* dx = b.dx[0].to.template data<T>();
        const bool accumulate = b.dx[0].accumulate;
        const Finish<T> finish(b.dx[0]);
        for_blocks(v, [&](int64_t at, int64_t rows, int64_t columns, int64_t c, int64_t step) {
          kernel(dx + at, dy + at, training_ ? x + at : nullptr, mean + c, scale.data() + c, slope.data() + c,
                 center.data() + c, from_channel(relu, c), step, rows, columns, accumulate);
          finish(dx + at, rows * columns);
        });
      }
      if (gamma_) write_channels<T>(b.dx[gamma_], C, [&](int64_t c) { return product[c] * rstd[c]; });
      if (beta_) write_channels<T>(b.dx[beta_], C, [&](int64_t c) { return sum[c]; });
      if (training_) return;
      write_channels<T>(b.dx[1], C, [&](int64_t c) { return -scale_of(c) * sum[c]; });
      write_channels<T>(b.dx[2], C, [&](int64_t c) { return -0.5 * scale_of(c) * rstd[c] * rstd[c] * product[c]; });
    });
  }

 private:
  const char* title() const { return training_ ? "batch_normalization_training" : "batch_normalization"; }
  Channels view(const Shape& shape) const { return {shape, normalize_axis(axis_, shape.rank(), title())}; }
  int64_t axis_;
  double epsilon_;
  bool training_;
  size_t gamma_, beta_;  // which input, 0: there is none
  std::optional<Activation> then_;
  bool takes_moments_;  // as the last input
  std::string name_;
};

// y = gamma x^ + beta, x^ = (x - mean) rstd, with mean and rstd of each row: the elements of the last axes.
// dx = rstd (g - mean(g) - x^ mean(g x^)), g = gamma dy;  dgamma = sum over rows of dy x^, dbeta = of dy.
class LayerNormalization final : public Op {
 public:
  LayerNormalization(int axes, double epsilon, bool has_gamma, bool has_beta)
      : axes_(axes), epsilon_(epsilon), gamma_(has_gamma ? 1 : 0), beta_(has_beta ? (has_gamma ? 2 : 1) : 0) {}
  std::string_view name() const override { return "layer_normalization"; }
  std::vector<Spec> infer(Specs x) const override {
    const Spec& in = x[0];
    if (!is_floating(in.dtype))
      throw TypeError(cat("layer_normalization: expected x of dtype float32 or float64, got ", in.dtype));
    if (in.shape.rank() < axes_)
      throw ValueError(cat("layer_normalization: expected x of at least ", axes_, " dimensions, got ", in.shape));
    Shape rows, row;
    for (int d = 0; d < in.shape.rank(); ++d) (d < in.shape.rank() - axes_ ? rows : row).push_back(in.shape[d]);
    for (size_t i = 1; i < x.size(); ++i) {
      const char* what = i == gamma_ ? "gamma" : "beta";
      if (x[i].dtype != in.dtype)
        throw TypeError(cat("layer_normalization: expected ", what, " of x's dtype ", in.dtype, ", got ", x[i].dtype));
      bool fits = x[i].shape.rank() == axes_;
      for (int d = 0; fits && d < axes_; ++d) fits = same_dim(x[i].shape[d], row[d]);
      if (!fits)
        throw ValueError(cat("layer_normalization: expected ", what, " of shape ", row, ", the normalised axes of x ",
                             in.shape, ", got ", x[i].shape));
    }
    return {in, {rows, in.dtype}, {rows, in.dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "layer_normalization", [&](auto zero) {
      using T = decltype(zero);
      const int64_t rows = y[1].size(), n = row_size(x[0].shape());
      if (n == 0) return;
      const T *px = x[0].data<T>(), *gamma = gamma_ ? x[gamma_].data<T>() : nullptr;
      const T* beta = beta_ ? x[beta_].data<T>() : nullptr;
      T *py = y[0].data<T>(), *mean = y[1].data<T>(), *rstd = y[2].data<T>();
      const auto& k = kernels_for<T>().norm;
      parallel_for(rows, grain_for(3 * n), [&](int64_t begin, int64_t end) {
        constexpr int64_t kPair = 2;  // the moments of one row wait for less beside those of another
        for (int64_t first = begin; first < end; first += kPair) {
          const int64_t last = std::min(first + kPair, end);
          T shift[kPair];
          for (int64_t r = first; r < last; ++r) {
            double m, squares;
            k.run_moments(&m, &squares, px + r * n, n);
            const double s = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon_);
            mean[r] = static_cast<T>(m);
            rstd[r] = static_cast<T>(s);
            shift[r - first] = static_cast<T>((static_cast<double>(mean[r]) - m) * s);
          }
          for (int64_t r = first; r < last; ++r)
            k.layer_forward(py + r * n, px + r * n, mean[r], rstd[r], shift[r - first], gamma, beta, n);
        }
      });
    });
  }
  bool reads_input(size_t i) const override { return i == 0 || i == gamma_; }
  bool reads_output(size_t i) const override { return i > 0; }
  void backward(const BackwardArgs& b) const override {
    with_float(b.x_spec[0].dtype, "layer_normalization", [&](auto zero) {
      using T = decltype(zero);
      const int64_t rows = numel(b.y_spec[1].shape), n = row_size(b.x_spec[0].shape);
      if (n == 0) return;
      const T *x = b.x[0].data<T>(), *dy = b.dy[0].data<T>(), *gamma = gamma_ ? b.x[gamma_].data<T>() : nullptr;
      const T *mean = b.y[1].data<T>(), *rstd = b.y[2].data<T>();
      const auto& k = kernels_for<T>().norm;
      T* const dx = b.dx[0] ? b.dx[0].to.template data<T>() : nullptr;
      auto input_gradient = [&](int64_t r) {
        if (dx) k.layer_backward(dx + r * n, dy + r * n, x + r * n, mean[r], rstd[r], gamma, n, b.dx[0].accumulate);
      };
      const Gradient none, &dgamma = gamma_ ? b.dx[gamma_] : none, &dbeta = beta_ ? b.dx[beta_] : none;
      if (!dgamma && !dbeta) {
        parallel_for(rows, grain_for(4 * n), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) input_gradient(r);
        });
        return;
      }
      // Rows in chunks by their number alone, chunk sums added in order; a row's dx while it is in cache.
      const int64_t chunk_rows = std::max<int64_t>(1, kChunkWork / n);
      const int64_t chunks = (rows + chunk_rows - 1) / chunk_rows;
      Scratch<T> gammas(dgamma ? chunks * n : 0), betas(dbeta ? chunks * n : 0);
      parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          T *to_gamma = dgamma ? &gammas[i * n] : nullptr, *to_beta = dbeta ? &betas[i * n] : nullptr;
          if (to_gamma) std::fill_n(to_gamma, n, T(0));
          if (to_beta) std::fill_n(to_beta, n, T(0));
          for (int64_t r = i * chunk_rows; r < std::min(rows, (i + 1) * chunk_rows); ++r) {
            k.layer_parameters(to_gamma, to_beta, dy + r * n, x + r * n, mean[r], rstd[r], n);
            input_gradient(r);
          }
        }
      });
      const auto sum_rows = kernels_for<T>().reduce.sum_rows;
      if (dgamma) sum_rows(dgamma.to.template data<T>(), gammas.data(), chunks, n, n, dgamma.accumulate);
      if (dbeta) sum_rows(dbeta.to.template data<T>(), betas.data(), chunks, n, n, dbeta.accumulate);
    });
  }

 private:
  int64_t row_size(const Shape& shape) const { return numel(shape, shape.rank() - axes_, shape.rank()); }
  int axes_;
  double epsilon_;
  size_t gamma_, beta_;  // which input, 0: there is none
};

}  // namespace

OpPtr batch_normalization_training(int64_t axis, double epsilon, bool has_gamma, bool has_beta) {
  return std::make_shared<BatchNormalization>(axis, epsilon, true, has_gamma, has_beta);
}
OpPtr batch_normalization(int64_t axis, double epsilon, bool has_gamma, bool has_beta) {
  return std::make_shared<BatchNormalization>(axis, epsilon, false, has_gamma, has_beta);
}
OpPtr layer_normalization(int axes, double epsilon, bool has_gamma, bool has_beta) {
  return std::make_shared<LayerNormalization>(axes, epsilon, has_gamma, has_beta);
}

}  // namespace fastnn
