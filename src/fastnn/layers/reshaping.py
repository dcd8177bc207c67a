"""Layers that give the same elements another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

from fastnn import ops
from fastnn._core import Tensor
from fastnn.layers.arguments import channels_last, positive_int
from fastnn.layers.base import Layer, LayerOptions


class Flatten(Layer):
    """Make each sample a vector.

    Shapes:
        x (N, A, B, ...) -> y (N, A * B * ...); (N,) -> (N, 1).
    """

    def __init__(self, data_format: str | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.data_format = channels_last(self, data_format)

    def call(self, x: Any) -> Tensor:
        sizes = x.shape[1:]
        # With the features known the batch is the open dimension, so that a batch of no samples has a shape too.
        return ops.reshape(x, (x.shape[0], -1) if None in sizes else (-1, math.prod(sizes)))


class Reshape(Layer):
    """Give each sample the target shape.

    Args:
        target_shape: ints without the batch; one may be -1.
    Shapes:
        x (N, ...) -> y (N, *target_shape).
    Raises: ValueError if a sample's number of elements does not fit.
    """

    def __init__(self, target_shape: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.target_shape = tuple(
            size if size == -1 else positive_int(self, "target_shape", size)
            for size in target_shape
        )
        if self.target_shape.count(-1) > 1:
            raise ValueError(
                f"Reshape: target_shape: expected at most one -1, got {self.target_shape}"
            )

    def call(self, x: Any) -> Tensor:
        sizes = x.shape[1:]
        if None in sizes:
            return ops.reshape(x, (x.shape[0], *self.target_shape))
        known = math.prod(size for size in self.target_shape if size != -1)
        elements = math.prod(sizes)
        if elements % known or (-1 not in self.target_shape and elements != known):
            raise ValueError(
                f"expected x with samples of {known} elements for target_shape {self.target_shape}, got "
                f"{elements}: shape {tuple(x.shape)}"
            )
        return ops.reshape(
            x, (-1, *(elements // known if size == -1 else size for size in self.target_shape))
        )
