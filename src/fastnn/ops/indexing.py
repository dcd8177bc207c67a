"""Choosing elements: slices, indices, one-hot rows."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike, DTypeLike

__all__ = ["in_top_k", "one_hot", "take", "take_along_axis", "top_k"]


def getitem(x: Any, key: Any) -> Tensor:
    """x[key] as NumPy's basic indexing, in memory of its own; integer arrays index the first
    axis."""
    if isinstance(key, list | np.ndarray | _core.Tensor | _core.Variable):
        return _take_rows(x, key)
    keys = list(key) if isinstance(key, tuple) else [key]
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if dots:
        used = sum(k is not None for k in keys) - 1
        keys[dots[0] : dots[0] + 1] = [slice(None)] * max(0, x.ndim - used)
    ranges: list[Any] = []
    added: list[int] = []
    place = 0  # in the result
    for k in keys:
        if k is None:
            added.append(place)
        elif isinstance(k, slice):
            ranges.append(k)
        elif isinstance(k, bool | np.bool_) or not hasattr(k, "__index__") or np.ndim(k):
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and one integer array are "
                "valid indices, "
                f"got {type(k).__name__}; see fastnn.ops.take, take_along_axis and where"
            )
        else:
            ranges.append(operator.index(k))
        place += k is None or isinstance(k, slice)
    y = _core.slice(x, ranges)
    return _core.expand_dims(y, added) if added else y


def _take_rows(x: Any, indices: Any) -> Tensor:
    dtype = np.asarray(indices).dtype if isinstance(indices, list) else indices.dtype
    if dtype.kind == "b":
        raise IndexError(
            "boolean masks give a shape that depends on data; use fastnn.ops.where, "
            "or index the array"
        )
    return _core.take(x, indices, 0)


def take(x: ArrayLike, indices: ArrayLike, axis: int | None = None) -> Tensor:
    """The slices of x along `axis` that `indices` name; of the flattened x for None.

    Shapes:
        x (..., N, ...), indices (I...) -> (..., I..., ...).
    Raises: IndexError naming an index outside [-N, N), TypeError for indices that are no integers.
    Notes: gradients of an index that occurs twice add up, in the order of the indices.
    """
    return (
        _core.take(_core.reshape(x, -1), indices, 0)
        if axis is None
        else _core.take(x, indices, axis)
    )


def take_along_axis(x: ArrayLike, indices: ArrayLike, axis: int | None = None) -> Tensor:
    """y[..., i, ...] = x[..., indices[..., i, ...], ...]: an index per place, as `argmax` and
    `top_k` give.

    Raises: IndexError naming an index out of range, ValueError for shapes that differ in another
        axis.
    """
    if axis is None:
        return _core.take_along_axis(_core.reshape(x, -1), _core.reshape(indices, -1), 0)
    return _core.take_along_axis(x, indices, axis)


def one_hot(
    x: ArrayLike, num_classes: int, axis: int = -1, dtype: DTypeLike | None = None
) -> Tensor:
    """1 at the place that x names along a new dimension `axis`, 0 elsewhere; x out of range gives
    zeros only.

    Example:
        >>> import fastnn
        >>> fastnn.ops.one_hot([0, 2], 3).numpy()
        array([[1., 0., 0.],
               [0., 0., 1.]], dtype=float32)
    """
    return _core.one_hot(x, num_classes, axis, dtype)


def top_k(x: ArrayLike, k: int) -> tuple[Tensor, Tensor]:
    """The k largest elements of the last axis, largest first, and their indices (int64); of
    equals the first.

    Raises: ValueError if k is larger than the axis.
    """
    values, indices = _core.top_k(x, k)
    return values, indices


def in_top_k(targets: ArrayLike, predictions: ArrayLike, k: int) -> Tensor:
    """Whether fewer than k predictions of a row are larger than the target's.

    Shapes:
        targets (N,), class indices; predictions (N, C) -> bool (N,).
    """
    own = _core.take_along_axis(predictions, _core.expand_dims(targets, -1), -1)
    return _core.less(_core.sum(_core.greater(predictions, own), -1), k)
