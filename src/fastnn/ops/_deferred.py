"""Ops on arguments that have no value yet.

An argument whose class has `__fastnn_op__(function, args, kwargs)` says itself what the op gives: so expressions of
symbolic tensors become layers of a functional model, without the ops knowing of layers or models.
"""

from __future__ import annotations

import functools
import inspect
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
    """`function`, handing calls on deferring arguments over to them, and naming the call where the border to C++ cannot
    read an argument.

    No kernel takes such an argument, so a look at them is due only after an error, and ordinary calls pay nothing.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            holder = deferring(*args, *kwargs.values())
            if holder is None:
                if not any(words in str(error) for words in _UNREAD):
                    raise
                raise TypeError(_described(function, args, kwargs)) from None
        return holder.__fastnn_op__(function, args, kwargs)

    return wrapper


# How pybind11 says that no conversion exists; its own text lists C++ types.
_UNREAD = ("incompatible function arguments", "Unable to cast Python instance")


def _described(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    signature = inspect.signature(function)
    plain = ", ".join(
        str(parameter.replace(annotation=inspect.Parameter.empty))
        for parameter in signature.parameters.values()
    )
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        return f"{function.__name__}({plain}): {error}"
    got = ", ".join(f"{name}={_brief(value)}" for name, value in given.items())
    return f"{function.__name__}({plain}): an argument is of the wrong kind, got {got}"


def _brief(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{value.dtype} of shape {tuple(value.shape)}>"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
