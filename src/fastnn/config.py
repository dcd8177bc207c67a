"""Settings of the whole process."""

from __future__ import annotations

from fastnn._core import floatx, set_floatx

__all__ = ["floatx", "set_floatx"]
