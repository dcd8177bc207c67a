"""The fully connected layer."""

from __future__ import annotations

from typing import Any, Unpack

from fastnn import activations
from fastnn._core import Tensor
from fastnn.layers.arguments import known_channels, positive_int
from fastnn.layers.base import LayerOptions
from fastnn.layers.weighted import WeightedLayer

# Not ops.dense: what that does for symbolic tensors costs 0.2 us, and call never gets one.
from fastnn.ops.dense import dense


class Dense(WeightedLayer):
    """Multiply by a matrix and add a bias: y = activation(x @ kernel + bias), on the last axis.

    Args:
        units: int > 0, the size of the output's last axis.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        kernel_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: Default `None`.
    Shapes:
        x (..., K) -> y (..., units); kernel (K, units), bias (units,).
    Raises: ValueError if `units < 1`, or if `x.shape[-1]` differs from the built K.
    Notes: the kernel is (in, out) as in Keras; PyTorch stores (out, in).
    Example:
        >>> import fastnn, numpy as np
        >>> fastnn.layers.Dense(16)(np.ones((20, 20, 3))).shape
        (20, 20, 16)
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        *,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.units = positive_int(self, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._describe("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._describe("bias", bias_initializer, bias_regularizer, bias_constraint)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2:
            raise ValueError(
                f"expected x of shape (batch, ..., features), got {tuple(input_shape)}; one sample: x[np.newaxis], "
                "one feature: x[:, np.newaxis]"
            )
        self.kernel = self._add("kernel", (known_channels(self, input_shape), self.units), "kernel")
        self._add_bias(self.units)

    def call(self, x: Any) -> Tensor:
        return self.activation(dense(x, self.kernel, self.bias))
