"""Softmax and its logarithm."""

from __future__ import annotations

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike
from fastnn.tape import GradientTape

__all__ = ["log_softmax", "softmax", "softmax_backward"]


def softmax(x: ArrayLike, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`, for logits of any size; NaN where a row is all -inf.

    Example:
        >>> import fastnn
        >>> fastnn.ops.softmax([5.0, 2.0, -1.0, 3.0]).numpy().round(3)
        array([0.842, 0.042, 0.002, 0.114], dtype=float32)
    """
    return _core.softmax(x, axis)


def log_softmax(x: ArrayLike, axis: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along `axis`: log(softmax(x)) without its overflow."""
    return _core.log_softmax(x, axis)


def softmax_backward(dy: ArrayLike, x: ArrayLike, axis: int = -1) -> Tensor:
    """dx = y * (dy - sum(y * dy)) along `axis`, y = softmax(x)."""
    source = _core.Tensor(x)
    with GradientTape() as tape:
        tape.watch(source)
        y = softmax(source, axis)
    gradient: Tensor = tape.gradient(y, source, dy)
    return gradient
