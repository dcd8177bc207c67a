#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "ops/check.hpp"
#include "ops/loss.hpp"

namespace fastnn {

namespace {

using kernels::MeanLoss;

// Targets, weights and normalisers, in the dtype of the predictions.
Tensor as_floats(py::handle value, const char* argument, DType dtype) {
  return cast_to(as_tensor(value, argument, dtype), dtype);
}

// The dtype that y_true is cast to; infer rejects a y_pred of any other.
DType float_like(const Tensor& y_pred) { return is_floating(y_pred.dtype()) ? y_pred.dtype() : floatx(); }

Reduction as_reduction(const std::string& name) {
  if (name == "none") return Reduction::none;
  if (name == "sum") return Reduction::sum;
  if (name == "mean") return Reduction::mean;
  throw ValueError(cat("reduction: expected 'none', 'sum' or 'mean', got '", name, "'"));
}

double smoothing(double value) {
  if (!(value >= 0 && value <= 1)) throw ValueError(cat("label_smoothing: expected a number in [0, 1], got ", value));
  return value;
}

struct Weighing {
  py::handle sample_weight, normalizer;
  Reduction reduction;
  Tensor operator()(const Tensor& values) const {
    const bool weighted = !sample_weight.is_none(), normalized = !normalizer.is_none() && reduction == Reduction::mean;
    if (reduction == Reduction::none && !weighted) return values;
    std::vector<Tensor> inputs{values};
    if (weighted) inputs.push_back(as_floats(sample_weight, "sample_weight", float_like(values)));
    if (normalized) inputs.push_back(as_floats(normalizer, "normalizer", float_like(values)));
    return call(weighted_mean(reduction, weighted, normalized), inputs)[0];
  }
};

Tensor mean_loss_of(py::handle y_true, py::handle y_pred, MeanLoss kind, double label_smoothing,
                    const Weighing& weighing) {
  const Tensor z = as_tensor(y_pred, "y_pred");
  return weighing(call1(mean_loss(kind, label_smoothing), {as_floats(y_true, "y_true", float_like(z)), z}));
}

}  // namespace

void bind_loss(py::module_& m) {
  m.def(
      "check_finite",
      [](py::handle x, std::string message) {
        const Tensor checked = as_tensor(x, "x");
        call(check_finite(std::move(message)), {&checked, 1});
      },
      py::arg("x"), py::arg("message"));
  m.def(
      "weighted_mean",
      [](py::handle values, py::handle sample_weight, py::handle normalizer, const std::string& reduction) {
        return Weighing{sample_weight, normalizer, as_reduction(reduction)}(as_tensor(values, "values"));
      },
      py::arg("values"), py::arg("sample_weight"), py::arg("normalizer"), py::arg("reduction"));
  m.def(
      "categorical_crossentropy",
      [](py::handle y_true, py::handle y_pred, bool from_logits, double label_smoothing, py::handle sample_weight,
         py::handle normalizer, const std::string& reduction) {
        const Weighing weighing{sample_weight, normalizer, as_reduction(reduction)};
        const OpPtr op = categorical_crossentropy(from_logits, smoothing(label_smoothing));
        const Tensor z = as_tensor(y_pred, "y_pred");
        return weighing(call1(op, {as_floats(y_true, "y_true", float_like(z)), z}));
      },
      py::arg("y_true"), py::arg("y_pred"), py::arg("from_logits"), py::arg("label_smoothing"),
      py::arg("sample_weight"), py::arg("normalizer"), py::arg("reduction"));
  m.def(
      "sparse_categorical_crossentropy",
      [](py::handle y_true, py::handle y_pred, bool from_logits, py::handle sample_weight, py::handle normalizer,
         const std::string& reduction) {
        const Weighing weighing{sample_weight, normalizer, as_reduction(reduction)};
        return weighing(call1(sparse_categorical_crossentropy(from_logits),
                              {as_tensor(y_true, "y_true"), as_tensor(y_pred, "y_pred")}));
      },
      py::arg("y_true"), py::arg("y_pred"), py::arg("from_logits"), py::arg("sample_weight"), py::arg("normalizer"),
      py::arg("reduction"));
  m.def(
      "binary_crossentropy",
      [](py::handle y_true, py::handle y_pred, bool from_logits, double label_smoothing, py::handle sample_weight,
         py::handle normalizer, const std::string& reduction) {
        return mean_loss_of(y_true, y_pred, from_logits ? MeanLoss::binary_logits : MeanLoss::binary_probabilities,
                            smoothing(label_smoothing), {sample_weight, normalizer, as_reduction(reduction)});
      },
      py::arg("y_true"), py::arg("y_pred"), py::arg("from_logits"), py::arg("label_smoothing"),
      py::arg("sample_weight"), py::arg("normalizer"), py::arg("reduction"));
  m.def(
      "mean_squared_error",
      [](py::handle y_true, py::handle y_pred, py::handle sample_weight, py::handle normalizer,
         const std::string& reduction) {
        return mean_loss_of(y_true, y_pred, MeanLoss::squared, 0, {sample_weight, normalizer, as_reduction(reduction)});
      },
      py::arg("y_true"), py::arg("y_pred"), py::arg("sample_weight"), py::arg("normalizer"), py::arg("reduction"));
  m.def(
      "mean_absolute_error",
      [](py::handle y_true, py::handle y_pred, py::handle sample_weight, py::handle normalizer,
         const std::string& reduction) {
        return mean_loss_of(y_true, y_pred, MeanLoss::absolute, 0,
                            {sample_weight, normalizer, as_reduction(reduction)});
      },
      py::arg("y_true"), py::arg("y_pred"), py::arg("sample_weight"), py::arg("normalizer"), py::arg("reduction"));
}

}  // namespace fastnn
