"""Elementwise functions and activations. Operands broadcast as NumPy's; mixed dtypes promote as NumPy's."""

from __future__ import annotations

import math

import numpy as np

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike, DTypeLike

__all__ = [
    "abs",
    "add",
    "cast",
    "clip",
    "divide",
    "elu",
    "erf",
    "exp",
    "expm1",
    "gelu",
    "hard_sigmoid",
    "leaky_relu",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "mish",
    "multiply",
    "negative",
    "power",
    "relu",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "subtract",
    "tanh",
]


def add(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 + x2."""
    return _core.add(x1, x2)


def subtract(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 - x2."""
    return _core.subtract(x1, x2)


def multiply(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 * x2."""
    return _core.multiply(x1, x2)


def divide(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 / x2; integers divide in floatx."""
    return _core.divide(x1, x2)


def power(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 ** x2."""
    return _core.power(x1, x2)


def maximum(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """The larger of x1 and x2; NaN where either is. Equal operands share the gradient."""
    return _core.maximum(x1, x2)


def minimum(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """The smaller of x1 and x2; NaN where either is. Equal operands share the gradient."""
    return _core.minimum(x1, x2)


def negative(x: ArrayLike) -> Tensor:
    """-x."""
    return _core.negative(x)


def abs(x: ArrayLike) -> Tensor:
    """|x|, with derivative 0 at 0."""
    return _core.abs(x)


def sign(x: ArrayLike) -> Tensor:
    """-1, 0 or 1."""
    return _core.sign(x)


def square(x: ArrayLike) -> Tensor:
    """x * x."""
    return _core.square(x)


def sqrt(x: ArrayLike) -> Tensor:
    """The square root; NaN below 0."""
    return _core.sqrt(x)


def exp(x: ArrayLike) -> Tensor:
    """e ** x."""
    return _core.exp(x)


def expm1(x: ArrayLike) -> Tensor:
    """e ** x - 1, exact for small x."""
    return _core.expm1(x)


def log(x: ArrayLike) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below."""
    return _core.log(x)


def log1p(x: ArrayLike) -> Tensor:
    """log(1 + x), exact for small x."""
    return _core.log1p(x)


def erf(x: ArrayLike) -> Tensor:
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return _core.erf(x)


def sigmoid(x: ArrayLike) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _core.sigmoid(x)


def tanh(x: ArrayLike) -> Tensor:
    """The hyperbolic tangent."""
    return _core.tanh(x)


def relu(x: ArrayLike) -> Tensor:
    """max(x, 0), with derivative 0 at 0; NaN stays NaN."""
    return _core.relu(x)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.2) -> Tensor:
    """x above 0, `negative_slope * x` below."""
    return _core.leaky_relu(x, negative_slope)


def elu(x: ArrayLike, alpha: float = 1.0) -> Tensor:
    """x above 0, `alpha * (exp(x) - 1)` below. Clevert et al. (2015), arXiv:1511.07289."""
    return _core.elu(x, alpha)


def selu(x: ArrayLike) -> Tensor:
    """1.0507 * elu(x, 1.6733). Klambauer et al. (2017), arXiv:1706.02515."""
    return _core.selu(x)


def gelu(x: ArrayLike) -> Tensor:
    """x * Phi(x), Phi the normal distribution function. Hendrycks, Gimpel (2016), arXiv:1606.08415."""
    return _core.gelu(x)


def silu(x: ArrayLike) -> Tensor:
    """x * sigmoid(x), also called swish."""
    return _core.silu(x)


def mish(x: ArrayLike) -> Tensor:
    """x * tanh(softplus(x)). Misra (2019), arXiv:1908.08681."""
    return _core.mish(x)


def softplus(x: ArrayLike) -> Tensor:
    """log(1 + exp(x))."""
    return _core.softplus(x)


def softsign(x: ArrayLike) -> Tensor:
    """x / (1 + |x|)."""
    return _core.softsign(x)


def hard_sigmoid(x: ArrayLike) -> Tensor:
    """min(max(x + 3, 0), 6) / 6, as Keras 3."""
    return _core.hard_sigmoid(x)


def clip(x: ArrayLike, x_min: float | None, x_max: float | None) -> Tensor:
    """x limited to [x_min, x_max]; the gradient is 0 outside. Integers with fractional bounds become floats.

    None is no bound, as in NumPy.

    Raises: ValueError unless x_min <= x_max; TypeError for bounds that are not numbers.
    """
    low = -math.inf if x_min is None else x_min
    high = math.inf if x_max is None else x_max
    if not all(hasattr(bound, "__float__") and np.ndim(bound) == 0 for bound in (low, high)):
        raise TypeError(f"clip: expected numbers for x_min and x_max, got {x_min!r} and {x_max!r}")
    if not low <= high:
        raise ValueError(f"clip: expected x_min <= x_max, got {x_min} and {x_max}")
    return _core.clip(x, low, high)


def cast(x: ArrayLike, dtype: DTypeLike) -> Tensor:
    """x in another dtype. The gradient is cast back."""
    return _core.cast(x, dtype)
