"""Noted: objects whose public attributes, when set, make recorded steps look again."""

from __future__ import annotations

from typing import Any, ClassVar

from fastnn._core import note_change


class Noted:
    """Counts the settings of public attributes in `_version`.

    A recorded step holds the values its layers, loss and optimizer had; it is recorded anew when one of them has
    changed. `_unnoted` names the attributes that no step reads, or that a step reads as data.
    """

    _version = 0
    _unnoted: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if not name.startswith("_") and name not in self._unnoted:
            self._note()

    def _note(self) -> None:
        object.__setattr__(self, "_version", self._version + 1)
        note_change()
