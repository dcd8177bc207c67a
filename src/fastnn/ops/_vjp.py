"""The gradient of any function of ops, without a tape in sight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn._core import Tensor, Variable
from fastnn._typing import ArrayLike
from fastnn.tape import GradientTape

__all__ = ["vjp"]


def vjp(f: Callable[..., Any], *inputs: ArrayLike) -> tuple[Any, Callable[[Any], list[Any]]]:
    """f(*inputs), and the function that takes an upstream gradient back through it.

    Args:
        f: a function made of fastnn.ops.
        *inputs: what to call it with; a gradient is offered for each floating one.
    Returns:
        `(y, pullback)`: `pullback(dy)`, with dy in the structure and shapes of y, gives one
        gradient per input, `None` for inputs that are integers or that y does not depend on. It
        may be called again.
    Example:
        >>> import fastnn, numpy as np
        >>> y, pullback = fastnn.ops.vjp(lambda x: x * x, np.array([1.0, 3.0]))
        >>> pullback(np.array([1.0, 1.0]))[0].numpy()
        array([2., 6.])
    """
    tensors = [x if isinstance(x, Variable) else Tensor(x) for x in inputs]
    floating = [t for t in tensors if t.dtype.kind == "f"]
    with GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(floating)
        y = f(*tensors)

    def pullback(dy: Any) -> list[Any]:
        found = iter(tape.gradient(y, floating, dy))
        return [next(found) if t.dtype.kind == "f" else None for t in tensors]

    return y, pullback
