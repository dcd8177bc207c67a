"""Checks of constructor arguments; each names the layer's class, the argument, and what came."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

Sizes = int | Sequence[int]


def positive_int(layer: object, argument: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{type(layer).__name__}: {argument}: expected a positive int, got {value!r}"
        ) from None
    if isinstance(value, bool) or number < 1:
        raise ValueError(
            f"{type(layer).__name__}: {argument}: expected a positive int, got {value!r}"
        )
    return number


def positive_ints(layer: object, argument: str, value: Any, rank: int) -> tuple[int, ...]:
    """One per axis, from one int or `rank` of them."""
    numbers = (
        tuple(value)
        if isinstance(value, Sequence) and not isinstance(value, str)
        else (value,) * rank
    )
    if len(numbers) != rank:
        expected = "one positive int" if rank == 1 else "one or two positive ints"
        raise ValueError(f"{type(layer).__name__}: {argument}: expected {expected}, got {value!r}")
    return tuple(positive_int(layer, argument, number) for number in numbers)


def real(
    layer: object, argument: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> float:
    """A finite number in [low, high)."""
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        raise TypeError(f"{type(layer).__name__}: {argument}: expected a number, got {value!r}")
    number = float(value)
    if not (low <= number < high) or not math.isfinite(number):
        limits = (
            "finite"
            if low == -math.inf
            else f">= {low}" + ("" if high == math.inf else f" and < {high}")
        )
        raise ValueError(
            f"{type(layer).__name__}: {argument}: expected a number {limits}, got {value!r}"
        )
    return number


def one_of(layer: object, argument: str, value: Any, allowed: Sequence[str]) -> str:
    if isinstance(value, str) and value.lower() in allowed:
        return value.lower()
    raise ValueError(
        f"{type(layer).__name__}: {argument}: expected {' or '.join(map(repr, allowed))}, got {value!r}"
    )


def channels_last(layer: object, data_format: Any, rank: int = 2) -> str:
    if data_format in (None, "channels_last"):
        return "channels_last"
    raise ValueError(
        f"{type(layer).__name__}: data_format: expected 'channels_last', got {data_format!r}; channels go last: "
        f"x.transpose({'0, 2, 1' if rank == 1 else '0, 2, 3, 1'})"
    )


def known_channels(layer: object, input_shape: Sequence[int | None], axis: int = -1) -> int:
    """The size of the axis that weights are made for."""
    if not -len(input_shape) <= axis < len(input_shape):
        raise ValueError(f"axis: expected an axis of x of shape {tuple(input_shape)}, got {axis}")
    size = input_shape[axis]
    if size is None:
        raise ValueError(
            f"expected x with a known size on axis {axis}, got shape {tuple(input_shape)}"
        )
    if size < 1:
        raise ValueError(
            f"expected x with at least one element on axis {axis}, got shape {tuple(input_shape)}"
        )
    return size


def image_shape(input_shape: Sequence[int | None], rank: int = 2) -> None:
    """An image, or with rank 1 a row."""
    if len(input_shape) != rank + 2:
        axes = "length" if rank == 1 else "height, width"
        raise ValueError(
            f"expected x of shape (batch, {axes}, channels), got {tuple(input_shape)}"
            + ("; one channel: x[..., np.newaxis]" if len(input_shape) == rank + 1 else "")
        )


def shape_without_batch(layer: object, shape: Any) -> tuple[int | None, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return tuple(
        None if size is None else positive_int(layer, "input_shape", size) for size in sizes
    )
