"""Inputs of models: the symbolic tensor that a functional model begins with, and the layer behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from fastnn import ops
from fastnn._core import Graph
from fastnn._typing import DTypeLike
from fastnn.layers.base import Layer, LayerOptions
from fastnn.layers.symbolic import Call, SymbolicTensor


class InputLayer(Layer):
    """Say what a model's inputs look like; passes them on.

    Args:
        shape: of one sample, without the batch.
        batch_size: int or None. Only documents: every batch size is served. Default `None`.
        dtype: of the input, of any kind that ops take. Default: floatx.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        if shape is not None:
            options["input_shape"] = shape
        given = options.get("dtype")
        integral = given is not None and np.dtype(given).kind != "f"
        if integral:
            del options["dtype"]  # not one to compute in
        super().__init__(**options)
        if self._sample_shape is None:
            raise ValueError("InputLayer: shape: expected the shape of one sample, got None")
        self.shape = self._sample_shape
        self.batch_size = batch_size
        self._own_dtype = np.dtype(given).name if integral else None
        self.built = True

    @property
    def input_dtype(self) -> str:
        return self._own_dtype or self.dtype

    def call(self, x: Any) -> Any:
        return x

    def _as_input(self, x: Any) -> Any:
        return ops.cast(x, self.input_dtype)

    def begin(self) -> SymbolicTensor:
        """A symbolic input, to call layers on."""
        placeholder = Graph().placeholder((None, *self.shape), self.input_dtype)
        return SymbolicTensor(self._remember(Call(self, (), {}, placeholder)), 0)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dtype": self.input_dtype}


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: DTypeLike | None = None,
    name: str | None = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
) -> SymbolicTensor:
    """An input of a model: call layers on it, or give it to a Sequential as its first.

    Args:
        shape: of one sample, without the batch; None for an unknown dimension.
        batch_size: int or None. Only documents: every batch size is served. Default `None`.
        dtype: Default: floatx.
        name: Default: "input_layer", numbered.
        batch_shape: in place of shape and batch_size.
    Example:
        >>> import fastnn
        >>> x = fastnn.Input((4,))
        >>> y = fastnn.layers.Dense(3)(x) * 2.0
        >>> fastnn.Model(x, y).output_shape
        (None, 3)
    """
    if batch_shape is not None:
        if shape is not None:
            raise ValueError("Input: expected only one of shape and batch_shape, got both")
        batch_size, *rest = batch_shape
        shape = tuple(rest)
    return InputLayer(shape, batch_size, dtype=dtype, name=name).begin()
