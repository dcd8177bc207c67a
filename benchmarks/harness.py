"""How every benchmark here measures: agreement, warm-up, then the sides in turn, then medians.

The sides alternate so that a slow moment of the machine hits all of them. What is reported is the
ratio of medians; absolute times belong to one machine on one day.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import _core


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one side: the median and the quartiles of the repeats."""

    median: float
    low: float
    high: float


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def print_machine() -> None:
    print(
        f"{cpu_name()}; {_core.isa}; fastnn {fastnn.__version__}, {fastnn.num_threads()} threads, "
        f"one thread's FMA peak {_core.measure_peak():.0f} GFLOP/s (float32); "
        f"NumPy {np.__version__}\n"
    )


def verify(name: str, results: Mapping[str, Any], tolerance: float) -> None:
    """Every side's arrays equal the first side's, within `tolerance` times their largest value."""
    (first, expected), *others = results.items()
    for side, actual in others:
        for a, e in zip(_arrays(actual), _arrays(expected), strict=True):
            worst = float(np.max(np.abs(a - e), initial=0.0))
            limit = tolerance * max(1.0, float(np.max(np.abs(e), initial=0.0)))
            if a.shape != e.shape or not worst <= limit:
                raise SystemExit(f"{name}: {side} and {first} differ by {worst:.3g} > {limit:.3g}")


def alternate(
    sides: Mapping[str, Callable[[], Any]], repeats: int = 21, shortest: float = 2e-3
) -> dict[str, Timing]:
    """Time all sides in turn. A repeat runs a side for at least `shortest` seconds."""
    calls = {name: _calls_for(f, shortest) for name, f in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, f in sides.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                f()
            seconds[name].append((time.perf_counter() - start) / calls[name])
    timings = {}
    for name, values in seconds.items():
        low, median, high = statistics.quantiles(values, n=4)
        timings[name] = Timing(median, low, high)
    return timings


def compare(
    name: str,
    sides: Mapping[str, Callable[[], Any]],
    *,
    tolerance: float,
    repeats: int = 21,
) -> dict[str, Timing]:
    """Verify, time and print one row: medians, and how many times faster the first side is."""
    verify(name, {side: f() for side, f in sides.items()}, tolerance)
    timings = alternate(sides, repeats)
    ours = next(iter(timings.values())).median
    columns = [
        f"{side} {1e3 * t.median:8.3f} ms (+-{(t.high - t.low) / 2 / t.median:4.0%})"
        for side, t in timings.items()
    ]
    ratios = [f"{t.median / ours:6.2f}x" for t in list(timings.values())[1:]]
    print(f"{name:<34} {'  '.join(columns)}  {'  '.join(ratios)}", flush=True)
    return timings


def _calls_for(f: Callable[[], Any], shortest: float) -> int:
    """Calls that fill `shortest` seconds; running them is the warm-up."""
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            f()
        if time.perf_counter() - start >= shortest:
            return calls
        calls *= 2


def _arrays(result: Any) -> list[np.ndarray]:
    if isinstance(result, list | tuple):
        return [np.asarray(part) for part in result]
    return [np.asarray(result)]
