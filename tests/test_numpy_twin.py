"""The plain NumPy network of the demo and the benchmarks: right by itself, and equal to fastnn."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import numpy_twin
from numerics import numeric_gradient, relative_error


def demo_weights(rng: np.random.Generator, filters=(3, 5), pixels=8, classes=10, dtype="float64"):
    channels, weights = 1, []
    for f in filters:
        weights += [rng.standard_normal((3, 3, channels, f)) / 3, rng.standard_normal(f)]
        weights += [rng.uniform(0.5, 1.5, f), rng.standard_normal(f), np.zeros(f), np.ones(f)]
        channels = f
    features = channels * (pixels // 4) ** 2
    weights += [rng.standard_normal((features, classes)) / 4, rng.standard_normal(classes)]
    return [w.astype(dtype) for w in weights]


def test_gradient_is_the_differences():
    rng = np.random.default_rng(0)
    network = numpy_twin.demo_network(demo_weights(rng), rate=0.0)
    x, labels = rng.standard_normal((4, 8, 8, 1)), rng.integers(0, 10, 4)
    network.loss_and_gradient(x, labels)
    analytic = network.gradient.copy()

    def loss(inputs) -> float:
        return numpy_twin.softmax_crossentropy(network.logits(x, training=True), labels)[0]

    numeric = numeric_gradient(loss, [network.theta], [0])[0]
    assert relative_error(analytic, numeric) < 1e-7


@pytest.mark.parametrize("layer", ["convolution", "pool"])
def test_input_gradient_is_the_differences(layer):
    rng = np.random.default_rng(1)
    if layer == "convolution":
        made = numpy_twin.Conv2D(rng.standard_normal((3, 2, 2, 3)), rng.standard_normal(3))
    else:
        made = numpy_twin.MaxPooling2D()
    x = 0.1 * rng.permutation(2 * 4 * 6 * 2).reshape(2, 4, 6, 2)
    dy = rng.standard_normal(made.forward(x, True).shape)
    analytic = made.backward(dy)
    numeric = numeric_gradient(lambda xs: float(np.vdot(dy, made.forward(xs[0], True))), [x], [0])[
        0
    ]
    assert relative_error(analytic, numeric) < 1e-7


def test_of_equal_maxima_the_first_gets_the_gradient():
    pool = numpy_twin.MaxPooling2D()
    pool.forward(np.ones((1, 2, 2, 1)), True)
    assert pool.backward(np.full((1, 1, 1, 1), 3.0)).ravel().tolist() == [3, 0, 0, 0]


def test_dropout_keeps_the_mean_and_is_off_in_inference():
    drop = numpy_twin.Dropout(0.2, np.random.default_rng(0))
    x = np.ones((1000, 100), np.float32)
    y = drop.forward(x, True)
    assert set(np.unique(y)) == {0.0, np.float32(1) / np.float32(0.8)}
    assert abs(y.mean() - 1) < 4 * np.sqrt(0.25 / x.size)
    np.testing.assert_array_equal(drop.backward(x), y)
    assert drop.forward(x, False) is x


def test_adam_is_the_formula():
    rng = np.random.default_rng(2)
    theta, m, v = rng.standard_normal(7), np.zeros(7), np.zeros(7)
    expected, adam = theta.copy(), numpy_twin.Adam(7, np.float64)
    for t in range(1, 11):
        g = rng.standard_normal(7)
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        expected -= 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        adam.update(theta, g, 0.01)
    np.testing.assert_allclose(theta, expected, rtol=1e-13)


def test_weights_stay_float32_and_learn():
    rng = np.random.default_rng(3)
    network = numpy_twin.demo_network(demo_weights(rng, dtype="float32"), rate=0.2)
    x = rng.standard_normal((40, 8, 8, 1)).astype("float32")
    labels = (x[:, 0, 0, 0] > 0).astype(int)
    losses = [network.train_epoch(x, labels, 16, 0.01, rng) for _ in range(20)]
    assert network.theta.dtype == network.gradient.dtype == np.float32
    assert all(w.dtype == np.float32 for layer in network.layers for w in layer.weights)
    assert losses[-1] < 0.3 * losses[0]
