"""Units in the last place of the vector functions, against correctly rounded values in higher precision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import special, stats

import fastnn
from fastnn import ops

# What kernels/math.hpp promises, in ulp; a result that is denormal may be flushed to zero.
EXACT = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "erf": special.erf,
    "softplus": lambda x: np.logaddexp(0, x),
}


def floats(seed: int, n: int = 1 << 20) -> np.ndarray:
    """Half of any bit pattern, half where the functions bend."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 1 << 32, n, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([bits, rng.uniform(-20, 20, n).astype(np.float32)])


def ulps(actual: np.ndarray, exact: np.ndarray) -> np.ndarray:
    tiny = np.finfo(np.float32).tiny
    spacing = np.spacing(np.maximum(np.abs(exact).astype(np.float32), tiny)).astype(np.float64)
    return np.abs(actual.astype(np.float64) - exact) / spacing


@pytest.mark.parametrize("name", EXACT)
def test_float32_is_within_two_ulp(name):
    x = floats(1)
    tiny, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    x = np.where(np.abs(x) < tiny, np.float32(0), x)  # denormals count as zero
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.float64))
        actual = np.asarray(getattr(ops, name)(x))
        rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(rounded))
    # At the border of overflow a result one ulp off is infinite. Next to the denormals the terms that a result is put
    # together from, halves and eighths of it, count as zero already.
    near = np.isfinite(rounded) & (np.abs(exact) < 0.999 * largest) & (np.abs(exact) >= 16 * tiny)
    assert np.all(np.abs(actual[np.abs(exact) < tiny]) <= tiny)
    assert ulps(actual[near], exact[near]).max() <= 2.0
    infinite = np.isinf(exact) | (np.abs(exact) > 1.001 * largest)
    np.testing.assert_array_equal(actual[infinite], rounded[infinite])


def patterns(low: float, high: float, step: int = 1) -> Iterator[np.ndarray]:
    """Every `step`-th float32 of [low, high), 0 <= low, a million at a time."""
    first, last = (int(np.float32(v).view(np.uint32)) for v in (low, high))
    block = step << 20
    for begin in range(first, last, block):
        yield np.arange(begin, min(begin + block, last), step, dtype=np.uint32).view(np.float32)


def check_within_two_ulp(name: str, x: np.ndarray) -> None:
    """By the distance in bits from the rounded value, which is at most half an ulp from the exact one."""
    exact = EXACT[name](x.astype(np.float64))
    actual = np.asarray(getattr(ops, name)(x))
    distance = np.abs(actual.view(np.int32) - exact.astype(np.float32).view(np.int32))
    far = distance > 1  # else within 1.5
    if far.any():
        assert ulps(actual[far], exact[far]).max() <= 2.0, (name, x[far][0])


# Nearer to 0 exp is 1 + x and tanh is x, rounded; beyond, exp is 0 or infinite (or denormal) and tanh is 1. There every
# 61st number below, and the samples above, do.
@pytest.mark.parametrize("sign", [1, -1])
def test_exp_is_within_two_ulp_of_every_float32(sign):
    for x in patterns(2.0**-13, 87.0):
        check_within_two_ulp("exp", sign * x)
    for x in patterns(2.0**-126, 2.0**-13, step=61):
        check_within_two_ulp("exp", sign * x)


def test_tanh_is_within_two_ulp_of_every_float32():
    for x in patterns(2.0**-13, 16.0):
        check_within_two_ulp("tanh", x)
    for low, high in ((2.0**-120, 2.0**-13), (16.0, 2.0**127)):
        for x in patterns(low, high, step=61):
            check_within_two_ulp("tanh", x)
    for x in patterns(2.0**-120, 2.0**127, step=61):  # odd to the bit
        np.testing.assert_array_equal(np.asarray(ops.tanh(-x)), -np.asarray(ops.tanh(x)))


@pytest.mark.parametrize(
    "name, sign, low, high, step",
    [
        ("log", 1, 0.5, 2.0, 1),
        ("log", 1, 2.0**-126, 2.0**127, 61),
        ("sigmoid", 1, 2.0**-60, 80.0, 61),
        ("sigmoid", -1, 2.0**-60, 80.0, 61),
        ("erf", 1, 2.0**-60, 8.0, 61),
        ("erf", -1, 2.0**-60, 8.0, 61),
        ("softplus", 1, 2.0**-60, 80.0, 127),
        ("softplus", -1, 2.0**-60, 80.0, 127),
    ],
)
def test_dense_samples_are_within_two_ulp(name, sign, low, high, step):
    for x in patterns(low, high, step):
        check_within_two_ulp(name, sign * x)


@pytest.mark.parametrize("name", EXACT)
def test_float64_is_near_the_library_of_c(name):
    x = np.random.default_rng(2).uniform(-20, 20, 200_001)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x)
        actual = np.asarray(getattr(ops, name)(x))
    keep = np.isfinite(exact) & (exact != 0)
    # 3 ulp of ours and the 2 that NumPy's and SciPy's own functions may be off; their expit loses more where it is
    # tiny, so the scale is the value.
    assert (
        np.max(np.abs(actual[keep] - exact[keep]) / np.abs(exact[keep]))
        <= 6 * np.finfo(np.float64).eps
    )
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(exact))


def test_gelu_and_its_gradient_are_near_the_normal_distribution():
    x = np.linspace(-20, 20, 400_001, dtype=np.float32)
    v = fastnn.Variable(x)
    with fastnn.GradientTape() as tape:
        y = ops.gelu(v)
    exact = x.astype(float)
    cdf, pdf = stats.norm.cdf(exact), stats.norm.pdf(exact)
    eps = np.finfo(np.float32).eps
    assert np.max(np.abs(np.asarray(y) - exact * cdf) / np.maximum(np.abs(exact), eps)) < 1.5 * eps
    assert np.max(np.abs(np.asarray(tape.gradient(y, v)) - (cdf + exact * pdf))) < 2 * eps
    assert np.all(np.asarray(y)[x < 0] <= 0)


@pytest.mark.parametrize(
    "name", ["exp", "tanh", "sigmoid", "relu", "gelu", "softplus", "log", "abs", "elu"]
)
def test_nan_stays_nan_at_every_place_of_a_vector(name):
    for n in range(1, 40):
        x = np.ones(n, np.float32)
        x[-1] = np.nan
        y = np.asarray(getattr(ops, name)(x))
        assert np.isnan(y[-1])
        assert not np.isnan(y[:-1]).any()


def test_maximum_and_minimum_keep_nan_of_either_side():
    a, b = np.array([np.nan, 1, 2], np.float32), np.array([1, np.nan, 3], np.float32)
    for op in (ops.maximum, ops.minimum):
        assert np.isnan(np.asarray(op(a, b))).tolist() == [True, True, False]
