"""fastnn: neural networks on the CPU, trained straight from NumPy arrays."""

from fastnn import initializers, ops, optimizers, random
from fastnn._core import Graph, Tensor, Variable, num_threads, set_num_threads
from fastnn.tape import GradientTape

__all__ = [
    "GradientTape",
    "Graph",
    "Tensor",
    "Variable",
    "initializers",
    "num_threads",
    "ops",
    "optimizers",
    "random",
    "set_num_threads",
]
