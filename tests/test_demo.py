"""The demo reaches its accuracy on real digits and does what it says."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fastnn
from fastnn import cli, config, datasets, demo, losses, numpy_twin
from numerics import relative_error


@pytest.fixture(scope="module")
def digits():
    return datasets.load_digits()


def test_the_mean_accuracy_over_five_seeds_is_98_5_percent(digits):
    accuracies = [demo.train(digits, seed=seed).accuracy for seed in range(5)]
    assert np.mean(accuracies) >= 0.985, accuracies


def test_the_test_images_are_the_promised_split(digits):
    (x, _), (x_test, y_test) = digits
    assert x.shape == (1347, 8, 8, 1) and x_test.shape == (450, 8, 8, 1)
    assert np.bincount(y_test).min() >= 43  # stratified: 450 / 10, the classes being nearly equal


def test_demo_prints_and_draws_what_it_promises(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--epochs", "3", "--seed", "1"]) == 0
    printed = capsys.readouterr()
    for part in (
        "1347 to train on, 450 to test with",
        "conv2d",
        "21,770",
        "Test accuracy: 9",
        "fastnn ",
        "plain NumPy",
        "the same answers on the test images",
        "fastnn_demo.png",
    ):
        assert part in printed.out, part
    assert "3/3" in printed.err  # the progress bar
    png = (tmp_path / "fastnn_demo.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 10_000
    assert "matplotlib.pyplot" not in sys.modules  # nor its global state


def test_demo_without_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--epochs", "1", "--no-plot"]) == 0
    assert not list(tmp_path.iterdir())
    assert ".png" not in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["matplotlib", "sklearn"])
def test_a_missing_package_is_an_error_that_names_the_extra(missing, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--epochs", "1"])
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert "fastnn[demo]" in printed.err and "epoch" not in printed.out


@pytest.fixture
def float64():
    config.set_floatx("float64")
    yield
    config.set_floatx("float32")


def test_the_numpy_network_is_the_same_one(digits, float64):
    (images, labels), _ = digits
    x, y = images[:24].astype("float64"), labels[:24]
    fastnn.random.set_seed(3)
    model = demo.build_model(rate=0.0)
    network = numpy_twin.demo_network(model.get_weights(), 0.0, momentum=demo.MOMENTUM)
    with fastnn.GradientTape() as tape:
        loss = losses.SparseCategoricalCrossentropy()(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert network.loss_and_gradient(x, y) == pytest.approx(float(loss), rel=1e-12)
    flat = np.concatenate([np.ravel(g) for g in gradients])
    assert relative_error(flat, network.gradient) < 1e-10
