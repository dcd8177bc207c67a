"""Optimizers with the names, arguments and defaults of Keras 3."""

from __future__ import annotations

from typing import Any

from fastnn.optimizers import schedules
from fastnn.optimizers.fused import SGD, Adam, AdamW, RMSprop
from fastnn.optimizers.in_ops import Adadelta, Adagrad, Adamax, Lion, Nadam
from fastnn.optimizers.optimizer import Optimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "get",
    "schedules",
]

_CLASSES: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls
    for cls in (SGD, RMSprop, Adam, AdamW, Adagrad, Adadelta, Adamax, Nadam, Lion)
}


def get(identifier: str | Optimizer | type[Optimizer] | dict[str, Any]) -> Optimizer:
    """The optimizer that `identifier` means: a name in any case, a class, an object or a saved configuration.

    Example:
        >>> import fastnn
        >>> fastnn.optimizers.get("adam").learning_rate
        0.001
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]
    if isinstance(identifier, dict):
        return _find(identifier["class_name"]).from_config(identifier.get("config") or {})
    if isinstance(identifier, str):
        return _find(identifier)()  # type: ignore[call-arg]
    raise TypeError(f"optimizer: expected a name or an Optimizer, got {identifier!r}")


def _find(name: str) -> type[Optimizer]:
    if name.lower() not in _CLASSES:
        raise ValueError(f"optimizer: expected one of {', '.join(sorted(_CLASSES))}, got {name!r}")
    return _CLASSES[name.lower()]
