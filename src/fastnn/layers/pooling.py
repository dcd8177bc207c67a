"""Pooling of rows and images, over windows and over all pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Unpack

from fastnn import ops
from fastnn._core import Tensor
from fastnn.layers.arguments import Sizes, channels_last, image_shape, one_of, positive_ints
from fastnn.layers.base import Layer, LayerOptions


class _Pooling(Layer):
    _rank: ClassVar[int]
    _op: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.pool_size = positive_ints(self, "pool_size", pool_size, self._rank)
        self.strides = (
            self.pool_size
            if strides is None
            else positive_ints(self, "strides", strides, self._rank)
        )
        self.padding = one_of(self, "padding", padding, ("valid", "same"))
        self.data_format = channels_last(self, data_format, self._rank)

    def build(self, input_shape: Any) -> None:
        image_shape(input_shape, self._rank)

    def call(self, x: Any) -> Tensor:
        return self._op(x, self.pool_size, self.strides, self.padding)


class MaxPooling1D(_Pooling):
    """The largest value of each window along a row.

    Args:
        pool_size: int. Default `2`.
        strides: int or `None` (the pool size). Default `None`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
    Shapes:
        x (N, L, C) -> y (N, L', C).
    Raises: ValueError for an argument out of range, or a window larger than x with `padding="valid"`.
    """

    _rank = 1
    _op = staticmethod(ops.max_pool1d)


class AveragePooling1D(_Pooling):
    """The mean of each window along a row; with `padding="same"` of the pixels inside the row.

    Args:
        pool_size: int. Default `2`.
        strides: int or `None` (the pool size). Default `None`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
    Shapes:
        x (N, L, C) -> y (N, L', C).
    Raises: ValueError for an argument out of range, or a window larger than x with `padding="valid"`.
    """

    _rank = 1
    _op = staticmethod(ops.average_pool1d)


class MaxPooling2D(_Pooling):
    """The largest value of each window.

    Args:
        pool_size: int or two ints, height and width. Default `2`.
        strides: int, two ints or `None` (the pool size). Default `None`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
    Shapes:
        x (N, H, W, C) -> y (N, H', W', C).
    Raises: ValueError for an argument out of range, or a window larger than x with `padding="valid"`.
    """

    _rank = 2
    _op = staticmethod(ops.max_pool2d)


class AveragePooling2D(_Pooling):
    """The mean of each window; with `padding="same"` of the pixels inside the image.

    Args:
        pool_size: int or two ints, height and width. Default `2`.
        strides: int, two ints or `None` (the pool size). Default `None`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
    Shapes:
        x (N, H, W, C) -> y (N, H', W', C).
    Raises: ValueError for an argument out of range, or a window larger than x with `padding="valid"`.
    """

    _rank = 2
    _op = staticmethod(ops.average_pool2d)


class _GlobalPooling(Layer):
    _rank: ClassVar[int]
    _op: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.data_format = channels_last(self, data_format, self._rank)
        self.keepdims = keepdims

    def build(self, input_shape: Any) -> None:
        image_shape(input_shape, self._rank)

    def call(self, x: Any) -> Tensor:
        return self._op(x, keepdims=self.keepdims)


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean over all pixels of a row.

    Args:
        data_format: `None` or `"channels_last"`.
        keepdims: bool, keep the length as a one. Default `False`.
    Shapes:
        x (N, L, C) -> y (N, C), or (N, 1, C) with `keepdims`.
    """

    _rank = 1
    _op = staticmethod(ops.global_average_pool1d)


class GlobalMaxPooling1D(_GlobalPooling):
    """The largest value over all pixels of a row.

    Args:
        data_format: `None` or `"channels_last"`.
        keepdims: bool, keep the length as a one. Default `False`.
    Shapes:
        x (N, L, C) -> y (N, C), or (N, 1, C) with `keepdims`.
    """

    _rank = 1
    _op = staticmethod(ops.global_max_pool1d)


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean over all pixels.

    Args:
        data_format: `None` or `"channels_last"`.
        keepdims: bool, keep height and width as ones. Default `False`.
    Shapes:
        x (N, H, W, C) -> y (N, C), or (N, 1, 1, C) with `keepdims`.
    """

    _rank = 2
    _op = staticmethod(ops.global_average_pool2d)


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest value over all pixels.

    Args:
        data_format: `None` or `"channels_last"`.
        keepdims: bool, keep height and width as ones. Default `False`.
    Shapes:
        x (N, H, W, C) -> y (N, C), or (N, 1, 1, C) with `keepdims`.
    """

    _rank = 2
    _op = staticmethod(ops.global_max_pool2d)


MaxPool1D = MaxPooling1D
AvgPool1D = AveragePooling1D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalMaxPool1D = GlobalMaxPooling1D
MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
