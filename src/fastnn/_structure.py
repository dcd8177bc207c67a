"""Nested lists, tuples and dicts of leaves: the forms in which tensors come and go."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from fastnn._core import Tensor, Variable


def leaves(structure: Any) -> Iterator[Any]:
    """The leaves in order; dicts in the order of their keys' insertion."""
    if isinstance(structure, dict):
        for value in structure.values():
            yield from leaves(value)
    elif isinstance(structure, list | tuple):
        for value in structure:
            yield from leaves(value)
    else:
        yield structure


def rebuild(structure: Any, values: Iterator[Any]) -> Any:
    """The structure with its leaves replaced by `values`, in order."""
    if isinstance(structure, dict):
        return {key: rebuild(value, values) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(rebuild(value, values) for value in structure)
    return next(values)


def outline(structure: Any) -> Hashable:
    """The structure without its leaves, to compare and to hash."""
    if isinstance(structure, dict):
        return ("dict", *((key, outline(value)) for key, value in structure.items()))
    if isinstance(structure, list | tuple):
        return (type(structure).__name__, *(outline(value) for value in structure))
    return None


def flatten(structure: Any) -> list[Any]:
    """The leaves as a list."""
    return list(leaves(structure)) if isinstance(structure, _NESTED) else [structure]


def map_structure(f: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure, f applied to each leaf."""
    if not isinstance(structure, _NESTED):
        return f(structure)
    return rebuild(structure, map(f, leaves(structure)))


_NESTED = (list, tuple, dict)


def is_nested(value: Any) -> bool:
    return isinstance(value, _NESTED)


def holds_arrays(value: Any) -> bool:
    """Whether value is a structure of arrays, and not a list of numbers, which is an array itself."""
    if isinstance(value, dict):
        return True
    return isinstance(value, list | tuple) and any(
        isinstance(v, Tensor | Variable | np.ndarray) or hasattr(v, "__array__") or holds_arrays(v)
        for v in value
    )


def is_shape(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        size is None or isinstance(size, int | np.integer) for size in value
    )


def map_shapes(f: Callable[[tuple[int | None, ...]], Any], shapes: Any) -> Any:
    """`map_structure` for structures of shapes, whose leaves are tuples themselves."""
    if is_shape(shapes):
        return f(tuple(shapes))
    if isinstance(shapes, dict):
        return {key: map_shapes(f, shape) for key, shape in shapes.items()}
    return type(shapes)(map_shapes(f, shape) for shape in shapes)


def flat_shapes(shapes: Any) -> list[tuple[int | None, ...]]:
    found: list[tuple[int | None, ...]] = []
    map_shapes(found.append, shapes)
    return found


def names_of(structure: Any, what: str) -> list[str]:
    """Names for the leaves of a structure that has none but the keys of a dict."""
    if isinstance(structure, dict) and not any(is_nested(v) for v in structure.values()):
        return list(structure)
    count = len(flatten(structure))
    return [what] if count == 1 else [f"{what}_{i + 1}" for i in range(count)]


def by_name(argument: str, value: Any, names: Sequence[str], *, partial: bool = False) -> list[Any]:
    """What belongs to each name: value is a dict by name, or a list in order; for one name also the thing itself.

    Args:
        partial: names that a dict lacks get None, and what is neither dict nor list serves every name.
    Raises: ValueError naming the argument and what was expected, for too many, too few or unknown ones.
    """
    one = len(names) == 1
    wanted = f"{len(names)} ({', '.join(names)})"
    if isinstance(value, dict) and (not one or names[0] in value):
        unknown = [key for key in value if key not in names]
        missing = [name for name in names if name not in value]
        if unknown or (missing and not partial):
            raise ValueError(f"{argument}: expected {wanted}, got a dict of {list(value)}")
        return [value.get(name) for name in names]
    if isinstance(value, list | tuple):
        if len(value) != len(names):
            raise ValueError(f"{argument}: expected {wanted}, got {len(value)}")
        return list(value)
    if one or value is None or partial:
        return [value] * len(names)
    raise ValueError(f"{argument}: expected {wanted}, got one {type(value).__name__}")
