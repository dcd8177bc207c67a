"""The libraries, one file each. Only a worker process of that library imports its file.

Each has `MODES`, `version()` and `train(problem, mode)`, which gives the call that runs
`problem.steps` steps and one that runs a single step and gives its loss; most have
`infer(problem, batch, mode)`, which gives the call that predicts a batch; those that time single
operations have `op(problem, what, mode)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from fastnn.bench.nets import Array
from fastnn.bench.problems import Problem


class Training(NamedTuple):
    step: Callable[[], float]  # one step on the batch; the loss before it
    epoch: Callable[[], Any]  # `problem.steps` steps


class Library(Protocol):
    """What a file here has."""

    MODES: tuple[str, ...]

    def version(self) -> str: ...

    def train(self, problem: Problem, batch: int, mode: str) -> Training: ...

    def infer(self, problem: Problem, batch: int, mode: str) -> Callable[[], Array]: ...
