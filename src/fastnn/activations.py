"""Activation functions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from fastnn import ops
from fastnn._core import Tensor
from fastnn._typing import ArrayLike
from fastnn.ops import (
    elu,
    gelu,
    hard_sigmoid,
    leaky_relu,
    log_softmax,
    mish,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    tanh,
)

__all__ = [
    "elu",
    "exponential",
    "gelu",
    "get",
    "hard_sigmoid",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]

Activation: TypeAlias = Callable[[Any], Tensor]


def linear(x: ArrayLike) -> Any:
    """x."""
    return x


def exponential(x: ArrayLike) -> Tensor:
    """e ** x."""
    return ops.exp(x)


swish = silu
_BY_NAME: dict[str, Activation] = {name: globals()[name] for name in __all__ if name != "get"}


def get(identifier: str | Activation | None) -> Activation:
    """The activation of that name; a callable as it is; `linear` for None.

    Raises: ValueError for an unknown name, TypeError for anything else.
    Example:
        >>> import fastnn
        >>> fastnn.activations.get("swish") is fastnn.ops.silu
        True
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        if identifier not in _BY_NAME:
            raise ValueError(
                f"activation: expected one of {', '.join(_BY_NAME)}, got {identifier!r}"
            )
        return _BY_NAME[identifier]
    if callable(identifier):
        return identifier
    raise TypeError(f"activation: expected a name or a function, got {identifier!r}")
