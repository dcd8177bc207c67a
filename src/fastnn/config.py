"""Settings of the whole process."""

from __future__ import annotations

from fastnn._core import floatx, set_floatx
from fastnn.recorded import run_eagerly

__all__ = ["floatx", "run_eagerly", "set_floatx"]
