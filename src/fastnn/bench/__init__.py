"""`fastnn bench`: fastnn beside plain NumPy and the libraries that are installed.

Each side computes the same from the same weights, in a process of its own with the same number of
threads, and must agree with fastnn before it is timed; the sides run in turn. Figures are medians,
with half the distance between the quartiles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fastnn
from fastnn.bench import footprint, models, operations, report
from fastnn.bench.options import PEERS, Options, installed, known
from fastnn.bench.problems import PROBLEMS
from fastnn.bench.processes import Row

__all__ = ["SECTIONS", "main"]

SECTIONS: dict[str, Callable[[Options], Iterator[Row]]] = {
    "ops": operations.operations,
    "models": models.training,
    "inference": models.inference,
    "growth": models.growth,
    "memory": footprint.memory,
    "footprint": footprint.footprint,
}
QUICK = ("ops", "models", "footprint")


def main(
    sections: Sequence[str],
    *,
    quick: bool = False,
    threads: int | None = None,
    peers: Sequence[str] | None = None,
    only: Sequence[str] = (),
    limit: float = 60.0,
    json: Path | None = None,
    chart: Path | None = None,
) -> None:
    """Measure, print, and write what is asked for."""
    sections = known("fastnn bench", sections, tuple(SECTIONS))
    sections = sections or (QUICK if quick else tuple(SECTIONS))
    asked = known(
        "--peers", peers if peers is not None else (("numpy",) if quick else PEERS), PEERS
    )
    there, missing = installed(asked)
    cpus = len(os.sched_getaffinity(0))
    threads = threads or min(fastnn.num_threads(), cpus)
    if threads > cpus:
        raise ValueError(
            f"--threads: expected at most {cpus}, the CPUs this process may use, got {threads}"
        )
    options = Options(tuple(there), threads, quick, tuple(only), limit)

    facts: dict[str, Any] = {
        "machine": report.machine(threads),
        "versions": {"fastnn": fastnn.__version__, **report.versions(there)},
        "missing": missing,
    }
    print(
        "{cpu}, {isa}, threads: {threads}, peak of one {peak_gflops_per_thread} GFLOP/s, "
        "of all together {peak_gflops_together} GFLOP/s".format(**facts["machine"])
    )
    print(", ".join(f"{library} {version}" for library, version in facts["versions"].items()))
    for peer in missing:
        print(f"{peer}: not installed, left out")
    if chart is not None:
        report.figure_class()  # a missing package is better reported before the measuring than after
    rows: list[Row] = []
    for section in sections:
        rows.extend(SECTIONS[section](options))
    if only and not rows:
        raise ValueError(
            f"--only: expected part of a name, as {', '.join(PROBLEMS)} or an operation's, got {', '.join(only)}"
        )
    if json is not None:
        report.write_json(json, facts, rows)
    if chart is not None:
        report.draw(chart, facts["machine"], rows)
