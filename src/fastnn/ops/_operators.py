"""Python's operators on Tensor and Variable, in terms of the ops of the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn import _core


def _binary(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    op = getattr(_core, name)
    return (lambda self, other: op(self, other)), (lambda self, other: op(other, self))


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "power",
    "matmul": "matmul",
}


def attach_operators() -> None:
    for cls in (_core.Tensor, _core.Variable):
        for operator, name in _BINARY.items():
            forward, reflected = _binary(name)
            setattr(cls, f"__{operator}__", forward)
            setattr(cls, f"__r{operator}__", reflected)
        cls.__neg__ = lambda self: _core.negative(self)
        cls.__abs__ = lambda self: _core.abs(self)
