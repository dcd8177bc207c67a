// Losses, one value per row of y_pred, and their gradients with respect to y_pred.
#pragma once
#include <cstdint>

namespace fastnn::kernels {

// Losses that are the mean over a row of a function of (y_true, y_pred).
#define FASTNN_MEAN_LOSS(X) X(binary_logits) X(binary_probabilities) X(squared) X(absolute)
#define FASTNN_ENUMERATE(name) name,
enum class MeanLoss { FASTNN_MEAN_LOSS(FASTNN_ENUMERATE) count };
#undef FASTNN_ENUMERATE

// The targets of a cross-entropy: `dense` holds rows of `classes` values, or `labels` one class per row; the other is
// null. Dense targets t count as t (1 - smoothing) + smoothing / classes.
template <class T>
struct Targets {
  const T* dense;
  const int64_t* labels;
  T smoothing;
};

template <class T>
struct MeanLossKernel {
  void (*forward)(T* loss, const T* y_true, const T* y_pred, int64_t rows, int64_t n, T smoothing);
  // dx = (accumulate ? dx : 0) + d_loss[row] * the gradient
  void (*backward)(T* dx, const T* d_loss, const T* y_true, const T* y_pred, int64_t rows, int64_t n, T smoothing,
                   bool accumulate);
};

template <class T>
struct LossKernels {
  // From logits, `state` receives the largest of each row and the sum of exponentials relative to it; from
  // probabilities 0 and their sum. The gradient too unless dx is null.
  void (*cross_entropy)(T* loss, T* state, Targets<T> targets, const T* y_pred, int64_t rows, int64_t classes,
                        bool from_logits, T* dx, const T* d_loss);
  void (*cross_entropy_backward)(T* dx, const T* d_loss, const T* state, Targets<T> targets, const T* y_pred,
                                 int64_t rows, int64_t classes, bool from_logits, bool accumulate);
  MeanLossKernel<T> mean[static_cast<int>(MeanLoss::count)];
};

}  // namespace fastnn::kernels
