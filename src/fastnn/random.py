"""Random numbers that are a pure function of (seed, stream, step, element): the same on any number of threads.

Nothing here reads or writes NumPy's global generator.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from fastnn import _core
from fastnn._core import Variable
from fastnn._typing import DTypeLike

__all__ = [
    "SeedGenerator",
    "normal",
    "permutation",
    "set_seed",
    "shuffle",
    "truncated_normal",
    "uniform",
]


class SeedGenerator:
    """A stream of random numbers: each use is one `step` further along it.

    Args:
        seed: int, or `None` for the seed of :func:`set_seed` (a fresh one where that was never
            called).

    Attributes:
        seed: int.
        stream: int, a number of its own for every generator, counted from the last
            :func:`set_seed`.
        step: non-trainable int64 Variable, the number of draws made so far.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = _state.seed if seed is None else _as_seed(seed)
        self.stream = _state.next_stream()
        self.step = Variable(np.int64(0), trainable=False, name="step")

    def advance(self) -> int:
        """The step to draw at now; the next call gets the one after it."""
        step = int(self.step)
        self.step.assign_add(1)
        return step

    def get_config(self) -> dict[str, int]:
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, int]) -> SeedGenerator:
        return cls(**config)


class _State:
    """What `set_seed` sets: the seed of what has none of its own, and the count of streams."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.streams = 0  # stream 0 belongs to whoever passes a plain int as a seed
        self.default: SeedGenerator | None = None

    def next_stream(self) -> int:
        self.streams += 1
        return self.streams % 2**32

    def default_generator(self) -> SeedGenerator:
        if self.default is None:
            self.default = SeedGenerator()
        return self.default


_state = _State(int.from_bytes(os.urandom(8), "little") >> 1)


def _as_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: expected an int, got {seed!r}")
    return int(seed)


def set_seed(seed: int) -> None:
    """Make every draw after this call reproducible: initialisers, dropout, shuffling, this module's functions.

    Example:
        >>> import fastnn
        >>> fastnn.random.set_seed(1)
        >>> first = fastnn.random.uniform((3,))
        >>> fastnn.random.set_seed(1)
        >>> bool((first == fastnn.random.uniform((3,))).all())
        True
    """
    global _state
    _state = _State(_as_seed(seed))


def draw_key(seed: int | SeedGenerator | None) -> tuple[int, int, int]:
    """The (seed, stream, step) of one draw.

    A generator advances, an int gives the same numbers every time.
    """
    if seed is None:
        seed = _state.default_generator()
    if isinstance(seed, SeedGenerator):
        return seed.seed, seed.stream, seed.advance()
    return _as_seed(seed), 0, 0


def uniform(
    shape: int | Sequence[int],
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: DTypeLike | None = None,
    seed: int | SeedGenerator | None = None,
) -> np.ndarray:
    """Numbers spread evenly over [minval, maxval)."""
    return _core.random_uniform(shape, minval, maxval, dtype, *draw_key(seed)).numpy()


def normal(
    shape: int | Sequence[int],
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: DTypeLike | None = None,
    seed: int | SeedGenerator | None = None,
) -> np.ndarray:
    """Normally distributed numbers."""
    return _core.random_normal(shape, mean, stddev, dtype, *draw_key(seed)).numpy()


def truncated_normal(
    shape: int | Sequence[int],
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: DTypeLike | None = None,
    seed: int | SeedGenerator | None = None,
) -> np.ndarray:
    """Normal numbers no further than two `stddev` from the mean; their own deviation is 0.8796 `stddev`."""
    return _core.random_truncated_normal(shape, mean, stddev, dtype, *draw_key(seed)).numpy()


def permutation(n: int, seed: int | SeedGenerator | None = None, step: int = 0) -> np.ndarray:
    """The numbers 0 .. n-1 in random order.

    `step` (an epoch, say) selects among the orders of one int seed.
    """
    key_seed, stream, own_step = draw_key(seed)
    return _core.random_permutation(n, key_seed, stream, own_step + step)


def shuffle(x: np.ndarray, axis: int = 0, seed: int | SeedGenerator | None = None) -> np.ndarray:
    """A copy of x with its slices along `axis` in random order."""
    x = np.asarray(x)
    return np.take(x, permutation(x.shape[axis], seed), axis=axis)
