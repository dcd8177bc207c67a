"""Whole networks: a training step, a prediction, and how a step grows with the batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fastnn.bench.options import MODES, Options, fitting
from fastnn.bench.problems import PROBLEMS, Problem
from fastnn.bench.processes import Effort, Row, Side, race
from fastnn.bench.report import Comparison, Table, duration

# Adam's first steps are rate * sign(gradient): a gradient that rounds to another sign shows in the fourth digit.
LOSSES = 1e-3
LOGITS = 1e-4

PREDICTING = {
    "fastnn": ("predict_on_batch",),
    "numpy": ("",),
    "torch": ("eager", "channels_last", "compile"),
    "jax": ("jit",),
    "tensorflow": ("graph", "xla"),
}
INFERENCE_BATCHES = (1, 256)
GROWTH_BATCHES = (64, 512)


def _chosen(options: Options) -> dict[str, Problem]:
    return {name: problem for name, problem in PROBLEMS.items() if options.wants(name)}


def training(options: Options) -> Iterator[Row]:
    """A step: forward, loss, backward, Adam."""
    asked = {
        f"{name}, batch {p.batch}": ("train", name, p.batch) for name, p in _chosen(options).items()
    }
    modes = {**MODES, "fastnn": MODES["fastnn"][:1]} if options.quick else MODES
    yield from _compare("models", "Training step", asked, modes, LOSSES, options, options.effort)


def inference(options: Options) -> Iterator[Row]:
    """A prediction of one row, and of many."""
    asked = {
        f"{name}, batch {batch}": ("infer", name, batch)
        for name in _chosen(options)
        for batch in (INFERENCE_BATCHES[:1] if options.quick else INFERENCE_BATCHES)
    }
    effort = Effort(0.3, 3, 9) if options.quick else Effort(2.0, 5, 15)
    yield from _compare("inference", "Prediction", asked, PREDICTING, LOGITS, options, effort)


def growth(options: Options) -> Iterator[Row]:
    """What a sample costs fastnn in a small and in a large batch of each convolutional net."""
    small, large = GROWTH_BATCHES
    table: Table | None = None
    for name, problem in _chosen(options).items():
        if not problem.is_convnet:
            continue
        table = table or Table(
            "A sample of a training step",
            ("", *(f"batch {batch}" for batch in GROWTH_BATCHES), "growth"),
            {"": max(map(len, PROBLEMS)), f"batch {small}": 8, f"batch {large}": 9},
        )
        rows: list[Row] = []
        sides = [Side("fastnn", "fit", options.threads, options.limit) for _ in GROWTH_BATCHES]
        requests = [("train", name, batch) for batch in GROWTH_BATCHES]
        rows = race("growth", name, sides, requests, None, options.effort)
        for side in sides:
            side.close()
        samples = [
            row.timing.median / batch if row.timing else float("nan")
            for row, batch in zip(rows, GROWTH_BATCHES, strict=True)
        ]
        table.add([name, *map(duration, samples), f"{samples[1] / samples[0] - 1:+.0%}"])
        for row, batch in zip(rows, GROWTH_BATCHES, strict=True):
            yield row.named(f"{name}, batch {batch}")


def _compare(
    section: str,
    title: str,
    asked: Mapping[str, tuple[str, str, int]],
    modes: Mapping[str, Sequence[str]],
    tolerance: float,
    options: Options,
    effort: Effort,
) -> Iterator[Row]:
    if not asked:
        return
    table = Comparison(title, list(asked), options.libraries(modes))
    for label, request in asked.items():
        problem = PROBLEMS[request[1]]
        # Anew for each problem: what a process has done before must not matter.
        sides = options.sides(fitting(modes, problem))
        rows = race(section, label, sides, [request] * len(sides), tolerance, effort)
        for side in sides:
            side.close()
        table.add(label, rows)
        yield from rows
    table.close()
