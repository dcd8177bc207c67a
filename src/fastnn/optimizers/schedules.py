"""Learning rates as functions of the number of updates made, counted from 0 as Keras does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
]


class LearningRateSchedule:
    """Base class: a subclass defines `__call__(step) -> float`.

    It keeps its arguments in attributes of their names.
    """

    def __call__(self, step: Any) -> float:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step)")

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        return cls(**config)


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate ** (step / decay_steps); `staircase` rounds the exponent down."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.decay_rate = (
            initial_learning_rate,
            _positive(decay_steps),
            decay_rate,
        )
        self.staircase, self.name = staircase, name

    def __call__(self, step: Any) -> float:
        power = float(step) / self.decay_steps
        power = math.floor(power) if self.staircase else power
        return self.initial_learning_rate * self.decay_rate**power


class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps); `staircase` rounds the quotient down."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.decay_rate = (
            initial_learning_rate,
            _positive(decay_steps),
            decay_rate,
        )
        self.staircase, self.name = staircase, name

    def __call__(self, step: Any) -> float:
        times = float(step) / self.decay_steps
        times = math.floor(times) if self.staircase else times
        return self.initial_learning_rate / (1 + self.decay_rate * times)


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[i] as long as step <= boundaries[i], and the last value from then on."""

    def __init__(
        self, boundaries: Sequence[int], values: Sequence[float], name: str = "PiecewiseConstant"
    ) -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                f"PiecewiseConstantDecay: expected one value more than boundaries, got {len(values)} values and "
                f"{len(boundaries)} boundaries"
            )
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: Any) -> float:
        reached = sum(float(step) > boundary for boundary in self.boundaries)
        return self.values[reached]


class PolynomialDecay(LearningRateSchedule):
    """From initial_learning_rate to end_learning_rate along (1 - step / decay_steps) ** power.

    With `cycle`, decay_steps grows to its next multiple whenever it is reached.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, _positive(decay_steps)
        self.end_learning_rate, self.power, self.cycle, self.name = (
            end_learning_rate,
            power,
            cycle,
            name,
        )

    def __call__(self, step: Any) -> float:
        at, steps = float(step), float(self.decay_steps)
        if self.cycle:
            steps *= max(1, math.ceil(at / steps))
        share = 1 - min(at, steps) / steps
        span = self.initial_learning_rate - self.end_learning_rate
        return float(span * share**self.power + self.end_learning_rate)


class CosineDecay(LearningRateSchedule):
    """Half a cosine, down to alpha times the rate it starts from.

    That is initial_learning_rate or, after a linear warm-up, warmup_target.

    Loshchilov & Hutter (2017), arXiv:1608.03983.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, _positive(decay_steps)
        self.alpha, self.name = alpha, name
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def __call__(self, step: Any) -> float:
        at, top = float(step), self.initial_learning_rate
        if self.warmup_target is not None:
            if at < self.warmup_steps:
                return top + (self.warmup_target - top) * at / self.warmup_steps
            at, top = at - self.warmup_steps, self.warmup_target
        share = min(at, self.decay_steps) / self.decay_steps
        return top * ((1 - self.alpha) * 0.5 * (1 + math.cos(math.pi * share)) + self.alpha)


def _positive(decay_steps: int) -> int:
    if decay_steps <= 0:
        raise ValueError(f"decay_steps: expected a number > 0, got {decay_steps}")
    return decay_steps
