"""The zoo: every kind of net trains to the same bits eagerly and recorded, with one thread and with three."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, layers, ops
from fastnn._structure import flatten, map_structure

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((50, 6)).astype(np.float32)
IMAGES = RNG.standard_normal((21, 10, 10, 3)).astype(np.float32)
LABELS = RNG.integers(0, 3, 50)
WEIGHTS = RNG.uniform(0.5, 2.0, 50).astype(np.float32)
SPARSE = "sparse_categorical_crossentropy"


class Residual(fastnn.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Conv2D(8, 3, padding="same", activation="relu")
        self.second = layers.Conv2D(8, 3, padding="same", use_bias=False)
        self.norm = layers.BatchNormalization()
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(3, activation="softmax")

    def call(self, x):
        y = self.first(x)
        return self.head(self.pool(ops.relu(y + self.norm(self.second(y)))))


class Scale(layers.Layer):
    """A layer as the lessons write one: weights, a forward pass, an added loss."""

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")

    def call(self, x):
        self.add_loss(0.01 * ops.sum(ops.square(self.scale - 2.0)))
        return ops.tanh(x * self.scale) + ops.exp(-ops.square(x))


class Straight(layers.Layer):
    """Rounds forwards, passes the gradient straight through backwards."""

    def call(self, x):
        return x + ops.stop_gradient(ops.round(x) - x)


@fastnn.custom_gradient
def bounded(x):
    """The identity, with a gradient that is not allowed to grow."""
    return x, lambda upstream: ops.clip(upstream, -0.05, 0.05)


class Bounded(layers.Layer):
    def call(self, x):
        return bounded(ops.square(x))


def soft_sign(x):
    return x / (1 + np.abs(x))


def soft_sign_gradient(x, y, upstream):
    return upstream / np.square(1 + np.abs(x))


class InNumPy(layers.Layer):
    """A function and its gradient in NumPy, between ops."""

    def call(self, x):
        y = fastnn.py_function(soft_sign, [x], x.shape, x.dtype, gradient=soft_sign_gradient)
        return y * x


def two_by_two():
    a, b = layers.Input((4,), name="a"), layers.Input((3,), name="b")
    shared = layers.Dense(4, "tanh")
    joined = layers.concatenate([shared(a), shared(ops.pad(b, [(0, 0), (0, 1)]))])
    kind = layers.Dense(3, "softmax", name="kind")(joined)
    size = layers.Dense(1, name="size")(layers.Dropout(0.2)(joined) * 2.0)
    return fastnn.Model([a, b], [kind, size])


def log_cosh(y_true, y_pred):
    """A loss as a user writes one."""
    return ops.mean(ops.log(0.5 * (ops.exp(y_pred - y_true) + ops.exp(y_true - y_pred))), axis=-1)


class Signs(fastnn.optimizers.Optimizer):
    """An optimizer as a user writes one: momentum on the signs of the gradient."""

    def update_step(self, gradient, variable, learning_rate):
        mean = self.add_slot(variable, "mean")
        mean.assign(0.9 * mean + 0.1 * ops.sign(gradient))
        variable.assign(variable - learning_rate * mean)


def sequential(*parts, shape=(6,), dtype=None):
    return lambda: fastnn.Sequential(
        [layers.Input(shape), *[make() for make in parts]], dtype=dtype
    )


def nets():
    image = (10, 10, 3)

    def soft():
        return layers.Dense(3, activation="softmax")

    flat = layers.Flatten
    yield (
        "logistic",
        sequential(lambda: layers.Dense(1, activation="sigmoid")),
        "sgd",
        "binary_crossentropy",
        0,
    )
    yield "softmax", sequential(soft), fastnn.optimizers.SGD(0.1, momentum=0.9), SPARSE, 0
    yield (
        "mlp",
        sequential(lambda: layers.Dense(16, "tanh"), lambda: layers.Dense(8, "elu"), soft),
        "adam",
        SPARSE,
        0,
    )
    yield (
        "dropout and penalties",
        sequential(
            lambda: layers.Dense(16, "relu", kernel_regularizer="l2", bias_regularizer="l1"),
            lambda: layers.Dropout(0.4),
            lambda: layers.Dense(8, "selu", kernel_constraint="max_norm"),
            lambda: layers.Dropout(0.2),
            soft,
        ),
        "rmsprop",
        SPARSE,
        0,
    )
    yield (
        "float64",
        sequential(lambda: layers.Dense(7, "sigmoid"), soft, dtype="float64"),
        fastnn.optimizers.Adam(0.01, global_clipnorm=0.1),
        SPARSE,
        0,
    )
    yield (
        "regression",
        sequential(lambda: layers.Dense(9, "gelu"), lambda: layers.Dense(2)),
        "adagrad",
        "mse",
        2,
    )
    yield (
        "layer norm",
        sequential(lambda: layers.Dense(9), layers.LayerNormalization, layers.LeakyReLU, soft),
        fastnn.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        SPARSE,
        0,
    )
    yield (
        "autoencoder",
        sequential(lambda: layers.Dense(3, "relu"), lambda: layers.Dense(6)),
        "nadam",
        "mae",
        6,
    )
    yield "custom layer", sequential(Scale, Straight, soft), "adamw", SPARSE, 0
    yield (
        "custom gradient",
        sequential(lambda: layers.Dense(8), Bounded, soft),
        "adam",
        SPARSE,
        0,
    )
    yield (
        "NumPy layer",
        sequential(lambda: layers.Dense(8), InNumPy, lambda: layers.Dropout(0.2), soft),
        "adam",
        SPARSE,
        0,
    )
    yield "two inputs, two outputs", two_by_two, "adam", [SPARSE, "mse"], 0
    yield (
        "loss and optimizer of the user's",
        sequential(lambda: layers.Dense(5, "tanh"), lambda: layers.Dense(2)),
        Signs(0.01),
        log_cosh,
        2,
    )
    yield (
        "convnet",
        sequential(
            lambda: layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization,
            layers.ReLU,
            layers.MaxPooling2D,
            lambda: layers.Conv2D(16, 3, activation="relu"),
            flat,
            lambda: layers.Dropout(0.3),
            soft,
            shape=image,
        ),
        "adam",
        SPARSE,
        0,
    )
    yield (
        "strides, dilation, groups",
        sequential(
            lambda: layers.Conv2D(6, 5, strides=2, padding="same", activation="relu"),
            lambda: layers.Conv2D(6, 3, dilation_rate=2, padding="same", groups=3),
            lambda: layers.AveragePooling2D(3, 2, padding="same"),
            lambda: layers.BatchNormalization(axis=1),
            layers.GlobalMaxPooling2D,
            soft,
            shape=image,
        ),
        "rmsprop",
        SPARSE,
        0,
    )
    yield (
        "rows",
        sequential(
            lambda: layers.Reshape((6, 1)),
            lambda: layers.Conv1D(8, 3, padding="causal", activation="relu"),
            lambda: layers.Conv1D(8, 2, dilation_rate=2, padding="causal"),
            layers.BatchNormalization,
            layers.ReLU,
            layers.MaxPooling1D,
            lambda: layers.SeparableConv1D(9, 2, depth_multiplier=2, activation="tanh"),
            lambda: layers.Conv1DTranspose(4, 3, 2, "same", activation="relu"),
            lambda: layers.AveragePooling1D(2, 1),
            layers.GlobalAveragePooling1D,
            soft,
        ),
        "adam",
        SPARSE,
        0,
    )
    yield (
        "convolutional autoencoder",
        sequential(
            lambda: layers.Conv2D(8, 3, 2, "same", activation="relu"),
            lambda: layers.Conv2D(16, 3, 2, "same", activation="relu"),
            lambda: layers.Conv2DTranspose(16, 3, padding="same", activation="relu"),
            lambda: layers.Conv2DTranspose(8, 3, 2, "same", activation="relu", output_padding=0),
            lambda: layers.Conv2DTranspose(3, 3, 2, "same", activation="tanh"),
            flat,
            shape=image,
        ),
        "adam",
        "mse",
        10,
    )
    yield (
        "separable",
        sequential(
            lambda: layers.DepthwiseConv2D(3, 2, "same", 2, activation="relu"),
            lambda: layers.SeparableConv2D(8, 3, padding="same", activation="relu"),
            layers.GlobalMaxPooling2D,
            soft,
            shape=image,
        ),
        "adam",
        SPARSE,
        0,
    )
    yield "residual", Residual, "adam", SPARSE, 0
    yield (
        "schedule",
        sequential(soft),
        fastnn.optimizers.SGD(fastnn.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
        SPARSE,
        0,
    )


ZOO = {name: rest for name, *rest in nets()}


def train(name: str, eager: bool, weighted: bool):
    make, optimizer, loss, width = ZOO[name]
    if not isinstance(optimizer, str):
        optimizer = type(optimizer).from_config(optimizer.get_config())
    fastnn.random.set_seed(1)
    model = make()
    two = isinstance(loss, list)
    metrics = ["accuracy", "mae"] if two else ["mae"] if width else ["accuracy"]
    model.compile(optimizer, loss, metrics=metrics, run_eagerly=eager)
    if two:
        x, y = [VECTORS[:, :4], VECTORS[:, 3:]], [LABELS, VECTORS[:, 0]]
        return outcome(model, x, y, [WEIGHTS, WEIGHTS] if weighted else None)
    shape = model.batch_input_shape
    x = IMAGES if shape is None or len(shape) == 4 else VECTORS
    y = x[:, :width].reshape(len(x), -1) if width else LABELS[: len(x)]
    if loss == "binary_crossentropy":
        y = (y > 0).astype(np.float32)
    return outcome(model, x, y, WEIGHTS[: len(x)] if weighted else None)


def outcome(model, x, y, weights):
    few = map_structure(lambda array: array[:5], (x, y))
    history = model.fit(
        x,
        y,
        batch_size=8,
        epochs=2,
        sample_weight=weights,
        validation_data=few,
        verbose=0,
    )
    predicted = [model.predict(x, batch_size=4) for _ in range(2)]
    return (
        history.history,
        [w.tobytes() for w in model.get_weights()],
        [p.tobytes() for p in flatten(predicted)],
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ZOO)
def test_recorded_steps_give_the_bits_of_eager_ones(name, weighted):
    assert train(name, True, weighted) == train(name, False, weighted)


@pytest.mark.parametrize("name", ZOO)
def test_three_threads_give_the_bits_of_one(name):
    before = fastnn.num_threads()
    try:
        found = []
        for threads in (1, 3):
            fastnn.set_num_threads(threads)
            found.append(train(name, False, False))
    finally:
        fastnn.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ZOO)
def test_one_program_predicts_any_number_of_rows_with_the_bits_of_eager(name):
    make, _, loss, _ = ZOO[name]
    fastnn.random.set_seed(1)
    model = make()
    shape = model.batch_input_shape
    if isinstance(loss, list):
        x = [VECTORS[:, :4], VECTORS[:, 3:]]
    else:
        x = IMAGES if shape is None or len(shape) == 4 else VECTORS
    total = len(flatten(x)[0])
    for rows in (total, *range(1, total, 3), total):
        some = map_structure(lambda array, rows=rows: array[:rows], x)
        predicted, eager = flatten(model.predict_on_batch(some)), flatten(model(some))
        assert [p.tobytes() for p in predicted] == [np.asarray(e).tobytes() for e in eager]
    assert len(model._predict_program) == 1


def test_a_step_of_ones_own_under_function_is_fits_step():
    found = []
    for own in (False, True):
        fastnn.random.set_seed(1)
        make, *_ = ZOO["softmax"]
        model, optimizer = make(), fastnn.optimizers.SGD(0.1)
        if own:
            loss_of = fastnn.losses.SparseCategoricalCrossentropy()

            @fastnn.function
            def step(x, y, model=model, optimizer=optimizer, loss_of=loss_of):
                with GradientTape() as tape:
                    loss = loss_of(y, model(x, training=True))
                optimizer.apply(
                    tape.gradient(loss, model.trainable_variables), model.trainable_variables
                )
                return loss

            for start in range(0, 50, 8):
                step(VECTORS[start : start + 8], LABELS[start : start + 8])
        else:
            model.compile(optimizer, SPARSE)
            model.fit(VECTORS, LABELS, batch_size=8, shuffle=False, verbose=0)
        found.append([w.tobytes() for w in model.get_weights()])
    assert found[0] == found[1]
