"""What belongs to one call of a model and to no layer: a thread-local context, opened by the outermost call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from fastnn import ops
from fastnn._core import Tensor
from fastnn.random import SeedGenerator
from fastnn.recorded import names_ops

_local = threading.local()


def current_context() -> CallContext | None:
    """The context of the call under way on this thread, if any."""
    return getattr(_local, "context", None)


class CallContext:
    """Training flag, added losses, occurrences of random ops, and effects: writes that wait until the call succeeded.

    Effects run in `commit`, so that a call that fails has written nothing.
    """

    def __init__(self, training: bool = False) -> None:
        self.training = training
        self.names_ops = names_ops()
        self.losses: list[Tensor] = []
        self.output_losses: list[Tensor | None] = []  # of the outputs, before weights and penalties
        self._effects: list[Callable[[], object]] = []
        self._occurrences: dict[int, int] = {}

    def __enter__(self) -> CallContext:
        self._outer = current_context()
        _local.context = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _local.context = self._outer

    @contextmanager
    def training_as(self, training: bool) -> Iterator[None]:
        """Calls inside that do not say otherwise have this training flag."""
        before, self.training = self.training, training
        try:
            yield
        finally:
            self.training = before

    def add_effect(self, effect: Callable[[], object]) -> None:
        self._effects.append(effect)

    def draw(self, generator: SeedGenerator) -> dict[str, Any]:
        """The key of the generator's next draw; a second draw within the step differs from the first.

        The sum is also a copy: the effect that advances the step may run before a gradient reads it.
        """
        occurrence = self._occurrences.get(id(generator), 0)
        self._occurrences[id(generator)] = occurrence + 1
        if occurrence == 0:
            self.add_effect(lambda: generator.step.assign_add(1))
        step = ops.add(generator.step, occurrence << 40)
        return {"seed": generator.seed, "stream": generator.stream, "step": step}

    def commit(self) -> None:
        effects, self._effects = self._effects, []
        for effect in effects:
            effect()
