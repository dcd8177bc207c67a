"""Penalties and constraints on weights."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import constraints, regularizers
from numerics import assert_close

W = np.random.default_rng(0).standard_normal((3, 4))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(dtype):
    w = W.astype(dtype)
    l1, l2 = np.abs(W).sum(), np.square(W).sum()
    for penalty, expected in (
        (regularizers.L1(), 0.01 * l1),
        (regularizers.L2(), 0.01 * l2),
        (regularizers.L1L2(0.1, 0.2), 0.1 * l1 + 0.2 * l2),
        (regularizers.l2(l=0.05), 0.05 * l2),
        (regularizers.l1(l=0.05), 0.05 * l1),
        (regularizers.l2(0.3), 0.3 * l2),
        (regularizers.get("l1_l2"), 0.01 * (l1 + l2)),
    ):
        value = penalty(w)
        assert value.shape == ()
        assert value.dtype == dtype
        assert_close(value, expected, c=4, depth=12)


def test_gradient_of_the_textbooks_l2_is_lambda_over_m_times_w():
    w = fastnn.Variable(W, dtype="float64")
    with fastnn.GradientTape() as tape:
        penalty = regularizers.L2.from_lambda(lambd=0.7, m=20)(w)
    assert_close(tape.gradient(penalty, w), 0.7 / 20 * W, c=4)
    assert_close(penalty, 0.7 / 40 * np.square(W).sum(), c=4, depth=12)
    assert_close(
        regularizers.L1.from_lambda(lambd=0.7, m=20)(W), 0.7 / 20 * np.abs(W).sum(), c=4, depth=12
    )


def test_get_and_config():
    assert regularizers.get(None) is None
    assert type(regularizers.get("l2")) is regularizers.L2
    assert type(regularizers.get("L1")) is regularizers.L1
    for one in (regularizers.L1(0.5), regularizers.L2(0.5), regularizers.L1L2(0.5, 0.25)):
        again = regularizers.get({"class_name": type(one).__name__, "config": one.get_config()})
        assert repr(again) == repr(one)
        assert regularizers.get(one) is one
    assert repr(regularizers.L1L2(0.5, 0.25)) == "L1L2(l1=0.5, l2=0.25)"
    with pytest.raises(ValueError, match="unknown name 'l3'; did you mean"):
        regularizers.get("l3")
    with pytest.raises(ValueError, match="class_name"):
        regularizers.get({})
    with pytest.raises(TypeError, match="regularizer"):
        regularizers.get(0.1)


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf"), "0.1", True])
def test_bad_factors(factor):
    for cls in (regularizers.L1, regularizers.L2, regularizers.L1L2):
        with pytest.raises(ValueError, match="finite number >= 0"):
            cls(factor)


def test_bad_row_counts():
    with pytest.raises(ValueError, match="m >= 1"):
        regularizers.L2.from_lambda(0.1, m=0)


def test_max_norm():
    w = np.asarray(constraints.MaxNorm(1.5)(W))
    norms = np.linalg.norm(W, axis=0)
    np.testing.assert_allclose(np.linalg.norm(w, axis=0), np.minimum(norms, 1.5), rtol=1e-6)
    short = norms < 1.5
    assert short.any() and not short.all()
    np.testing.assert_allclose(w[:, short], W[:, short], rtol=1e-6)
    rows = np.asarray(constraints.MaxNorm(1.0, axis=1)(W))
    assert (np.linalg.norm(rows, axis=1) <= 1).all()


def test_unit_norm_non_neg_and_min_max_norm():
    np.testing.assert_allclose(np.linalg.norm(constraints.UnitNorm()(W), axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(constraints.NonNeg()(W)), np.maximum(W, 0))
    norms = np.linalg.norm(W, axis=0)
    whole = constraints.MinMaxNorm(1.2, 1.6)(W)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=0), np.clip(norms, 1.2, 1.6), rtol=1e-6)
    half = constraints.MinMaxNorm(1.2, 1.6, rate=0.5)(W)
    expected = (np.clip(norms, 1.2, 1.6) + norms) / 2
    np.testing.assert_allclose(np.linalg.norm(half, axis=0), expected, rtol=1e-6)


def test_a_zero_vector_stays_zero():
    for constraint in (constraints.MaxNorm(), constraints.UnitNorm(), constraints.MinMaxNorm(1, 2)):
        np.testing.assert_array_equal(np.asarray(constraint(np.zeros((3, 2)))), 0)


@pytest.mark.parametrize(
    "make",
    [
        constraints.MaxNorm,
        constraints.NonNeg,
        constraints.UnitNorm,
        constraints.MinMaxNorm,
        regularizers.L1L2,
    ],
)
def test_placeholders_record_the_eager_nodes(make):
    with fastnn.Graph(tracing=False) as eager:
        make()(fastnn.Tensor(W))
    graph = fastnn.Graph()
    make()(graph.placeholder((None, 4), "float64"))
    assert [n[0] for n in graph.nodes] == [n[0] for n in eager.nodes]


def test_constraints_get():
    assert constraints.get(None) is None
    assert constraints.get("max_norm").max_value == 2
    assert type(constraints.get("NonNeg")) is constraints.NonNeg
    one = constraints.MinMaxNorm(0.5, 2.0, 0.9, (0, 1))
    again = constraints.get({"class_name": "MinMaxNorm", "config": one.get_config()})
    assert repr(again) == repr(one)
    with pytest.raises(ValueError, match="unit_norm"):
        constraints.get("unitnrm")


@pytest.mark.parametrize(
    "make",
    [
        lambda: constraints.MaxNorm(0),
        lambda: constraints.MinMaxNorm(2, 1),
        lambda: constraints.MinMaxNorm(-1, 1),
        lambda: constraints.MinMaxNorm(rate=0),
    ],
)
def test_bad_constraints(make):
    with pytest.raises(ValueError, match="Norm: expected"):
        make()
