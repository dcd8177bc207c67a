"""Convolution of images."""

from __future__ import annotations

from typing import Any, Unpack

from fastnn import activations, constraints, initializers, ops, regularizers
from fastnn._core import Tensor
from fastnn.layers.arguments import (
    Size2,
    channels_last,
    image_shape,
    known_channels,
    one_of,
    positive_int,
    positive_pair,
)
from fastnn.layers.base import Layer, LayerOptions


class Conv2D(Layer):
    """Slide filters over images (cross-correlation): y = activation(conv2d(x, kernel) + bias).

    Args:
        filters: int > 0, the output's channels.
        kernel_size: int or two ints, height and width.
        strides: int or two ints. Default `1`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
        dilation_rate: int or two ints; strides and dilation cannot both exceed 1. Default `1`.
        groups: int that divides both the input's channels and `filters`. Default `1`.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        kernel_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: Default `None`.
    Shapes:
        x (N, H, W, C) -> y (N, H', W', filters); kernel (kh, kw, C / groups, filters), bias (filters,).
        valid: H' = ceil((H - dilation * (kh - 1)) / stride); same: H' = ceil(H / stride).
    Raises: ValueError for an argument out of range, for x of another rank or number of channels, and for a kernel
        larger than x with `padding="valid"`.
    Notes: channels go last, as in Keras; PyTorch has them first, and its kernels are (out, in, kh, kw).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size2,
        strides: Size2 = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size2 = (1, 1),
        groups: int = 1,
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
        self.filters = positive_int(self, "filters", filters)
        self.kernel_size = positive_pair(self, "kernel_size", kernel_size)
        self.strides = positive_pair(self, "strides", strides)
        self.padding = one_of(self, "padding", padding, ("valid", "same"))
        self.data_format = channels_last(self, data_format)
        self.dilation_rate = positive_pair(self, "dilation_rate", dilation_rate)
        self.groups = positive_int(self, "groups", groups)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"Conv2D: expected strides or dilation_rate to be 1, got {self.strides} and {self.dilation_rate}"
            )
        if self.filters % self.groups:
            raise ValueError(
                f"Conv2D: groups: expected a divisor of filters ({self.filters}), got {self.groups}"
            )
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def build(self, input_shape: Any) -> None:
        image_shape(input_shape)
        channels = known_channels(self, input_shape)
        if channels % self.groups:
            raise ValueError(
                f"groups: expected a divisor of the input's channels ({channels}), got {self.groups}"
            )
        self.kernel = self.add_weight(
            (*self.kernel_size, channels // self.groups, self.filters),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.filters,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )

    def call(self, x: Any) -> Tensor:
        y = ops.conv2d(
            x, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate, self.groups
        )
        return self.activation(y)
