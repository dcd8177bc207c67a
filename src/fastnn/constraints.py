"""Constraints on weights, applied after each update: from the weight to its new value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastnn import ops
from fastnn._core import Tensor
from fastnn._registry import lookup
from fastnn._typing import ArrayLike

__all__ = ["Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "get"]

Axes = int | tuple[int, ...]
_EPSILON = 1e-7


class Constraint:
    """Base of the constraints: a callable that takes a weight and returns its new value."""

    def __call__(self, w: ArrayLike) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: write __call__(self, w)")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Constraint:
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def _norms(w: ArrayLike, axis: Axes) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(w), axis=axis, keepdims=True))


class MaxNorm(Constraint):
    """Shrink weight vectors longer than `max_value` to that length.

    Args:
        max_value: float > 0. Default `2`.
        axis: int or tuple, the axes along which a vector runs: 0 for a dense kernel, (0, 1, 2) for
            a convolution's. Default `0`.
    Raises: ValueError for a max_value that is not positive.
    Reference: Srivastava et al. (2014), JMLR 15.
    """

    def __init__(self, max_value: float = 2, axis: Axes = 0) -> None:
        if not max_value > 0:
            raise ValueError(f"MaxNorm: expected max_value > 0, got {max_value!r}")
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: ArrayLike) -> Tensor:
        norms = _norms(w, self.axis)
        return ops.multiply(w, ops.clip(norms, 0.0, self.max_value) / (norms + _EPSILON))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """Set negative weights to 0."""

    def __call__(self, w: ArrayLike) -> Tensor:
        return ops.maximum(w, 0.0)


class UnitNorm(Constraint):
    """Scale every weight vector to length 1.

    Args:
        axis: int or tuple, the axes along which a vector runs. Default `0`.
    """

    def __init__(self, axis: Axes = 0) -> None:
        self.axis = axis

    def __call__(self, w: ArrayLike) -> Tensor:
        return w / (_norms(w, self.axis) + _EPSILON)

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Bring the length of every weight vector towards [min_value, max_value].

    Args:
        min_value: float >= 0. Default `0.0`.
        max_value: float >= min_value. Default `1.0`.
        rate: float in (0, 1], how much of the way to go in one call; 1 is all of it. Default `1.0`.
        axis: int or tuple, the axes along which a vector runs. Default `0`.
    Raises: ValueError for bounds that are not 0 <= min_value <= max_value, or a rate
        outside (0, 1].
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axes = 0
    ) -> None:
        if not 0 <= min_value <= max_value:
            raise ValueError(
                f"MinMaxNorm: expected 0 <= min_value <= max_value, got {min_value!r} "
                f"and {max_value!r}"
            )
        if not 0 < rate <= 1:
            raise ValueError(f"MinMaxNorm: expected 0 < rate <= 1, got {rate!r}")
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: ArrayLike) -> Tensor:
        norms = _norms(w, self.axis)
        wanted = (
            self.rate * ops.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        )
        return ops.multiply(w, wanted / (norms + _EPSILON))

    def get_config(self) -> dict[str, Any]:
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            "axis": self.axis,
        }


_BY_NAME: dict[str, Callable[[], Constraint]] = {
    "MaxNorm": MaxNorm,
    "max_norm": MaxNorm,
    "maxnorm": MaxNorm,
    "NonNeg": NonNeg,
    "non_neg": NonNeg,
    "nonneg": NonNeg,
    "UnitNorm": UnitNorm,
    "unit_norm": UnitNorm,
    "unitnorm": UnitNorm,
    "MinMaxNorm": MinMaxNorm,
    "min_max_norm": MinMaxNorm,
    "minmaxnorm": MinMaxNorm,
}


def get(identifier: Any) -> Any:
    """The constraint of a name, a config dict `{"class_name": ..., "config": ...}`, or a callable;
    None for None.

    Raises: ValueError for an unknown name, TypeError for anything else.
    """
    return None if identifier is None else lookup("constraint", identifier, _BY_NAME)
