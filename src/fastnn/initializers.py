"""First values of weights, with the names, defaults and semantics of Keras 3.

An initialiser is called with a shape and returns an array. With an int seed, or none, it gives the
same values at every call; with a SeedGenerator each call draws anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn import _core, random
from fastnn._typing import DTypeLike
from fastnn.random import SeedGenerator, draw_key

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "compute_fans",
    "get",
]

# The standard deviation of a normal distribution cut at two of its standard deviations.
TRUNCATED_DEVIATION = 0.87962566103423978


class Initializer:
    """Base class.

    A subclass defines `__call__(shape, dtype=None)` and, if it has arguments, `get_config`.
    """

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype)")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class _Random(Initializer):
    """What has a seed: an int, a SeedGenerator, or None for numbers of this initialiser's own."""

    def __init__(self, seed: int | SeedGenerator | None = None) -> None:
        self._given = seed
        self._own = SeedGenerator() if seed is None else None

    @property
    def seed(self) -> int | SeedGenerator | None:
        return self._given

    def _key(self) -> tuple[int, int, int]:
        return (self._own.seed, self._own.stream, 0) if self._own else draw_key(self._given)

    def _seed_config(self) -> int | dict[str, Any] | None:
        if isinstance(self._given, SeedGenerator):
            return self._given.get_config()
        return self._given


def _fill(shape: Sequence[int], value: Any, dtype: DTypeLike | None) -> np.ndarray:
    return np.full(tuple(shape), value, np.dtype(dtype or _core.floatx()))


class Zeros(Initializer):
    """Zeros."""

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        return _fill(shape, 0, dtype)


class Ones(Initializer):
    """Ones."""

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        return _fill(shape, 1, dtype)


class Constant(Initializer):
    """One number everywhere."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        return _fill(shape, self.value, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Identity: expected a shape of 2 dimensions, got {tuple(shape)}")
        return np.asarray(self.gain * np.eye(shape[0], shape[1]), np.dtype(dtype or _core.floatx()))

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomUniform(_Random):
    """Numbers spread evenly over [minval, maxval)."""

    def __init__(
        self,
        minval: float = -0.05,
        maxval: float = 0.05,
        seed: int | SeedGenerator | None = None,
    ) -> None:
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        return _core.random_uniform(shape, self.minval, self.maxval, dtype, *self._key()).numpy()

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, "seed": self._seed_config()}


class RandomNormal(_Random):
    """Normally distributed numbers."""

    def __init__(
        self, mean: float = 0.0, stddev: float = 0.05, seed: int | SeedGenerator | None = None
    ) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        return _core.random_normal(shape, self.mean, self.stddev, dtype, *self._key()).numpy()

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self._seed_config()}


class TruncatedNormal(RandomNormal):
    """Normal numbers no further than two `stddev` from the mean (which leaves a deviation of 0.8796 `stddev`)."""

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        draw = _core.random_truncated_normal
        return draw(shape, self.mean, self.stddev, dtype, *self._key()).numpy()


class VarianceScaling(_Random):
    """Zero mean and variance scale / n, n being what `mode` says of the kernel's fans.

    Args:
        scale: float > 0.
        mode: `"fan_in"`, `"fan_out"` or `"fan_avg"`.
        distribution: `"truncated_normal"`, `"untruncated_normal"` or `"uniform"`.
        seed: int, SeedGenerator or None.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | SeedGenerator | None = None,
    ) -> None:
        super().__init__(seed)
        if not scale > 0:
            raise ValueError(f"{type(self).__name__}: expected scale > 0, got {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(
                f"{type(self).__name__}: expected mode 'fan_in', 'fan_out' or 'fan_avg', got {mode!r}"
            )
        distribution = distribution.lower()
        if distribution == "normal":
            distribution = "truncated_normal"
        if distribution not in ("uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(
                f"{type(self).__name__}: expected distribution 'uniform', 'truncated_normal' or "
                f"'untruncated_normal', got {distribution!r}"
            )
        self.scale, self.mode, self.distribution = scale, mode, distribution

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        fan_in, fan_out = compute_fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return _core.random_uniform(shape, -limit, limit, dtype, *self._key()).numpy()
        if self.distribution == "untruncated_normal":
            return _core.random_normal(shape, 0.0, math.sqrt(variance), dtype, *self._key()).numpy()
        stddev = math.sqrt(variance) / TRUNCATED_DEVIATION
        return _core.random_truncated_normal(shape, 0.0, stddev, dtype, *self._key()).numpy()

    def get_config(self) -> dict[str, Any]:
        return {
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "seed": self._seed_config(),
        }


class _Scaled(VarianceScaling):
    """A VarianceScaling of which only the seed is open."""

    arguments: tuple[float, str, str]

    def __init__(self, seed: int | SeedGenerator | None = None) -> None:
        super().__init__(*self.arguments, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._seed_config()}


class GlorotUniform(_Scaled):
    """Variance 2 / (fan_in + fan_out). Glorot & Bengio (2010), AISTATS; also called Xavier."""

    arguments = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Variance 2 / (fan_in + fan_out). Glorot & Bengio (2010), AISTATS; also called Xavier."""

    arguments = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Variance 2 / fan_in, for ReLU. He et al. (2015), arXiv:1502.01852; also called Kaiming."""

    arguments = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Variance 2 / fan_in, for ReLU. He et al. (2015), arXiv:1502.01852; also called Kaiming."""

    arguments = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Variance 1 / fan_in. LeCun et al. (1998), Efficient BackProp."""

    arguments = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Variance 1 / fan_in. LeCun et al. (1998), Efficient BackProp."""

    arguments = (1.0, "fan_in", "truncated_normal")


class Orthogonal(_Random):
    """`gain` times a matrix with orthonormal rows or columns, whichever are fewer.

    Saxe et al. (2014), arXiv:1312.6120.

    A shape of more than two dimensions is seen as (all but the last, last).
    """

    def __init__(self, gain: float = 1.0, seed: int | SeedGenerator | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(
                f"Orthogonal: expected a shape of at least 2 dimensions, got {tuple(shape)}"
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        normal = _core.random_normal(tall, 0.0, 1.0, "float64", *self._key()).numpy()
        q, r = np.linalg.qr(normal)
        q *= np.where(
            np.diag(r) < 0, -1.0, 1.0
        )  # with these signs q is uniform over orthogonal matrices
        matrix = q if rows >= columns else q.T
        values = (self.gain * matrix).reshape(tuple(shape))
        return np.ascontiguousarray(values, np.dtype(dtype or _core.floatx()))

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self._seed_config()}


def compute_fans(shape: Sequence[int]) -> tuple[float, float]:
    """(fan_in, fan_out) of a kernel (..., in, out): a convolution's count the receptive field."""
    if len(shape) == 0:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    field = math.prod(shape[:-2])
    return float(shape[-2] * field), float(shape[-1] * field)


_CLASSES: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "identity": Identity,
    "random_uniform": RandomUniform,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
}
_ALIASES = {
    "zero": "zeros",
    "one": "ones",
    "uniform": "random_uniform",
    "normal": "random_normal",
    "eye": "identity",
    "xavier_uniform": "glorot_uniform",
    "xavier_normal": "glorot_normal",
    "kaiming_uniform": "he_uniform",
    "kaiming_normal": "he_normal",
}
_NAMES = {cls.__name__: cls for cls in _CLASSES.values()}


def get(
    identifier: str | Initializer | type[Initializer] | dict[str, Any] | Callable[..., Any] | None,
) -> Initializer | Callable[..., Any] | None:
    """The initialiser that `identifier` means: a name, a class, an object, a callable or a saved configuration.

    Raises: ValueError for an unknown name; TypeError for anything else.
    Example:
        >>> import fastnn
        >>> fastnn.initializers.get("he_normal")
        HeNormal(seed=None)
    """
    if identifier is None or isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, dict):
        cls = _find(identifier["class_name"])
        config = dict(identifier.get("config") or {})
        if isinstance(config.get("seed"), dict):
            config["seed"] = random.SeedGenerator.from_config(config["seed"])
        return cls.from_config(config)
    if isinstance(identifier, str):
        return _find(identifier)()
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier()
    if callable(identifier):
        return identifier
    raise TypeError(
        f"initializer: expected a name, an Initializer or a callable, got {identifier!r}"
    )


def _find(name: str) -> type[Initializer]:
    key = _ALIASES.get(name, name)
    if key in _CLASSES:
        return _CLASSES[key]
    if key in _NAMES:
        return _NAMES[key]
    raise ValueError(f"initializer: expected one of {', '.join(sorted(_CLASSES))}, got {name!r}")
