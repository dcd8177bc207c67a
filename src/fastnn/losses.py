"""Losses: objects that weigh and reduce, and functions with one value per row.

`y_true` may have a last axis of 1 more or fewer than `y_pred`: (n,) against (n, 1) is the same n
rows. Any other difference in shape is an error. Only `y_pred` is differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fastnn import ops
from fastnn._changes import Noted
from fastnn._core import Tensor, Variable
from fastnn._registry import lookup
from fastnn._typing import ArrayLike

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "bce",
    "binary_crossentropy",
    "categorical_crossentropy",
    "categorical_hinge",
    "cosine_proximity",
    "cosine_similarity",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "kld",
    "kullback_leibler_divergence",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]

# Keras's guard against division by zero and log(0).
EPSILON = 1e-7

_REDUCTIONS = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "mean_with_sample_weight": "mean",
    "sum": "sum",
    "none": "none",
    None: "none",
}


# ---- shapes and dtypes


def floating(y_pred: ArrayLike) -> Tensor:
    """`y_pred` as a floating tensor."""
    tensor = y_pred.value if isinstance(y_pred, Variable) else _tensor(y_pred)
    return tensor if tensor.dtype.kind == "f" else ops.cast(tensor, "float32")


def _tensor(x: ArrayLike) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _as_dtype_of(y_true: ArrayLike, y_pred: Tensor) -> Tensor:
    tensor = _tensor(y_true)
    return tensor if tensor.dtype == y_pred.dtype else ops.cast(tensor, y_pred.dtype)


def same_rows(y_true: Tensor, y_pred: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """Both in one shape: a missing last axis of 1 is added; anything else that differs is an
    error.
    """
    if y_true.ndim + 1 == y_pred.ndim and y_pred.shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    elif y_pred.ndim + 1 == y_true.ndim and y_true.shape[-1] == 1:
        y_pred = ops.expand_dims(y_pred, -1)
    if y_true.ndim != y_pred.ndim or not all(
        a == b or a is None or b is None for a, b in zip(y_true.shape, y_pred.shape, strict=True)
    ):
        raise ValueError(
            f"{what}: expected y_true and y_pred of one shape, got {y_true.shape} and "
            f"{y_pred.shape}" + _sparse_hint(y_true, y_pred)
        )
    return y_true, y_pred


def _sparse_hint(y_true: Tensor, y_pred: Tensor) -> str:
    wide = y_pred.ndim > 0 and y_pred.shape[-1] != 1
    labels = y_true.ndim + 1 == y_pred.ndim or (
        y_true.ndim == y_pred.ndim and y_true.shape[-1:] == (1,)
    )
    if not (wide and labels):
        return ""
    return "; class indices go with the sparse form, or use fastnn.utils.to_categorical(y_true)"


def class_indices(y_true: Tensor, y_pred: Tensor, what: str) -> Tensor:
    """The labels of rows of class scores, (...) or (..., 1) for y_pred (..., C), in the shape
    (...).
    """
    if y_true.ndim == y_pred.ndim and y_true.shape[-1:] == (1,):
        y_true = ops.squeeze(y_true, -1)
    if y_true.ndim + 1 != y_pred.ndim or not all(
        a == b or a is None or b is None
        for a, b in zip(y_true.shape, y_pred.shape[:-1], strict=True)
    ):
        hint = "; one-hot rows go with the categorical form" if y_true.shape == y_pred.shape else ""
        raise ValueError(
            f"{what}: expected y_true of shape (...) or (..., 1), one class index per row of "
            f"y_pred (..., classes), got {y_true.shape} and {y_pred.shape}{hint}"
        )
    return y_true if y_true.dtype.kind in "iu" else ops.cast(y_true, "int64")


def _last_axis(axis: int, *tensors: Tensor) -> list[Tensor]:
    """The tensors with `axis` moved to the end."""
    rank = tensors[0].ndim
    if not -rank <= axis < rank:
        raise ValueError(f"axis: expected one of {-rank} to {rank - 1}, got {axis}")
    if axis % rank == rank - 1:
        return list(tensors)
    order = [d for d in range(rank) if d != axis % rank] + [axis % rank]
    return [ops.transpose(t, order) for t in tensors]


def _pair(y_true: ArrayLike, y_pred: ArrayLike, what: str) -> tuple[Tensor, Tensor]:
    y_pred = floating(y_pred)
    y_true, y_pred = same_rows(_as_dtype_of(y_true, y_pred), y_pred, what)
    return ops.stop_gradient(y_true), y_pred


# ---- functions: one value per row


def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """mean((y_true - y_pred)^2) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred, "mean_squared_error")
    return ops.mean_squared_error(y_true, y_pred, reduction="none")


def mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """mean|y_true - y_pred| over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred, "mean_absolute_error")
    return ops.mean_absolute_error(y_true, y_pred, reduction="none")


def mean_absolute_percentage_error(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """100 * mean(|y_true - y_pred| / max(|y_true|, 1e-7)) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred, "mean_absolute_percentage_error")
    return 100 * ops.mean(
        ops.abs((y_true - y_pred) / ops.maximum(ops.abs(y_true), EPSILON)), axis=-1
    )


def mean_squared_logarithmic_error(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """mean((log(y_true + 1) - log(y_pred + 1))^2) over the last axis; values below 1e-7 count as
    1e-7.
    """
    y_true, y_pred = _pair(y_true, y_pred, "mean_squared_logarithmic_error")
    difference = ops.log1p(ops.maximum(y_true, EPSILON)) - ops.log1p(ops.maximum(y_pred, EPSILON))
    return ops.mean(ops.square(difference), axis=-1)


def binary_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """-mean(y_true * log(y_pred) + (1 - y_true) * log(1 - y_pred)) over `axis`."""
    y_true, y_pred = _last_axis(axis, *_pair(y_true, y_pred, "binary_crossentropy"))
    return ops.binary_crossentropy(
        y_true, y_pred, from_logits, label_smoothing=label_smoothing, reduction="none"
    )


def categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """-sum(y_true * log(y_pred)) over `axis`; probabilities are first normalised to sum 1.

    Args:
        y_true: one-hot rows, or any distributions, in the shape of `y_pred`.
        from_logits: whether `y_pred` holds logits, which go through a softmax. Default `False`.
        label_smoothing: s in [0, 1]; y_true becomes y_true * (1 - s) + s / classes. Default `0.0`.
        axis: the axis of the classes. Default `-1`.
    """
    y_true, y_pred = _last_axis(axis, *_pair(y_true, y_pred, "categorical_crossentropy"))
    return ops.categorical_crossentropy(
        y_true, y_pred, from_logits, label_smoothing=label_smoothing, reduction="none"
    )


def sparse_categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Tensor:
    """-log(y_pred[label]); probabilities are first normalised to sum 1.

    Args:
        y_true: class indices (...) or (..., 1) for y_pred (..., classes).
        from_logits: whether `y_pred` holds logits, which go through a softmax. Default `False`.
        ignore_class: a label whose rows give 0. Default `None`.
        axis: the axis of the classes. Default `-1`.
    """
    labels, y_pred, mask = _sparse_pair(y_true, y_pred, ignore_class, axis)
    values = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits, reduction="none")
    return values if mask is None else values * mask


def _sparse_pair(
    y_true: ArrayLike, y_pred: ArrayLike, ignore_class: int | None, axis: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    (y_pred,) = _last_axis(axis, floating(y_pred))
    labels = class_indices(_tensor(y_true), y_pred, "sparse_categorical_crossentropy")
    labels = ops.stop_gradient(labels)
    if ignore_class is None:
        return labels, y_pred, None
    kept = ops.not_equal(labels, ignore_class)
    return ops.where(kept, labels, 0), y_pred, ops.cast(kept, y_pred.dtype)


def _hinge_labels(y_true: Tensor) -> Tensor:
    """Labels 0 and 1 as -1 and 1. One label below 0 says that they are -1 and 1 already."""
    binary = ops.all(ops.logical_or(ops.equal(y_true, 0.0), ops.equal(y_true, 1.0)))
    return ops.where(binary, 2 * y_true - 1, y_true)


def hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """mean(max(1 - y_true * y_pred, 0)) over the last axis, for labels -1 and 1, or 0 and 1."""
    y_true, y_pred = _pair(y_true, y_pred, "hinge")
    return ops.mean(ops.relu(1 - _hinge_labels(y_true) * y_pred), axis=-1)


def squared_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """mean(max(1 - y_true * y_pred, 0)^2) over the last axis, for labels -1 and 1, or 0 and 1."""
    y_true, y_pred = _pair(y_true, y_pred, "squared_hinge")
    return ops.mean(ops.square(ops.relu(1 - _hinge_labels(y_true) * y_pred)), axis=-1)


def categorical_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """max(1 + max((1 - y_true) * y_pred) - sum(y_true * y_pred), 0) over the last axis, for one-hot
    rows.
    """
    y_true, y_pred = _pair(y_true, y_pred, "categorical_hinge")
    right = ops.sum(y_true * y_pred, axis=-1)
    wrong = ops.max((1 - y_true) * y_pred, axis=-1)
    return ops.relu(1 + wrong - right)


def huber(y_true: ArrayLike, y_pred: ArrayLike, delta: float = 1.0) -> Tensor:
    """The mean over the last axis of e^2/2 for |e| <= delta and delta*|e| - delta^2/2 beyond,
    e = y_pred - y_true.

    Reference: Huber (1964), Ann. Math. Stat. 35.
    """
    if not delta > 0:
        raise ValueError(f"huber: expected delta > 0, got {delta!r}")
    y_true, y_pred = _pair(y_true, y_pred, "huber")
    size = ops.abs(y_pred - y_true)
    near = ops.minimum(size, delta)
    # near = |e| gives e^2/2, near = delta the line; no branch, so no kink where they meet.
    return ops.mean(near * (size - 0.5 * near), axis=-1)


def log_cosh(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """mean(log(cosh(y_pred - y_true))) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred, "log_cosh")
    e = y_pred - y_true
    # cosh e = exp(e) * (1 + exp(-2e)) / 2, in a form that cannot overflow.
    return ops.mean(e + ops.softplus(-2 * e) - math.log(2.0), axis=-1)


def kl_divergence(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """sum(y_true * log(y_true / y_pred)) over the last axis; both are clipped to [1e-7, 1]."""
    y_true, y_pred = _pair(y_true, y_pred, "kl_divergence")
    y_true, y_pred = ops.clip(y_true, EPSILON, 1.0), ops.clip(y_pred, EPSILON, 1.0)
    return ops.sum(y_true * ops.log(y_true / y_pred), axis=-1)


def poisson(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """mean(y_pred - y_true * log(y_pred + 1e-7)) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred, "poisson")
    return ops.mean(y_pred - y_true * ops.log(y_pred + EPSILON), axis=-1)


def cosine_similarity(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> Tensor:
    """sum(y_true * y_pred) / (|y_true| * |y_pred|) over `axis`: 1 for the same direction; 0 with a
    zero vector.

    The loss `CosineSimilarity` is its negative.
    """
    y_true, y_pred = _pair(y_true, y_pred, "cosine_similarity")
    return ops.sum(_unit(y_true, axis) * _unit(y_pred, axis), axis=axis)


def _unit(x: Tensor, axis: int) -> Tensor:
    return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), 1e-12))


# ---- objects


class Loss(Noted):
    """Base of the losses. Subclasses write `call(y_true, y_pred)`, which gives one value per row.

    Args:
        name: string. Default: the class's name in snake case.
        reduction: what `__call__` returns. `"sum_over_batch_size"` (or `"mean"`): the weighted sum
            over rows divided by the number of rows; `"sum"`: the weighted sum;
            `"mean_with_sample_weight"`: the weighted sum divided by the sum of weights; `"none"` or
            `None`: one weighted value per row. Default `"sum_over_batch_size"`.
        dtype: the dtype to compute in. Default: that of `y_pred`.
    Raises: ValueError for an unknown reduction, TypeError for a dtype that is not floating.
    Example:
        >>> import fastnn
        >>> loss = fastnn.losses.MeanSquaredError()
        >>> float(loss([[0.0], [1.0]], [[1.0], [1.0]], sample_weight=[3.0, 1.0]))
        1.5
    """

    default_name = "loss"

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        if reduction not in _REDUCTIONS:
            known = ", ".join(map(repr, _REDUCTIONS))
            raise ValueError(
                f"{type(self).__name__}: expected reduction as one of {known}, got {reduction!r}"
            )
        self.name = name or self.default_name
        self.reduction = reduction
        self.dtype = dtype

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
        """One value per row."""
        raise NotImplementedError(f"{type(self).__name__}: write call(self, y_true, y_pred)")

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        normalizer: ArrayLike | None = None,
    ) -> Tensor:
        """The reduced loss.

        Args:
            y_true: what should have come out.
            y_pred: what came out.
            sample_weight: one weight per row, (n,) or (n, 1).
            normalizer: number or 0-d tensor to divide the weighted sum by, in place of what
                `reduction` says.
        """
        if self.dtype is not None:
            y_pred = ops.cast(y_pred, self.dtype)
        values = self.call(y_true, y_pred)
        if normalizer is None:
            normalizer = self._normalizer(self._counted(y_true, values), values, sample_weight)
        return ops.weighted_mean(values, sample_weight, normalizer, _REDUCTIONS[self.reduction])

    def _counted(self, y_true: ArrayLike, values: Tensor) -> Tensor | None:
        """1 for each row that counts in the mean and 0 for the others; None if all do."""
        return None

    def _normalizer(
        self, counted: Tensor | None, values: Tensor, sample_weight: ArrayLike | None
    ) -> Tensor | None:
        if self.reduction == "mean_with_sample_weight" and sample_weight is not None:
            rows = ops.ones_like(values) if counted is None else counted
            return ops.weighted_mean(rows, sample_weight, reduction="sum")
        return None if counted is None else ops.sum(counted)

    def get_config(self) -> dict[str, Any]:
        config = {"name": self.name, "reduction": self.reduction}
        return config if self.dtype is None else {**config, "dtype": str(self.dtype)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Loss:
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r} reduction={self.reduction!r}>"


class LossFunctionWrapper(Loss):
    """A loss from a function of (y_true, y_pred, **kwargs) that gives one value per row.

    Args:
        fn: callable.
        reduction, name, dtype: as `Loss`.
        kwargs: handed to `fn`.
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", "loss"), reduction, dtype)
        self.fn = fn
        self.kwargs = kwargs

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
        return _tensor(self.fn(y_true, y_pred, **self.kwargs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.kwargs}


class MeanSquaredError(LossFunctionWrapper):
    """mean((y_true - y_pred)^2).

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(LossFunctionWrapper):
    """mean|y_true - y_pred|.

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_error, reduction, name, dtype)


class MeanAbsolutePercentageError(LossFunctionWrapper):
    """100 * mean(|y_true - y_pred| / |y_true|).

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_percentage_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """mean((log(y_true + 1) - log(y_pred + 1))^2).

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


class Hinge(LossFunctionWrapper):
    """mean(max(1 - y_true * y_pred, 0)), for labels -1 and 1, or 0 and 1.

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(hinge, reduction, name, dtype)


class SquaredHinge(LossFunctionWrapper):
    """mean(max(1 - y_true * y_pred, 0)^2), for labels -1 and 1, or 0 and 1.

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "squared_hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(squared_hinge, reduction, name, dtype)


class CategoricalHinge(LossFunctionWrapper):
    """max(1 + max((1 - y_true) * y_pred) - sum(y_true * y_pred), 0), for one-hot rows.

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(categorical_hinge, reduction, name, dtype)


class LogCosh(LossFunctionWrapper):
    """mean(log(cosh(y_pred - y_true))).

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "log_cosh",
        dtype: Any = None,
    ) -> None:
        super().__init__(log_cosh, reduction, name, dtype)


class KLDivergence(LossFunctionWrapper):
    """sum(y_true * log(y_true / y_pred)).

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "kl_divergence",
        dtype: Any = None,
    ) -> None:
        super().__init__(kl_divergence, reduction, name, dtype)


class Poisson(LossFunctionWrapper):
    """mean(y_pred - y_true * log(y_pred)).

    Args:
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "poisson",
        dtype: Any = None,
    ) -> None:
        super().__init__(poisson, reduction, name, dtype)


class Huber(LossFunctionWrapper):
    """Half the squared error up to `delta`, a straight line beyond: outliers count less.

    Args:
        delta: float > 0. Default `1.0`.
        reduction, name, dtype: as `Loss`.
    Raises: ValueError if `delta <= 0`.
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        if not delta > 0:
            raise ValueError(f"Huber: expected delta > 0, got {delta!r}")
        super().__init__(huber, reduction, name, dtype, delta=delta)


class CosineSimilarity(LossFunctionWrapper):
    """-sum(y_true * y_pred) / (|y_true| * |y_pred|): -1 for the same direction.

    Args:
        axis: the axis along which the vectors run. Default `-1`.
        reduction, name, dtype: as `Loss`.
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
        return -super().call(y_true, y_pred)


def _smoothing(what: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{what}: expected 0 <= label_smoothing <= 1, got {value!r}")
    return value


class BinaryCrossentropy(LossFunctionWrapper):
    """-mean(y_true * log(y_pred) + (1 - y_true) * log(1 - y_pred)), for labels 0 and 1.

    Args:
        from_logits: whether `y_pred` holds logits, which go through a sigmoid. Default `False`.
        label_smoothing: s in [0, 1]; labels become y * (1 - s) + s / 2. Default `0.0`.
        axis: the axis of the mean. Default `-1`.
        reduction, name, dtype: as `Loss`.
    Raises: ValueError for a label_smoothing outside [0, 1].
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=_smoothing("BinaryCrossentropy", label_smoothing),
            axis=axis,
        )


class CategoricalCrossentropy(LossFunctionWrapper):
    """-sum(y_true * log(y_pred)), for one-hot rows; probabilities are first normalised to sum 1.

    Args:
        from_logits: whether `y_pred` holds logits, which go through a softmax. Default `False`.
        label_smoothing: s in [0, 1]; y_true becomes y_true * (1 - s) + s / classes. Default `0.0`.
        axis: the axis of the classes. Default `-1`.
        reduction, name, dtype: as `Loss`.
    Raises: ValueError for a label_smoothing outside [0, 1].
    Example:
        >>> import fastnn
        >>> loss = fastnn.losses.CategoricalCrossentropy()
        >>> round(float(loss([[0.0, 1.0, 0.0, 0.0]], [[0.3, 0.2, 0.1, 0.4]])), 4)
        1.6094
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=_smoothing("CategoricalCrossentropy", label_smoothing),
            axis=axis,
        )


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """-log(y_pred[label]), for class indices; probabilities are first normalised to sum 1.

    Args:
        from_logits: whether `y_pred` holds logits, which go through a softmax. Default `False`.
        ignore_class: a label whose rows count neither in the sum nor in the mean. Default `None`.
        reduction: as `Loss`.
        axis: the axis of the classes. Default `-1`.
        name, dtype: as `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )

    def _counted(self, y_true: ArrayLike, values: Tensor) -> Tensor | None:
        ignored = self.kwargs["ignore_class"]
        if ignored is None:
            return None
        labels = _tensor(y_true)
        if labels.ndim > values.ndim:
            labels = ops.squeeze(labels, -1)
        return ops.cast(ops.not_equal(labels, ignored), values.dtype)


# ---- names

mse = mean_squared_error
mae = mean_absolute_error
mape = mean_absolute_percentage_error
msle = mean_squared_logarithmic_error
bce = binary_crossentropy
logcosh = log_cosh
kld = kl_divergence
kullback_leibler_divergence = kl_divergence
cosine_proximity = cosine_similarity

_CLASSES: dict[type[Loss], tuple[str, ...]] = {
    MeanSquaredError: ("mean_squared_error", "mse", "MSE"),
    MeanAbsoluteError: ("mean_absolute_error", "mae", "MAE"),
    MeanAbsolutePercentageError: ("mean_absolute_percentage_error", "mape", "MAPE"),
    MeanSquaredLogarithmicError: ("mean_squared_logarithmic_error", "msle", "MSLE"),
    BinaryCrossentropy: ("binary_crossentropy", "bce", "BCE"),
    CategoricalCrossentropy: ("categorical_crossentropy",),
    SparseCategoricalCrossentropy: ("sparse_categorical_crossentropy",),
    Hinge: ("hinge",),
    SquaredHinge: ("squared_hinge",),
    CategoricalHinge: ("categorical_hinge",),
    LogCosh: ("log_cosh", "logcosh"),
    Huber: ("huber", "huber_loss"),
    KLDivergence: ("kl_divergence", "kld", "KLD", "kullback_leibler_divergence"),
    Poisson: ("poisson",),
    CosineSimilarity: ("cosine_similarity", "cosine_proximity"),
}
_BY_NAME: dict[str, Callable[..., Loss]] = {
    name: cls for cls, names in _CLASSES.items() for name in (cls.__name__, *names)
}


def get(identifier: Any) -> Any:
    """The loss object of a name, a config dict `{"class_name": ..., "config": ...}`, a Loss, its
    class, or a function.

    A function of (y_true, y_pred) becomes a loss that averages what it returns; None gives None.
    Raises: ValueError for an unknown name, naming the nearest ones; TypeError for anything else.
    """
    if identifier is None:
        return None
    found = lookup("loss", identifier, _BY_NAME)
    return found if isinstance(found, Loss) else LossFunctionWrapper(found)


def serialize(loss: Loss) -> dict[str, Any]:
    """`{"class_name": ..., "config": ...}`, from which `get` makes the loss again."""
    return {"class_name": type(loss).__name__, "config": loss.get_config()}


deserialize = get
