"""History."""

from __future__ import annotations

from fastnn.callbacks.base import Callback, Logs


class History(Callback):
    """What `fit` returns: `.history` lists each epoch's loss and metrics, `.epoch` the epochs' numbers.

    Example:
        >>> import fastnn, numpy as np
        >>> model = fastnn.Sequential([fastnn.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((4, 2)), np.ones(4), epochs=3, verbose=0)
        >>> len(history.history["loss"]), history.epoch
        (3, [0, 1, 2])
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
