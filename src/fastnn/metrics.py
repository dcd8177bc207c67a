"""Metrics: numbers kept up over batches, for people to read.

A metric adds each batch to variables (`update_state`), tells the number so far (`result`) and
starts over (`reset_state`). The sums are kept in float64 whatever the predictions' dtype.
`update_state` is made of ops, so on placeholders it is recorded; `result` reads the variables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import _core, losses, ops
from fastnn._changes import Noted
from fastnn._core import Tensor, Variable
from fastnn._registry import lookup
from fastnn._typing import ArrayLike
from fastnn.losses import EPSILON, class_indices, floating, same_rows

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "ConfusionMatrix",
    "F1Score",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "Sum",
    "TopKCategoricalAccuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "deserialize",
    "get",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]

Array = npt.NDArray[Any]
Shape = Sequence[int | None]


# ---- functions


def _tensor(x: ArrayLike) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _double(x: ArrayLike) -> Tensor:
    tensor = _tensor(x)
    return tensor if tensor.dtype == np.float64 else ops.cast(tensor, "float64")


def _pair(y_true: ArrayLike, y_pred: ArrayLike, what: str) -> tuple[Tensor, Tensor]:
    return same_rows(_tensor(y_true), floating(y_pred), what)


def _labels(y_true: ArrayLike, y_pred: ArrayLike, what: str) -> tuple[Tensor, Tensor]:
    y_pred = floating(y_pred)
    return class_indices(_tensor(y_true), y_pred, what), y_pred


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """1 where y_pred equals y_true, else 0."""
    return _double(ops.equal(*_pair(y_true, y_pred, "accuracy")))


def binary_accuracy(y_true: ArrayLike, y_pred: ArrayLike, threshold: float = 0.5) -> Tensor:
    """1 where y_pred > threshold says what y_true (0 or 1) is, else 0."""
    y_true, y_pred = _pair(y_true, y_pred, "binary_accuracy")
    return _double(ops.equal(_double(y_true), _double(ops.greater(y_pred, threshold))))


def categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """1 for each row whose largest score is at the one of y_true (one-hot), else 0."""
    y_true, y_pred = _pair(y_true, y_pred, "categorical_accuracy")
    return _double(ops.equal(ops.argmax(y_true, axis=-1), ops.argmax(y_pred, axis=-1)))


def sparse_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """1 for each row whose largest score is at the class index y_true, else 0."""
    labels, y_pred = _labels(y_true, y_pred, "sparse_categorical_accuracy")
    return _double(ops.equal(labels, ops.argmax(y_pred, axis=-1)))


def top_k_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike, k: int = 5) -> Tensor:
    """1 for each row whose k largest scores hold the one of y_true (one-hot), else 0."""
    y_true, y_pred = _pair(y_true, y_pred, "top_k_categorical_accuracy")
    return _in_top_k(ops.argmax(y_true, axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike, k: int = 5) -> Tensor:
    """1 for each row whose k largest scores hold the class index y_true, else 0."""
    labels, y_pred = _labels(y_true, y_pred, "sparse_top_k_categorical_accuracy")
    return _in_top_k(labels, y_pred, k)


def _in_top_k(labels: Tensor, y_pred: Tensor, k: int) -> Tensor:
    classes = y_pred.shape[-1]
    best = ops.top_k(y_pred, k if classes is None else min(k, classes))[1]
    return _double(ops.any(ops.equal(ops.expand_dims(labels, -1), best), axis=-1))


# ---- base


class Metric(Noted):
    """Base of the metrics.

    Subclasses make their variables with `add_variable`, add to them in `update_state` and read them
    in `result`.

    Args:
        name: string. Default: the class's name in snake case.
        dtype: the dtype of y_pred to compute in. Default: its own.
    """

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or type(self).__name__.lower()
        self.dtype = dtype
        self._variables: list[Variable] = []
        self._zeros: list[Tensor] = []  # what reset_state sets them to

    def add_variable(self, shape: Sequence[int], name: str) -> Variable:
        """A float64 variable of zeros that `reset_state` sets back to zeros."""
        variable = Variable(
            np.zeros(tuple(shape)), trainable=False, name=f"{self.name}/{name}", dtype="float64"
        )
        self._variables.append(variable)
        self._zeros.append(Tensor(np.zeros(tuple(shape))))
        return variable

    @property
    def variables(self) -> list[Variable]:
        return list(self._variables)

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add a batch, with one weight per row if `sample_weight` is given."""
        raise NotImplementedError(
            f"{type(self).__name__}: write update_state(self, y_true, y_pred, ...)"
        )

    def result(self) -> Any:
        """The metric over everything since the last reset; 0 if that is nothing."""
        raise NotImplementedError(f"{type(self).__name__}: write result(self)")

    def reset_state(self) -> None:
        _core.assign_all(self._variables, self._zeros)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`update_state`, then `result`."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {"name": self.name}
        return config if self.dtype is None else {**config, "dtype": str(self.dtype)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Metric:
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r}>"

    def _predictions(self, y_pred: ArrayLike) -> ArrayLike:
        return y_pred if self.dtype is None else ops.cast(y_pred, self.dtype)


def _ratio(a: Any, b: Any) -> Any:
    """a / b, 0 where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def _weights(sample_weight: ArrayLike | None, values: Tensor) -> Tensor:
    """One weight per value. Weights of rows serve all values of the row."""
    ones = ops.ones_like(values)
    return (
        ones if sample_weight is None else ops.weighted_mean(ones, sample_weight, reduction="none")
    )


# ---- means


class Sum(Metric):
    """The weighted sum of the values given to `update_state(values, sample_weight=None)`.

    Args:
        name: string. Default `"sum"`.
        dtype: as `Metric`.
    """

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.total = self.add_variable((), "total")

    def update_state(self, values: ArrayLike, sample_weight: ArrayLike | None = None) -> None:  # type: ignore[override]
        values = _double(values)
        self.total.assign_add(ops.sum(values * _weights(sample_weight, values)))

    def result(self) -> float:
        return float(self.total)


class Mean(Metric):
    """The weighted mean of the values given to `update_state(values, sample_weight=None)`.

    Args:
        name: string. Default `"mean"`.
        dtype: as `Metric`.
    Example:
        >>> mean = Mean()
        >>> mean.update_state([1.0, 3.0])
        >>> mean.update_state([8.0])
        >>> mean.result()
        4.0
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.total = self.add_variable((), "total")
        self.count = self.add_variable((), "count")

    def update_state(self, values: ArrayLike, sample_weight: ArrayLike | None = None) -> None:  # type: ignore[override]
        values = _double(values)
        if values.ndim == 0 and isinstance(sample_weight, int | float):  # a batch's loss and size
            self.total.assign_add(values * float(sample_weight))
            self.count.assign_add(float(sample_weight))
            return
        weights = _weights(sample_weight, values)
        self.total.assign_add(ops.sum(values * weights))
        self.count.assign_add(ops.sum(weights))

    def result(self) -> float:
        count = float(self.count)
        return float(self.total) / count if count else 0.0


class MeanMetricWrapper(Mean):
    """The weighted mean of a function of (y_true, y_pred, **kwargs) with a value per row or per
    element.

    Args:
        fn: callable.
        name: string. Default: the function's name.
        dtype: as `Metric`.
        kwargs: handed to `fn`.
    """

    def __init__(
        self,
        fn: Callable[..., ArrayLike],
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", "mean_metric"), dtype)
        self.fn = fn
        self.kwargs = kwargs

    def update_state(  # type: ignore[override]
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        super().update_state(
            self.fn(y_true, self._predictions(y_pred), **self.kwargs), sample_weight
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.kwargs}


class Accuracy(MeanMetricWrapper):
    """How often y_pred equals y_true.

    Args:
        name: string. Default `"accuracy"`.
        dtype: as `Metric`.
    """

    def __init__(self, name: str | None = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often y_pred > threshold says what y_true (0 or 1) is.

    Args:
        name: string. Default `"binary_accuracy"`.
        dtype: as `Metric`.
        threshold: float. Default `0.5`.
    """

    def __init__(
        self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5
    ) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest score stands at the one of y_true, for one-hot rows.

    Args:
        name: string. Default `"categorical_accuracy"`.
        dtype: as `Metric`.
    """

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest score stands at the class index y_true.

    Args:
        name: string. Default `"sparse_categorical_accuracy"`.
        dtype: as `Metric`.
    """

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


def _at_least_one(what: str, name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{what}: expected {name} >= 1, got {value!r}")
    return value


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the one of y_true is among the k largest scores, for one-hot rows.

    Args:
        k: int >= 1. Default `5`.
        name: string. Default `"top_k_categorical_accuracy"`.
        dtype: as `Metric`.
    """

    def __init__(
        self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(
            top_k_categorical_accuracy,
            name,
            dtype,
            k=_at_least_one("TopKCategoricalAccuracy", "k", k),
        )


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the class index y_true is among the k largest scores.

    Args:
        k: int >= 1. Default `5`.
        name: string. Default `"sparse_top_k_categorical_accuracy"`.
        dtype: as `Metric`.
    """

    def __init__(
        self, k: int = 5, name: str | None = "sparse_top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        k = _at_least_one("SparseTopKCategoricalAccuracy", "k", k)
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k)


class MeanSquaredError(MeanMetricWrapper):
    """mean((y_true - y_pred)^2).

    Args:
        name: string. Default `"mean_squared_error"`.
        dtype: as `Metric`.
    """

    def __init__(self, name: str | None = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)


class RootMeanSquaredError(MeanMetricWrapper):
    """sqrt(mean((y_true - y_pred)^2)).

    Args:
        name: string. Default `"root_mean_squared_error"`.
        dtype: as `Metric`.
    """

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)

    def result(self) -> float:
        return float(np.sqrt(super().result()))


class MeanAbsoluteError(MeanMetricWrapper):
    """mean|y_true - y_pred|.

    Args:
        name: string. Default `"mean_absolute_error"`.
        dtype: as `Metric`.
    """

    def __init__(self, name: str | None = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_error, name, dtype)


class BinaryCrossentropy(MeanMetricWrapper):
    """The mean of `fastnn.losses.binary_crossentropy`.

    Args:
        name: string. Default `"binary_crossentropy"`.
        dtype: as `Metric`.
        from_logits, label_smoothing: as the loss.
    """

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            losses.binary_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class CategoricalCrossentropy(MeanMetricWrapper):
    """The mean of `fastnn.losses.categorical_crossentropy`.

    Args:
        name: string. Default `"categorical_crossentropy"`.
        dtype: as `Metric`.
        from_logits, label_smoothing, axis: as the loss.
    """

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean of `fastnn.losses.sparse_categorical_crossentropy`.

    Args:
        name: string. Default `"sparse_categorical_crossentropy"`.
        dtype: as `Metric`.
        from_logits, axis: as the loss.
    """

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.sparse_categorical_crossentropy, name, dtype, from_logits=from_logits, axis=axis
        )


# ---- counts


class _Confusion(Metric):
    """True and false positives and negatives at each of several thresholds; y_pred > threshold is a
    yes.
    """

    def __init__(self, name: str | None, dtype: Any, thresholds: Sequence[float]) -> None:
        super().__init__(name, dtype)
        self._limits = np.asarray(thresholds, np.float64)
        count = (len(self._limits),)
        self.true_positives = self.add_variable(count, "true_positives")
        self.true_negatives = self.add_variable(count, "true_negatives")
        self.false_positives = self.add_variable(count, "false_positives")
        self.false_negatives = self.add_variable(count, "false_negatives")

    def _count(self, y_true: Tensor, y_pred: Tensor, sample_weight: ArrayLike | None) -> None:
        weights = ops.reshape(_weights(sample_weight, _double(y_pred)), (-1,))
        yes = ops.reshape(_double(y_true), (-1,))
        # (thresholds, values) of zeros and ones times the weights of positives and negatives: all
        # counts in two products.
        scores = ops.expand_dims(ops.reshape(_double(y_pred), (-1,)), 0)
        said = _double(ops.greater(scores, self._limits[:, None]))
        positives, negatives = weights * yes, weights * (1 - yes)
        tp, fp = ops.matmul(said, positives), ops.matmul(said, negatives)
        self.true_positives.assign_add(tp)
        self.false_positives.assign_add(fp)
        self.false_negatives.assign_add(ops.sum(positives) - tp)
        self.true_negatives.assign_add(ops.sum(negatives) - fp)

    def _counts(self) -> tuple[Array, Array, Array, Array]:
        """tp, fp, fn, tn, one number per threshold."""
        tp, fp, fn, tn = (
            np.array(v)
            for v in (
                self.true_positives,
                self.false_positives,
                self.false_negatives,
                self.true_negatives,
            )
        )
        return tp, fp, fn, tn


class _ThresholdMetric(_Confusion):
    """What Precision and Recall share."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None,
        top_k: int | None,
        class_id: int | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        self.thresholds = thresholds
        self.top_k = None if top_k is None else _at_least_one(type(self).__name__, "top_k", top_k)
        self.class_id = class_id
        if thresholds is None:
            thresholds = 0.5 if top_k is None else -np.inf
        self._scalar = isinstance(thresholds, int | float)
        limits = [thresholds] if isinstance(thresholds, int | float) else list(thresholds)
        if top_k is None and not all(0 <= t <= 1 for t in limits):
            raise ValueError(f"{type(self).__name__}: expected thresholds in [0, 1], got {limits}")
        super().__init__(name, dtype, limits)

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        y_true, y_pred = _pair(y_true, self._predictions(y_pred), type(self).__name__)
        if self.top_k is not None:
            best = ops.top_k(y_pred, self.top_k)[1]
            chosen = ops.sum(ops.one_hot(best, y_pred.shape[-1]), axis=-2)
            y_pred = ops.where(ops.greater(chosen, 0.0), y_pred, -np.inf)
        if self.class_id is not None:
            y_true, y_pred = (ops.take(y, self.class_id, axis=-1) for y in (y_true, y_pred))
        self._count(y_true, y_pred, sample_weight)

    def _value(self, found: Any, missed: Any) -> Any:
        ratio = _ratio(found, found + missed)
        return float(ratio[0]) if self._scalar else ratio

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "thresholds": self.thresholds,
            "top_k": self.top_k,
            "class_id": self.class_id,
        }


class Precision(_ThresholdMetric):
    """The share of what was predicted positive that is: tp / (tp + fp).

    Args:
        thresholds: float or list in [0, 1]; a list gives an array. Default `None`: 0.5, or none
            with `top_k`.
        top_k: int. Only the k largest scores of a row are predictions. Default `None`.
        class_id: int. Look at this class (index of the last axis) only. Default `None`: at all
            elements.
        name: string. Default `"precision"`.
        dtype: as `Metric`.
    Raises: ValueError for thresholds outside [0, 1].
    """

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = "precision",
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name, dtype)

    def result(self) -> Any:
        tp, fp, _, _ = self._counts()
        return self._value(tp, fp)


class Recall(_ThresholdMetric):
    """The share of what is positive that was found: tp / (tp + fn).

    Args:
        thresholds, top_k, class_id, dtype: as `Precision`.
        name: string. Default `"recall"`.
    Raises: ValueError for thresholds outside [0, 1].
    """

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = "recall",
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name, dtype)

    def result(self) -> Any:
        tp, _, fn, _ = self._counts()
        return self._value(tp, fn)


class AUC(_Confusion):
    """The area under the ROC or the precision-recall curve, from counts at fixed thresholds.

    Args:
        num_thresholds: int >= 2: how many, evenly spaced over [0, 1]. Default `200`.
        curve: `"ROC"` or `"PR"`. Default `"ROC"`.
        summation_method: `"interpolation"` (trapezoids; for PR the interpolation of Davis and
            Goadrich),
            `"minoring"` or `"majoring"` (lower or upper steps). Default `"interpolation"`.
        name: string. Default `"auc"`.
        dtype: as `Metric`.
        thresholds: list of floats in [0, 1] to use in place of `num_thresholds`. Default `None`.
        from_logits: whether y_pred goes through a sigmoid first. Default `False`.
    Raises: ValueError for an unknown curve or method, or thresholds outside [0, 1].
    Reference: Davis, Goadrich (2006), ICML.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = "auc",
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        if curve not in ("ROC", "PR"):
            raise ValueError(f"AUC: expected curve as 'ROC' or 'PR', got {curve!r}")
        if summation_method not in ("interpolation", "minoring", "majoring"):
            raise ValueError(
                "AUC: expected summation_method as 'interpolation', 'minoring' or 'majoring', "
                f"got {summation_method!r}"
            )
        if thresholds is not None:
            inner = sorted(thresholds)
            if not all(0 <= t <= 1 for t in inner):
                raise ValueError(f"AUC: expected thresholds in [0, 1], got {inner}")
        elif num_thresholds < 2:
            raise ValueError(f"AUC: expected num_thresholds >= 2, got {num_thresholds!r}")
        else:
            inner = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        self.num_thresholds = len(inner) + 2
        self.curve = curve
        self.summation_method = summation_method
        self.thresholds = None if thresholds is None else inner
        self.from_logits = from_logits
        # The outer two catch everything and nothing, also predictions of exactly 0 and 1.
        super().__init__(name, dtype, [-EPSILON, *inner, 1 + EPSILON])

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        y_true, y_pred = _pair(y_true, self._predictions(y_pred), "AUC")
        if self.from_logits:
            y_pred = ops.sigmoid(y_pred)
        self._count(y_true, y_pred, sample_weight)

    def result(self) -> float:
        tp, fp, fn, tn = self._counts()
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._interpolated_precision_recall(tp, fp, fn)
        recall = _ratio(tp, tp + fn)
        x, y = (
            (_ratio(fp, fp + tn), recall) if self.curve == "ROC" else (recall, _ratio(tp, tp + fp))
        )
        heights = {
            "interpolation": (y[:-1] + y[1:]) / 2,
            "minoring": np.minimum(y[:-1], y[1:]),
            "majoring": np.maximum(y[:-1], y[1:]),
        }[self.summation_method]
        return float(np.sum((x[:-1] - x[1:]) * heights))

    @staticmethod
    def _interpolated_precision_recall(tp: Array, fp: Array, fn: Array) -> float:
        """Between two thresholds tp and fp go along a line, on which precision is not linear in
        recall.

        With p = tp + fp and tp = slope * p + intercept, the integral of tp/p over tp is
        slope * (dtp + intercept * log(p0 / p1)).
        """
        said = tp + fp
        slope = _ratio(tp[:-1] - tp[1:], said[:-1] - said[1:])
        intercept = tp[1:] - slope * said[1:]
        both = (said[:-1] > 0) & (said[1:] > 0)
        ratio = np.divide(said[:-1], said[1:], out=np.ones_like(slope), where=both)
        area = slope * (tp[:-1] - tp[1:] + intercept * np.log(ratio))
        return float(np.sum(_ratio(area, tp[1:] + fn[1:])))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "thresholds": self.thresholds,
            "from_logits": self.from_logits,
        }


class F1Score(Metric):
    """2 * precision * recall / (precision + recall) per class.

    Args:
        average: `None` (one number per class), `"micro"` (of all counts together), `"macro"` (the
            mean over classes) or `"weighted"` (the mean weighted by the classes' rows). Default
            `None`.
        threshold: float: scores above it are predictions. Default `None`: the largest score of a
            row is its prediction, or 0.5 if there is one column only.
        name: string. Default `"f1_score"`.
        dtype: as `Metric`.
    Shapes:
        y_true, y_pred (n, classes), or (n,) for one class.
    Raises: ValueError for an unknown average.
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(
                f"F1Score: expected average as None, 'micro', 'macro' or 'weighted', "
                f"got {average!r}"
            )
        super().__init__(name, dtype)
        self.average = average
        self.threshold = threshold
        self.counts: Variable | None = None

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        y_true, y_pred = _pair(y_true, self._predictions(y_pred), "F1Score")
        if y_pred.ndim == 1:
            y_true, y_pred = ops.expand_dims(y_true, -1), ops.expand_dims(y_pred, -1)
        classes = y_pred.shape[-1]
        if y_pred.ndim != 2 or classes is None:
            raise ValueError(f"F1Score: expected y_pred of shape (n, classes), got {y_pred.shape}")
        if self.counts is None:
            self.counts = self.add_variable((3, classes), "counts")  # tp, fp, fn
        if self.threshold is None and classes > 1:
            said = ops.one_hot(ops.argmax(y_pred, axis=-1), classes)
        else:
            said = ops.greater(y_pred, 0.5 if self.threshold is None else self.threshold)
        is_, said = _double(y_true), _double(said)
        weights = _weights(sample_weight, said)
        parts = [is_ * said, (1 - is_) * said, is_ * (1 - said)]
        self.counts.assign_add(ops.stack([ops.sum(p * weights, axis=0) for p in parts]))

    def result(self) -> Any:
        if self.counts is None:
            return 0.0
        tp, fp, fn = np.array(self.counts)
        if self.average == "micro":
            tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
        f1 = _ratio(2 * tp, 2 * tp + fp + fn)
        if self.average == "weighted":
            return float(np.sum(f1 * _ratio(tp + fn, np.sum(tp + fn))))
        return f1 if self.average is None else float(np.mean(f1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "threshold": self.threshold}


class ConfusionMatrix(Metric):
    """How many rows of each class (rows of the matrix) were taken for each class (columns).

    Args:
        num_classes: int >= 2. Default `None`: as many as y_pred has columns.
        name: string. Default `"confusion_matrix"`.
        dtype: as `Metric`.
    Shapes:
        y_true (n,), (n, 1) or one-hot (n, classes); y_pred scores (n, classes), or (n,) or (n, 1):
        class indices, or with two classes scores of class 1, above 0.5. `result()` is an array
        (classes, classes).
    Notes: scikit-learn's orientation.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        name: str | None = "confusion_matrix",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        if num_classes is not None and num_classes < 2:
            raise ValueError(f"ConfusionMatrix: expected num_classes >= 2, got {num_classes!r}")
        self.num_classes = num_classes
        self.counts: Variable | None = None

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        is_, said = _tensor(y_true), _tensor(self._predictions(y_pred))
        columns = said.shape[-1] if said.ndim == 2 else 1
        classes = self.num_classes or (columns if columns and columns > 1 else None)
        if classes is None or (columns not in (1, classes)):
            raise ValueError(
                "ConfusionMatrix: expected y_pred of shape (n, classes), or num_classes for class "
                f"indices, got y_pred of shape {said.shape} and num_classes={self.num_classes}"
            )
        if columns == classes:
            said = ops.argmax(said, axis=-1)
        elif said.dtype.kind == "f" and classes == 2:
            said = ops.greater(said, 0.5)
        if is_.ndim == 2 and is_.shape[-1] == classes:
            is_ = ops.argmax(is_, axis=-1)
        is_, said = (ops.cast(ops.reshape(y, (-1,)), "int64") for y in (is_, said))
        if self.counts is None:
            self.counts = self.add_variable((classes, classes), "counts")
        rows, columns_ = (_double(ops.one_hot(y, classes)) for y in (is_, said))
        rows = rows * _weights(sample_weight, rows)
        self.counts.assign_add(ops.matmul(rows, columns_, transpose_x1=True))

    def result(self) -> Array:
        if self.counts is None:
            return np.zeros((self.num_classes or 0,) * 2)
        return np.array(self.counts)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


class R2Score(Metric):
    """1 - sum (y - y_pred)^2 / sum (y - mean y)^2, the share of the variance that is explained.

    Args:
        class_aggregation: over the columns, `"uniform_average"`, `"variance_weighted_average"` or
            `None` (an array). Default `"uniform_average"`.
        num_regressors: int >= 0: the number of inputs, for the adjusted R2. Default `0`: not
            adjusted.
        name: string. Default `"r2_score"`.
        dtype: as `Metric`.
    Raises: ValueError for an unknown aggregation.
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ) -> None:
        known = (None, "uniform_average", "variance_weighted_average")
        if class_aggregation not in known:
            raise ValueError(
                f"R2Score: expected class_aggregation as one of {known}, got {class_aggregation!r}"
            )
        if num_regressors < 0:
            raise ValueError(f"R2Score: expected num_regressors >= 0, got {num_regressors!r}")
        super().__init__(name, dtype)
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.sums: Variable | None = None
        self.samples = self.add_variable((), "samples")

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        y_true, y_pred = _pair(y_true, self._predictions(y_pred), "R2Score")
        y_true, y_pred = _double(y_true), _double(y_pred)
        if y_pred.ndim == 1:
            y_true, y_pred = ops.expand_dims(y_true, -1), ops.expand_dims(y_pred, -1)
        if y_pred.ndim != 2 or y_pred.shape[-1] is None:
            raise ValueError(f"R2Score: expected y_pred of shape (n, outputs), got {y_pred.shape}")
        if self.sums is None:
            self.sums = self.add_variable(
                (4, y_pred.shape[-1]), "sums"
            )  # of w, wy, wy^2, w(y - y_pred)^2
        weights = _weights(sample_weight, y_true)
        parts = [ops.ones_like(y_true), y_true, ops.square(y_true), ops.square(y_true - y_pred)]
        self.sums.assign_add(ops.stack([ops.sum(p * weights, axis=0) for p in parts]))
        self.samples.assign_add(ops.sum(ops.ones_like(ops.take(y_true, 0, axis=-1))))

    def result(self) -> Any:
        if self.sums is None or float(self.samples) == 0:
            return 0.0
        count, total, squares, residual = np.array(self.sums)
        spread = squares - total * _ratio(total, count)
        explained = 1 - _ratio(residual, spread)
        # A constant column is explained fully or not at all.
        score: Any = np.where(spread == 0, np.where(residual == 0, 1.0, 0.0), explained)
        if self.class_aggregation == "uniform_average":
            score = float(np.mean(score))
        elif self.class_aggregation == "variance_weighted_average":
            score = float(np.sum(score * _ratio(spread, np.sum(spread))))
        n = float(self.samples)
        if self.num_regressors and n - self.num_regressors - 1 > 0:
            score = 1 - (1 - score) * (n - 1) / (n - self.num_regressors - 1)
        return score

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_aggregation": self.class_aggregation,
            "num_regressors": self.num_regressors,
        }


# ---- names

_CLASSES: dict[type[Metric], tuple[str, ...]] = {
    Mean: ("mean",),
    Sum: ("sum",),
    Accuracy: ("accuracy", "acc"),
    BinaryAccuracy: ("binary_accuracy",),
    CategoricalAccuracy: ("categorical_accuracy",),
    SparseCategoricalAccuracy: ("sparse_categorical_accuracy",),
    TopKCategoricalAccuracy: ("top_k_categorical_accuracy",),
    SparseTopKCategoricalAccuracy: ("sparse_top_k_categorical_accuracy",),
    Precision: ("precision",),
    Recall: ("recall",),
    F1Score: ("f1_score", "f1"),
    AUC: ("auc",),
    MeanSquaredError: ("mean_squared_error", "mse", "MSE"),
    RootMeanSquaredError: ("root_mean_squared_error", "rmse", "RMSE"),
    MeanAbsoluteError: ("mean_absolute_error", "mae", "MAE"),
    R2Score: ("r2_score", "r2"),
    BinaryCrossentropy: ("binary_crossentropy", "bce", "BCE"),
    CategoricalCrossentropy: ("categorical_crossentropy",),
    SparseCategoricalCrossentropy: ("sparse_categorical_crossentropy",),
    ConfusionMatrix: ("confusion_matrix",),
}
_FUNCTIONS = {
    "mean_absolute_percentage_error": losses.mean_absolute_percentage_error,
    "mean_squared_logarithmic_error": losses.mean_squared_logarithmic_error,
    "hinge": losses.hinge,
    "squared_hinge": losses.squared_hinge,
    "categorical_hinge": losses.categorical_hinge,
    "log_cosh": losses.log_cosh,
    "kl_divergence": losses.kl_divergence,
    "poisson": losses.poisson,
    "cosine_similarity": losses.cosine_similarity,
}
_FUNCTION_ALIASES = {
    "mape": "mean_absolute_percentage_error",
    "MAPE": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "MSLE": "mean_squared_logarithmic_error",
    "logcosh": "log_cosh",
    "kld": "kl_divergence",
    "KLD": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "cosine_proximity": "cosine_similarity",
}


def _of(name: str) -> Callable[..., Metric]:
    return functools.partial(MeanMetricWrapper, _FUNCTIONS[name], name=name)


_BY_NAME: dict[str, Callable[..., Metric]] = {
    **{name: cls for cls, names in _CLASSES.items() for name in (cls.__name__, *names)},
    **{name: _of(name) for name in _FUNCTIONS},
    **{alias: _of(name) for alias, name in _FUNCTION_ALIASES.items()},
}


def get(identifier: Any) -> Any:
    """The metric of a name, a config dict `{"class_name": ..., "config": ...}`, a Metric, its
    class, or a function.

    A function of (y_true, y_pred) becomes the mean of what it returns; None gives None.
    `"accuracy"` here is plain equality; `resolve` picks the form that fits the model.
    Raises: ValueError for an unknown name, naming the nearest ones; TypeError for anything else.
    """
    if identifier is None:
        return None
    found = lookup("metric", identifier, _BY_NAME)
    if isinstance(found, Metric):
        return found
    return MeanMetricWrapper(found)


def resolve(identifier: Any, loss: Any, y_true_shape: Shape, y_pred_shape: Shape) -> Any:
    """`get`, where "accuracy" ("acc") and "crossentropy" ("ce") take the form that fits the labels.

    One output column: binary. Several, and a class index per row (or a sparse loss): sparse
        categorical. Otherwise
    categorical. The metric's name is the identifier.

    Args:
        identifier: as `get`.
        loss: the output's loss (Loss, name or None).
        y_true_shape, y_pred_shape: shapes with the batch axis; unknown dimensions are None.
    """
    forms = {
        "accuracy": (BinaryAccuracy, SparseCategoricalAccuracy, CategoricalAccuracy),
        "crossentropy": (
            BinaryCrossentropy,
            SparseCategoricalCrossentropy,
            CategoricalCrossentropy,
        ),
    }
    full = {"acc": "accuracy", "ce": "crossentropy"}
    name = identifier.lower() if isinstance(identifier, str) else ""
    name = full.get(name, name)
    if name not in forms:
        return get(identifier)
    binary, sparse, categorical = forms[name]
    if len(y_pred_shape) < 2 or y_pred_shape[-1] == 1:
        return binary(name=identifier)
    indices = len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1
    if indices or type(losses.get(loss)) is losses.SparseCategoricalCrossentropy:
        return sparse(name=identifier)
    return categorical(name=identifier)


def serialize(metric: Metric) -> dict[str, Any]:
    """`{"class_name": ..., "config": ...}`, from which `get` makes the metric again, with nothing
    counted.
    """
    return {"class_name": type(metric).__name__, "config": metric.get_config()}


deserialize = get
