"""Losses: one value per row of y_pred (all axes but the last), weighted, then reduced.

What all of them share:

sample_weight: one weight per row, in the shape of the rows, or of their leading axes. Default: 1.
normalizer: the divisor of reduction "mean", a number or a 0-d tensor. Default: the number of rows,
    not the sum of the weights. A normalizer of 0 gives 0.
reduction: "none" gives the weighted values, "sum" their sum, "mean" the sum over the normalizer.

Gradients flow to y_pred alone: targets, weights and normalizer are constants.
"""

from __future__ import annotations

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike

__all__ = [
    "binary_crossentropy",
    "categorical_crossentropy",
    "check_finite",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
    "weighted_mean",
]


def weighted_mean(
    values: ArrayLike,
    sample_weight: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum(sample_weight * values) / normalizer: how every loss ends.

    Shapes:
        values (...), sample_weight of the same shape, of its leading axes or with a last axis of 1
        -> () or, with reduction "none", (...).
    Raises: ValueError for weights of another shape or an unknown reduction.
    Example:
        >>> import fastnn
        >>> float(fastnn.ops.weighted_mean([1.0, 2.0, 3.0], [1.0, 1.0, 0.0]))
        1.0
    """
    return _core.weighted_mean(values, sample_weight, normalizer, reduction)


def check_finite(x: ArrayLike, message: str = "a value is not finite") -> None:
    """Refuse what is not finite: NaN and the infinities.

    In a recorded step it runs before anything is written, so the whole step is refused: weights, optimizer and moving
    averages stay as they were.

    Shapes: x (...), float32 or float64.
    Raises: FloatingPointError with `message`.
    Example:
        >>> import fastnn
        >>> fastnn.ops.check_finite([1.0, 2.0])
    """
    _core.check_finite(x, message)


def categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    sample_weight: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-sum(y_true * log(p)) over the last axis.

    p is softmax(y_pred) with `from_logits`, else y_pred / sum(y_pred), clipped to [1e-7, 1 - 1e-7].
    With `label_smoothing` a the targets are y_true * (1 - a) + a / C.

    Shapes:
        y_true (..., C) one-hot or probabilities, y_pred (..., C)
        -> () or, with reduction "none", (...).
    Raises: ValueError for shapes that differ.
    Example:
        >>> import fastnn
        >>> p = [[0.3, 0.2, 0.1, 0.4]]
        >>> round(float(fastnn.ops.categorical_crossentropy([[0, 1, 0, 0]], p)), 4)
        1.6094
    """
    return _core.categorical_crossentropy(
        y_true, y_pred, from_logits, label_smoothing, sample_weight, normalizer, reduction
    )


def sparse_categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    sample_weight: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-log(p[y_true]) over the last axis; p as in `categorical_crossentropy`.

    Shapes:
        y_true (...) or (..., 1), labels 0..C-1 (floating ones integral), y_pred (..., C)
        -> () or, with reduction "none", (...).
    Raises: ValueError for shapes that do not fit and for labels out of range.
    Example:
        >>> import fastnn
        >>> round(float(fastnn.ops.sparse_categorical_crossentropy([0], [[0.9, 0.8]])), 5)
        0.63599
    """
    return _core.sparse_categorical_crossentropy(
        y_true, y_pred, from_logits, sample_weight, normalizer, reduction
    )


def binary_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    sample_weight: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y_true * log(p) + (1 - y_true) * log(1 - p)), the mean over the last axis.

    p is sigmoid(y_pred) with `from_logits`, else y_pred clipped to [1e-7, 1 - 1e-7]. With
    `label_smoothing` a the targets are y_true * (1 - a) + a / 2.

    Shapes:
        y_true and y_pred (..., N) -> () or, with reduction "none", (...).
        (N,) against (N, 1) are N rows.
    Raises: ValueError for other shapes that differ.
    """
    return _core.binary_crossentropy(
        y_true, y_pred, from_logits, label_smoothing, sample_weight, normalizer, reduction
    )


def mean_squared_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """(y_true - y_pred) ** 2, the mean over the last axis. Shapes as in `binary_crossentropy`."""
    return _core.mean_squared_error(y_true, y_pred, sample_weight, normalizer, reduction)


def mean_absolute_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """|y_true - y_pred|, the mean over the last axis, with derivative 0 at 0.

    Shapes as in `binary_crossentropy`.
    """
    return _core.mean_absolute_error(y_true, y_pred, sample_weight, normalizer, reduction)
