"""CSVLogger."""

from __future__ import annotations

import os
from typing import Any, TextIO

from fastnn.callbacks.base import Callback, Logs


class CSVLogger(Callback):
    """Write each epoch's loss and metrics as a line of a CSV file.

    Args:
        filename: path.
        separator: Default `","`.
        append: continue the file instead of starting anew. Default `False`.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._file: TextIO | None = None
        self._writer: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        continued = (
            self.append and os.path.exists(self.filename) and os.path.getsize(self.filename) > 0
        )
        import csv  # for this callback only

        self._file = open(self.filename, "a" if self.append else "w", newline="")  # noqa: SIM115
        self._writer = csv.writer(self._file, delimiter=self.separator)
        self._header = not continued

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if self._header:
            self._writer.writerow(["epoch", *logs])
            self._header = False
        self._writer.writerow([epoch, *logs.values()])
        assert self._file is not None
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
