"""The gradient checker: right gradients pass, wrong ones are caught and named, kinks are called
kinks.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import losses, ops, regularizers
from fastnn.gradcheck import check_gradients, numeric_gradient

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3))
Y = RNG.standard_normal((6, 2))


def test_the_lessons_cube():
    assert numeric_gradient(lambda t: t**3, 1.0, epsilon=0.01) == pytest.approx(3.0001, abs=1e-12)
    assert pytest.approx(3.0301, abs=1e-12) == (1.01**3 - 1) / 0.01  # one-sided
    np.testing.assert_allclose(
        numeric_gradient(lambda t: np.sum(t**2), [1.0, -2.0]), [2, -4], rtol=1e-9
    )


class Layer:
    def __init__(self, name, inputs, units, bias_gradient=1.0):
        self.name = name
        self.kernel = fastnn.Variable(
            RNG.standard_normal((inputs, units)), name="kernel", dtype="float64"
        )
        self.bias = fastnn.Variable(RNG.standard_normal(units), name="bias", dtype="float64")
        self.bias_gradient = bias_gradient

    @property
    def trainable_variables(self):
        return [self.kernel, self.bias]

    def __call__(self, x):
        b, g = self.bias, self.bias_gradient
        # The value is b, its gradient g times too large.
        return ops.matmul(x, self.kernel) + (g * b - ops.stop_gradient((g - 1) * b))


class Model:
    """What the checker knows of a model: variables, layers, penalties, a call."""

    def __init__(self, bias_gradient=1.0, regularizer=None):
        self.layers = [Layer("hidden", 3, 4), Layer("out", 4, 2, bias_gradient)]
        self.counter = fastnn.Variable(0.0, trainable=False, name="counter", dtype="float64")
        self.regularizer = regularizer
        self.training = []

    @property
    def trainable_variables(self):
        return [v for layer in self.layers for v in layer.trainable_variables]

    @property
    def variables(self):
        return [*self.trainable_variables, self.counter]

    @property
    def losses(self):
        return [] if self.regularizer is None else [self.regularizer(x.kernel) for x in self.layers]

    def __call__(self, x, training=False):
        self.training.append(training)
        h = ops.tanh(self.layers[0](x))
        if training:
            h = h * (1 + self.counter)  # as a mask that changes with each step would
            self.counter.assign_add(1.0)
        return self.layers[1](h)


@pytest.mark.parametrize("loss", ["mse", losses.Huber(), losses.log_cosh])
def test_a_right_gradient_is_fine(loss):
    model = Model()
    check = check_gradients(model, X, Y, loss)
    assert check
    assert check.verdict == "ok"
    assert check.ratio < 1e-8
    assert check.checked == check.size == 3 * 4 + 4 + 4 * 2 + 2
    assert not check.kinks
    assert set(model.training) == {False}
    assert list(check.by_variable) == ["hidden/kernel", "hidden/bias", "out/kernel", "out/bias"]
    assert str(check).startswith("gradient check: ok")


def test_a_wrong_bias_gradient_is_caught_and_named():
    check = check_gradients(Model(bias_gradient=2.0), X, Y, "mse")
    assert not check
    assert check.verdict == "worry"
    for worst in check.worst[:2]:
        assert (worst.layer, worst.kind, worst.variable) == ("out", "bias", "out/bias")
        assert worst.analytic == pytest.approx(2 * worst.numeric)
    assert check.worst[2].difference < 1e-7
    assert check.by_variable["out/bias"] == pytest.approx(1 / 3, rel=1e-5)
    assert max(r for name, r in check.by_variable.items() if name != "out/bias") < 1e-7
    assert "out/bias" in str(check).splitlines()[-len(check.worst)]
    assert not check.kinks


def test_a_slightly_wrong_gradient_asks_for_a_look():
    check = check_gradients(Model(bias_gradient=1.0001), X, Y, "mse")
    assert check.verdict == "look"
    assert check
    assert check.worst[0].kind == "bias"
    assert "out/bias" in str(check)


def test_penalties_are_part_of_the_cost():
    assert check_gradients(Model(regularizer=regularizers.L2(0.1)), X, Y, "mse").verdict == "ok"
    without = Model(regularizer=lambda w: ops.stop_gradient(regularizers.L2(0.1)(w)))
    check = check_gradients(without, X, Y, "mse")
    assert check.verdict == "worry"
    assert check.worst[0].kind == "kernel"


def test_weights_and_state_are_what_they_were():
    model = Model()
    before = [np.array(v) for v in model.variables]
    assert check_gradients(model, X, Y, "mse", training=True).verdict == "ok"
    assert set(model.training) == {True}
    for v, b in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(np.asarray(v), b)


def test_weights_are_restored_after_an_error():
    w = fastnn.Variable([1.0, 2.0], dtype="float64")
    calls = []

    def fails_later():
        calls.append(0)
        if len(calls) > 3:
            raise RuntimeError("stop")
        return ops.sum(ops.square(w))

    with pytest.raises(RuntimeError, match="stop"):
        check_gradients(fails_later, variables=[w])
    np.testing.assert_array_equal(np.asarray(w), [1, 2])


def test_functions_of_the_variables_or_of_nothing():
    w = fastnn.Variable([1.0, -2.0], name="w", dtype="float64")
    for check in (
        check_gradients(lambda: ops.sum(w * w * w), variables=[w]),
        check_gradients(lambda t: t * t * t, variables=[w]),  # the sum, as the tape's
        check_gradients(lambda a, b: ops.sum(a * a) * b, variables=[[1.0, 2.0], 3.0]),
    ):
        assert check.verdict == "ok"
    assert check_gradients(lambda t: t**3, variables=[1.0], epsilon=0.01).worst[
        0
    ].numeric == pytest.approx(3.0001)


def test_two_zero_vectors_give_zero():
    check = check_gradients(lambda t: ops.sum(t * 0.0), variables=[[1.0, 2.0]])
    assert check.ratio == 0
    assert check.verdict == "ok"


def test_nan_is_a_worry():
    assert check_gradients(lambda t: ops.sum(ops.log(t)), variables=[[-1.0]]).verdict == "worry"


@pytest.mark.parametrize(
    "distance", [0.0, 1e-6, 2e-6, 1e-5 / 3, 5e-6, 9e-6, -1e-6, -1e-5 / 3, -7e-6]
)
@pytest.mark.parametrize("bent", [ops.relu, ops.abs, lambda t: ops.maximum(2 * t, -t)])
def test_a_kink_within_epsilon_is_a_kink(bent, distance):
    check = check_gradients(
        lambda t: ops.sum(bent(t) + ops.exp(t)), variables=[[0.7, distance, -0.9]]
    )
    assert [c.index for c in check.kinks] == [(1,)]
    assert check.verdict == "ok"
    assert check.checked == 2
    assert "kink" in str(check)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-5, 1e-3])
def test_curvature_is_no_kink(epsilon):
    theta = np.linspace(-1, 1, 11)
    for f in (ops.exp, ops.tanh, ops.square, lambda t: ops.exp(5 * t), lambda t: 1e4 * t * t * t):
        check = check_gradients(lambda t, f=f: ops.sum(f(t)), variables=[theta], epsilon=epsilon)
        assert not check.kinks
        assert check.verdict == ("look" if epsilon == 1e-3 else "ok") or check.ratio < 1e-6


def test_a_wrong_gradient_is_no_kink():
    def wrong(t):
        return ops.sum(ops.relu(t) + 2 * ops.exp(t) - ops.stop_gradient(ops.exp(t)))

    check = check_gradients(wrong, variables=[[0.5, 0.2]])
    assert not check.kinks
    assert check.verdict == "worry"


def test_sample():
    check = check_gradients(Model(), X, Y, "mse", sample=3)
    assert check.checked == 3 + 3 + 3 + 2
    assert check.size == 26

    model = Model()

    def places(seed):
        found = check_gradients(model, X, Y, "mse", sample=2, seed=seed).worst
        return {(c.variable, c.index) for c in found}

    assert places(0) == places(0)
    assert len({frozenset(places(seed)) for seed in range(5)}) > 1


def test_float32_is_refused_with_a_hint():
    w = fastnn.Variable(np.ones(2, "f4"), name="w")
    with pytest.raises(ValueError, match="dtype='float64'"):
        check_gradients(lambda: ops.sum(w), variables=[w])


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_epsilon(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        check_gradients(lambda t: t, variables=[1.0], epsilon=epsilon)


def test_bad_arguments():
    with pytest.raises(ValueError, match="sample"):
        check_gradients(lambda t: t, variables=[1.0], sample=0)
    with pytest.raises(ValueError, match="at least one"):
        check_gradients(lambda: fastnn.Tensor(1.0))
    with pytest.raises(ValueError, match="loss"):
        check_gradients(Model(), X, Y)
    with pytest.raises(TypeError, match="model or a function"):
        check_gradients(3)
    with pytest.raises(TypeError, match="variables"):
        check_gradients(lambda t: t, X, variables=[1.0])


def test_a_whole_sequential():
    fastnn.random.set_seed(0)
    rng = np.random.default_rng(0)
    model = fastnn.Sequential(
        [
            fastnn.layers.Conv2D(3, 3, activation="tanh", input_shape=(6, 6, 2), dtype="float64"),
            fastnn.layers.BatchNormalization(dtype="float64"),
            fastnn.layers.Flatten(dtype="float64"),
            fastnn.layers.Dropout(0.5, dtype="float64"),
            fastnn.layers.Dense(3, kernel_regularizer="l2", dtype="float64"),
        ]
    )
    x, y = rng.standard_normal((5, 6, 6, 2)), rng.standard_normal((5, 3))
    result = check_gradients(model, x, y, "mse", epsilon=1e-5)
    assert result.ratio < 1e-7
