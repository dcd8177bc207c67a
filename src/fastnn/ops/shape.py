"""Functions that move or view elements without arithmetic."""

from __future__ import annotations

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike, ShapeLike

__all__ = ["copy", "ones_like", "reshape", "stop_gradient", "zeros_like"]


def reshape(x: ArrayLike, newshape: ShapeLike) -> Tensor:
    """The same elements, in order, under another shape; one dimension may be -1. A view."""
    return _core.reshape(x, newshape)


def copy(x: ArrayLike) -> Tensor:
    """x in memory of its own."""
    return _core.copy(x)


def zeros_like(x: ArrayLike) -> Tensor:
    """Zeros in the shape and dtype of x."""
    return _core.fill_like(x, 0.0)


def ones_like(x: ArrayLike) -> Tensor:
    """Ones in the shape and dtype of x."""
    return _core.fill_like(x, 1.0)


def stop_gradient(x: ArrayLike) -> Tensor:
    """x, as a constant: no gradient flows back."""
    return _core.stop_gradient(x)
