"""fastnn: neural networks on the CPU, trained straight from NumPy arrays."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from fastnn import (
    activations,
    callbacks,
    config,
    constraints,
    datasets,
    gradcheck,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    random,
    regularizers,
    utils,
)
from fastnn._core import Graph, Tensor, Variable, num_threads, set_num_threads
from fastnn.layers import Input
from fastnn.models import Model, Sequential
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
    "datasets",
    "gradcheck",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "num_threads",
    "ops",
    "optimizers",
    "random",
    "regularizers",
    "set_num_threads",
    "utils",
]

_ON_FIRST_USE = ("datasets", "gradcheck", "utils")


def __getattr__(name: str) -> ModuleType:
    if name in _ON_FIRST_USE:
        return import_module(f"fastnn.{name}")
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
