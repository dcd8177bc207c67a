"""Callback: the hooks; CallbackList: many as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Logs = dict[str, float]


class Callback:
    """Override the hooks you need. `self.model` and `self.params` (epochs, steps, verbose) are set before the first.

    `predict`, `evaluate`, `get_weights`, `set_weights` of the model may be called in any hook, and
    `self.model.stop_training = True` ends the training after the epoch or batch under way.
    """

    model: Any = None
    params: dict[str, Any]

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_model(self, model: Any) -> None:
        self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...
    def on_predict_end(self, logs: Logs | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)


# A hook counts as overridden when one of these names is.
_HOOKS = {
    "on_train_batch_begin": ("on_train_batch_begin", "on_batch_begin"),
    "on_train_batch_end": ("on_train_batch_end", "on_batch_end"),
}


class CallbackList:
    """Calls each callback's hooks in order; batch hooks that nobody overrides cost nothing."""

    def __init__(self, callbacks: Iterable[Any], model: Any, params: dict[str, Any]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected Callback objects, got {callback!r}")
            callback.set_params(params)
            callback.set_model(model)

    def call(self, hook: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(*args)

    def listens(self, *hooks: str) -> bool:
        """Whether any callback overrides one of these hooks."""
        return any(_overrides(c, hook) for c in self.callbacks for hook in hooks)

    def call_batch(self, hook: str, batch: int, logs: Callable[[], Logs]) -> None:
        """As `call`, with the logs made only if somebody listens."""
        listeners = [c for c in self.callbacks if _overrides(c, hook)]
        if listeners:
            values = logs()
            for callback in listeners:
                getattr(callback, hook)(batch, values)


def _overrides(callback: Callback, hook: str) -> bool:
    return any(
        name in vars(callback) or getattr(type(callback), name) is not getattr(Callback, name)
        for name in _HOOKS.get(hook, (hook,))
    )
