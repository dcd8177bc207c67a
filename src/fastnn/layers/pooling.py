"""Pooling of images, over windows and over all pixels."""

from __future__ import annotations

from typing import Any, Unpack

from fastnn import ops
from fastnn._core import Tensor
from fastnn.layers.arguments import Size2, channels_last, image_shape, one_of, positive_pair
from fastnn.layers.base import Layer, LayerOptions


class _Pooling2D(Layer):
    def __init__(
        self,
        pool_size: Size2 = (2, 2),
        strides: Size2 | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.pool_size = positive_pair(self, "pool_size", pool_size)
        self.strides = (
            self.pool_size if strides is None else positive_pair(self, "strides", strides)
        )
        self.padding = one_of(self, "padding", padding, ("valid", "same"))
        self.data_format = channels_last(self, data_format)

    def build(self, input_shape: Any) -> None:
        image_shape(input_shape)


class MaxPooling2D(_Pooling2D):
    """The largest value of each window.

    Args:
        pool_size: int or two ints, height and width. Default `(2, 2)`.
        strides: int, two ints or `None` (the pool size). Default `None`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
    Shapes:
        x (N, H, W, C) -> y (N, H', W', C).
    Raises: ValueError for an argument out of range, or a window larger than x with `padding="valid"`.
    """

    def call(self, x: Any) -> Tensor:
        return ops.max_pool2d(x, self.pool_size, self.strides, self.padding)


class AveragePooling2D(_Pooling2D):
    """The mean of each window; with `padding="same"` of the pixels inside the image.

    Args:
        pool_size: int or two ints, height and width. Default `(2, 2)`.
        strides: int, two ints or `None` (the pool size). Default `None`.
        padding: `"valid"` or `"same"`. Default `"valid"`.
        data_format: `None` or `"channels_last"`.
    Shapes:
        x (N, H, W, C) -> y (N, H', W', C).
    Raises: ValueError for an argument out of range, or a window larger than x with `padding="valid"`.
    """

    def call(self, x: Any) -> Tensor:
        return ops.average_pool2d(x, self.pool_size, self.strides, self.padding)


class _GlobalPooling2D(Layer):
    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.data_format = channels_last(self, data_format)
        self.keepdims = keepdims

    def build(self, input_shape: Any) -> None:
        image_shape(input_shape)


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean over all pixels.

    Args:
        data_format: `None` or `"channels_last"`.
        keepdims: bool, keep height and width as ones. Default `False`.
    Shapes:
        x (N, H, W, C) -> y (N, C), or (N, 1, 1, C) with `keepdims`.
    """

    def call(self, x: Any) -> Tensor:
        return ops.global_average_pool2d(x, keepdims=self.keepdims)


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest value over all pixels.

    Args:
        data_format: `None` or `"channels_last"`.
        keepdims: bool, keep height and width as ones. Default `False`.
    Shapes:
        x (N, H, W, C) -> y (N, C), or (N, 1, 1, C) with `keepdims`.
    """

    def call(self, x: Any) -> Tensor:
        return ops.global_max_pool2d(x, keepdims=self.keepdims)


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
