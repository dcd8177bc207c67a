"""fastnn: neural networks on the CPU, trained straight from NumPy arrays."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from fastnn import (
    activations,
    callbacks,
    config,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    random,
    regularizers,
)
from fastnn._core import Graph, Tensor, Variable, num_threads, set_num_threads
from fastnn.custom import custom_gradient, py_function
from fastnn.function import function
from fastnn.layers import Input
from fastnn.models import Model, Sequential
from fastnn.ops import stop_gradient
from fastnn.tape import GradientTape

__version__ = "0.1.0"

__all__ = [
    "GradientTape",
    "Graph",
    "Input",
    "Model",
    "Sequential",
    "Tensor",
    "Variable",
    "activations",
    "callbacks",
    "config",
    "constraints",
    "custom_gradient",
    "datasets",
    "function",
    "gradcheck",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "num_threads",
    "ops",
    "optimizers",
    "py_function",
    "random",
    "regularizers",
    "set_num_threads",
    "stop_gradient",
    "utils",
]

_ON_FIRST_USE = ("datasets", "gradcheck", "utils")


def __getattr__(name: str) -> ModuleType:
    if name in _ON_FIRST_USE:
        return import_module(f"fastnn.{name}")
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
