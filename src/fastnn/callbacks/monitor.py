"""Watching one number of the logs."""

from __future__ import annotations

import math
import warnings

from fastnn.callbacks.base import Callback, Logs

_LARGER_IS_BETTER = ("acc", "accuracy", "auc", "precision", "recall", "score", "r2", "specificity")


class MonitorCallback(Callback):
    """A callback that compares a number of the logs with its best so far.

    Args:
        monitor: name in the logs.
        mode: `"min"`, `"max"` or `"auto"` (by name: accuracy, AUC, precision and the like grow, all else falls).
        min_delta: the least change that counts as better.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(
                f"{type(self).__name__}: mode: expected 'auto', 'min' or 'max', got {mode!r}"
            )
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        grows = mode == "max" or (
            mode == "auto" and any(word in monitor.lower() for word in _LARGER_IS_BETTER)
        )
        self._sign = 1.0 if grows else -1.0

    @property
    def worst(self) -> float:
        return -self._sign * math.inf

    def is_better(self, value: float, best: float) -> bool:
        return self._sign * (value - best) > self.min_delta or math.isnan(best)

    def monitored(self, logs: Logs | None) -> float | None:
        """The number, or None with a warning if there is none of this name."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__}: monitor: {self.monitor!r} is not among {', '.join(logs or {})}",
                RuntimeWarning,
                stacklevel=2,
            )
        return value
