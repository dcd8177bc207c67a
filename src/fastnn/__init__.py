"""fastnn: neural networks on the CPU, trained straight from NumPy arrays."""

from fastnn import ops
from fastnn._core import Graph, Tensor, Variable, num_threads, set_num_threads
from fastnn.tape import GradientTape

__version__ = "0.1.0"

__all__ = ["Graph", "GradientTape", "Tensor", "Variable", "num_threads", "ops", "set_num_threads"]
