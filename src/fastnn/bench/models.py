"""Whole networks: a training step, a prediction, and how their time grows with the batch."""

from __future__ import annotations

from collections.abc import Iterator

from fastnn.bench.options import MODES, Options
from fastnn.bench.problems import PROBLEMS, Problem
from fastnn.bench.processes import Row, race
from fastnn.bench.report import Comparison

# Adam's first steps are rate * sign(gradient): a gradient that rounds to another sign shows in the fourth digit.
LOSSES = 1e-3


def _problems(options: Options) -> dict[str, Problem]:
    return {name: problem for name, problem in PROBLEMS.items() if options.wants(name)}


def training(options: Options) -> Iterator[Row]:
    """A step: forward, loss, backward, Adam."""
    chosen = _problems(options)
    names = {name: f"{name}, batch {problem.batch}" for name, problem in chosen.items()}
    table: Comparison | None = None
    for name, problem in chosen.items():
        sides = options.sides(MODES)  # anew, so that each problem meets processes that are new
        if table is None:
            table = Comparison("Training step", names.values(), list(sides))
        rows = race("models", name, sides, ("train", name, problem.batch), LOSSES, options.effort)
        for side in sides.values():
            side.close()
        table.add(names[name], rows)
        yield from rows
    if table is not None:
        table.close()
