"""Layers that make one tensor of several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Unpack

from fastnn import ops
from fastnn.layers.base import Layer, LayerOptions


class _Merge(Layer):
    """Several inputs of one shape, but for axes of one, which are repeated; a missing axis follows the batch."""

    _inputs: ClassVar[tuple[int, float]] = (1, float("inf"))

    def build(self, input_shape: Any) -> None:
        self._check(input_shape)

    def _check(self, given: Any) -> None:
        low, high = self._inputs
        nested = isinstance(given, list | tuple)
        if not nested or not low <= len(given) <= high or isinstance(given[0], int | None):
            wanted = f"{low}" if low == high else f"at least {low}"
            got = len(given) if isinstance(given, list) else "one tensor"
            raise ValueError(f"expected a list of {wanted} inputs, got {got}")

    def call(self, inputs: Any) -> Any:
        self._check(inputs)
        rank = max(x.ndim for x in inputs)
        aligned = [
            ops.expand_dims(x, tuple(range(1, 1 + rank - x.ndim))) if x.ndim < rank else x
            for x in inputs
        ]
        return self.merge(aligned)

    def merge(self, inputs: list[Any]) -> Any:
        raise NotImplementedError


class Add(_Merge):
    """The sum of a list of inputs.

    Example:
        >>> import fastnn, numpy as np
        >>> fastnn.layers.Add()([np.ones((1, 2)), np.full((1, 2), 3.0)]).tolist()
        [[4.0, 4.0]]
    """

    def merge(self, inputs: list[Any]) -> Any:
        return functools.reduce(ops.add, inputs)


class Subtract(_Merge):
    """The first input minus the second."""

    _inputs = (2, 2)

    def merge(self, inputs: list[Any]) -> Any:
        return ops.subtract(*inputs)


class Multiply(_Merge):
    """The product of a list of inputs, element by element."""

    def merge(self, inputs: list[Any]) -> Any:
        return functools.reduce(ops.multiply, inputs)


class Average(_Merge):
    """The mean of a list of inputs, element by element."""

    def merge(self, inputs: list[Any]) -> Any:
        return ops.divide(functools.reduce(ops.add, inputs), len(inputs))


class Maximum(_Merge):
    """The largest of a list of inputs, element by element."""

    def merge(self, inputs: list[Any]) -> Any:
        return functools.reduce(ops.maximum, inputs)


class Minimum(_Merge):
    """The smallest of a list of inputs, element by element."""

    def merge(self, inputs: list[Any]) -> Any:
        return functools.reduce(ops.minimum, inputs)


class Concatenate(_Merge):
    """A list of inputs joined along an axis; the others must be equal.

    Args:
        axis: int. Default `-1`.
    """

    def __init__(self, axis: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        self._check(inputs)
        return ops.concatenate(list(inputs), axis=self.axis)


class Dot(_Merge):
    """Products of two inputs, (batch, n) or (batch, m, n), summed over one axis of each.

    Args:
        axes: int or two ints; the axes to sum over.
        normalize: bool. Whether vectors along these axes are scaled to length one first, so that the result is
            their cosine. Default `False`.
    """

    _inputs = (2, 2)

    def __init__(
        self,
        axes: int | Sequence[int],
        normalize: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        pair = (axes, axes) if isinstance(axes, int) else tuple(axes)
        if len(pair) != 2 or any(axis == 0 for axis in pair):
            raise ValueError(
                f"Dot: axes: expected an int or two ints other than 0, the batch; got {axes!r}"
            )
        self.axes = axes
        self.normalize = normalize
        self._pair = pair

    def call(self, inputs: Any) -> Any:
        self._check(inputs)
        ranks = [x.ndim for x in inputs]
        if any(rank not in (2, 3) for rank in ranks):
            raise ValueError(f"expected inputs of 2 or 3 axes, got {ranks}")
        # As (batch, rows, summed) and (batch, summed, columns).
        a, b = (self._rows(x, axis) for x, axis in zip(inputs, self._pair, strict=True))
        y = ops.matmul(a, ops.transpose(b, (0, 2, 1)))
        if ranks == [2, 2]:
            return ops.squeeze(y, 2)
        if ranks == [2, 3]:
            return ops.squeeze(y, 1)
        return ops.squeeze(y, 2) if ranks == [3, 2] else y

    def _rows(self, x: Any, axis: int) -> Any:
        if not -x.ndim < axis < x.ndim:
            raise ValueError(f"axes: expected an axis of an input of {x.ndim} axes, got {axis}")
        axis %= x.ndim
        if x.ndim == 3 and axis == 1:
            x = ops.transpose(x, (0, 2, 1))
        if x.ndim == 2:
            x = ops.expand_dims(x, 1)
        if self.normalize:
            square = ops.sum(ops.square(x), axis=-1, keepdims=True)
            x = ops.divide(x, ops.sqrt(ops.maximum(square, 1e-12)))
        return x


def _function(layer: Callable[..., Layer], what: str) -> Callable[..., Any]:
    def function(inputs: Any, **options: Any) -> Any:
        return layer(**options)(inputs)

    function.__doc__ = f"The layer `{what}` on a list of inputs."
    function.__name__ = function.__qualname__ = what.lower()
    return function


add = _function(Add, "Add")
subtract = _function(Subtract, "Subtract")
multiply = _function(Multiply, "Multiply")
average = _function(Average, "Average")
maximum = _function(Maximum, "Maximum")
minimum = _function(Minimum, "Minimum")


def concatenate(inputs: Any, axis: int = -1, **options: Any) -> Any:
    """The layer `Concatenate` on a list of inputs."""
    return Concatenate(axis, **options)(inputs)


def dot(inputs: Any, axes: int | Sequence[int] = -1, **options: Any) -> Any:
    """The layer `Dot` on a list of two inputs."""
    return Dot(axes, **options)(inputs)
