"""Random ops.

A draw is a pure function of (seed, stream, step, element), so it is the same on any number of
threads.
"""

from __future__ import annotations

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike, DTypeLike, ShapeLike

__all__ = ["dropout", "random_normal", "random_truncated_normal", "random_uniform"]


def dropout(
    x: ArrayLike, rate: float, *, seed: int = 0, stream: int = 0, step: ArrayLike = 0
) -> Tensor:
    """Inverted dropout: x / (1 - rate) with probability 1 - rate, else 0; the expected value is x.

    Srivastava et al. (2014), JMLR 15. The gradient goes through the same mask, made again and not
    stored.

    Args:
        x: floating tensor of any shape.
        rate: float in [0, 1), the share that is dropped: rounded to a multiple of 2**-16.
        seed: int. Which numbers; with `stream` and `step` it determines the mask.
        stream: int below 2**32: one per place that draws.
        step: int, or a 0-d integer Tensor or Variable, read when the op runs: one per use.
    Raises: ValueError for a rate outside [0, 1); TypeError if x is not floating.
    Example:
        >>> import numpy as np, fastnn
        >>> y = fastnn.ops.dropout(np.ones(1000, "float32"), 0.2, seed=1)
        >>> np.unique(y).tolist()
        [0.0, 1.25]
    """
    return _core.dropout(x, rate, seed, stream, step)


def random_uniform(
    shape: ShapeLike,
    low: float = 0.0,
    high: float = 1.0,
    dtype: DTypeLike | None = None,
    *,
    seed: int = 0,
    stream: int = 0,
    step: ArrayLike = 0,
) -> Tensor:
    """Numbers spread evenly over [low, high)."""
    return _core.random_uniform(shape, low, high, dtype, seed, stream, step)


def random_normal(
    shape: ShapeLike,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: DTypeLike | None = None,
    *,
    seed: int = 0,
    stream: int = 0,
    step: ArrayLike = 0,
) -> Tensor:
    """Normal numbers, by the transform of Box and Muller (1958)."""
    return _core.random_normal(shape, mean, stddev, dtype, seed, stream, step)


def random_truncated_normal(
    shape: ShapeLike,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: DTypeLike | None = None,
    *,
    seed: int = 0,
    stream: int = 0,
    step: ArrayLike = 0,
) -> Tensor:
    """Normal numbers within two `stddev` of the mean (whose own deviation is 0.8796 `stddev`)."""
    return _core.random_truncated_normal(shape, mean, stddev, dtype, seed, stream, step)
