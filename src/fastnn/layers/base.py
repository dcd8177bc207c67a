"""Layer: weights and configuration, built on the first input, called on arrays, tensors and placeholders alike."""

from __future__ import annotations

import functools
import inspect
import math
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from fastnn import _core, constraints, initializers, ops, regularizers
from fastnn._changes import Noted
from fastnn._core import Graph, Tensor, Variable, floatx
from fastnn._structure import flatten, holds_arrays, map_shapes, map_structure
from fastnn._typing import DTypeLike
from fastnn.layers.arguments import shape_without_batch
from fastnn.layers.context import CallContext, current_context
from fastnn.layers.symbolic import Call, SymbolicTensor
from fastnn.random import SeedGenerator
from fastnn.recorded import scope

_names: Counter[str] = Counter()
# Re-raised with the layer's name in front; subclasses (say UnicodeDecodeError) have constructors of their own.
_RENAMED = (ValueError, TypeError, IndexError, RuntimeError)


class LayerOptions(TypedDict, total=False):
    """The keyword arguments that every layer takes."""

    name: str | None
    trainable: bool
    dtype: DTypeLike | None
    activity_regularizer: Any
    input_shape: Sequence[int | None] | None
    input_dim: int | None


@dataclass
class _Weight:
    variable: Variable
    trainable: bool
    regularizer: Callable[[Variable], Tensor] | None = None
    constraint: Callable[[Variable], Any] | None = None


class Layer(Noted):
    """A function with weights.

    Subclasses create their weights in `build(input_shape)` with `add_weight` and compute in `call(x)` with
    `fastnn.ops`; the gradient follows from that. `call` may take `training` and `mask`. Variables, layers and lists of
    layers that are set as attributes are tracked.

    Args:
        activity_regularizer: added to the loss for every output of the layer.
        trainable: bool. `False` freezes the weights. Default `True`.
        dtype: of weights, computation and output; inputs are cast to it. Default: floatx (float32).
        name: str. Default: the class name in snake case, numbered.
        input_shape: shape of one sample, so that a Sequential that starts with this layer is built at once.
        input_dim: the same for vectors: `input_dim=3` means `input_shape=(3,)`.
    """

    _own: list[_Weight]
    _layers: list[Layer]
    _generators: list[SeedGenerator]
    _calls: list[weakref.ref[Call]]
    _call_options: tuple[str, ...] = ()
    _only_casts = True  # what _as_input does with a tensor
    _own_before_build: int | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        # Here and not in __init__: a subclass may set attributes before it calls super().__init__().
        object.__setattr__(self, "_own", [])
        object.__setattr__(self, "_layers", [])
        object.__setattr__(self, "_generators", [])
        # Weak, as a call holds its layer: what keeps it are the tensors and models that come from it, and a model
        # that is dropped leaves nothing behind in layers it shares with others.
        object.__setattr__(self, "_calls", [])
        return self

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: DTypeLike | None = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: name: expected a str, got {name!r}")
        self.name = name or _numbered(_snake_case(type(self).__name__))
        self.built = False
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = bool(trainable)
        self._added_losses: list[Tensor] = []
        self._dtype_given = dtype is not None
        self.dtype = floatx() if dtype is None else dtype
        if input_dim is not None:
            input_shape = (input_dim,)
        self._sample_shape = None if input_shape is None else shape_without_batch(self, input_shape)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "call" in cls.__dict__:
            parameters = inspect.signature(cls.call).parameters
            cls._call_options = tuple(name for name in ("training", "mask") if name in parameters)
        if "_as_input" in cls.__dict__:
            cls._only_casts = False
        if "build" in cls.__dict__:
            cls.build = _marking_built(cls.build)  # type: ignore[method-assign]

    # ---- what subclasses write

    def build(self, input_shape: Any) -> None:
        """Create the weights for inputs of this shape; None stands for an unknown dimension."""
        self.built = True

    def call(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: a layer needs a method call(self, x)")

    def add_weight(
        self,
        shape: int | Sequence[int] | None = None,
        initializer: Any = None,
        dtype: DTypeLike | None = None,
        trainable: bool = True,
        *,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Create a weight. Default initializer: glorot_uniform; zeros for integers.

        Raises: ValueError for an unknown dimension.
        """
        if isinstance(shape, str):
            raise TypeError(
                f"add_weight: shape: expected ints, got {shape!r}; pass name={shape!r} by keyword"
            )
        sizes = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        if any(size is None for size in sizes):
            raise ValueError(
                f"add_weight: {name or 'weight'}: expected known dimensions, got {sizes}"
            )
        kind = np.dtype(dtype or self.dtype)
        initialize: Any = initializers.get(
            initializer or ("glorot_uniform" if kind.kind == "f" else "zeros")
        )
        variable = Variable(
            np.asarray(initialize(sizes, dtype=kind.name)),
            trainable=trainable and self._trainable,
            name=name or "variable",
            dtype=kind.name,
        )
        self._own.append(
            _Weight(variable, trainable, regularizers.get(regularizer), constraints.get(constraint))
        )
        return variable

    def add_loss(self, loss: Any) -> None:
        """Add a scalar to the loss of the call under way."""
        context = current_context()
        if context is None:
            raise RuntimeError("add_loss: expected to be called inside a layer's call()")
        context.losses.append(loss)

    def add_effect(self, effect: Callable[[], object]) -> None:
        """Have a write to a variable wait until the outermost call, or the training step, has succeeded."""
        context = current_context()
        if context is None:
            effect()
        else:
            context.add_effect(effect)

    # ---- calling

    def __call__(self, *args: Any, training: bool | None = None, mask: Any = None) -> Any:
        for x in args:
            if type(x) is not Tensor and isinstance(x, _MAY_BE_SYMBOLIC) and _is_symbolic(x):
                return self._call_on_symbols(args, training, mask)
        context = current_context()
        if context is None:
            return self._call_in_context(args, training, mask)
        if training is not None:
            with context.training_as(bool(training)):
                return Layer.__call__(self, *args, mask=mask)
        was_built = self.built
        try:
            if self._only_casts and len(args) == 1 and type(args[0]) is Tensor:  # the usual, fast
                inputs: Sequence[Any] = (_core.cast(args[0], self._dtype),)
            else:
                inputs = [*map(self._as_input, args)]
            if not was_built:
                self.build(*(_shape_of(x) for x in inputs))
            if context.names_ops:
                with scope(self.name):
                    y = self._call(inputs, mask, context)
            elif self._call_options:
                y = self._call(inputs, mask, context)
            else:
                y = self.call(*inputs)
        except _RENAMED as error:
            if not was_built:
                self._forget()
            if type(error) not in _RENAMED or hasattr(error, "layer"):
                raise
            raise _named(error, self) from error
        if self.activity_regularizer is not None:
            context.losses.append(self.activity_regularizer(y))
        return y

    def _call_in_context(self, args: tuple[Any, ...], training: bool | None, mask: Any) -> Any:
        """The outermost call: its effects wait until it has succeeded."""
        with CallContext(bool(training)) as context:
            y = Layer.__call__(self, *args, mask=mask)  # not what a subclass makes of it
            context.commit()
        self._added_losses = context.losses
        return y

    def _call(self, inputs: Sequence[Any], mask: Any, context: CallContext) -> Any:
        options = {"training": context.training, "mask": mask}
        return self.call(*inputs, **{name: options[name] for name in self._call_options})

    def _call_on_symbols(self, args: tuple[Any, ...], training: bool | None, mask: Any) -> Any:
        """Remember the call for functional models. Shapes and dtypes are those of the ops, run on placeholders."""
        given = {"training": training, "mask": mask}
        kwargs = {name: value for name, value in given.items() if value is not None}
        graph = Graph()

        def placeholder(leaf: Any) -> Any:
            symbolic = isinstance(leaf, SymbolicTensor)
            return graph.placeholder(leaf.shape, leaf.dtype) if symbolic else leaf

        with CallContext(), graph:
            y = self(*map_structure(placeholder, args), **map_structure(placeholder, kwargs))
        return self._remember(Call(self, args, kwargs, y)).outputs

    def _remember(self, call: Call) -> Call:
        self._calls[:] = [ref for ref in self._calls if ref() is not None] + [weakref.ref(call)]
        return call

    def _first_call(self, what: str) -> Call:
        for ref in self._calls:
            call = ref()
            if call is not None:
                return call
        raise AttributeError(
            f"{type(self).__name__} '{self.name}': {what}: the layer is in no functional or built Sequential model; "
            "call it on a fastnn.Input first"
        )

    @property
    def input(self) -> Any:
        """The symbolic input of the layer's first call, for models that begin here."""
        args = self._first_call("input").args
        return args[0] if len(args) == 1 else list(args)

    @property
    def output(self) -> Any:
        """The symbolic output of the layer's first call, for models that end here."""
        return self._first_call("output").outputs

    def _forget(self) -> None:
        """Undo build: the next call builds anew. Layers made by build stay, and are built anew as well."""
        self.built = False
        if self._own_before_build is not None:
            del self._own[self._own_before_build :]
            self._own_before_build = None
        for layer in self._layers:
            if not layer.built:
                layer._forget()

    def _batch_shape(self) -> tuple[int | None, ...] | None:
        """The shape that input_shape= gave, with None for the batch."""
        return None if self._sample_shape is None else (None, *self._sample_shape)

    def _as_input(self, x: Any) -> Any:
        if holds_arrays(x):
            return map_structure(lambda v: ops.cast(v, self.dtype), x)
        return ops.cast(x, self.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for an input of this shape, found without data. Builds the layer.

        Several inputs or outputs have lists or dicts of shapes.
        """
        graph = Graph()
        with CallContext(), graph:
            y = self(map_shapes(lambda shape: graph.placeholder(shape, self.dtype), input_shape))
            return map_structure(lambda leaf: tuple(leaf.shape), y)

    # ---- weights

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        if old is not value:
            self._untrack(old)
            self._track(value)
        super().__setattr__(name, value)

    def _track(self, value: Any) -> None:
        if isinstance(value, Variable):
            if all(value is not own.variable for own in self._own):
                self._own.append(_Weight(value, value.trainable))
        elif isinstance(value, Layer):
            if all(value is not layer for layer in self._layers):
                self._layers.append(value)
                self._note()
        elif isinstance(value, SeedGenerator):
            self._generators.append(value)
        elif isinstance(value, list | tuple) and value and all(isinstance(v, Layer) for v in value):
            for layer in value:
                self._track(layer)

    def _untrack(self, value: Any) -> None:
        if isinstance(value, Variable):
            self._own[:] = [own for own in self._own if own.variable is not value]
        elif isinstance(value, Layer):
            self._layers[:] = [layer for layer in self._layers if layer is not value]
            self._note()

    def _flat(self) -> Iterator[Layer]:
        """This layer and every layer in it, each once."""
        seen: set[int] = set()

        def walk(layer: Layer) -> Iterator[Layer]:
            if id(layer) not in seen:
                seen.add(id(layer))
                yield layer
                for inner in layer._layers:
                    yield from walk(inner)

        return walk(self)

    def _weight_list(self) -> list[tuple[Layer, _Weight]]:
        """Every weight with the layer that owns it; each layer's trainable ones first, as Keras orders them."""
        seen: set[int] = set()
        found = []
        for layer in self._flat():
            for own in sorted(layer._own, key=lambda own: not own.trainable):
                if id(own.variable) not in seen:
                    seen.add(id(own.variable))
                    found.append((layer, own))
        return found

    @property
    def dtype(self) -> str:
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: DTypeLike) -> None:
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = str(dtype)
        if name not in ("float32", "float64"):
            raise ValueError(
                f"{type(self).__name__}: dtype: expected 'float32' or 'float64', got {dtype!r}"
            )
        self._dtype = name

    @property
    def trainable(self) -> bool:
        """Whether the weights are trained. Setting it sets it for every layer inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        self._trainable = bool(trainable)
        for own in self._own:
            if own.trainable:
                own.variable.trainable = self._trainable
        for layer in self._layers:
            layer.trainable = trainable

    @property
    def weights(self) -> list[Variable]:
        return [own.variable for _, own in self._weight_list()]

    @property
    def trainable_weights(self) -> list[Variable]:
        return [v for v in self.weights if v.trainable] if self._trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        trainable = {id(v) for v in self.trainable_weights}
        return [v for v in self.weights if id(v) not in trainable]

    @property
    def variables(self) -> list[Variable]:
        """The weights, and the step counters of the random generators."""
        return self.weights + [g.step for layer in self._flat() for g in layer._generators]

    @property
    def trainable_variables(self) -> list[Variable]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        trainable = {id(v) for v in self.trainable_weights}
        return [v for v in self.variables if id(v) not in trainable]

    @property
    def losses(self) -> list[Tensor]:
        """The penalties of the trainable weights, and what `add_loss` added in the last call."""
        context = current_context()
        added = self._added_losses if context is None else context.losses
        return [
            own.regularizer(own.variable)
            for _, own in self._weight_list()
            if own.regularizer is not None and own.variable.trainable
        ] + list(added)

    def apply_constraints(self) -> None:
        """Bring every trainable weight that has a constraint back into its set."""
        for _, own in self._weight_list():
            if own.constraint is not None and own.variable.trainable:
                own.variable.assign(own.constraint(own.variable))

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights."""
        return [np.array(v) for v in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrite the weights, all or none.

        Raises: ValueError for a wrong number of arrays, a wrong shape, or a NaN; TypeError for what is no number.
        """
        targets = self._weight_list()
        if not hasattr(weights, "__len__"):
            raise TypeError(
                f"{type(self).__name__} '{self.name}': set_weights: expected a list of arrays, got {weights!r}"
            )
        if len(weights) != len(targets):
            raise ValueError(
                f"{type(self).__name__} '{self.name}': set_weights: expected {len(targets)} arrays, got {len(weights)}"
                + (
                    ""
                    if self.built
                    else "; the layer is not built yet: call it, or give input_shape="
                )
            )
        arrays = []
        for i, (value, (layer, own)) in enumerate(zip(weights, targets, strict=True)):
            where = f"{type(layer).__name__} '{layer.name}': set_weights: array {i} ({own.variable.name})"
            array = np.asarray(value)
            if array.dtype.kind not in "fiub":
                raise TypeError(f"{where}: expected numbers, got dtype {array.dtype}")
            if array.shape != own.variable.shape:
                raise ValueError(f"{where}: expected shape {own.variable.shape}, got {array.shape}")
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise ValueError(f"{where}: expected numbers, got {np.isnan(array).sum()} NaN")
            arrays.append(array)
        for array, (_, own) in zip(arrays, targets, strict=True):
            own.variable.assign(array.astype(own.variable.dtype))

    def count_params(self) -> int:
        """The number of elements of all weights."""
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} '{self.name}': count_params: the layer is not built yet; call it on data, or "
                "give input_shape="
            )
        return sum(math.prod(v.shape) for v in self.weights)

    # ---- configuration

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, in types that JSON has. Each is read from the attribute of its name."""
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype,
        }
        if self._sample_shape is not None:
            config["input_shape"] = self._sample_shape
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = serialize(self.activity_regularizer)
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if name == "self" or not named or name in config:
                continue
            if hasattr(self, name):
                config[name] = serialize(getattr(self, name))
            elif parameter.default is parameter.empty:
                raise NotImplementedError(
                    f"{type(self).__name__}: get_config: set self.{name} = {name} in __init__, or write get_config"
                )
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A new layer from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def serialize(value: Any) -> Any:
    """A constructor argument as JSON has it: objects become {"class_name", "config"}, functions their names."""
    if hasattr(value, "get_config"):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, list | tuple):
        return [serialize(v) for v in value]
    return value


def _marking_built(build: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(build)
    def wrapper(self: Layer, *shapes: Any, **kwargs: Any) -> None:
        if self._own_before_build is None:
            self._own_before_build = len(self._own)
        build(self, *shapes, **kwargs)
        self.built = True

    return wrapper


def _named(error: Exception, layer: Layer) -> Exception:
    renamed = type(error)(f"{type(layer).__name__} '{layer.name}': {error}")
    renamed.layer = layer.name  # type: ignore[attr-defined]
    return renamed


_MAY_BE_SYMBOLIC = (SymbolicTensor, list, tuple, dict)


def _is_symbolic(x: Any) -> bool:
    return any(isinstance(leaf, SymbolicTensor) for leaf in flatten(x))


def _shape_of(x: Any) -> Any:
    if isinstance(x, dict):
        return {key: _shape_of(v) for key, v in x.items()}
    return [_shape_of(v) for v in x] if isinstance(x, list | tuple) else tuple(x.shape)


def _snake_case(name: str) -> str:
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _numbered(base: str) -> str:
    number = _names[base]
    _names[base] += 1
    return f"{base}_{number}" if number else base
