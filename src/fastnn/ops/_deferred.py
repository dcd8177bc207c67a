"""Ops on arguments that have no value yet.

An argument whose class has `__fastnn_op__(function, args, kwargs)` says itself what the op gives: so expressions of
symbolic tensors become layers of a functional model, without the ops knowing of layers or models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def deferring(*args: Any) -> Any:
    """The first argument, or item of a list, that says itself what ops on it give; None if there is none."""
    for value in args:
        if hasattr(type(value), "__fastnn_op__"):
            return value
        if isinstance(value, list | tuple):
            found = deferring(*value)
            if found is not None:
                return found
    return None


def deferrable(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, handing calls on deferring arguments over to them.

    No kernel takes such an argument, so a look at them is due only after an error, and ordinary calls pay nothing.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception:
            holder = deferring(*args, *kwargs.values())
            if holder is None:
                raise
        return holder.__fastnn_op__(function, args, kwargs)

    return wrapper
