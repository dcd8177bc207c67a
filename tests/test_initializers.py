"""Initialisers: moments and bounds on many samples, fans, seeds, names."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import initializers

SHAPE = (400, 500)  # fans 400 and 500, 200,000 samples


@pytest.mark.parametrize(
    ("name", "mean", "variance", "bound"),
    [
        ("zeros", 0, 0, 0),
        ("ones", 1, 0, 1),
        ("random_uniform", 0, 0.1**2 / 12, 0.05),
        ("random_normal", 0, 0.05**2, 0.3),
        ("truncated_normal", 0, (0.05 * 0.87962566103423978) ** 2, 0.1),
        ("variance_scaling", 0, 1 / 400, 2 / 20 / 0.8796),
        ("glorot_uniform", 0, 2 / 900, np.sqrt(6 / 900)),
        ("glorot_normal", 0, 2 / 900, 2 * np.sqrt(2 / 900) / 0.8796),
        ("he_uniform", 0, 2 / 400, np.sqrt(6 / 400)),
        ("he_normal", 0, 2 / 400, 2 * np.sqrt(2 / 400) / 0.8796),
        ("lecun_uniform", 0, 1 / 400, np.sqrt(3 / 400)),
        ("lecun_normal", 0, 1 / 400, 2 / 20 / 0.8796),
        ("orthogonal", 0, 1 / 500, 0.3),
        ("xavier_uniform", 0, 2 / 900, np.sqrt(6 / 900)),
        ("xavier_normal", 0, 2 / 900, 2 * np.sqrt(2 / 900) / 0.8796),
        ("kaiming_uniform", 0, 2 / 400, np.sqrt(6 / 400)),
        ("kaiming_normal", 0, 2 / 400, 2 * np.sqrt(2 / 400) / 0.8796),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments_and_bounds(name, mean, variance, bound, dtype):
    fastnn.random.set_seed(1)
    w = initializers.get(name)(SHAPE, dtype)
    assert isinstance(w, np.ndarray)
    assert w.dtype == dtype
    assert w.shape == SHAPE
    assert abs(w.mean(dtype=float) - mean) <= 5 * np.sqrt(variance / w.size)
    assert w.var(dtype=float) == pytest.approx(variance, rel=0.02)
    assert np.abs(w).max() <= bound * (1 + 1e-6)


def test_untruncated_and_fan_out():
    w = initializers.VarianceScaling(3.0, "fan_out", "untruncated_normal", seed=1)(SHAPE)
    assert w.var() == pytest.approx(3 / 500, rel=0.02)
    assert np.abs(w).max() > 2.5 * w.std()


@pytest.mark.parametrize(
    ("shape", "fans"),
    [
        ((), (1, 1)),
        ((7,), (7, 7)),
        ((3, 4), (3, 4)),
        ((3, 5, 16, 32), (240, 480)),
        ((3, 2, 4), (6, 12)),
    ],
)
def test_fans_count_the_receptive_field(shape, fans):
    assert initializers.compute_fans(shape) == fans


def test_constant_and_identity():
    np.testing.assert_array_equal(
        initializers.Constant(3.5)((2, 2)), np.full((2, 2), 3.5, "float32")
    )
    np.testing.assert_array_equal(initializers.Identity(2.0)((2, 3)), 2 * np.eye(2, 3))
    assert initializers.Zeros()((2,)).dtype == np.float32


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (3, 3, 4, 6)])
def test_orthogonal(shape):
    w = initializers.Orthogonal(gain=2.0, seed=1)(shape, "float64").reshape(-1, shape[-1])
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-13)


def test_seeds():
    f = initializers.HeNormal
    np.testing.assert_array_equal(f(seed=3)((4, 5)), f(seed=3)((4, 5)))
    again = f(seed=3)
    np.testing.assert_array_equal(again((4, 5)), again((4, 5)))
    own = f()
    np.testing.assert_array_equal(own((4, 5)), own((4, 5)))
    assert not np.array_equal(own((4, 5)), f()((4, 5)))
    drawn = f(seed=fastnn.random.SeedGenerator(1))
    assert not np.array_equal(drawn((4, 5)), drawn((4, 5)))


def test_the_lessons_standard_deviations():
    x = np.ones(250)
    w = initializers.RandomNormal(0.0, 1.0, seed=1)((250, 20_000), "float64")
    assert (x @ w).std() == pytest.approx(15.811, rel=0.02)
    assert (x @ (w * np.sqrt(1 / 250))).std() == pytest.approx(1.0, rel=0.02)


def test_get():
    assert isinstance(initializers.get("GlorotUniform"), initializers.GlorotUniform)
    assert isinstance(initializers.get(initializers.Zeros), initializers.Zeros)
    one = initializers.Constant(1.0)
    assert initializers.get(one) is one
    assert initializers.get(None) is None
    f = lambda shape, dtype=None: np.ones(shape, dtype)  # noqa: E731
    assert initializers.get(f) is f
    for cls in (
        initializers.VarianceScaling,
        initializers.Orthogonal,
        initializers.TruncatedNormal,
    ):
        made = cls(seed=4)
        copy = initializers.get({"class_name": cls.__name__, "config": made.get_config()})
        np.testing.assert_array_equal(made((6, 7)), copy((6, 7)))


def test_errors():
    for call in (
        lambda: initializers.get("nothing"),
        lambda: initializers.VarianceScaling(scale=0),
        lambda: initializers.VarianceScaling(mode="fan"),
        lambda: initializers.VarianceScaling(distribution="cauchy"),
        lambda: initializers.Orthogonal()((3,)),
        lambda: initializers.Identity()((3,)),
    ):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(TypeError):
        initializers.get(3)
