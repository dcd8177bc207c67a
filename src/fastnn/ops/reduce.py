"""Reductions over axes: None for all of them, an int, or a tuple of ints; negative ones count
from the end.

Orders of summation are fixed by the sizes alone, so the bits do not depend on the number of
threads. NaNs propagate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "logsumexp",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]

Axis: TypeAlias = int | Sequence[int] | None


def sum(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`; 0 of no elements. Integers and booleans are summed in int64.

    Shapes:
        x (...) -> x's shape without the axes, or with 1 in their place if `keepdims`.
    Raises: ValueError for an axis out of range or named twice.
    Example:
        >>> import fastnn
        >>> fastnn.ops.sum([[1, 2], [3, 4]], axis=0).numpy()
        array([4, 6])
    """
    return _core.sum(x, axis, keepdims)


def mean(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over `axis`; NaN of no elements. Integers are averaged in floatx."""
    return _core.mean(x, axis, keepdims)


def max(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element along `axis`; NaN if there is one. Equal maxima share the gradient
    evenly.

    Raises: ValueError for no elements.
    """
    return _core.max(x, axis, keepdims)


def min(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element along `axis`; NaN if there is one. Equal minima share the gradient
    evenly.

    Raises: ValueError for no elements.
    """
    return _core.min(x, axis, keepdims)


def prod(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`; 1 of no elements. The gradient is right where elements are 0,
    too."""
    return _core.prod(x, axis, keepdims)


def var(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The biased variance, mean((x - mean(x))^2), in two passes."""
    return _core.var(x, axis, keepdims)


def std(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """sqrt(var(x)). Its gradient is NaN where the variance is 0, as the formula's is."""
    return _core.sqrt(_core.var(x, axis, keepdims))


def logsumexp(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) without overflow; -inf of no elements."""
    return _core.logsumexp(x, axis, keepdims)


def argmax(x: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index (int64) of the first largest element along `axis`, or of the first NaN; of the
    flattened x for None.

    Raises: ValueError for no elements.
    """
    return _core.argmax(x, axis, keepdims)


def argmin(x: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index (int64) of the first smallest element along `axis`, or of the first NaN; of the
    flattened x for None.

    Raises: ValueError for no elements.
    """
    return _core.argmin(x, axis, keepdims)


def all(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether every element along `axis` is other than 0; True of no elements."""
    return _core.all(x, axis, keepdims)


def any(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether an element along `axis` is other than 0; False of no elements."""
    return _core.any(x, axis, keepdims)
