"""Small helpers around training data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import random as _random
from fastnn._typing import DTypeLike

__all__ = ["normalize", "set_random_seed", "to_categorical"]


def to_categorical(
    x: npt.ArrayLike, num_classes: int | None = None, dtype: DTypeLike = "float32"
) -> npt.NDArray[Any]:
    """One-hot rows from class indices.

    Args:
        x: integers (or floats with integral values) in 0 .. num_classes - 1.
        num_classes: int. Default `None`: the largest index + 1.
        dtype: the dtype of the result. Default `"float32"`.
    Shapes:
        x (...) or (..., 1) -> (..., num_classes).
    Raises: ValueError for an index that is not integral, negative, or not below num_classes;
        TypeError for what is no number.
    Example:
        >>> to_categorical([0, 2, 1], num_classes=3)
        array([[1., 0., 0.],
               [0., 0., 1.],
               [0., 1., 0.]], dtype=float32)
    """
    labels = np.asarray(x)
    if labels.dtype.kind not in "biuf":
        raise TypeError(f"to_categorical: expected x of integers, got dtype {labels.dtype}")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None:
        if labels.size == 0:
            raise ValueError("to_categorical: expected num_classes for an empty x, got None")
        highest = labels.max()
    else:
        if num_classes < 1:
            raise ValueError(f"to_categorical: expected num_classes >= 1, got {num_classes!r}")
        highest = num_classes - 1
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    wrong = (whole != labels) | (labels < 0) | (labels > highest)
    if wrong.any():
        last = int(highest) if np.isfinite(highest) else "?"
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"to_categorical: expected class indices 0..{last}, got {labels[where]} at {where}"
        )
    rows = np.zeros((*labels.shape, int(highest) + 1), dtype)
    np.put_along_axis(rows, whole[..., None], 1, axis=-1)
    return rows


def normalize(x: npt.ArrayLike, axis: int = -1, order: float = 2) -> npt.NDArray[Any]:
    """x divided by its norms along `axis`; a zero vector stays zero.

    Args:
        x: array of numbers.
        axis: the axis along which the vectors run. Default `-1`.
        order: the order of the norm, 1 for the sum of magnitudes, `np.inf` for the largest. Default
            `2`.
    Example:
        >>> normalize([[3.0, 4.0], [0.0, 0.0]])
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    array = np.asarray(x)
    norms = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norms == 0, 1, norms)


def set_random_seed(seed: int) -> None:
    """`fastnn.random.set_seed`: the same seed gives the same weights, shuffles and dropout
    masks.
    """
    _random.set_seed(seed)
