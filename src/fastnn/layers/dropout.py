"""Dropout."""

from __future__ import annotations

from typing import Any, Unpack

from fastnn import ops
from fastnn.layers.arguments import real
from fastnn.layers.base import Layer, LayerOptions
from fastnn.layers.context import current_context
from fastnn.random import SeedGenerator


class Dropout(Layer):
    """Zero each element with probability `rate` and divide the others by 1 - rate; in training only.

    Args:
        rate: float in [0, 1).
        seed: int or `None` (from `fastnn.random.set_seed`). Default `None`.
        keep_prob: 1 - rate, the way some lessons put it.
    Shapes:
        x -> y of the same shape.
    Raises: ValueError for a rate outside [0, 1); TypeError unless exactly one of `rate` and `keep_prob` is given.
    Reference: Srivastava et al. (2014), JMLR 15.
    """

    def __init__(
        self,
        rate: float | None = None,
        *,
        seed: int | None = None,
        keep_prob: float | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        if (rate is None) == (keep_prob is None):
            raise TypeError(
                f"Dropout: expected rate or keep_prob, got rate={rate} and keep_prob={keep_prob}"
            )
        if keep_prob is not None and not 0 < keep_prob <= 1:
            raise ValueError(
                f"Dropout: keep_prob: expected a number > 0 and <= 1, got {keep_prob!r}"
            )
        self.rate = real(self, "rate", rate if keep_prob is None else 1 - keep_prob, low=0, high=1)
        self.seed = seed
        self.generator = SeedGenerator(seed)

    def call(self, x: Any, training: bool = False) -> Any:
        context = current_context()
        if not training or self.rate == 0 or context is None:
            return x
        return ops.dropout(x, self.rate, **context.draw(self.generator))
