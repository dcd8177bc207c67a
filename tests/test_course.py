"""Numbers the lessons print."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import layers, ops


def near(got, want, digits):
    tolerance = 0.5001 * 10.0**-digits
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=0, atol=tolerance)


def test_bias_neuron():
    x, w = np.array([1.0, 2.0]), np.array([-0.55, 0.10])
    assert float(ops.relu(np.sum(x * w))) == 0
    near(ops.relu(np.sum(x * w) + 1), 0.65, 12)


def test_activations():
    near(ops.sigmoid(2.0), 0.8807971, 7)
    v = fastnn.Variable(np.array([-6.0, 0.0, 6.0]))
    with fastnn.GradientTape() as tape:
        y = ops.sigmoid(v)
    near(tape.gradient(y, v), [0.002466509, 0.25, 0.002466509], 9)
    near(ops.softmax(np.array([5.0, 2, -1, 3])), [0.842, 0.042, 0.002, 0.114], 3)
    np.testing.assert_allclose(ops.softmax(np.array([1.3, 0.0]))[0], ops.sigmoid(np.float64(1.3)))


def test_gradient_of_softmax_and_cross_entropy_is_the_difference():
    p, y = np.array([[0.3, 0.2, 0.1, 0.4]]), np.array([[0.0, 1, 0, 0]])
    z = fastnn.Variable(np.log(p))
    with fastnn.GradientTape() as tape:
        loss = ops.categorical_crossentropy(y, z, from_logits=True)
    near(loss, 1.6094, 4)
    np.testing.assert_allclose(tape.gradient(loss, z), p - y, atol=1e-15)


def test_sparse_cross_entropy_normalizes_probabilities():
    near(ops.sparse_categorical_crossentropy(np.array([0]), np.array([[0.9, 0.8]])), 0.63599, 5)


@pytest.mark.parametrize(
    "sizes, count", [((2, 3, 2), 17), ((8, 6, 6, 4), 124), ((1, 16, 32, 2), 642)]
)
def test_parameters(sizes, count):
    model = fastnn.Sequential([layers.Dense(sizes[1], input_shape=(sizes[0],))])
    for units in sizes[2:]:
        model.add(layers.Dense(units))
    assert model.count_params() == count


def test_scaled_weights_keep_the_deviation():
    assert np.isclose(np.sqrt(250), 15.811, atol=5e-4)
    w = fastnn.initializers.LecunNormal(seed=0)((250, 4000))
    assert abs(np.ones(250) @ w).max() < 6
    assert np.std(np.ones(250) @ w) == pytest.approx(1, abs=0.05)


def test_parabola():
    w = fastnn.Variable(0.0)
    optimizer = fastnn.optimizers.SGD(0.01)

    def step():
        optimizer.minimize(lambda: w**2 - 10 * w + 25, [w])

    step()
    near(w, 0.1, 7)
    for _ in range(1000):
        step()
    np.testing.assert_allclose(w, 4.9999886, atol=1e-6)


@pytest.mark.parametrize("form, want", [("keras", 9.4424), ("torch", 5.1960)])
def test_momentum_forms_when_the_rate_changes(form, want):
    w = fastnn.Variable(np.float64(0.0))
    optimizer = fastnn.optimizers.SGD(0.1, momentum=0.9, momentum_form=form)
    for step in range(6):
        if step == 3:
            optimizer.learning_rate = 0.01
        optimizer.minimize(lambda: w**2 - 10 * w + 25, [w])
    near(w, want, 4)
