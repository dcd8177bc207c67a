"""TerminateOnNaN."""

from __future__ import annotations

import math

from fastnn.callbacks.base import Callback, Logs


class TerminateOnNaN(Callback):
    """Stop the training when the loss is NaN or infinite.

    Args:
        raise_error: raise a RuntimeError instead of stopping. Default `False`.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"TerminateOnNaN: the loss is {loss} at batch {batch}")
        print(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
