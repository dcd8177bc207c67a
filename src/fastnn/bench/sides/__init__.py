"""The libraries, one file each, which only a worker process of that library imports.

Each has of the following what the library takes part in:

- `train(problem, batch, mode) -> Training`
- `infer(problem, batch, mode) -> Work`
- `operate(operation, what, mode) -> Work`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastnn.bench.nets import Array


class Training(NamedTuple):
    """A network under training."""

    step: Callable[[], float]  # one step; the loss before it
    epoch: Callable[[], Any]  # `problem.steps` steps


class Work(NamedTuple):
    """What is timed, and a call that does the same and gives the answer in fastnn's layout."""

    call: Callable[[], Any]
    answer: Callable[[], Array]
