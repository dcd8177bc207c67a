"""What was measured: printed as Markdown while it comes, then as JSON and a chart."""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import fastnn
from fastnn import _core
from fastnn.bench.harness import cpu_name
from fastnn.bench.processes import Row


def machine(threads: int) -> dict[str, Any]:
    """The facts that the figures belong to.

    Together the threads reach less than the sum of their peaks where two share a core, as those of a
    virtual machine do when its host puts them there.
    """
    before = fastnn.num_threads()
    fastnn.set_num_threads(threads)
    together = _core.measure_peak(all_threads=True)
    fastnn.set_num_threads(before)
    return {
        "cpu": cpu_name(),
        "isa": _core.isa,
        "threads": threads,
        "peak_gflops_per_thread": round(_core.measure_peak(), 1),
        "peak_gflops_together": round(together, 1),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """As installed, without importing anything."""
    owners = metadata.packages_distributions()
    return {library: metadata.version(owners[library][0]) for library in libraries}


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    unit, size = ("s", 1.0) if seconds >= 1 else ("ms", 1e-3) if seconds >= 1e-3 else ("µs", 1e-6)
    value = seconds / size
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f} {unit}"


def megabytes(size: int) -> str:
    """Of a million bytes."""
    return f"{size / 1e6:.1f} MB"


def cell(rows: Sequence[Row]) -> str:
    """What a table says of a library: its best mode, and the modes without a result."""
    named = len(rows) > 1
    parts = []
    found = [row for row in rows if row.figure is not None]
    if found:
        best = min(found, key=lambda row: row.figure or 0.0)
        parts.append(_figure(best) + (f" {best.mode}" if named else ""))
    for row in rows:
        if row.failure is not None:
            parts.append(f"{row.mode}: {row.failure}" if named else row.failure)
    return ", ".join(parts) or "–"


def _figure(row: Row) -> str:
    if row.size is not None:
        return megabytes(row.size)
    assert row.timing is not None
    if row.rate is not None and row.share is not None:
        return f"{1e-9 * row.rate:.0f} ({row.share:.0%})"
    return f"{duration(row.timing.median)} ±{row.timing.spread:.0%}"


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """By library, and as "best": how many times the first row's time (or memory) its best mode takes."""
    ours = rows[0].figure
    best: dict[str, float] = {}
    for row in rows:
        if row.library != "fastnn" and row.figure is not None and ours is not None:
            best[row.library] = min(row.figure / ours, best.get(row.library, math.inf))
    return {**best, "best": min(best.values())} if best else {}


class Table:
    """A Markdown table whose rows are printed as they come."""

    def __init__(self, title: str, columns: Sequence[str], widths: Mapping[str, int]) -> None:
        self.widths = [max(len(column), widths.get(column, 0)) for column in columns]
        print(f"\n### {title}\n", flush=True)
        self.add(columns)
        self.add(["-" * width for width in self.widths])

    def add(self, cells: Iterable[str]) -> None:
        padded = (c.ljust(w) for c, w in zip(cells, self.widths, strict=True))
        print(f"| {' | '.join(padded)} |", flush=True)


class Comparison:
    """The table of one section: a line per problem, a column per library, the ratios, their means."""

    def __init__(self, title: str, problems: Iterable[str], libraries: Sequence[str]) -> None:
        self.libraries, self.peers = libraries, libraries[1:]
        quotients = [f"{library} / fastnn" for library in self.peers]
        if len(self.peers) > 1:
            quotients.append("best / fastnn")
        widths = dict.fromkeys(libraries, 13) | {"": max(map(len, problems), default=0)}
        self.table = Table(title, ["", *libraries, *quotients], widths)
        self.found: list[dict[str, float]] = []

    def add(self, problem: str, rows: Sequence[Row]) -> None:
        """A line. fastnn is there with its first mode, with which the others are compared."""
        of_library = {
            library: [row for row in rows if row.library == library] for library in self.libraries
        }
        found = ratios(rows)
        self.found.append(found)
        cells = [cell(rows[:1]), *(cell(of_library[peer]) for peer in self.peers)]
        self.table.add([problem, *cells, *self._ratios(found)])

    def close(self) -> None:
        """The line of geometric means, over the problems that a library has a result for."""
        means = {}
        for key in (*self.peers, "best"):
            values = [found[key] for found in self.found if key in found]
            if len(values) > 1:
                means[key] = statistics.geometric_mean(values)
        if means:
            self.table.add(["geometric mean", *("" for _ in self.libraries), *self._ratios(means)])

    def _ratios(self, found: Mapping[str, float]) -> list[str]:
        keys = [*self.peers, *(["best"] if len(self.peers) > 1 else [])]
        return [f"{found[key]:.2f}x" if key in found else "–" for key in keys]


def figure_class() -> Any:
    """matplotlib's Figure, without pyplot and its global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "the chart needs matplotlib, which is not installed: pip install 'fastnn[demo]', "
            "or leave out --chart"
        ) from error
    return Figure


SECTIONS = {
    "models": "training step",
    "inference": "prediction",
    "memory": "peak memory of a training step",
}
COLOURS = {
    "numpy": "#4c72b0",
    "torch": "#dd8452",
    "jax": "#55a868",
    "tensorflow": "#c44e52",
    "sklearn": "#8172b3",
}


def draw(path: Path, machine: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Bars on a logarithmic scale: what each library's best mode takes, as a multiple of fastnn's figure."""
    figure_type = figure_class()
    from matplotlib.ticker import LogLocator, NullLocator

    panels: dict[str, dict[str, dict[str, float]]] = {}
    for section in SECTIONS:
        for problem in dict.fromkeys(row.problem for row in rows if row.section == section):
            found = ratios(
                [row for row in rows if (row.section, row.problem) == (section, problem)]
            )
            found.pop("best", None)
            if found:
                panels.setdefault(section, {})[problem] = found
    if not panels:
        raise ValueError(f"--chart: expected one of the sections {', '.join(SECTIONS)}, and a peer")
    heights = [sum(len(found) + 1 for found in panel.values()) for panel in panels.values()]
    figure = figure_type(figsize=(9, 1.6 + 0.2 * sum(heights)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    libraries: dict[str, Any] = {}
    for axes, (section, panel) in zip(all_axes, panels.items(), strict=True):
        y, ticks = 0.0, []
        for found in panel.values():
            for i, (library, ratio) in enumerate(found.items()):
                bar = axes.barh(y + i, ratio - 1, color=COLOURS[library], height=0.9, left=1)
                axes.text(max(ratio, 1) * 1.03, y + i, f"{ratio:.3g}", va="center", fontsize=7)
                libraries.setdefault(library, bar)
            ticks.append(y + (len(found) - 1) / 2)
            y += len(found) + 1
        axes.set_yticks(ticks, list(panel))
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.axvline(1, color="black", linewidth=1)
        axes.set_title(f"{SECTIONS[section]}: the others' over fastnn's (1: the same)", fontsize=10)
        axes.margins(x=0.12)
    figure.legend(
        list(libraries.values()), list(libraries), loc="outside lower center", ncols=len(libraries)
    )
    figure.suptitle("{cpu}, {isa}, {threads} threads".format(**machine), fontsize=10)
    figure.savefig(path, dpi=120)


def write_json(path: Path, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Everything, for other programs."""
    results = [asdict(row) for row in rows]
    path.write_text(json.dumps({**facts, "results": results}, indent=1))
