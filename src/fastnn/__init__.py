"""fastnn: neural networks on the CPU, trained straight from NumPy arrays."""

from fastnn import (
    constraints,
    datasets,
    gradcheck,
    initializers,
    losses,
    metrics,
    ops,
    optimizers,
    random,
    regularizers,
    utils,
)
from fastnn._core import Graph, Tensor, Variable, num_threads, set_num_threads
from fastnn.tape import GradientTape

__all__ = [
    "GradientTape",
    "Graph",
    "Tensor",
    "Variable",
    "constraints",
    "datasets",
    "gradcheck",
    "initializers",
    "losses",
    "metrics",
    "num_threads",
    "ops",
    "optimizers",
    "random",
    "regularizers",
    "set_num_threads",
    "utils",
]
