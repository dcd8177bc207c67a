"""Models: layers in a row, or a class of your own with `call`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastnn._core import Graph
from fastnn._typing import DTypeLike
from fastnn.layers.base import Layer
from fastnn.layers.input import InputLayer
from fastnn.training.trainer import Trainer

__all__ = ["Model", "Sequential"]


class Model(Trainer):
    """A layer that can be trained: write `call`, set layers as attributes.

    Example:
        >>> import fastnn, numpy as np
        >>> class Twice(fastnn.Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.dense = fastnn.layers.Dense(4)
        ...     def call(self, x):
        ...         return self.dense(x) + self.dense(x)
        >>> Twice().predict(np.ones((3, 2))).shape
        (3, 4)
    """

    def __init__(
        self, *, trainable: bool = True, name: str | None = None, dtype: DTypeLike | None = None
    ) -> None:
        super().__init__(trainable=trainable, name=name, dtype=dtype)
        self._built_shape: tuple[int | None, ...] | None = None

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    def build_for(self, shape: tuple[int | None, ...]) -> None:
        self.compute_output_shape(shape)
        self._built_shape = tuple(shape)

    @property
    def batch_input_shape(self) -> tuple[int | None, ...] | None:
        return self._built_shape

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        return self.batch_input_shape

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrite the weights, all or none. RuntimeError while another thread trains this model."""
        with self._alone("set_weights"):
            super().set_weights(weights)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name or index. ValueError if there is none, TypeError unless one of both is given."""
        if (name is None) == (index is None):
            raise TypeError(
                f"get_layer: expected name or index, got name={name!r} and index={index!r}"
            )
        layers = self.layers
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(
                    f"get_layer: index: the model has {len(layers)} layers, got {index}"
                )
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise ValueError(
            f"get_layer: name: expected one of {[layer.name for layer in layers]}, got {name!r}"
        )

    def _layer_output_shapes(self) -> list[Any]:
        return ["?" for _ in self.layers]

    def summary(
        self, *, print_fn: Callable[[str], object] | None = None, show_trainable: bool = False
    ) -> None:
        """Print a table of the layers, their output shapes and numbers of parameters.

        Args:
            print_fn: called with each line instead of print.
            show_trainable: mark frozen layers with N.
        """
        put = print_fn or print
        for line in self._summary_lines(show_trainable):
            put(line)

    def _summary_lines(self, show_trainable: bool) -> Iterable[str]:
        rule = "_" * 65
        yield f'Model: "{self.name}"'
        yield rule
        yield f" {'Layer (type)':<28}{'Output Shape':<26}{'Param #'}"
        yield "=" * 65
        for layer, shape in zip(self.layers, self._layer_output_shapes(), strict=True):
            label = f"{layer.name} ({type(layer).__name__})"
            label = label if len(label) <= 27 else label[:26] + "…"
            params = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
            frozen = (
                ""
                if not show_trainable or not layer.weights
                else "  Y"
                if layer.trainable
                else "  N"
            )
            yield f" {label:<28}{shape!s:<26}{params}{frozen}"
        yield "=" * 65
        for title, weights in (
            ("Total", self.weights),
            ("Trainable", self.trainable_weights),
            ("Non-trainable", self.non_trainable_weights),
        ):
            count = sum(math.prod(v.shape) for v in weights)
            size = sum(math.prod(v.shape) * v.dtype.itemsize for v in weights)
            yield f"{title} params: {count:,} ({_bytes(size)})"
        yield rule


class Sequential(Model):
    """Layers in a row, each fed with the output of the one before.

    Args:
        layers: list of layers; more come with `add`. The model is built at once if the first is an `Input` or has
            `input_shape=`, otherwise at its first call or fit.
        trainable: bool. Default `True`.
        name: Default: "sequential", numbered.
        dtype: of the layers that have none of their own. Default: floatx.
    Example:
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((8,)), fastnn.layers.Dense(6, "relu"), fastnn.layers.Dense(4)])
        >>> model.count_params()
        82
    """

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        trainable: bool = True,
        name: str | None = None,
        *,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(trainable=trainable, name=name, dtype=dtype)
        self._shapes: list[tuple[int | None, ...]] = []  # of the outputs, once built
        if isinstance(layers, Layer):
            raise TypeError(f"Sequential: layers: expected a list of layers, got {layers!r}")
        for layer in layers or []:
            self.add(layer)

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the Input."""
        return [layer for layer in self._layers if not isinstance(layer, InputLayer)]

    def add(self, layer: Layer) -> None:
        """Append a layer. ValueError if the model has it or one of its name, or if its input does not fit."""
        if not isinstance(layer, Layer):
            raise TypeError(f"add: expected a Layer, got {layer!r}")
        for present in self._layers:
            if present is layer or present.name == layer.name:
                raise ValueError(
                    f"add: expected layers of different names, got a second {layer.name!r} in model '{self.name}'"
                )
        if self._dtype_given and not layer._dtype_given and not layer.built:
            layer.dtype = self.dtype
        if not self._layers and not self._dtype_given:
            self.dtype = layer.dtype
        if not self._trainable:
            layer.trainable = False
        self._layers.append(layer)
        self._note()
        try:
            if self.built:
                self._shapes.append(layer.compute_output_shape(self.output_shape or ()))
            elif len(self._layers) == 1:
                shape = layer._batch_shape()
                if shape is not None:
                    self.build_for(shape)
        except BaseException:
            self._layers.pop()
            raise

    def pop(self, rebuild: bool = True) -> Layer:
        """Remove and return the last layer."""
        if not self._layers:
            raise ValueError(f"pop: model '{self.name}' has no layers")
        if self._shapes:
            self._shapes.pop()
        layer = self._layers.pop()
        self._note()
        if not self._layers:
            self.built = False
            self._built_shape = None
        return layer

    def build_for(self, shape: tuple[int | None, ...]) -> None:
        self.build(shape)

    def build(self, input_shape: Any = None) -> None:
        """Create all weights for inputs of this shape, the batch first; the batch may be None."""
        if self.built:
            return
        if input_shape is None:
            raise ValueError(f"build: model '{self.name}' needs input_shape")
        if not self._layers:
            raise ValueError(f"model '{self.name}' has no layers; add one")
        shape: tuple[int | None, ...] = (None, *tuple(input_shape)[1:])
        shapes = []
        unbuilt = [layer for layer in self._layers if not layer.built]
        graph = Graph()
        try:
            with graph:
                x = graph.placeholder(shape, self.dtype)
                for layer in self._layers:
                    x = layer(x)
                    shapes.append(tuple(x.shape))
        except BaseException:
            for layer in unbuilt:
                layer._forget()
            raise
        self._built_shape, self._shapes = shape, shapes
        self.built = True

    def call(self, x: Any) -> Any:
        for layer in self._layers:
            x = layer(x)
        return x

    @property
    def output_shape(self) -> tuple[int | None, ...] | None:
        return self._shapes[-1] if self._shapes else self._built_shape

    @property
    def batch_input_shape(self) -> tuple[int | None, ...] | None:
        return self._built_shape

    def _layer_output_shapes(self) -> list[Any]:
        if not self.built:
            return ["?" for _ in self.layers]
        return [
            shape
            for layer, shape in zip(self._layers, self._shapes, strict=True)
            if not isinstance(layer, InputLayer)
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype,
            "layers": [
                {"class_name": type(layer).__name__, "config": layer.get_config()}
                for layer in self._layers
            ],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sequential:
        """A new model, with new weights, from what `get_config` returned. Layers are those of `fastnn.layers`."""
        from fastnn import layers

        made = []
        for entry in config["layers"]:
            kind = (
                Sequential
                if entry["class_name"] == "Sequential"
                else getattr(layers, entry["class_name"], None)
            )
            if kind is None:
                raise ValueError(f"from_config: unknown layer {entry['class_name']!r}")
            made.append(kind.from_config(entry["config"]))
        return cls(made, config["trainable"], config["name"], dtype=config["dtype"])


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            break
        size /= 1024
    return f"{size:.2f} {unit}"
