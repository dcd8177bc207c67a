"""@fastnn.function: a function of tensors, recorded once per signature and replayed by C++."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from fastnn import _core
from fastnn._core import Tensor, Variable
from fastnn._structure import leaves, map_structure, outline, rebuild
from fastnn.recorded import Recorded, runs_eagerly


class Function:
    """What `fastnn.function` makes of a function; call it like the function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._recorded: dict[Hashable, Recorded] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _core.is_heard() or runs_eagerly():
            # Op by op: a tape or a graph around it is to see the ops. On tensors, as when it is recorded.
            args, kwargs = map_structure(
                lambda leaf: Tensor(leaf) if isinstance(leaf, np.ndarray) else leaf, (args, kwargs)
            )
            return self._function(*args, **kwargs)
        if not kwargs and all(isinstance(a, np.ndarray | Tensor) for a in args):
            recorded = self._recorded.get(len(args))
            if recorded is None:
                recorded = self._recorded[len(args)] = Recorded(self._function, _core.changes)
            return recorded(*args)
        tensors, constants = [], []
        for leaf in leaves((args, kwargs)):
            is_data = isinstance(leaf, np.ndarray | Tensor)
            tensors.append(leaf if is_data else None)
            constants.append(_ARRAY if is_data else leaf)
        key = (outline((args, kwargs)), tuple(map(_hashable, constants)))
        recorded = self._recorded.get(key)
        if recorded is None:
            recorded = Recorded(self._with(args, kwargs, constants), _core.changes)
            self._recorded[key] = recorded
            if len(self._recorded) > _LIMIT:
                del self._recorded[next(iter(self._recorded))]
        return recorded(*[t for t in tensors if t is not None])

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def _with(
        self, args: Sequence[Any], kwargs: dict[str, Any], constants: Sequence[Any]
    ) -> Callable[..., Any]:
        """The function of the arrays among its arguments, with the other arguments as they are now."""
        form = rebuild((args, kwargs), iter([None] * len(constants)))

        def call(*arrays: Any) -> Any:
            given = iter(arrays)
            values = (next(given) if c is _ARRAY else c for c in constants)
            positional, named = rebuild(form, values)
            return self._function(*positional, **named)

        return call


_ARRAY = object()
# Combinations of constant arguments that are kept; a counter passed as a Python int would fill the memory.
_LIMIT = 64


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Variable):
        return value.value.id
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"function: expected arrays, tensors or hashable arguments, got a {type(value).__name__}"
        ) from None
    return type(value), value


def function(f: Callable[..., Any]) -> Function:
    """Record `f` at its first call, and replay what was recorded at the next ones.

    `f` works on arrays and tensors (arguments), variables and layers (which it may close over); it may hold a
    GradientTape and an optimizer. Each set of shapes and dtypes, and each value of an argument that is no array, is
    recorded once. What Python does besides calling ops (printing, appending to a list) happens while recording only,
    and a branch on the value of a tensor is an error that says so; `fastnn.config.run_eagerly(True)` turns recording
    off. Inside a GradientTape `f` runs op by op, so that the tape can differentiate it: put the tape into `f`.

    Example:
        >>> import fastnn
        >>> w = fastnn.Variable(0.0)
        >>> optimizer = fastnn.optimizers.SGD(0.1)
        >>> @fastnn.function
        ... def step():
        ...     with fastnn.GradientTape() as tape:
        ...         loss = w * w - 10 * w + 25
        ...     optimizer.apply(tape.gradient(loss, [w]), [w])
        ...     return loss
        >>> for _ in range(100):
        ...     loss = step()
        >>> round(float(w), 4)
        5.0
    """
    return Function(f)
