"""The shape of one sample, as the first layer of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from fastnn._typing import DTypeLike
from fastnn.layers.base import Layer, LayerOptions


class InputLayer(Layer):
    """Say what a model's inputs look like; passes them on.

    Args:
        shape: of one sample, without the batch.
        batch_size: int or None. Only documents: every batch size is served. Default `None`.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        if shape is not None:
            options["input_shape"] = shape
        super().__init__(**options)
        if self._sample_shape is None:
            raise ValueError("InputLayer: shape: expected the shape of one sample, got None")
        self.shape = self._sample_shape
        self.batch_size = batch_size

    def call(self, x: Any) -> Any:
        return x


def Input(
    shape: Sequence[int | None],
    batch_size: int | None = None,
    dtype: DTypeLike | None = None,
    name: str | None = None,
) -> InputLayer:
    """The input of a Sequential model.

    Example:
        >>> import fastnn
        >>> fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(3)]).output_shape
        (None, 3)
    """
    return InputLayer(shape, batch_size, dtype=dtype, name=name)
