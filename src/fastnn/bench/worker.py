"""The process in which one side of a comparison lives, alone with its thread pool; the parent asks over a pipe.

`python -m fastnn.bench.worker PIPE LIBRARY MODE`, started by processes.py.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.bench.harness import Turns, settle
from fastnn.bench.operations import OPERATIONS
from fastnn.bench.problems import PROBLEMS
from fastnn.bench.sides import Work


class Worker:
    """Serves requests: a method each."""

    def __init__(self, library: str, mode: str) -> None:
        self.library = importlib.import_module(f"fastnn.bench.sides.with_{library}")
        self.mode = mode
        self.call: Callable[[], Any] = list
        self.calls = 1  # how many of what is reported are in one call
        self.turns: Turns | None = None

    def train(self, name: str, batch: int) -> list[float]:
        """Get ready to train; the losses of the first three steps."""
        problem = PROBLEMS[name]
        training = self.library.train(problem, batch, self.mode)
        losses = [training.step() for _ in range(3)]
        self._ready(training.epoch, problem.steps)
        return losses

    def infer(self, name: str, batch: int) -> Any:
        """Get ready to predict; the prediction."""
        return self._work(self.library.infer(PROBLEMS[name], batch, self.mode))

    def operate(self, name: str, what: str) -> Any:
        """Get ready for one pass of an operation; its result."""
        return self._work(self.library.operate(OPERATIONS[name], what, self.mode))

    def warm_up(self) -> None:
        """Find out how many calls fill a turn."""
        self.turns = Turns(self.call, shortest=0.02)

    def turn(self) -> float:
        """Seconds a step, prediction or operation takes."""
        assert self.turns is not None
        return self.turns.seconds() / self.calls

    def memory(self, name: str, batch: int) -> int:
        """Bytes by which a training step's peak is above what the process held before the first one."""
        training = self.library.train(PROBLEMS[name], batch, self.mode)
        before = _status("VmRSS")
        training.step()  # whatever is compiled is compiled here
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        training.step()
        training.step()
        return _status("VmHWM") - before

    def _work(self, work: Work) -> Any:
        self._ready(work.call)
        return np.array(work.answer())

    def _ready(self, call: Callable[[], Any], calls: int = 1) -> None:
        self.call, self.calls = call, calls
        self.turns = None


def _status(field: str) -> int:
    """A size in bytes from /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> None:
    pipe = Connection(int(sys.argv[1]))
    try:
        worker = Worker(*sys.argv[2:])
        pipe.send((True, None))
    except Exception as error:
        pipe.send((False, _sentence(error)))
        return
    while True:
        try:
            request, *arguments = pipe.recv()
        except EOFError:  # the parent has closed its end
            return
        try:
            answer = (True, getattr(worker, request)(*arguments))
        except Exception as error:
            answer = (False, _sentence(error))
        settle()
        pipe.send(answer)


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


if __name__ == "__main__":
    main()
