"""Activation functions as layers."""

from __future__ import annotations

from typing import Any, Unpack

from fastnn import activations, ops
from fastnn._core import Tensor
from fastnn.layers.arguments import real
from fastnn.layers.base import Layer, LayerOptions


class Activation(Layer):
    """Apply a function elementwise.

    Args:
        activation: name or function.
    Example:
        >>> import fastnn
        >>> fastnn.layers.Activation("relu")([[-1.0, 2.0]]).numpy()
        array([[0., 2.]], dtype=float32)
    """

    def __init__(self, activation: Any, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def call(self, x: Any) -> Tensor:
        return self.activation(x)


class ReLU(Layer):
    """max_value where x >= max_value, x where threshold <= x, negative_slope * (x - threshold) below.

    Args:
        max_value: float >= 0, or `None` (no limit). Default `None`.
        negative_slope: float >= 0. Default `0.0`.
        threshold: float >= 0. Default `0.0`.
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else real(self, "max_value", max_value, low=0)
        self.negative_slope = real(self, "negative_slope", negative_slope, low=0)
        self.threshold = real(self, "threshold", threshold, low=0)

    def call(self, x: Any) -> Tensor:
        if self.threshold:
            below = ops.multiply(ops.subtract(x, self.threshold), self.negative_slope)
            y = ops.where(ops.greater_equal(x, self.threshold), x, below)
        else:
            y = ops.leaky_relu(x, self.negative_slope) if self.negative_slope else ops.relu(x)
        return y if self.max_value is None else ops.minimum(y, self.max_value)


class LeakyReLU(Layer):
    """x above 0, negative_slope * x below.

    Args:
        negative_slope: float >= 0. Default `0.3`.
        alpha: the older name of `negative_slope`.
    Notes: PyTorch's default slope is 0.01.
    """

    def __init__(
        self,
        negative_slope: float = 0.3,
        *,
        alpha: float | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        slope = negative_slope if alpha is None else alpha
        self.negative_slope = real(self, "negative_slope", slope, low=0)

    def call(self, x: Any) -> Tensor:
        return ops.leaky_relu(x, self.negative_slope)


class ELU(Layer):
    """x above 0, alpha * (exp(x) - 1) below.

    Args:
        alpha: float. Default `1.0`.
    Reference: Clevert, Unterthiner, Hochreiter (2015), arXiv:1511.07289.
    """

    def __init__(self, alpha: float = 1.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.alpha = real(self, "alpha", alpha)

    def call(self, x: Any) -> Tensor:
        return ops.elu(x, self.alpha)


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along an axis.

    Args:
        axis: int. Default `-1`.
    """

    def __init__(self, axis: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis

    def call(self, x: Any) -> Tensor:
        return ops.softmax(x, axis=self.axis)
