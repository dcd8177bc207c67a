"""EarlyStopping."""

from __future__ import annotations

from typing import Any

from fastnn.callbacks.base import Logs
from fastnn.callbacks.monitor import MonitorCallback


class EarlyStopping(MonitorCallback):
    """Stop when a number has not improved for `patience` epochs, and go back to the best weights.

    Args:
        monitor: Default `"val_loss"`.
        min_delta: the least change that counts as better. Default `0`.
        patience: epochs to wait. Default `0`.
        verbose: 1 prints when it stops and restores. Default `0`.
        mode: `"auto"`, `"min"` or `"max"`. Default `"auto"`.
        baseline: a value that must be beaten for the wait to start anew. Default `None`.
        restore_best_weights: whether the model ends with the weights of its best epoch, also when training reaches its
            last epoch. Default `True`.
        start_from_epoch: epochs before which nothing is watched. Default `0`.
    Notes: Keras's default is `restore_best_weights=False`.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        # Here and not in __init__, so that the object can be used again.
        self.wait = 0
        self.stopped_epoch = 0
        self.best = self.worst
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.monitored(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        self.wait += 1
        if self.is_better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.is_better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(
                    f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}."
                )
            self.model.set_weights(self.best_weights)
