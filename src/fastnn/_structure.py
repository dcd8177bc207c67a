"""Nested lists, tuples and dicts of leaves: the forms in which tensors come and go."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any


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
