"""The fully connected layer."""

from __future__ import annotations

from typing import Any, Unpack

from fastnn import activations, constraints, initializers, regularizers
from fastnn._core import Tensor
from fastnn.layers.arguments import known_channels, positive_int
from fastnn.layers.base import Layer, LayerOptions

# Not ops.dense: what that does for symbolic tensors costs 0.2 us, and call never gets one.
from fastnn.ops.dense import dense


class Dense(Layer):
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
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2:
            raise ValueError(
                f"expected x of shape (batch, ..., features), got {tuple(input_shape)}; one sample: x[np.newaxis], "
                "one feature: x[:, np.newaxis]"
            )
        self.kernel = self.add_weight(
            (known_channels(self, input_shape), self.units),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )

    def call(self, x: Any) -> Tensor:
        return self.activation(dense(x, self.kernel, self.bias))
