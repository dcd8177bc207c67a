"""How everything here is measured: agreement, warm-up, then the sides in turn, then medians.

The sides alternate so that a slow moment of the machine hits all of them. What is reported is the
ratio of medians; absolute times belong to one machine on one day.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fastnn
from fastnn import _core


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one side: the median and the quartiles of the repeats."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(seconds: Sequence[float]) -> Timing:
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        return Timing(median, low, high)

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, as a share of the median."""
        return (self.high - self.low) / 2 / self.median


class Turns:
    """A call, made often enough in a turn to fill `shortest` seconds. Making it is the warm-up."""

    def __init__(self, call: Callable[[], Any], shortest: float = 2e-3) -> None:
        self.call, self.calls = call, 1
        while self.seconds() * self.calls < shortest:
            self.calls *= 2

    def seconds(self) -> float:
        """Seconds a call in one turn, after one that wakes threads and brings memory near again."""
        self.call()
        start = time.perf_counter()
        for _ in range(self.calls):
            self.call()
        return (time.perf_counter() - start) / self.calls


def settle() -> None:
    """Wait until this process rests: thread pools spin for a while after the last call (OpenBLAS 0.1 s)."""
    for _ in range(100):
        before = time.process_time()
        time.sleep(0.01)
        if time.process_time() - before < 0.001:
            return


def cpu_name() -> str:
    """What the CPU calls itself."""
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


def disagreement(actual: npt.ArrayLike, expected: npt.ArrayLike, tolerance: float) -> str | None:
    """How two answers differ, if by more than `tolerance` times the largest number; else `None`."""
    a, e = np.asarray(actual), np.asarray(expected)
    if a.shape != e.shape:
        return f"shape {a.shape}, not {e.shape}"
    worst, largest = float(np.max(np.abs(a - e))), float(np.max(np.abs(e)))
    if worst <= tolerance * largest:
        return None
    return f"differs by {worst / largest:.1e} of the largest number, {tolerance:.0e} allowed"


def verify(name: str, results: Mapping[str, Any], tolerance: float) -> None:
    """End the program unless every side's array, or each of its arrays, agrees with the first side's."""
    (_, expected), *others = results.items()
    for side, actual in others:
        for a, e in zip(_arrays(actual), _arrays(expected), strict=True):
            found = disagreement(a, e, tolerance)
            if found is not None:
                raise SystemExit(f"{name}: {side} {found}")


def alternate(
    sides: Mapping[str, Callable[[], Any]], repeats: int = 21, shortest: float = 2e-3
) -> dict[str, Timing]:
    """Time all sides in turn. A turn runs a side for at least `shortest` seconds."""
    turns = {name: Turns(call, shortest) for name, call in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, turn in turns.items():
            settle()
            seconds[name].append(turn.seconds())
    return {name: Timing.of(values) for name, values in seconds.items()}


def _arrays(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]
