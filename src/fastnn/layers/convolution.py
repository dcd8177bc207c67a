"""Convolution of rows and images: full, transposed, depthwise and separable."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Unpack

from fastnn import activations, ops
from fastnn._core import Tensor
from fastnn.layers.arguments import (
    Sizes,
    channels_last,
    image_shape,
    known_channels,
    one_of,
    positive_int,
    positive_ints,
)
from fastnn.layers.base import LayerOptions
from fastnn.layers.weighted import WeightedLayer


class _Convolution(WeightedLayer):
    """How a window slides along `_rank` axes, and what all these layers do with the result."""

    _rank: ClassVar[int]
    _paddings: ClassVar[tuple[str, ...]] = ("valid", "same")
    _op: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes,
        padding: str,
        data_format: str | None,
        dilation_rate: Sizes,
        activation: Any,
        use_bias: bool,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.kernel_size = positive_ints(self, "kernel_size", kernel_size, self._rank)
        self.strides = positive_ints(self, "strides", strides, self._rank)
        self.padding = one_of(self, "padding", padding, self._paddings)
        self.data_format = channels_last(self, data_format, self._rank)
        self.dilation_rate = positive_ints(self, "dilation_rate", dilation_rate, self._rank)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{type(self).__name__}: expected strides or dilation_rate to be 1, got {self.strides} and "
                f"{self.dilation_rate}"
            )
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def _channels(self, input_shape: Sequence[int | None]) -> int:
        image_shape(input_shape, self._rank)
        return known_channels(self, input_shape)


class _Conv(_Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
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
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            **options,
        )
        self.filters = positive_int(self, "filters", filters)
        self.groups = positive_int(self, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                f"{type(self).__name__}: groups: expected a divisor of filters ({self.filters}), got {self.groups}"
            )
        self._describe("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._describe("bias", bias_initializer, bias_regularizer, bias_constraint)

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"groups: expected a divisor of the input's channels ({channels}), got {self.groups}"
            )
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self._add("kernel", shape, "kernel")
        self._add_bias(self.filters)

    def call(self, x: Any) -> Tensor:
        y = self._op(
            x, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate, self.groups
        )
        return self.activation(y)


class Conv1D(_Conv):
    """Slide filters along rows (cross-correlation): y = activation(conv1d(x, kernel) + bias).

    Args:
        filters: int > 0, the output's channels.
        kernel_size: int.
        strides: int. Default `1`.
        padding: `"valid"`, `"same"`, or `"causal"`: outputs read nothing that comes after their place. Default
            `"valid"`.
        data_format: `None` or `"channels_last"`.
        dilation_rate: int; strides and dilation cannot both exceed 1. Default `1`.
        groups: int that divides both the input's channels and `filters`. Default `1`.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        kernel_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: Default `None`.
    Shapes:
        x (N, L, C) -> y (N, L', filters); kernel (k, C / groups, filters), bias (filters,).
        valid: L' = ceil((L - dilation * (k - 1)) / stride); same and causal: L' = ceil(L / stride).
    Raises: ValueError for an argument out of range, for x of another rank or number of channels, and for a kernel
        larger than x with `padding="valid"`.
    """

    _rank = 1
    _paddings = ("valid", "same", "causal")
    _op = staticmethod(ops.conv1d)


class Conv2D(_Conv):
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

    _rank = 2
    _op = staticmethod(ops.conv2d)


class _ConvTranspose(_Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        output_padding: Sizes | None = None,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
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
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            **options,
        )
        self.filters = positive_int(self, "filters", filters)
        self.output_padding = None if output_padding is None else self._padding_of(output_padding)
        self._describe("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._describe("bias", bias_initializer, bias_regularizer, bias_constraint)

    def _padding_of(self, value: Sizes) -> tuple[int, ...]:
        given = value if isinstance(value, Sequence) else (value,) * self._rank
        try:
            sizes = tuple(-1 if isinstance(size, bool) else operator.index(size) for size in given)
        except TypeError:
            sizes = ()
        if len(sizes) != self._rank or not all(
            0 <= size < stride for size, stride in zip(sizes, self.strides, strict=True)
        ):
            raise ValueError(
                f"{type(self).__name__}: output_padding: expected ints >= 0 and under the strides {self.strides}, "
                f"got {value!r}"
            )
        return sizes

    def build(self, input_shape: Any) -> None:
        shape = (*self.kernel_size, self.filters, self._channels(input_shape))
        self.kernel = self._add("kernel", shape, "kernel")
        self._add_bias(self.filters)

    def call(self, x: Any) -> Tensor:
        y = self._op(
            x,
            self.kernel,
            self.bias,
            self.strides,
            self.padding,
            self.output_padding,
            self.dilation_rate,
        )
        return self.activation(y)


class Conv1DTranspose(_ConvTranspose):
    """Spread every position over a window of a longer row: y = activation(conv1d_transpose(x, kernel) + bias).

    Args:
        filters: int > 0, the output's channels.
        kernel_size: int.
        strides: int, by which the row grows. Default `1`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        output_padding: int under the stride, or `None` for the sizes below. Default `None`.
        data_format: `None` or `"channels_last"`.
        dilation_rate: int; strides and dilation cannot both exceed 1. Default `1`.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        kernel_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: Default `None`.
    Shapes:
        x (N, L, C) -> y (N, L', filters); kernel (k, filters, C), bias (filters,). With span = dilation * (k - 1) + 1
        valid: L' = (L - 1) * stride + max(span, stride); same: L' = L * stride; with output_padding p
        (L - 1) * stride + span + p and (L - 1) * stride + span mod 2 + p.
    Raises: ValueError for an argument out of range, and for x of another rank or number of channels.
    """

    _rank = 1
    _op = staticmethod(ops.conv1d_transpose)


class Conv2DTranspose(_ConvTranspose):
    """Spread every pixel over a window of a larger image: y = activation(conv2d_transpose(x, kernel) + bias).

    Args:
        filters: int > 0, the output's channels.
        kernel_size: int or two ints, height and width.
        strides: int or two ints, by which the image grows. Default `1`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
        dilation_rate: int or two ints; strides and dilation cannot both exceed 1. Default `1`.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        kernel_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: Default `None`.
        output_padding: int or two under the strides, or `None` for the sizes below. Default `None`.
    Shapes:
        x (N, H, W, C) -> y (N, H', W', filters); kernel (kh, kw, filters, C), bias (filters,). With
        span = dilation * (kh - 1) + 1 valid: H' = (H - 1) * stride + max(span, stride); same: H' = H * stride; with
        output_padding p (H - 1) * stride + span + p and (H - 1) * stride + span mod 2 + p.
    Raises: ValueError for an argument out of range, and for x of another rank or number of channels.
    """

    _rank = 2
    _op = staticmethod(ops.conv2d_transpose)

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        *,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        output_padding: Sizes | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        # In one dimension Keras has output_padding after padding, in two by name only.
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            output_padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **options,
        )


class _DepthwiseConv(_Convolution):
    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        *,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            **options,
        )
        self.depth_multiplier = positive_int(self, "depth_multiplier", depth_multiplier)
        self._describe(
            "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint
        )
        self._describe("bias", bias_initializer, bias_regularizer, bias_constraint)

    def build(self, input_shape: Any) -> None:
        channels = self._channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self._add("depthwise", shape, "kernel")
        self._add_bias(channels * self.depth_multiplier)

    def call(self, x: Any) -> Tensor:
        y = self._op(x, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate)
        return self.activation(y)


class DepthwiseConv1D(_DepthwiseConv):
    """Slide filters along each channel of a row by itself.

    Args:
        kernel_size: int.
        strides: int. Default `1`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        depth_multiplier: int > 0, the filters of a channel. Default `1`.
        data_format: `None` or `"channels_last"`.
        dilation_rate: int; strides and dilation cannot both exceed 1. Default `1`.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        depthwise_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        depthwise_regularizer, bias_regularizer, depthwise_constraint, bias_constraint: Default `None`.
    Shapes:
        x (N, L, C) -> y (N, L', C * depth_multiplier), L' as Conv1D; kernel (k, C, depth_multiplier), bias
        (C * depth_multiplier,).
    Raises: as Conv1D.
    """

    _rank = 1
    _op = staticmethod(ops.depthwise_conv1d)


class DepthwiseConv2D(_DepthwiseConv):
    """Slide filters over each channel of an image by itself.

    Args:
        kernel_size: int or two ints, height and width.
        strides: int or two ints. Default `1`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        depth_multiplier: int > 0, the filters of a channel. Default `1`.
        data_format: `None` or `"channels_last"`.
        dilation_rate: int or two ints; strides and dilation cannot both exceed 1. Default `1`.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        depthwise_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        depthwise_regularizer, bias_regularizer, depthwise_constraint, bias_constraint: Default `None`.
    Shapes:
        x (N, H, W, C) -> y (N, H', W', C * depth_multiplier), H' as Conv2D; kernel (kh, kw, C, depth_multiplier),
        bias (C * depth_multiplier,).
    Raises: as Conv2D.
    """

    _rank = 2
    _op = staticmethod(ops.depthwise_conv2d)


class _SeparableConv(_Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        *,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            **options,
        )
        self.filters = positive_int(self, "filters", filters)
        self.depth_multiplier = positive_int(self, "depth_multiplier", depth_multiplier)
        self._describe(
            "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint
        )
        self._describe(
            "pointwise", pointwise_initializer, pointwise_regularizer, pointwise_constraint
        )
        self._describe("bias", bias_initializer, bias_regularizer, bias_constraint)

    def build(self, input_shape: Any) -> None:
        channels, multiplier = self._channels(input_shape), self.depth_multiplier
        shape: tuple[int, ...] = (*self.kernel_size, channels, multiplier)
        self.depthwise_kernel = self._add("depthwise", shape, "depthwise_kernel")
        shape = (*(1,) * self._rank, channels * multiplier, self.filters)
        self.pointwise_kernel = self._add("pointwise", shape, "pointwise_kernel")
        self._add_bias(self.filters)

    def call(self, x: Any) -> Tensor:
        y = self._op(
            x,
            self.depthwise_kernel,
            self.pointwise_kernel,
            self.bias,
            self.strides,
            self.padding,
            self.dilation_rate,
        )
        return self.activation(y)


class SeparableConv1D(_SeparableConv):
    """Slide filters along each channel of a row by itself, then mix the channels.

    Args:
        filters: int > 0, the output's channels.
        kernel_size: int.
        strides: int. Default `1`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
        dilation_rate: int; strides and dilation cannot both exceed 1. Default `1`.
        depth_multiplier: int > 0, the filters of a channel before they are mixed. Default `1`.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        depthwise_initializer, pointwise_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: Default `None`.
        depthwise_constraint, pointwise_constraint, bias_constraint: Default `None`.
    Shapes:
        x (N, L, C) -> y (N, L', filters), L' as Conv1D; depthwise_kernel (k, C, depth_multiplier), pointwise_kernel
        (1, C * depth_multiplier, filters), bias (filters,).
    Raises: as Conv1D.
    """

    _rank = 1
    _op = staticmethod(ops.separable_conv1d)


class SeparableConv2D(_SeparableConv):
    """Slide filters over each channel of an image by itself, then mix the channels.

    Args:
        filters: int > 0, the output's channels.
        kernel_size: int or two ints, height and width.
        strides: int or two ints. Default `1`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
        dilation_rate: int or two ints; strides and dilation cannot both exceed 1. Default `1`.
        depth_multiplier: int > 0, the filters of a channel before they are mixed. Default `1`.
        activation: name, function or `None` (linear). Default `None`.
        use_bias: bool. Default `True`.
        depthwise_initializer, pointwise_initializer: Default `"glorot_uniform"`.
        bias_initializer: Default `"zeros"`.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: Default `None`.
        depthwise_constraint, pointwise_constraint, bias_constraint: Default `None`.
    Shapes:
        x (N, H, W, C) -> y (N, H', W', filters), H' as Conv2D; depthwise_kernel (kh, kw, C, depth_multiplier),
        pointwise_kernel (1, 1, C * depth_multiplier, filters), bias (filters,).
    Raises: as Conv2D.
    """

    _rank = 2
    _op = staticmethod(ops.separable_conv2d)
