#include "ops/loss.hpp"

#include <algorithm>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"

namespace fastnn {

namespace {

using kernels::MeanLoss;

constexpr int64_t kWork = 4;  // elementary operations an exponential or a logarithm costs

Shape without_last(Shape shape) {
  shape.erase(shape.rank() - 1);
  return shape;
}

bool same_dims(const Shape& a, const Shape& b) {
  if (a.rank() != b.rank()) return false;
  for (int d = 0; d < a.rank(); ++d)
    if (!same_dim(a[d], b[d])) return false;
  return true;
}
Shape known_dims(Shape a, const Shape& b) {
  for (int d = 0; d < a.rank(); ++d) a[d] = known_dim(a[d], b[d]);
  return a;
}

void check_prediction(const char* op, const Spec& y_pred) {
  if (!is_floating(y_pred.dtype))
    throw TypeError(cat(op, ": expected y_pred of dtype float32 or float64, got ", y_pred.dtype));
  if (y_pred.shape.rank() < 1) throw ValueError(cat(op, ": expected y_pred of at least 1 dimension, got a scalar"));
}

void check_dtype(const char* op, Specs x) {
  if (x[0].dtype != x[1].dtype)
    throw TypeError(cat(op, ": expected y_true of y_pred's dtype ", x[1].dtype, ", got ", x[0].dtype));
}

// One class per row, judged before anybody writes anything.
void read_labels(const Tensor& y_true, int64_t classes, int64_t* labels) {
  with_dtype(y_true.dtype(), [&](auto zero) {
    using L = decltype(zero);
    const L* p = y_true.data<L>();
    for (int64_t r = 0, rows = y_true.size(); r < rows; ++r) {
      if constexpr (std::is_integral_v<L>)
        if (static_cast<uint64_t>(p[r]) < static_cast<uint64_t>(classes)) {
          labels[r] = static_cast<int64_t>(p[r]);
          continue;
        }
      // As double, exact below 2^53: the conversion of a NaN or of 1e300 to an integer is undefined.
      const double label = static_cast<double>(p[r]);
      if (!(label >= 0 && label < static_cast<double>(classes)))
        throw ValueError(cat("y_true: label ", +p[r], " at row ", r, "; expected 0..", classes - 1));
      labels[r] = static_cast<int64_t>(label);
      if (static_cast<double>(labels[r]) != label)
        throw ValueError(cat("y_true: label ", +p[r], " at row ", r, "; expected an integer"));
    }
  });
}

// From logits z: loss = -sum(t log softmax(z)), dz = sum(t) softmax(z) - t.
// From probabilities p: the same of log(clip(p / sum(p))).
class CrossEntropy final : public Op {
 public:
  CrossEntropy(bool sparse, bool from_logits, double smoothing)
      : sparse_(sparse), from_logits_(from_logits), smoothing_(smoothing) {}
  std::string_view name() const override { return title(); }
  std::vector<Spec> infer(Specs x) const override {
    check_prediction(title(), x[1]);
    const Shape &labels = x[0].shape, &y_pred = x[1].shape;
    Shape rows = without_last(y_pred);
    if (sparse_) {
      Shape own = labels;
      if (own.rank() == y_pred.rank() && same_dim(own.back(), 1)) own = without_last(own);
      if (!same_dims(own, rows))
        throw ValueError(cat(title(), ": expected y_true of shape ", rows, ", one label per row of y_pred ", y_pred,
                             ", got ", labels,
                             same_dims(labels, y_pred) ? "; for one-hot targets use categorical_crossentropy" : ""));
      rows = known_dims(rows, own);
    } else {
      check_dtype(title(), x);
      if (!same_dims(labels, y_pred))
        throw ValueError(cat(title(), ": expected y_true of y_pred's shape ", y_pred, ", got ", labels,
                             "; for integer labels use sparse_categorical_crossentropy"));
      rows = without_last(known_dims(labels, y_pred));
    }
    Shape state = rows;
    state.push_back(2);
    return {{rows, x[1].dtype}, {state, x[1].dtype}};
  }
  // dloss null: no gradient is asked for.
  void run(const Tensor& y_true, const Tensor& y_pred, Tensors y, const Tensor* dloss, const Tensor* dx) const {
    with_float(y_pred.dtype(), title(), [&](auto zero) {
      using T = decltype(zero);
      const int64_t rows = y[0].size(), classes = y_pred.shape().back();
      Scratch<int64_t> labels(sparse_ ? rows : 0);
      const auto targets = targets_of<T>(y_true, classes, labels.data());
      const auto kernel = kernels_for<T>().loss.cross_entropy;
      const T *z = y_pred.data<T>(), *d = dloss ? dloss->data<T>() : nullptr;
      T *loss = y[0].data<T>(), *state = y[1].data<T>(), *dz = dx ? dx->data<T>() : nullptr;
      // Rows that are still in L1 for what comes after their sums.
      const int64_t block = std::max<int64_t>(1, 4096 / std::max<int64_t>(1, classes));
      parallel_for(rows, grain_for(kWork * classes), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; r += block) {
          const int64_t n = std::min(block, end - r);
          const auto own = from_row(targets, r, classes);
          kernel(loss + r, state + 2 * r, own, z + r * classes, n, classes, from_logits_,
                 dz ? dz + r * classes : nullptr, d ? d + r : nullptr);
        }
      });
    });
  }
  void forward(Tensors x, Tensors y) const override { run(x[0], x[1], y, nullptr, nullptr); }
  std::shared_ptr<const Op> with_gradient(size_t input) const override;
  bool has_gradient(size_t i) const override { return i == 1; }
  bool reads_input(size_t) const override { return true; }
  bool reads_output(size_t i) const override { return i == 1; }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[1]) return;
    with_float(b.x_spec[1].dtype, title(), [&](auto zero) {
      using T = decltype(zero);
      const int64_t rows = b.dy[0].size(), classes = b.x_spec[1].shape.back();
      Scratch<int64_t> labels(sparse_ ? rows : 0);
      const auto targets = targets_of<T>(b.x[0], classes, labels.data());
      const auto kernel = kernels_for<T>().loss.cross_entropy_backward;
      const T *y_pred = b.x[1].data<T>(), *state = b.y[1].data<T>(), *d_loss = b.dy[0].data<T>();
      T* dx = b.dx[1].to.template data<T>();
      parallel_for(rows, grain_for(kWork * classes), [&](int64_t begin, int64_t end) {
        kernel(dx + begin * classes, d_loss + begin, state + 2 * begin, from_row(targets, begin, classes),
               y_pred + begin * classes, end - begin, classes, from_logits_, b.dx[1].accumulate);
      });
    });
  }

 private:
  const char* title() const { return sparse_ ? "sparse_categorical_crossentropy" : "categorical_crossentropy"; }
  template <class T>
  kernels::Targets<T> targets_of(const Tensor& y_true, int64_t classes, int64_t* labels) const {
    if (!sparse_) return {y_true.data<T>(), nullptr, static_cast<T>(smoothing_)};
    read_labels(y_true, classes, labels);
    return {nullptr, labels, T(0)};
  }
  template <class T>
  static kernels::Targets<T> from_row(kernels::Targets<T> t, int64_t row, int64_t classes) {
    if (t.dense) t.dense += row * classes;
    if (t.labels) t.labels += row;
    return t;
  }
  bool sparse_, from_logits_;
  double smoothing_;
};

// loss, state, dz = of (y_true, z, dloss)
class CrossEntropyWithGradient final : public Op {
 public:
  explicit CrossEntropyWithGradient(const CrossEntropy& loss) : loss_(loss), name_(cat(loss.name(), "+gradient")) {}
  std::string_view name() const override { return name_; }
  std::vector<Spec> infer(Specs x) const override {
    std::vector<Spec> y = loss_.infer(x.first(2));
    y.push_back(x[1]);
    return y;
  }
  void forward(Tensors x, Tensors y) const override { loss_.run(x[0], x[1], y, &x[2], &y[2]); }

 private:
  CrossEntropy loss_;
  std::string name_;
};

std::shared_ptr<const Op> CrossEntropy::with_gradient(size_t input) const {
  return input == 1 ? std::make_shared<CrossEntropyWithGradient>(*this) : nullptr;
}

// loss[row] = mean over the last axis of f(y_true, y_pred), dy_pred = dloss[row] f' / n.
class MeanOverRow final : public Op {
 public:
  MeanOverRow(MeanLoss kind, double smoothing) : kind_(kind), smoothing_(smoothing) {}
  std::string_view name() const override { return title(); }
  std::vector<Spec> infer(Specs x) const override {
    check_prediction(title(), x[1]);
    check_dtype(title(), x);
    Shape a = x[0].shape, b = x[1].shape;
    // Keras: a last dimension of 1 that only one of the two has goes; vectors against columns are columns.
    if (a.rank() == b.rank() + 1 && same_dim(a.back(), 1)) a = without_last(a);
    if (b.rank() == a.rank() + 1 && same_dim(b.back(), 1)) b = without_last(b);
    if (!same_dims(a, b))
      throw ValueError(cat(title(), ": expected y_true of y_pred's shape ", x[1].shape, ", got ", x[0].shape));
    Shape rows = known_dims(a, b);
    if (x[0].shape.rank() == x[1].shape.rank() || rows.rank() > 1) rows = without_last(rows);
    return {{rows, x[1].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[1].dtype(), title(), [&](auto zero) {
      using T = decltype(zero);
      const int64_t rows = y[0].size(), n = rows == 0 ? 0 : x[1].size() / rows;
      const auto kernel = kernels_for<T>().loss.mean[static_cast<int>(kind_)].forward;
      const T *y_true = x[0].data<T>(), *y_pred = x[1].data<T>();
      T* loss = y[0].data<T>();
      parallel_for(rows, grain_for(kWork * n), [&](int64_t begin, int64_t end) {
        kernel(loss + begin, y_true + begin * n, y_pred + begin * n, end - begin, n, static_cast<T>(smoothing_));
      });
    });
  }
  bool has_gradient(size_t i) const override { return i == 1; }
  bool reads_input(size_t) const override { return true; }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[1]) return;
    with_float(b.x_spec[1].dtype, title(), [&](auto zero) {
      using T = decltype(zero);
      const int64_t rows = b.dy[0].size(), n = rows == 0 ? 0 : b.x[1].size() / rows;
      const auto kernel = kernels_for<T>().loss.mean[static_cast<int>(kind_)].backward;
      const T *y_true = b.x[0].data<T>(), *y_pred = b.x[1].data<T>(), *d_loss = b.dy[0].data<T>();
      T* dx = b.dx[1].to.template data<T>();
      parallel_for(rows, grain_for(kWork * n), [&](int64_t begin, int64_t end) {
        kernel(dx + begin * n, d_loss + begin, y_true + begin * n, y_pred + begin * n, end - begin, n,
               static_cast<T>(smoothing_), b.dx[1].accumulate);
      });
    });
  }

 private:
  const char* title() const {
    switch (kind_) {
      case MeanLoss::squared:
        return "mean_squared_error";
      case MeanLoss::absolute:
        return "mean_absolute_error";
      default:
        return "binary_crossentropy";
    }
  }
  MeanLoss kind_;
  double smoothing_;
};

// y = sum(w v) / normaliser, or sum(w v), or w v.  dv = dy w / normaliser, or dy w.
class WeightedMean final : public Op {
 public:
  WeightedMean(Reduction reduction, bool has_weight, bool has_normalizer)
      : reduction_(reduction), has_weight_(has_weight), has_normalizer_(has_normalizer) {}
  std::string_view name() const override { return "weighted_mean"; }
  std::vector<Spec> infer(Specs x) const override {
    if (!is_floating(x[0].dtype))
      throw TypeError(cat("weighted_mean: expected values of dtype float32 or float64, got ", x[0].dtype));
    for (size_t i = 1; i < x.size(); ++i)
      if (x[i].dtype != x[0].dtype)
        throw TypeError(cat(i == 1 && has_weight_ ? "sample_weight" : "normalizer", ": expected dtype ", x[0].dtype,
                            ", got ", x[i].dtype));
    if (has_weight_) {
      Shape weight = x[1].shape;
      while (weight.rank() > 0 && !leads(weight, x[0].shape) && same_dim(weight.back(), 1))
        weight = without_last(weight);
      if (!leads(weight, x[0].shape))
        throw ValueError(cat("sample_weight: expected shape ", x[0].shape, ", one weight per row, got ", x[1].shape));
    }
    if (has_normalizer_ && x.back().shape.rank() != 0)
      throw ValueError(cat("normalizer: expected a number or a 0-d tensor, got shape ", x.back().shape));
    return {{reduction_ == Reduction::none ? x[0].shape : Shape(), x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "weighted_mean", [&](auto zero) {
      using T = decltype(zero);
      const T* v = x[0].data<T>();
      T* to = y[0].data<T>();
      const Weights<T> weights(*this, x, x[0].size());
      const int64_t n = x[0].size();
      if (reduction_ == Reduction::none) {
        for (int64_t i = 0; i < n; ++i) to[i] = v[i] * weights.at(i);
        return;
      }
      double total = 0;  // one order, whatever the threads; a float row has room for 2^29 of its like in a double
      for (int64_t i = 0; i < n; ++i) total += static_cast<double>(v[i]) * static_cast<double>(weights.at(i));
      *to = static_cast<T>(divisor<T>(x, n) == 0 ? 0 : total / divisor<T>(x, n));
    });
  }
  bool has_gradient(size_t i) const override { return i == 0; }
  bool reads_input(size_t i) const override { return i > 0; }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    with_float(b.x_spec[0].dtype, "weighted_mean", [&](auto zero) {
      using T = decltype(zero);
      const T* dy = b.dy[0].data<T>();
      T* dx = b.dx[0].to.template data<T>();
      const int64_t n = numel(b.x_spec[0].shape);
      const Weights<T> weights(*this, b.x, n);
      const double by = divisor<T>(b.x, n);
      const bool each = reduction_ == Reduction::none;
      const T whole = static_cast<T>(each || by == 0 ? 0 : static_cast<double>(*dy) / by);
      for (int64_t i = 0; i < n; ++i) {
        const T d = (each ? dy[i] : whole) * weights.at(i);
        dx[i] = b.dx[0].accumulate ? dx[i] + d : d;
      }
    });
  }

 private:
  // Each weight serves the values behind its leading dimensions.
  static bool leads(const Shape& weight, const Shape& values) {
    if (weight.rank() > values.rank()) return false;
    for (int d = 0; d < weight.rank(); ++d)
      if (!same_dim(weight[d], values[d])) return false;
    return true;
  }
  template <class T>
  struct Weights {
    const T* data = nullptr;
    int64_t repeat = 1;
    Weights(const WeightedMean& op, Tensors x, int64_t n) {
      if (!op.has_weight_ || n == 0) return;
      data = x[1].data<T>();
      repeat = n / x[1].size();
    }
    T at(int64_t i) const { return data ? data[repeat == 1 ? i : i / repeat] : T(1); }
  };
  template <class T>
  double divisor(Tensors x, int64_t n) const {
    if (reduction_ != Reduction::mean) return 1;
    return has_normalizer_ ? static_cast<double>(*x[has_weight_ ? 2 : 1].template data<T>()) : static_cast<double>(n);
  }
  Reduction reduction_;
  bool has_weight_, has_normalizer_;
};

}  // namespace

OpPtr categorical_crossentropy(bool from_logits, double label_smoothing) {
  return std::make_shared<CrossEntropy>(false, from_logits, label_smoothing);
}
OpPtr sparse_categorical_crossentropy(bool from_logits) { return std::make_shared<CrossEntropy>(true, from_logits, 0); }
OpPtr mean_loss(MeanLoss kind, double label_smoothing) { return std::make_shared<MeanOverRow>(kind, label_smoothing); }
OpPtr weighted_mean(Reduction reduction, bool has_weight, bool has_normalizer) {
  return std::make_shared<WeightedMean>(reduction, has_weight, has_normalizer);
}

}  // namespace fastnn
