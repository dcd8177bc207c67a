"""Comparisons, logic and choice. Results are bool; operands broadcast and promote as NumPy's."""

from __future__ import annotations

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike

__all__ = [
    "ceil",
    "equal",
    "floor",
    "greater",
    "greater_equal",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "round",
    "where",
]


def equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 == x2."""
    return _core.equal(x1, x2)


def not_equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 != x2."""
    return _core.not_equal(x1, x2)


def less(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 < x2."""
    return _core.less(x1, x2)


def less_equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 <= x2."""
    return _core.less_equal(x1, x2)


def greater(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 > x2."""
    return _core.greater(x1, x2)


def greater_equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 >= x2."""
    return _core.greater_equal(x1, x2)


def logical_and(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Whether both are other than 0."""
    return _core.where(x1, _core.cast(x2, "bool"), False)


def logical_or(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Whether one of the two is other than 0."""
    return _core.where(x1, True, _core.cast(x2, "bool"))


def logical_xor(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Whether exactly one of the two is other than 0."""
    return _core.not_equal(_core.cast(x1, "bool"), _core.cast(x2, "bool"))


def logical_not(x: ArrayLike) -> Tensor:
    """Whether x is 0."""
    return _core.equal(_core.cast(x, "bool"), False)


def isnan(x: ArrayLike) -> Tensor:
    """Whether x is NaN."""
    return _core.not_equal(x, x)


def isinf(x: ArrayLike) -> Tensor:
    """Whether x is infinite."""
    return _core.equal(_core.abs(x), float("inf"))


def isfinite(x: ArrayLike) -> Tensor:
    """Whether x is neither infinite nor NaN."""
    return _core.less(_core.abs(x), float("inf"))


def where(condition: ArrayLike, x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 where `condition` is other than 0, x2 elsewhere. The gradient goes to the operand that
    was chosen."""
    return _core.where(condition, x1, x2)


def floor(x: ArrayLike) -> Tensor:
    """The largest integer not above x. No gradient."""
    return _core.floor(x)


def ceil(x: ArrayLike) -> Tensor:
    """The smallest integer not below x. No gradient."""
    return _core.ceil(x)


def round(x: ArrayLike) -> Tensor:
    """The nearest integer, halves to even. No gradient."""
    return _core.round(x)
