"""Models: layers in a row, a graph of layers from inputs to outputs, or a class of your own with `call`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastnn import ops
from fastnn._structure import flatten, map_structure, rebuild
from fastnn._typing import DTypeLike
from fastnn.functional import FunctionalGraph
from fastnn.layers.base import Layer, _numbered
from fastnn.layers.input import Input, InputLayer
from fastnn.layers.operation import Operation
from fastnn.layers.symbolic import SymbolicTensor
from fastnn.training.trainer import Trainer

__all__ = ["Model", "Sequential"]


class Model(Trainer):
    """A layer that can be trained: a graph of layers from inputs to outputs, or a class of your own with `call`.

    Args:
        inputs: what `fastnn.Input` gave; several in a list, tuple or dict. Any tensor of another model does, too.
        outputs: what layers called on it gave; several in a list, tuple or dict.
        name: str. Default: "functional" or the class name in snake case, numbered.
        trainable: bool. Default `True`.
        dtype: Default: floatx.
    Raises: TypeError and ValueError as `FunctionalGraph`.
    Example:
        >>> import fastnn, numpy as np
        >>> x = fastnn.Input((2,))
        >>> dense = fastnn.layers.Dense(4)
        >>> fastnn.Model(x, dense(x) + dense(x)).predict(np.ones((3, 2))).shape
        (3, 4)

        Or with a `call` of your own:

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
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        *,
        trainable: bool = True,
        dtype: DTypeLike | None = None,
    ) -> None:
        if (inputs is None) != (outputs is None):
            raise TypeError(
                f"{type(self).__name__}: expected both inputs and outputs, or none of them"
            )
        graph = None if inputs is None else FunctionalGraph(inputs, outputs)
        if graph is not None and name is None and type(self) is Model:
            name = _numbered("functional")
        super().__init__(trainable=trainable, name=name, dtype=dtype)
        self._built_shape: Any = None
        self._graph = graph
        if graph is not None:
            others = [layer for layer in self._layers if layer not in graph.layers]
            self._layers[:] = graph.layers + others
            self.built = True
            if not trainable:
                self.trainable = False

    def call(self, inputs: Any) -> Any:
        if self._graph is None:
            return super().call(inputs)
        return self._graph.run(inputs)

    def _as_input(self, x: Any) -> Any:
        if self._graph is None:
            return super()._as_input(x)
        wanted = flatten(self._graph.inputs)
        values = [
            ops.cast(value, tensor.dtype)
            for value, tensor in zip(self._graph.arrange(x), wanted, strict=True)
        ]
        for name, value, tensor in zip(self._graph.input_names, values, wanted, strict=True):
            if not _fits(value.shape, tensor.shape):
                raise ValueError(
                    f"expected input '{name}' of shape {tensor.shape}, got {value.shape}"
                )
        return rebuild(self._graph.inputs, iter(values))

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    def build_for(self, shape: Any) -> None:
        self.compute_output_shape(shape)
        self._built_shape = shape

    # ---- the ends of the graph

    def _ends(self, what: str) -> tuple[Any, Any]:
        """Symbolic inputs and outputs."""
        if self._graph is None:
            raise AttributeError(
                f"{type(self).__name__} '{self.name}': {what}: a model with a call() of its own has no symbolic "
                "tensors; call it on a fastnn.Input"
            )
        return self._graph.inputs, self._graph.outputs

    @property
    def input(self) -> Any:
        """The symbolic input or inputs, in their structure."""
        return self._ends("input")[0]

    @property
    def output(self) -> Any:
        """The symbolic output or outputs, in their structure."""
        return self._ends("output")[1]

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs as a list."""
        return flatten(self._ends("inputs")[0])

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs as a list."""
        return flatten(self._ends("outputs")[1])

    @property
    def input_names(self) -> list[str] | None:
        return None if self._graph is None else self._graph.input_names

    @property
    def output_names(self) -> list[str] | None:
        return None if self._graph is None else self._graph.output_names

    @property
    def batch_input_shape(self) -> Any:
        if self._graph is None:
            return self._built_shape
        return map_structure(lambda x: x.shape, self._graph.inputs)

    @property
    def input_dtypes(self) -> list[Any] | None:
        return None if self._graph is None else [x.dtype for x in self.inputs]

    @property
    def input_shape(self) -> Any:
        return self.batch_input_shape

    @property
    def output_shape(self) -> Any:
        if self._graph is None:
            return (
                None if self._built_shape is None else self.compute_output_shape(self._built_shape)
            )
        return map_structure(lambda x: x.shape, self._graph.outputs)

    def get_config(self) -> dict[str, Any]:
        if self._graph is None:
            return super().get_config()
        raise NotImplementedError(
            f"{type(self).__name__} '{self.name}': get_config serves Sequential and classes of your own"
        )

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
        if self._graph is None:
            return ["?" for _ in self.layers]
        return [self._graph.output_shape(layer) for layer in self.layers]

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
        graph = self._graph
        connected = graph.connections() if graph is not None and not graph.is_chain() else None
        width = 65 if connected is None else 98
        yield f'Model: "{self.name}"'
        yield "_" * width
        yield _row("Layer (type)", "Output Shape", "Param #", connected and "Connected to")
        yield "=" * width
        for layer, shape in zip(self.layers, self._layer_output_shapes(), strict=True):
            params = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
            if show_trainable and layer.weights:
                params += "  Y" if layer.trainable else "  N"
            first, *rest = (connected or {}).get(layer) or [""]
            yield _row(_label(layer), str(shape), params, connected and first)
            for label in rest:
                yield _row("", "", "", label)
        yield "=" * width
        for title, weights in (
            ("Total", self.weights),
            ("Trainable", self.trainable_weights),
            ("Non-trainable", self.non_trainable_weights),
        ):
            count = sum(math.prod(v.shape) for v in weights)
            size = sum(math.prod(v.shape) * v.dtype.itemsize for v in weights)
            yield f"{title} params: {count:,} ({_bytes(size)})"
        yield "_" * width


def _row(layer: str, shape: str, params: str, connected: Any) -> str:
    row = f" {layer:<28}{shape:<26}{params}"
    return f"{row:<70} {connected}".rstrip() if isinstance(connected, str) else row


def _label(layer: Layer) -> str:
    kind = type(layer).__name__
    if isinstance(layer, Operation):
        kind = layer.label
    elif type(layer) is Model:
        kind = "Functional"
    label = f"{layer.name} ({kind})"
    return label if len(label) <= 27 else label[:26] + "…"


def _fits(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape[1:], wanted[1:], strict=True)
    )


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
        layers: Iterable[Layer | SymbolicTensor] | None = None,
        trainable: bool = True,
        name: str | None = None,
        *,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(trainable=trainable, name=name, dtype=dtype)
        self._symbols: list[
            SymbolicTensor
        ] = []  # the input and the outputs of the layers, once built
        if isinstance(layers, Layer):
            raise TypeError(f"Sequential: layers: expected a list of layers, got {layers!r}")
        for layer in layers or []:
            self.add(layer)

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the Input."""
        return [layer for layer in self._layers if not isinstance(layer, InputLayer)]

    def add(self, layer: Layer | SymbolicTensor) -> None:
        """Append a layer. ValueError if the model has it or one of its name, or if its input does not fit."""
        if isinstance(layer, SymbolicTensor) and isinstance(layer.call.layer, InputLayer):
            layer = layer.call.layer
        if not isinstance(layer, Layer):
            raise TypeError(f"add: expected a Layer, got {layer!r}")
        for present in self._layers:
            if present is layer or present.name == layer.name:
                raise ValueError(
                    f"add: expected layers of different names, got a second {layer.name!r} in model '{self.name}'"
                )
        if any(inner is self for inner in layer._flat()):
            raise ValueError(f"add: model '{self.name}' cannot be a layer of itself")
        unused = isinstance(layer, InputLayer) or not layer.built
        if self._dtype_given and not layer._dtype_given and unused:
            layer.dtype = self.dtype
        if not self._layers and not self._dtype_given:
            self.dtype = layer.dtype
        if not self._trainable:
            layer.trainable = False
        self._layers.append(layer)
        self._note()
        try:
            if self.built:
                self._symbols.append(layer(self._symbols[-1]))
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
        if self._symbols:
            self._symbols.pop()
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
        unbuilt = [layer for layer in self._layers if not layer.built]
        first, begins = self._layers[0], isinstance(self._layers[0], InputLayer)
        symbols = [
            first.begin() if isinstance(first, InputLayer) else Input(shape[1:], dtype=self.dtype)
        ]
        try:
            for layer in self._layers:
                symbols.append(symbols[0] if begins and layer is first else layer(symbols[-1]))
        except BaseException:
            for layer in unbuilt:
                layer._forget()
            raise
        self._built_shape, self._symbols = shape, symbols
        self.built = True

    def call(self, x: Any) -> Any:
        for layer in self._layers:
            x = layer(x)
        return x

    def _ends(self, what: str) -> tuple[Any, Any]:
        if not self._symbols:
            raise AttributeError(f"Sequential '{self.name}': {what}: the model is not built yet")
        return self._symbols[0], self._symbols[-1]

    @property
    def input_names(self) -> list[str]:
        return [self._symbols[0].name] if self._symbols else ["x"]

    @property
    def input_dtypes(self) -> list[Any] | None:
        return [self._symbols[0].dtype] if self._symbols else None

    @property
    def output_names(self) -> list[str]:
        return [self._layers[-1].name] if self._layers else ["y"]

    @property
    def output_shape(self) -> Any:
        return self._symbols[-1].shape if self._symbols else self._built_shape

    def _layer_output_shapes(self) -> list[Any]:
        if not self.built:
            return ["?" for _ in self.layers]
        return [
            x.shape
            for layer, x in zip(self._layers, self._symbols[1:], strict=True)
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
