"""Sides of a comparison, each in a process of its own, and the race between them.

A process each, so that every library reads the same number of threads from its environment, and one
that hangs or crashes loses its own column only. A worker answers when its threads have stopped spinning
(OpenBLAS's wait 100 ms for more), so that they do not slow the next side.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from typing import Any, NoReturn

from fastnn.bench.harness import Timing, disagreement


class NoResult(Exception):
    """A side failed, or took too long; the message says which."""


class Side:
    """The process of one library in one mode."""

    def __init__(self, library: str, mode: str, threads: int, limit: float) -> None:
        self.library, self.mode, self.limit = library, mode, limit
        self._pipe, child = connection.Pipe()
        with _bound_to(threads):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fastnn.bench.worker", str(child.fileno()), library, mode],
                env={**os.environ, **_environment(threads)},
                pass_fds=[child.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        child.close()
        self._failure: str | None = None
        with suppress(NoResult):  # who asks first will hear of it
            self._answer()

    def ask(self, *request: Any) -> Any:
        """What the worker's method of that name returns. Raises NoResult, from then on at once."""
        if self._failure is not None:
            raise NoResult(self._failure)
        try:
            self._pipe.send(request)
        except ConnectionError:
            self._fail("the process died")
        return self._answer()

    def _answer(self) -> Any:
        try:
            if not self._pipe.poll(self.limit):
                self._fail(f"no result in {self.limit:.0f} s")
            done, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._fail("the process died")
        if not done:
            self._fail(answer)
        return answer

    def _fail(self, why: str) -> NoReturn:
        self._failure = why
        self.close()
        raise NoResult(why)

    def close(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.wait()


def _environment(threads: int) -> dict[str, str]:
    count = str(threads)
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        **dict.fromkeys(pools, count),
        "JAX_PLATFORMS": "cpu",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }


@contextmanager
def _bound_to(threads: int) -> Iterator[None]:
    """Children get as many CPUs as threads: XLA and TensorFlow make a thread for each CPU they may use."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cpus)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


@dataclass(frozen=True)
class Row:
    """One side's figure for one problem."""

    section: str
    problem: str
    library: str
    mode: str
    timing: Timing | None = None  # seconds
    failure: str | None = None  # why there is no result
    size: int | None = None  # bytes
    rate: float | None = None  # FLOP/s
    share: float | None = None  # of the FMA peak of all threads

    @property
    def figure(self) -> float | None:
        """What is compared: seconds or bytes."""
        return self.size if self.timing is None else self.timing.median

    def named(self, problem: str) -> Row:
        """The row under another name."""
        return replace(self, problem=problem)

    def with_rate(self, flops: float, peak: float) -> Row:
        """The row with the arithmetic that its time stands for."""
        if self.timing is None:
            return self
        rate = flops / self.timing.median
        return replace(self, rate=rate, share=rate / peak)


@dataclass(frozen=True)
class Effort:
    """How long to look: seconds of turns for one problem, and their number at least and at most."""

    seconds: float = 20.0
    least: int = 5
    most: int = 15


@dataclass
class _Runner:
    side: Side
    failure: str | None = None
    seconds: list[float] = field(default_factory=list)


def race(
    section: str,
    problem: str,
    sides: Sequence[Side],
    requests: Sequence[tuple[Any, ...]],
    tolerance: float | None,
    effort: Effort,
) -> list[Row]:
    """Prepare all sides, compare their answers with the first's (within a tolerance), and time them in turn."""
    runners = [_Runner(side) for side in sides]
    expected: Any = None
    for runner, request in zip(runners, requests, strict=True):
        try:
            answer = runner.side.ask(*request)
            if expected is None:
                expected = answer
            if tolerance is not None:
                runner.failure = disagreement(answer, expected, tolerance)
            if runner.failure is None:
                runner.side.ask("warm_up")
        except NoResult as error:
            runner.failure = str(error)
    start = time.perf_counter()
    for done in range(effort.most):
        if done >= effort.least and time.perf_counter() - start > effort.seconds:
            break
        for runner in runners:
            if runner.failure is None:
                try:
                    runner.seconds.append(runner.side.ask("turn"))
                except NoResult as error:
                    runner.failure = str(error)
    return [
        Row(
            section,
            problem,
            runner.side.library,
            runner.side.mode,
            None if runner.failure else Timing.of(runner.seconds),
            runner.failure,
        )
        for runner in runners
    ]
