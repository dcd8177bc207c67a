"""Sequential and Model: building, parameter counts, summary, weights, configuration, errors."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastnn
from fastnn import Sequential, layers


def mlp(*units, inputs):
    return Sequential([fastnn.Input((inputs,)), *(layers.Dense(n) for n in units)])


def course_images(padding):
    return Sequential(
        [
            layers.Dense(16, activation="relu", input_shape=(20, 20, 3)),
            layers.Conv2D(32, kernel_size=(3, 3), activation="relu", padding=padding),
            layers.Conv2D(64, kernel_size=(5, 5), activation="relu", padding=padding),
            layers.Conv2D(128, kernel_size=(7, 7), activation="relu", padding=padding),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )


# The parameter counts of the lessons: model, total, trainable.
COUNTS = {
    "2-3-2": (lambda: mlp(3, 2, inputs=2), 17, 17),
    "8-6-6-4": (lambda: mlp(6, 6, 4, inputs=8), 124, 124),
    "1-16-32-2": (lambda: mlp(16, 32, 2, inputs=1), 642, 642),
    "2-16-32-2": (lambda: mlp(16, 32, 2, inputs=2), 658, 658),
    "5-16-32-2": (
        lambda: Sequential(
            [
                layers.Dense(16, input_shape=(1, 5), activation="relu"),
                layers.Dense(32),
                layers.Dense(2),
            ]
        ),
        706,
        706,
    ),
    "5-16-32-2 with batch norm": (
        lambda: Sequential(
            [
                layers.Dense(16, input_shape=(1, 5), activation="relu"),
                layers.Dense(32, activation="relu"),
                layers.BatchNormalization(axis=1),
                layers.Dense(2, activation="softmax"),
            ]
        ),
        710,
        708,
    ),
    "two convolutions": (
        lambda: Sequential(
            [
                layers.Conv2D(2, 3, padding="same", input_shape=(20, 20, 3)),
                layers.Conv2D(3, 3, padding="same"),
                layers.Flatten(),
                layers.Dense(2),
            ]
        ),
        2515,
        2515,
    ),
    "dense on images, valid": (lambda: course_images("valid"), 473_890, 473_890),
    "dense on images, same": (lambda: course_images("same"), 559_906, 559_906),
    "max pooling": (
        lambda: Sequential(
            [
                layers.Dense(16, activation="relu", input_shape=(20, 20, 3)),
                layers.Conv2D(32, kernel_size=(3, 3), activation="relu", padding="same"),
                layers.MaxPooling2D(pool_size=(2, 2), strides=2, padding="valid"),
                layers.Conv2D(64, kernel_size=(5, 5), activation="relu", padding="same"),
                layers.Flatten(),
                layers.Dense(2, activation="softmax"),
            ]
        ),
        68_770,
        68_770,
    ),
}


def printed(model):
    lines = []
    model.summary(print_fn=lines.append)
    return lines


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_of_the_lessons(name):
    make, total, trainable = COUNTS[name]
    model = make()
    assert model.count_params() == total
    lines = printed(model)
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert f"Total params: {total:,} (" in text
    assert f"Trainable params: {trainable:,} (" in text
    assert f"Non-trainable params: {total - trainable:,} (" in text


def test_summary_is_a_table():
    model = Sequential(
        [layers.Dense(16, input_shape=(1,), name="a"), layers.Dense(1000, name="b")], name="net"
    )
    lines = printed(model)
    assert lines[0] == 'Model: "net"'
    assert re.fullmatch(r" Layer \(type\) +Output Shape +Param #", lines[2])
    assert re.fullmatch(r" a \(Dense\) +\(None, 16\) +32", lines[4])
    assert re.fullmatch(r" b \(Dense\) +\(None, 1000\) +17,000", lines[5])
    assert "Total params: 17,032 (66.53 KB)" in lines


def test_summary_of_an_unbuilt_model():
    assert any("unbuilt" in line for line in printed(Sequential([layers.Dense(2)])))


def test_summary_prints(capsys):
    mlp(2, inputs=3).summary()
    assert "Total params: 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given", ["Input", "InputLayer", "input_shape", "input_dim", "call", "build"]
)
def test_ways_to_say_the_input_shape(given):
    dense = layers.Dense(3)
    if given == "Input":
        model = Sequential([fastnn.Input(shape=(4,)), dense])
    elif given == "InputLayer":
        model = Sequential([layers.InputLayer(input_shape=(4,)), dense])
    elif given == "input_shape":
        model = Sequential([layers.Dense(3, input_shape=(4,))])
    elif given == "input_dim":
        model = Sequential([layers.Dense(3, input_dim=4)])
    else:
        model = Sequential()
        model.add(dense)
        assert not model.built and model.output_shape is None
        if given == "call":
            model(np.ones((2, 4)))
        else:
            model.build((None, 4))
    assert model.built
    assert model.input_shape == (None, 4) and model.output_shape == (None, 3)
    assert len(model.layers) == 1
    assert model.count_params() == 15


def test_a_failed_build_leaves_nothing_behind():
    model = Sequential([layers.Dense(4), layers.Conv2D(2, 3)])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Conv2D 'conv2d.*': expected x of shape"):
            model(np.ones((2, 3)))
        assert not model.built and not model.layers[0].built and model.weights == []


def test_add_and_pop_after_building():
    model = mlp(4, 3, inputs=2)
    model.pop()
    model.add(layers.Dense(7))
    assert model.output_shape == (None, 7)
    assert model.predict(np.ones((2, 2))).shape == (2, 7)
    with pytest.raises(ValueError, match="Conv2D"):
        model.add(layers.Conv2D(2, 3))
    assert len(model.layers) == 2
    for _ in range(2):
        model.pop()
    model.pop()  # the Input
    with pytest.raises(ValueError, match="no layers"):
        model.pop()


def test_a_frozen_base_under_a_new_head():
    base = mlp(4, 3, inputs=2)
    base.trainable = False
    model = Sequential([base, layers.Dense(2)])
    model.build((None, 2))
    assert [v.shape for v in model.trainable_weights] == [(3, 2), (2,)]
    assert model.count_params() == base.count_params() + 8


def test_get_layer_and_names():
    first, second = layers.Dense(2, name="first"), layers.Dense(3, name="second")
    model = Sequential([fastnn.Input((4,)), first, second])
    assert model.get_layer("second") is second
    assert model.get_layer(index=0) is first
    for arguments, kind in (
        ({}, TypeError),
        ({"name": "third"}, ValueError),
        ({"index": 2}, ValueError),
    ):
        with pytest.raises(kind, match="get_layer"):
            model.get_layer(**arguments)
    with pytest.raises(ValueError, match="second 'first'"):
        model.add(layers.Dense(3, name="first"))
    with pytest.raises(ValueError, match="second 'first'"):
        model.add(first)
    with pytest.raises(TypeError, match="expected a Layer"):
        model.add("dense")
    with pytest.raises(TypeError, match="list of layers"):
        Sequential(first)


def test_weights_round_trip():
    model = mlp(4, 3, inputs=2)
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(2, 4), (4,), (4, 3), (3,)]
    other = mlp(4, 3, inputs=2)
    other.set_weights(weights)
    x = np.ones((5, 2))
    np.testing.assert_array_equal(model.predict(x), other.predict(x))
    with pytest.raises(ValueError, match=r"Dense 'dense.*': set_weights: array 2 \(kernel\)"):
        other.set_weights([*weights[:2], weights[2].T, weights[3]])
    for a, b in zip(weights, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_of_a_model(dtype):
    model = Sequential([layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)], dtype=dtype)
    x = np.ones((4, 5), "float32")
    assert model.predict(x).dtype == dtype
    assert all(v.dtype == dtype for v in model.weights)


def test_dtype_per_layer():
    model = Sequential([layers.Dense(3, dtype="float64"), layers.Dense(2)])
    assert model(np.ones((1, 2))).dtype == np.float32
    assert [v.dtype.name for v in model.weights] == ["float64", "float64", "float32", "float32"]


def test_config_makes_the_same_model():
    model = Sequential(
        [
            fastnn.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", kernel_regularizer=fastnn.regularizers.L2(0.1)),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(3, "softmax", kernel_initializer=fastnn.initializers.HeNormal(seed=3)),
        ]
    )
    config = model.get_config()
    twin = Sequential.from_config(config)
    assert twin.get_config() == config
    assert twin.count_params() == model.count_params()
    with pytest.raises(ValueError, match=r"unknown layer 'os\.system'"):
        Sequential.from_config({**config, "layers": [{"class_name": "os.system", "config": {}}]})


def test_a_model_of_ones_own():
    class Residual(fastnn.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = layers.Dense(3, "relu"), layers.Dense(3)

        def call(self, x):
            return x + self.second(self.first(x))

    model = Residual()
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 3)), np.zeros((8, 3)), verbose=0)
    assert model.built and model.count_params() == 24
    assert [layer.name for layer in model.layers] == [model.first.name, model.second.name]
    assert "Total params: 24" in "\n".join(printed(model))


def test_an_empty_model():
    with pytest.raises(ValueError, match="no layers"):
        Sequential().predict(np.ones((2, 2)))


def test_the_gradient_flows_through_a_model():
    model = mlp(3, inputs=2)
    x = fastnn.Tensor(np.ones((4, 2), "float32"))
    with fastnn.GradientTape() as tape:
        tape.watch(x)
        y = model(x)
    dx, dkernel, dbias = tape.gradient(y, [x, *model.trainable_variables])
    np.testing.assert_array_equal(np.asarray(dbias), np.full(3, 4.0))
    assert dx.shape == (4, 2) and dkernel.shape == (2, 3)
