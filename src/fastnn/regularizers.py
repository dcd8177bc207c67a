"""Penalties on weights, added to the loss: l1 * sum|w| + l2 * sum w^2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastnn import ops
from fastnn._core import Tensor
from fastnn._registry import lookup
from fastnn._typing import ArrayLike

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get", "l1", "l1_l2", "l2"]


class Regularizer:
    """Base of the penalties: a callable that takes a weight and returns a 0-d tensor."""

    def __call__(self, x: ArrayLike) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: write __call__(self, x)")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Regularizer:
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def _factor(name: str, value: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < float("inf")
    ):
        raise ValueError(f"regularizer: expected {name} as a finite number >= 0, got {value!r}")
    return float(value)


class L1(Regularizer):
    """l1 * sum|w|, which drives weights to zero.

    Args:
        l1: float >= 0. Default `0.01`.
    Raises: ValueError for a negative or non-finite factor.
    """

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = _factor("l1", l1)

    @classmethod
    def from_lambda(cls, lambd: float, m: int) -> L1:
        """The penalty lambda/m * sum|w| of the textbooks, for m training rows."""
        return cls(lambd / _rows(m))

    def __call__(self, x: ArrayLike) -> Tensor:
        return self.l1 * ops.sum(ops.abs(x))

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(Regularizer):
    """l2 * sum w^2, whose gradient is 2 * l2 * w.

    Args:
        l2: float >= 0. Default `0.01`.
    Raises: ValueError for a negative or non-finite factor.
    Example:
        >>> L2.from_lambda(lambd=0.7, m=35)
        L2(l2=0.01)
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = _factor("l2", l2)

    @classmethod
    def from_lambda(cls, lambd: float, m: int) -> L2:
        """The penalty lambda/(2m) * sum w^2 of the textbooks, for m training rows: its gradient is
        lambda/m * w.
        """
        return cls(lambd / (2 * _rows(m)))

    def __call__(self, x: ArrayLike) -> Tensor:
        return self.l2 * ops.sum(ops.square(x))

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class L1L2(Regularizer):
    """l1 * sum|w| + l2 * sum w^2.

    Args:
        l1: float >= 0. Default `0.0`.
        l2: float >= 0. Default `0.0`.
    Raises: ValueError for a negative or non-finite factor.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _factor("l1", l1)
        self.l2 = _factor("l2", l2)

    def __call__(self, x: ArrayLike) -> Tensor:
        return self.l1 * ops.sum(ops.abs(x)) + self.l2 * ops.sum(ops.square(x))

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


def _rows(m: int) -> int:
    if m < 1:
        raise ValueError(f"from_lambda: expected m >= 1 training rows, got {m!r}")
    return m


def l1(l1: float = 0.01, *, l: float | None = None) -> L1:  # noqa: E741
    """L1(l1); `l` is the older spelling of the factor."""
    return L1(l1 if l is None else l)


def l2(l2: float = 0.01, *, l: float | None = None) -> L2:  # noqa: E741
    """L2(l2); `l` is the older spelling of the factor."""
    return L2(l2 if l is None else l)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """L1L2(l1, l2), with the older function's defaults."""
    return L1L2(l1, l2)


_BY_NAME: dict[str, Callable[[], Regularizer]] = {
    "L1": L1,
    "l1": L1,
    "L2": L2,
    "l2": L2,
    "L1L2": L1L2,
    "l1_l2": l1_l2,
    "l1l2": l1_l2,
}


def get(identifier: Any) -> Any:
    """The regularizer of a name, a config dict `{"class_name": ..., "config": ...}`, or a callable;
    None for None.

    Raises: ValueError for an unknown name, TypeError for anything else.
    """
    return None if identifier is None else lookup("regularizer", identifier, _BY_NAME)
