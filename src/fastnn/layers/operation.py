"""Operation: an op on symbolic tensors as a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn._core import Variable
from fastnn._structure import flatten, map_structure
from fastnn.layers.base import Layer, _numbered
from fastnn.layers.symbolic import SymbolicTensor
from fastnn.ops.indexing import getitem


class _Hole:
    """Where the i-th tensor of the call goes among an op's arguments."""

    def __init__(self, index: int) -> None:
        self.index = index


class Operation(Layer):
    """A function of `fastnn.ops` with its arguments but the tensors, which are those of the call.

    A Variable among the arguments is a weight of the layer.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[tuple[Any, ...], dict[str, Any]]
    ) -> None:
        name = "get_item" if function is getitem else function.__name__
        super().__init__(name=_numbered(name))
        self.function = function
        self.arguments = arguments
        self.label = "".join(part.capitalize() for part in name.split("_"))
        for leaf in flatten(arguments):
            if isinstance(leaf, Variable):
                self._track(leaf)
        self.built = True

    @classmethod
    def apply(
        cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The op on symbolic tensors."""
        tensors: list[SymbolicTensor] = []

        def cut(leaf: Any) -> Any:
            if not isinstance(leaf, SymbolicTensor):
                return leaf
            tensors.append(leaf)
            return _Hole(len(tensors) - 1)

        layer = cls(function, map_structure(cut, (args, kwargs)))
        return layer(*tensors)

    def call(self, *tensors: Any) -> Any:
        def fill(leaf: Any) -> Any:
            return tensors[leaf.index] if isinstance(leaf, _Hole) else leaf

        args, kwargs = map_structure(fill, self.arguments)
        return self.function(*args, **kwargs)

    def _as_input(self, x: Any) -> Any:
        return x  # an op has no dtype of its own

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(
            f"{self.label} '{self.name}': an op has no configuration; write a Layer whose call() uses it"
        )
