"""What fit and evaluate print: Keras's lines on stdout, and on a terminal a live bar on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

_WIDTH = 20
_INTERVAL = 0.1  # seconds between two updates of the bar


class Progress:
    """One epoch's progress.

    Args:
        verbose: 0 (nothing), 1 (bar) or 2 (one line).
        steps: how many steps the epoch has, if known.
    """

    def __init__(self, verbose: int, steps: int | None) -> None:
        self.verbose = verbose
        self.steps = steps
        self.live = verbose == 1 and sys.stderr is not None and sys.stderr.isatty()
        self._start = self._last = time.perf_counter()

    def update(self, step: int, logs: Callable[[], Mapping[str, float]]) -> None:
        """Redraw the bar after this many steps. `logs` is asked only when it is time to."""
        if not self.live:
            return
        now = time.perf_counter()
        if now - self._last < _INTERVAL:
            return
        self._last = now
        each = (now - self._start) / step
        left = "" if self.steps is None else f" {_duration((self.steps - step) * each)}"
        line = f"{self._count(step)} {_bar(sys.stderr, step, self.steps)}{left} {_per_step(each)}"
        sys.stderr.write(f"\r\x1b[K{line}{_values(logs())}")
        sys.stderr.flush()

    def finish(self, step: int, logs: Mapping[str, float]) -> None:
        if self.live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        if self.verbose == 0:
            return
        spent = time.perf_counter() - self._start
        each = _per_step(spent / max(step, 1))
        if self.verbose == 1:
            line = f"{self._count(step)} {_bar(sys.stdout, step, step)} {_duration(spent)} {each}"
        else:
            line = f"{self._count(step)} - {_duration(spent)} - {each}"
        print(line + _values(logs), flush=True)

    def _count(self, step: int) -> str:
        total = "?" if self.steps is None else str(self.steps)
        return f"{step:>{len(total)}}/{total}"


def _bar(stream: object, step: int, steps: int | None) -> str:
    full, empty = "━", "╺"
    try:
        (full + empty).encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        full, empty = "=", "."
    done = _WIDTH if steps is None else _WIDTH * step // max(steps, 1)
    return full * done + empty * (_WIDTH - done)


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}" if seconds >= 60 else f"{seconds:.0f}s"


def _per_step(seconds: float) -> str:
    for scale, unit in ((1, "s"), (1e3, "ms")):
        if seconds * scale >= 1:
            return f"{seconds * scale:.0f}{unit}/step"
    return f"{seconds * 1e6:.0f}us/step"


def _values(logs: Mapping[str, float]) -> str:
    return "".join(
        f" - {name}: {value:.4f}" if abs(value) > 1e-3 or value == 0 else f" - {name}: {value:.4e}"
        for name, value in logs.items()
    )
