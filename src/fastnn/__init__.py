"""fastnn: neural networks on the CPU, trained straight from NumPy arrays."""

from fastnn import (
    activations,
    callbacks,
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
    "constraints",
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
]
