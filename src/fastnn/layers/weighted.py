"""What layers of a kernel and a bias share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn import constraints, initializers, regularizers
from fastnn._core import Variable
from fastnn.layers.base import Layer


class WeightedLayer(Layer):
    """Weights whose initializer, regularizer and constraint are arguments, `<kind>_initializer` and so on."""

    bias: Variable | None
    use_bias: bool

    def _describe(self, kind: str, initializer: Any, regularizer: Any, constraint: Any) -> None:
        setattr(self, f"{kind}_initializer", initializers.get(initializer))
        setattr(self, f"{kind}_regularizer", regularizers.get(regularizer))
        setattr(self, f"{kind}_constraint", constraints.get(constraint))

    def _add(self, kind: str, shape: Sequence[int], name: str) -> Variable:
        return self.add_weight(
            shape,
            getattr(self, f"{kind}_initializer"),
            regularizer=getattr(self, f"{kind}_regularizer"),
            constraint=getattr(self, f"{kind}_constraint"),
            name=name,
        )

    def _add_bias(self, size: int) -> None:
        self.bias = self._add("bias", (size,), "bias") if self.use_bias else None
