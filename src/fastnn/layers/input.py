"""The shape of one sample, as the first layer of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn._typing import DTypeLike
from fastnn.layers.base import Layer


class InputLayer(Layer):
    """Say what a model's inputs look like; passes them on.

    Args:
        shape: of one sample, without the batch.
        batch_size: int or None. Only documents: every batch size is served. Default `None`.
        dtype: as in every layer.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: DTypeLike | None = None,
        *,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
    ) -> None:
        shape = input_shape if shape is None else shape
        if shape is None:
            raise ValueError("InputLayer: shape: expected the shape of one sample, got None")
        super().__init__(dtype=dtype, name=name, input_shape=shape)
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
    return InputLayer(shape, batch_size, dtype, name=name)
