"""Symbolic tensors: the graph of layer calls that functional models are cut from.

A symbolic tensor is a shape, a dtype and the call that gives it, and not a placeholder of a recorded graph: what is
kept are calls of *layers*, which a recorded graph of ops no longer knows, and they are kept by plain references from
output to input only, so that a model that is dropped is freed at once, layers shared with others or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fastnn._core import Tensor
from fastnn._structure import flatten, rebuild
from fastnn.ops._deferred import deferrable
from fastnn.ops._operators import attach_operators

if TYPE_CHECKING:
    from fastnn.layers.base import Layer


class Call:
    """One call of a layer on symbolic tensors.

    Args:
        layer: the layer.
        args, kwargs: of the call; structures with symbolic tensors among their leaves.
        result: what the layer gave on placeholders.
    """

    __slots__ = ("__weakref__", "_result", "args", "kwargs", "layer", "types")

    def __init__(
        self, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        leaves = flatten(result)
        for leaf in leaves:
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"{type(layer).__name__} '{layer.name}': expected call() to return tensors, got {leaf!r}"
                )
        self.layer, self.args, self.kwargs = layer, args, kwargs
        self.types = [(tuple(leaf.shape), np.dtype(leaf.dtype)) for leaf in leaves]
        self._result = rebuild(result, iter(range(len(leaves))))

    @property
    def outputs(self) -> Any:
        """The symbolic outputs, in the structure that the layer returns."""
        return rebuild(self._result, (SymbolicTensor(self, i) for i in range(len(self.types))))

    @property
    def inputs(self) -> list[SymbolicTensor]:
        return [x for x in flatten((self.args, self.kwargs)) if isinstance(x, SymbolicTensor)]


class SymbolicTensor:
    """What a layer will give: a shape and a dtype, but no data. Made by `fastnn.Input` and by calling layers on it.

    Operators and `fastnn.ops` work on it; each becomes a layer without weights.
    """

    def __init__(self, call: Call, index: int) -> None:
        self.call, self.index = call, index
        self.shape, self.dtype = call.types[index]

    @property
    def key(self) -> tuple[Call, int]:
        """Equal for two objects that stand for the same output."""
        return self.call, self.index

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def name(self) -> str:
        return self.call.layer.name

    def __fastnn_op__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        from fastnn.layers.operation import Operation

        return Operation.apply(function, args, kwargs)

    def _no_data(self, *_: Any) -> NoReturn:
        raise TypeError(
            f"{self!r} has no data: make a fastnn.Model(inputs, outputs) and call it on arrays"
        )

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape} dtype={self.dtype} from '{self.name}'>"


attach_operators(SymbolicTensor, through=deferrable)
SymbolicTensor.__array_ufunc__ = None  # type: ignore[attr-defined]  # `array * x` is x.__rmul__(array)
for _name in ("__array__", "__bool__", "__float__", "__int__", "__index__", "__iter__", "__len__"):
    setattr(SymbolicTensor, _name, SymbolicTensor._no_data)
