"""fit, evaluate, predict and callbacks: learning, bookkeeping, printing, determinism, and what goes wrong."""

from __future__ import annotations

import gc
import io
import math
import re
import signal
import threading
import time
import weakref

import numpy as np
import pytest
from sklearn.datasets import load_digits

import fastnn
from fastnn import Sequential, callbacks, layers
from fastnn.training.data import class_to_sample_weight

X, Y = load_digits(return_X_y=True)
X = X / 16.0
IMAGES = X.reshape(-1, 8, 8, 1)


def small(outputs=2, **options):
    fastnn.random.set_seed(3)
    return Sequential([layers.Dense(8, "relu"), layers.Dense(outputs)], **options)


def compiled(optimizer="sgd", loss="mse", **options):
    model = small()
    model.compile(optimizer, loss, **options)
    return model


def toy(n=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4)).astype("float32")
    return x, np.stack([x.sum(1), x[:, 0] - x[:, 1]], 1)


def same(a, b):
    return len(a) == len(b) and all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


# ---- learning


def test_a_multilayer_perceptron_learns_the_digits():
    fastnn.random.set_seed(0)
    model = Sequential(
        [layers.Dense(64, activation="relu", input_shape=(64,)), layers.Dense(10, "softmax")]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        X[:1400], Y[:1400], epochs=15, verbose=0, validation_data=(X[1400:], Y[1400:])
    )
    assert sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 15 for values in history.history.values())
    assert history.history["loss"][-1] < 0.25 * history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.88
    loss, accuracy = model.evaluate(X[1400:], Y[1400:], verbose=0)
    assert loss == history.history["val_loss"][-1]
    assert accuracy == history.history["val_accuracy"][-1]
    assert accuracy == (model.predict(X[1400:]).argmax(1) == Y[1400:]).mean()


def test_a_convolutional_network_learns_the_digits():
    fastnn.random.set_seed(0)
    model = Sequential(
        [
            layers.Conv2D(8, 3, padding="same", input_shape=(8, 8, 1)),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    history = model.fit(IMAGES[:1400], np.eye(10)[Y[:1400]], epochs=8, batch_size=16, verbose=0)
    assert list(history.history) == ["acc", "loss"]
    assert model.evaluate(IMAGES[1400:], np.eye(10)[Y[1400:]], verbose=0)[1] > 0.88


def test_one_step_of_gradient_descent_by_hand():
    model = Sequential([layers.Dense(1, kernel_initializer="ones")], dtype="float64")
    model.compile(fastnn.optimizers.SGD(0.1), "mse")
    x, y = np.array([[1.0], [2.0]]), np.array([3.0, 5.0])
    assert model.train_on_batch(x, y) == pytest.approx((4 + 9) / 2)
    kernel, bias = model.get_weights()
    assert kernel.item() == pytest.approx(1 - 0.1 * (2 * -2 * 1 + 2 * -3 * 2) / 2)
    assert bias.item() == pytest.approx(0.5)


# ---- what is reported


def test_the_loss_is_the_mean_over_samples_and_includes_penalties():
    x, y = toy(50)
    model = Sequential([layers.Dense(2, kernel_regularizer="l2")])
    model.compile(fastnn.optimizers.SGD(0.0), "mse")
    history = model.fit(x, y, batch_size=32, verbose=0)
    penalty = 0.01 * float((model.get_weights()[0].astype("float64") ** 2).sum())
    expected = float(((model.predict(x) - y) ** 2).mean()) + penalty
    assert history.history["loss"] == [pytest.approx(expected, rel=1e-5)]
    assert model.evaluate(x, y, batch_size=7, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_sample_weights_weigh_the_loss_and_weighted_metrics_only():
    x, y = toy(10)
    w = np.arange(10.0)
    model = compiled(fastnn.optimizers.SGD(0.0), metrics=["mae"], weighted_metrics=["mse"])
    logs = model.fit(x, y, sample_weight=w, verbose=0, batch_size=4).history
    error = model.predict(x) - y
    assert logs["loss"][0] == pytest.approx(((error**2).mean(1) * w).mean(), rel=1e-5)
    assert logs["mae"][0] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert logs["mse"][0] == pytest.approx(np.average((error**2).mean(1), weights=w), rel=1e-5)


def test_class_weights_are_sample_weights():
    x = toy(30)[0]
    y = np.arange(30) % 2
    weights = {0: 2.0, 1: 0.5}
    found = []
    for options in ({"class_weight": weights}, {"sample_weight": np.where(y == 0, 2.0, 0.5)}):
        model = small()
        model.compile("sgd", fastnn.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, y, epochs=2, verbose=0, **options)
        found.append(model.get_weights())
    assert same(*found)


def test_class_weight_forms():
    y = np.array([0, 0, 0, 1])
    np.testing.assert_allclose(class_to_sample_weight("balanced", y), [2 / 3, 2 / 3, 2 / 3, 2])
    np.testing.assert_array_equal(class_to_sample_weight({1: 5}, np.eye(2)[y]), [1, 1, 1, 5])
    np.testing.assert_array_equal(class_to_sample_weight({1: 5}, y[:, None]), [1, 1, 1, 5])
    with pytest.raises(TypeError, match="class_weight"):
        class_to_sample_weight([1, 2], y)


def test_validation_split_takes_the_last_rows():
    x, y = toy(50)
    found = []
    for options, rows in (
        ({"validation_split": 0.2}, 50),
        ({"validation_data": (x[40:], y[40:])}, 40),
    ):
        model = compiled()
        history = model.fit(x[:rows], y[:rows], epochs=3, verbose=0, **options)
        found.append((model.get_weights(), history.history))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_validation_frequency():
    x, y = toy()
    for frequency, expected in ((2, 2), ([1, 3, 4], 3)):
        logs = (
            compiled()
            .fit(x, y, epochs=4, verbose=0, validation_data=(x, y), validation_freq=frequency)
            .history
        )
        assert len(logs["val_loss"]) == expected and len(logs["loss"]) == 4


def test_history_and_initial_epoch():
    x, y = toy()
    model = compiled()
    history = model.fit(x, y, epochs=5, initial_epoch=3, batch_size=20, verbose=0)
    assert history.epoch == [3, 4]
    assert history.params == {"verbose": 0, "epochs": 5, "steps": 3}
    assert len(history.history["loss"]) == 2
    assert model.history is history


def test_learning_rate_between_fits():
    x, y = toy()
    model = compiled(fastnn.optimizers.Adam(0.1))
    model.fit(x, y, verbose=0)
    model.optimizer.learning_rate = 0.01
    assert model.optimizer.learning_rate == 0.01
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    assert same(before, model.get_weights())


@pytest.mark.parametrize("outputs, loss, y", [
    (1, "binary_crossentropy", np.array([0, 1, 1, 0])),
    (3, "sparse_categorical_crossentropy", np.array([0, 1, 2, 0])),
    (3, "sparse_categorical_crossentropy", np.array([[0], [1], [2], [0]])),
    (3, "categorical_crossentropy", np.eye(3)[[0, 1, 2, 0]]),
])  # fmt: skip
def test_accuracy_follows_the_shapes(outputs, loss, y):
    model = Sequential([layers.Dense(outputs, "sigmoid" if outputs == 1 else "softmax")])
    model.compile("sgd", loss, metrics=["accuracy"])
    x = np.random.default_rng(0).standard_normal((4, 5))
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    p = model.predict(x)
    label = (p > 0.5)[:, 0] if outputs == 1 else p.argmax(1)
    truth = y.argmax(1) if y.shape == (4, 3) else y.reshape(4)
    assert logs["accuracy"] == (label == truth).mean()


def test_results_of_batches_and_evaluations():
    x, y = toy()
    model = compiled()
    assert isinstance(model.train_on_batch(x, y), float)
    assert isinstance(model.evaluate(x, y, verbose=0), float)
    model.compile("sgd", "mse", metrics=["mae", fastnn.metrics.RootMeanSquaredError(name="root")])
    assert len(model.train_on_batch(x, y)) == 3
    assert sorted(model.train_on_batch(x, y, return_dict=True)) == ["loss", "mae", "root"]
    loss, mae, root = model.test_on_batch(x, y)
    assert model.metrics_names == ["loss", "mae", "root"]
    assert root == pytest.approx(math.sqrt(loss), rel=1e-5) and mae < root
    assert model.test_on_batch(x, y) == [loss, mae, root]


def test_predict_gives_arrays():
    x, _ = toy(50)
    model = small()
    y = model.predict(x)
    assert type(y) is np.ndarray and y.shape == (50, 2) and y.flags.writeable
    assert y.tobytes() == model.predict(x, batch_size=7).tobytes()
    assert model.predict(x[:0]).shape == (0, 2)
    assert model.predict_on_batch(x[:3]).tobytes() == y[:3].tobytes()
    kept = y.copy()
    model.predict(x + 1)
    np.testing.assert_array_equal(y, kept)


# ---- determinism


def noisy():
    fastnn.random.set_seed(11)
    model = Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads():
    before = fastnn.num_threads()
    found = []
    try:
        for threads in (1, 1, 2, 3):
            fastnn.set_num_threads(threads)
            model = noisy()
            history = model.fit(IMAGES[:200], Y[:200], epochs=2, verbose=0)
            found.append((model.get_weights(), history.history))
    finally:
        fastnn.set_num_threads(before)
    for weights, history in found[1:]:
        assert same(weights, found[0][0])
        assert history == found[0][1]


def test_epochs_are_shuffled_differently_and_from_the_seed():
    seen = []

    class Spy(layers.Layer):
        def call(self, x):
            if not x.is_placeholder:
                seen.append(np.asarray(x)[:, 0].tolist())
            return x

    x = np.arange(6.0)[:, None]
    model = Sequential([Spy(), layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)  # a spy sees nothing of a compiled step
    model.fit(x, x, batch_size=4, epochs=2, verbose=0)
    model.fit(x, x, batch_size=4, shuffle=False, verbose=0)
    first, second, third = (seen[i] + seen[i + 1] for i in (0, 2, 4))
    assert sorted(first) == sorted(second) == third == x[:, 0].tolist()
    assert first != second


# ---- data


@pytest.mark.parametrize(
    "kind", ["list", "fortran", "read-only", "float64", "int", "pandas-like", "strided"]
)
def test_any_kind_of_x_trains_the_same(kind):
    x = np.arange(40).reshape(10, 4) % 7
    y = x.sum(1, keepdims=True) * np.ones(2)

    class Frame:
        def __array__(self, dtype=None, copy=None):
            return np.array(x, dtype=dtype)

        def __iter__(self):
            raise AssertionError("iterated")

    frozen = x.astype("float32")
    frozen.flags.writeable = False
    wide = np.zeros((10, 8))
    wide[:, ::2] = x
    given = {
        "list": x.tolist(),
        "fortran": np.asfortranarray(x.astype("float32")),
        "read-only": frozen,
        "float64": x.astype("float64"),
        "int": x,
        "pandas-like": Frame(),
        "strided": wide[:, ::2],
    }[kind]
    found = []
    for source in (x.astype("float32"), given):
        model = compiled(fastnn.optimizers.SGD(0.001))
        model.fit(source, y, epochs=2, batch_size=4, verbose=0)
        found.append(model.get_weights())
    assert same(*found)


def test_a_generator_trains_as_its_batches():
    x, y = toy(40)

    def endless():
        while True:
            for i in range(0, 40, 8):
                yield x[i : i + 8], y[i : i + 8]

    class Loader:
        def __init__(self, *more):
            self.more = more

        def __iter__(self):
            return ((a, b, *self.more) for a, b in zip(np.split(x, 5), np.split(y, 5), strict=True))

    plain = compiled()
    plain.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for source, steps in ((endless(), 5), (Loader(), None), (Loader(np.ones(8)), None)):
        model = compiled()
        history = model.fit(source, steps_per_epoch=steps, epochs=3, verbose=0)
        assert same(model.get_weights(), plain.get_weights())
        assert len(history.epoch) == 3
    assert model.predict(batch for batch in np.split(x, 5)).shape == (40, 2)
    assert model.evaluate(Loader(), verbose=0) == model.evaluate(x, y, batch_size=8, verbose=0)


def test_steps_per_epoch_goes_on_where_the_epoch_before_stopped():
    x, y = toy(40)
    model = compiled()
    history = model.fit(x, y, batch_size=8, epochs=4, steps_per_epoch=3, verbose=0)
    assert int(model.optimizer.iterations) == 12 and len(history.epoch) == 4


def test_a_generator_that_runs_dry_warns():
    x, y = toy(16)
    with pytest.warns(RuntimeWarning, match="ran out of data after 2 of 5 steps"):
        compiled().fit(((x[:8], y[:8]) for _ in range(2)), steps_per_epoch=5, verbose=0)


def test_a_last_axis_of_one_may_be_left_out():
    model = Sequential(
        [layers.Conv2D(2, 3, input_shape=(8, 8, 1)), layers.Flatten(), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    model.fit(IMAGES[:8, :, :, 0], Y[:8], verbose=0)
    model = Sequential([layers.Dense(1, input_shape=(1,))])
    assert model.predict(np.arange(5.0)).shape == (5, 1)


# ---- freezing, constraints, added losses


def test_frozen_weights_stay_bit_identical():
    x, y = toy()
    model = Sequential(
        [layers.Dense(8, "relu", input_shape=(4,)), layers.BatchNormalization(), layers.Dense(2)]
    )
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    first, norm, last = model.layers
    first.trainable = norm.trainable = False
    frozen, head = first.get_weights() + norm.get_weights(), last.get_weights()
    model.fit(x, y, epochs=2, verbose=0)
    assert same(frozen, first.get_weights() + norm.get_weights())
    assert not same(head, last.get_weights())
    first.trainable = True
    model.fit(x, y, verbose=0)
    assert not same(frozen[:2], first.get_weights())
    model.trainable = False
    everything = model.get_weights()
    model.fit(x, y, verbose=0)
    assert same(everything, model.get_weights())


def test_constraints_hold_after_each_step():
    x, y = toy()
    model = Sequential(
        [
            layers.Dense(
                2, kernel_constraint="non_neg", bias_constraint=fastnn.constraints.MaxNorm(0.1)
            )
        ]
    )
    model.compile(fastnn.optimizers.SGD(0.5), "mse")
    model.fit(x, y, epochs=2, verbose=0)
    kernel, bias = model.get_weights()
    assert (kernel >= 0).all()
    assert np.linalg.norm(bias) <= 0.1 * (1 + 1e-6)


def test_losses_added_in_call_are_trained_on_and_reported():
    class Pull(layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight((), "ones", name="w")

        def call(self, x):
            self.add_loss(self.w * self.w)
            return x

    model = Sequential([Pull()], dtype="float64")
    model.compile(fastnn.optimizers.SGD(0.1), "mse")
    x = np.zeros((4, 2))
    assert model.train_on_batch(x, x) == 1.0
    assert model.get_weights()[0] == pytest.approx(0.8)
    assert model.evaluate(x, x, verbose=0) == pytest.approx(0.64)


def test_the_bias_before_a_batch_normalization_gets_no_gradient():
    x, y = toy()
    model = Sequential(
        [layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)], dtype="float64"
    )
    model.compile(fastnn.optimizers.SGD(0.1), "mse")
    model.train_on_batch(x, y)
    assert np.abs(model.get_weights()[1]).max() < 1e-15


# ---- printing


def test_verbose_one_prints_keras_lines(capsys):
    x, y = toy(50)
    model = compiled(metrics=["mae"])
    model.fit(x, y, epochs=2, validation_split=0.2)
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[0] == "Epoch 1/2" and lines[2] == "Epoch 2/2" and len(lines) == 4
    number = r"\d+\.\d{4}(e[-+]\d+)?"
    names = "".join(f" - {name}: {number}" for name in ("loss", "mae", "val_loss", "val_mae"))
    pattern = rf"2/2 \S{{20}} \d+s \d+(us|ms|s)/step{names}"
    assert re.fullmatch(pattern, lines[1]) and re.fullmatch(pattern, lines[3])


def test_verbose_two_and_zero(capsys):
    x, y = toy(50)
    model = compiled()
    model.fit(x, y, verbose=2)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "Epoch 1/1"
    assert re.fullmatch(r"2/2 - \d+s - \d+(us|ms|s)/step - loss: \S+", second)
    model.fit(x, y, verbose=0)
    model.predict(x)
    assert capsys.readouterr().out == ""
    model.evaluate(x, y)
    assert re.fullmatch(r"2/2 \S{20} \d+s \d+(us|ms|s)/step - loss: \S+\n", capsys.readouterr().out)


def test_the_bar_is_ascii_where_it_must_be(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", stream)
    compiled().fit(*toy(), epochs=1)
    stream.flush()
    assert b"2/2 ==================== " in stream.buffer.getvalue()


def test_a_terminal_gets_a_live_bar_on_stderr(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    err = Terminal()
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setattr("fastnn.training.progress._INTERVAL", 0.0)
    monkeypatch.setattr("fastnn.training.trainer._STRETCH", 0.0)
    compiled().fit(*toy(), batch_size=10)
    assert "\r\x1b[K1/5 " in err.getvalue() and "loss: " in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")


# ---- callbacks


def test_hooks_come_in_order():
    calls = []

    class Order(callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append("train begin")

        def on_epoch_begin(self, epoch, logs=None):
            calls.append(f"epoch {epoch} begin")

        def on_train_batch_end(self, batch, logs=None):
            calls.append(f"batch {batch} {sorted(logs)}")

        def on_batch_begin(self, batch, logs=None):
            calls.append(f"batch {batch} begin")

        def on_test_begin(self, logs=None):
            calls.append("test begin")

        def on_test_batch_end(self, batch, logs=None):
            calls.append(f"test batch {batch}")

        def on_epoch_end(self, epoch, logs=None):
            calls.append(f"epoch {epoch} {sorted(logs)}")

        def on_train_end(self, logs=None):
            calls.append(f"train end {sorted(logs)}")

    x, y = toy(40)
    model = compiled()
    model.fit(x, y, verbose=0, callbacks=[Order()], validation_data=(x[:8], y[:8]))
    assert calls == [
        "train begin",
        "epoch 0 begin",
        "batch 0 begin",
        "batch 0 ['loss']",
        "batch 1 begin",
        "batch 1 ['loss']",
        "test begin",
        "test batch 0",
        "epoch 0 ['loss', 'val_loss']",
        "train end ['loss', 'val_loss']",
    ]


def test_the_model_is_usable_inside_callbacks():
    x, y = toy(40)
    found = []

    def look(batch, logs):
        found.append(
            (model.predict(x).shape, model.evaluate(x, y, verbose=0), len(model.get_weights()))
        )

    model = compiled()
    watched = model.fit(
        x, y, verbose=0, callbacks=[callbacks.LambdaCallback(on_train_batch_end=look)]
    )
    plain = compiled().fit(x, y, verbose=0)
    assert len(found) == 2 and found[0][0] == (40, 2)
    assert watched.history == plain.history


class Scripted(callbacks.Callback):
    """Puts given numbers into the logs, one per epoch."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.values[epoch]


def test_early_stopping_goes_back_to_the_best_weights():
    x, y = toy()
    model = compiled()
    weights = {}
    keep = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.update({epoch: model.get_weights()})
    )
    stop = callbacks.EarlyStopping(patience=2)
    assert stop.restore_best_weights
    history = model.fit(
        x, y, epochs=9, verbose=0, callbacks=[Scripted([3, 1, 2, 2, 2, 2, 2, 2, 2]), keep, stop]
    )
    assert history.epoch == [0, 1, 2, 3] and stop.stopped_epoch == 3 and stop.best_epoch == 1
    assert same(model.get_weights(), weights[1])
    # Also when the training ends by itself, and with the object used again.
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[Scripted([3, 1, 2]), keep, stop])
    assert history.epoch == [0, 1, 2]
    assert same(model.get_weights(), weights[1])
    stop = callbacks.EarlyStopping(patience=1, restore_best_weights=False)
    model.fit(x, y, epochs=3, verbose=0, callbacks=[Scripted([1, 2, 3]), keep, stop])
    assert same(model.get_weights(), weights[1])


def test_early_stopping_modes_and_missing_numbers():
    assert callbacks.EarlyStopping("val_accuracy").is_better(0.9, 0.8)
    assert callbacks.EarlyStopping("val_loss", min_delta=0.1).is_better(0.7, 0.9)
    assert not callbacks.EarlyStopping("val_loss", min_delta=0.1).is_better(0.85, 0.9)
    assert not callbacks.EarlyStopping("val_loss").is_better(math.nan, 0.9)
    with pytest.raises(ValueError, match="EarlyStopping: mode"):
        callbacks.EarlyStopping(mode="best")
    with pytest.warns(RuntimeWarning, match="'val_loss' is not among loss"):
        compiled().fit(*toy(), verbose=0, callbacks=[callbacks.EarlyStopping()])


def test_learning_rate_scheduler():
    seen = []
    model = compiled(fastnn.optimizers.SGD(0.2))
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: 0.2 / (1 + 1 * (epoch + 1)))
    watch = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(model.optimizer.learning_rate)
    )
    history = model.fit(*toy(), epochs=4, verbose=0, callbacks=[schedule, watch])
    assert seen == pytest.approx([0.1, 0.2 / 3, 0.05, 0.04])
    assert history.epoch == [0, 1, 2, 3]


def test_reduce_on_plateau():
    model = compiled(fastnn.optimizers.SGD(1e-3))
    seen = []
    watch = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(model.optimizer.learning_rate)
    )
    plateau = callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=4e-4)
    model.fit(*toy(), epochs=7, verbose=0, callbacks=[Scripted([1.0] * 7), plateau, watch])
    assert seen == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 4e-4, 4e-4, 4e-4])
    with pytest.raises(ValueError, match="factor"):
        callbacks.ReduceLROnPlateau(factor=1.0)


def test_terminate_on_nan(capsys):
    x, y = toy()
    model = compiled(fastnn.optimizers.SGD(1e30))
    history = model.fit(
        x, y, epochs=50, batch_size=10, verbose=0, callbacks=[callbacks.TerminateOnNaN()]
    )
    assert len(history.epoch) < 50 and "terminating" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="TerminateOnNaN"):
        model.fit(x, y, verbose=0, callbacks=[callbacks.TerminateOnNaN(raise_error=True)])


class Reciprocal(layers.Layer):
    """Infinite where an input is zero."""

    def call(self, x):
        return 1.0 / (x * x)


def fragile():
    fastnn.random.set_seed(5)
    model = Sequential(
        [
            layers.Input((4,)),
            Reciprocal(name="reciprocal"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(2),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    return model


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(v).tobytes() for v in variables]


def ways_to_fit():
    def batches(x, y):
        return ((x[i : i + 10], y[i : i + 10]) for i in range(0, len(x), 10))

    yield "arrays", lambda model, x, y, **o: model.fit(x, y, 10, shuffle=False, **o)
    yield "generator", lambda model, x, y, **o: model.fit(batches(x, y), **o)
    hook = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    yield (
        "hooks",
        lambda model, x, y, **o: model.fit(x, y, 10, shuffle=False, callbacks=[hook], **o),
    )


WAYS = dict(ways_to_fit())


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [0, 25, 52])  # the last in the short last batch
def test_a_step_whose_loss_is_not_finite_is_refused_and_named(way, run_eagerly, at):
    x, y = toy(57)
    x = np.abs(x) + 1
    expected = fragile()
    for i in range(0, at // 10 * 10, 10):
        expected.train_on_batch(x[i : i + 10], y[i : i + 10])
    x[at, 1] = 0
    message = (
        rf"epoch 1, step {at // 10 + 1}: .* divide in layer 'reciprocal', inf at \[{at % 10}, 1\]"
    )
    for on_nan in ("raise", "stop"):
        model = fragile()
        model.run_eagerly = run_eagerly
        if on_nan == "raise":
            with pytest.raises(FloatingPointError, match=message):
                WAYS[way](model, x, y, verbose=0)
        else:
            with pytest.warns(RuntimeWarning, match=message):
                history = WAYS[way](model, x, y, epochs=3, verbose=0, on_nan="stop")
            assert history.epoch == [0] and model.stop_training
            assert math.isfinite(history.history["loss"][0]) == (at >= 10)
        assert state(model) == state(expected)
    again, fresh = fragile(), fragile()
    x[at, 1] = 1
    for net in (again, fresh):
        if net is again:
            with pytest.raises(FloatingPointError):
                net.fit(np.zeros_like(x), y, shuffle=False, verbose=0)
        WAYS[way](net, x, y, verbose=0)
    assert state(again) == state(fresh)


def test_on_nan_ignore_goes_on():
    x, y = toy(57)
    model = fragile()
    x[25] = 0
    history = model.fit(x, y, epochs=2, verbose=0, on_nan="ignore")
    assert history.epoch == [0, 1] and not math.isfinite(history.history["loss"][1])
    with pytest.raises(FloatingPointError, match=r"gamma|kernel|moving"):
        model.fit(np.abs(x) + 1, y, verbose=0)
    with pytest.raises(
        ValueError, match="on_nan: expected 'raise', 'stop' or 'ignore', got 'warn'"
    ):
        model.fit(x, y, on_nan="warn")


def test_only_fit_refuses_what_is_not_finite():
    x, y = toy(20)
    model = fragile()
    with pytest.raises(FloatingPointError):
        model.fit(x * 0, y, verbose=0)
    assert not math.isfinite(model.train_on_batch(x * 0, y)[0])
    assert not math.isfinite(model.evaluate(x * 0, y, verbose=0)[0])


@pytest.mark.parametrize("where", ["x", "y", "sample"])
def test_data_that_are_not_finite_are_named(where):
    x, y = toy(20)
    (y if where == "y" else x)[7, 1] = np.nan
    data = (x, y)
    if where == "sample":  # as only the batch knows
        data = (((x[i : i + 5], y[i : i + 5]) for i in range(0, 20, 5)), None)
    row = 2 if where == "sample" else 7
    with pytest.raises(
        FloatingPointError, match=rf"{where[0] if where == 'y' else 'x'} has nan at \[{row}, 1\]"
    ):
        compiled().fit(*data, shuffle=False, verbose=0)


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    model = compiled(metrics=["mae"])
    history = model.fit(*toy(), epochs=2, verbose=0, callbacks=[callbacks.CSVLogger(path)])
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert rows[0] == ["epoch", "loss", "mae"]
    assert [float(row[1]) for row in rows[1:]] == history.history["loss"]
    model.fit(
        *toy(),
        epochs=3,
        initial_epoch=2,
        verbose=0,
        callbacks=[callbacks.CSVLogger(path, append=True)],
    )
    assert len(path.read_text().splitlines()) == 4


def test_stop_training():
    model = compiled()

    def stop(batch, logs):
        model.stop_training = True

    history = model.fit(
        *toy(),
        epochs=5,
        batch_size=5,
        verbose=0,
        callbacks=[callbacks.LambdaCallback(on_train_batch_end=stop)],
    )
    assert int(model.optimizer.iterations) == 1 and history.epoch == [0]


# ---- interruptions and errors


def test_ctrl_c_leaves_the_last_finished_step():
    x, y = toy(40)
    model, twin = compiled("adam"), compiled("adam")

    def interrupt(batch, logs):
        if batch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        model.fit(
            x,
            y,
            batch_size=8,
            shuffle=False,
            verbose=0,
            callbacks=[callbacks.LambdaCallback(on_train_batch_end=interrupt)],
        )
    twin.fit(x[:24], y[:24], batch_size=8, shuffle=False, verbose=0)
    assert same(model.get_weights(), twin.get_weights())
    for m in (model, twin):
        m.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert same(model.get_weights(), twin.get_weights())


@pytest.mark.parametrize("where", ["forward", "commit"])
def test_ctrl_c_inside_a_step_commits_it_whole_or_not_at_all(where):
    x, y = toy(8)

    class Interrupted(fastnn.optimizers.SGD):
        def apply(self, gradients, variables=None):
            if where == "commit" and int(self.iterations) == 1:
                signal.raise_signal(signal.SIGINT)
            super().apply(gradients, variables)

    class Interrupts(layers.Layer):
        armed = False

        def call(self, x):
            if self.armed:
                signal.raise_signal(signal.SIGINT)
            return x

    def make(optimizer):
        fastnn.random.set_seed(0)
        model = Sequential(
            [layers.Dense(3), layers.BatchNormalization(), layers.Dense(2), Interrupts()]
        )
        model.compile(
            optimizer, "mse", run_eagerly=True
        )  # a compiled step is one call that no signal enters
        return model

    model, twin = make(Interrupted(0.1)), make(fastnn.optimizers.SGD(0.1))
    model.train_on_batch(x, y)
    twin.train_on_batch(x, y)
    model.layers[-1].armed = where == "forward"
    with pytest.raises(KeyboardInterrupt):
        model.train_on_batch(x, y)
    if where == "commit":
        twin.train_on_batch(x, y)
    assert same(model.get_weights(), twin.get_weights())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Alarm(Exception):
    """What the handler of a signal raises."""


def test_a_signal_ends_a_long_compiled_step_between_its_nodes():
    x = layers.Input((700,))
    layer, y = layers.Dense(700, "tanh"), x
    for _ in range(40):
        y = layer(y)
    model = fastnn.Model(x, y)
    model.compile("sgd", "mse")
    data = np.zeros((256, 700), np.float32)
    for _ in range(2):
        start = time.perf_counter()
        model.train_on_batch(data, data)
        whole = time.perf_counter() - start
    before = model.get_weights()

    def ring(number, frame):
        raise Alarm

    handler = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, whole / 4)
        start = time.perf_counter()
        with pytest.raises(Alarm):
            model.train_on_batch(data, data)
        assert time.perf_counter() - start < 0.8 * whole + 0.03
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert same(before, model.get_weights())
    model.train_on_batch(data, data)


def test_another_thread_may_not_train():
    x, y = toy(40)
    model = compiled()
    errors = []

    def intrude():
        for attempt in (
            lambda: model.fit(x, y, verbose=0),
            lambda: model.train_on_batch(x, y),
            lambda: model.set_weights(model.get_weights()),
        ):
            try:
                attempt()
            except RuntimeError as error:
                errors.append(str(error))
        model.predict(x)

    def during(batch, logs):
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    model.fit(
        x,
        y,
        batch_size=40,
        verbose=0,
        callbacks=[callbacks.LambdaCallback(on_train_batch_end=during)],
    )
    assert len(errors) == 3 and all("already training in another thread" in e for e in errors)


@pytest.mark.parametrize("where", ["callback", "generator", "arity", "shape", "label"])
def test_an_error_in_mid_training_leaves_the_step_before(where):
    x, _ = toy(40)
    y = np.arange(40) % 2

    def make():
        model = small()
        model.compile("adam", fastnn.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    def batches():
        for i in range(3):
            yield x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8]
        if where == "generator":
            raise OSError("disk")
        if where == "arity":
            yield x, y, y, y
        if where == "shape":
            yield x[:, :3], y
        if where == "label":
            yield x[:8], np.full(8, 2)
        yield x[:8], y[:8]

    def fail(batch, logs):
        if where == "callback" and batch == 3:
            raise OSError("disk")

    model, twin = make(), make()
    kind = OSError if where in ("callback", "generator") else ValueError
    with pytest.raises(kind) as error:
        model.fit(
            batches(), verbose=0, callbacks=[callbacks.LambdaCallback(on_train_batch_begin=fail)]
        )
    assert any("epoch 1, step 4" in note for note in error.value.__notes__)
    twin.fit(x[:24], y[:24], batch_size=8, shuffle=False, verbose=0)
    assert same(model.get_weights(), twin.get_weights())
    model.fit(x, y, verbose=0)


X4, Y4 = toy(20)
LABELS = np.arange(20) % 3
BAD_DATA = {
    "ragged lists": (lambda m: m.fit([[1, 2], [3]], [1, 2]), TypeError, "x: .*ragged"),
    "objects": (lambda m: m.fit(np.array([object()] * 20), Y4), TypeError, "x: .*object"),
    "complex": (lambda m: m.fit(X4.astype("complex64"), Y4), TypeError, r"x: complex64 is not supported; use x\.real"),
    "strings": (lambda m: m.fit(np.full((20, 4), "a"), Y4), TypeError, "x: expected an array of numbers, got .*<U1"),
    "dates": (lambda m: m.fit(np.zeros((20, 4), "M8[s]"), Y4), TypeError, "x: .*datetime64"),
    "records": (lambda m: m.fit(np.zeros(20, "f4,f4"), Y4), TypeError, "x: expected an array of numbers"),
    "a number": (lambda m: m.fit(3.0, Y4), ValueError, "x: expected an array of samples"),
    "width": (lambda m: m.fit(X4[:, :3], Y4), ValueError, r"x: expected shape \(N, 4\), got \(20, 3\)"),
    "one sample": (lambda m: m.predict(X4[0]), ValueError, r"x: expected shape \(N, 4\), got \(4,\); one sample"),
    "short y": (lambda m: m.fit(X4, Y4[:19]), ValueError, "x has 20 samples, y has 19"),
    "long y": (lambda m: m.fit(X4[:19], Y4), ValueError, "x has 19 samples, y has 20"),
    "short weights": (lambda m: m.fit(X4, Y4, sample_weight=np.ones(3)), ValueError, "sample_weight has 3"),
    "NaN weights": (lambda m: m.fit(X4, Y4, sample_weight=np.full(20, np.nan)), ValueError, "sample_weight: .*finite"),
    "both weights": (
        lambda m: m.fit(X4, Y4, sample_weight=np.ones(20), class_weight={0: 1}), ValueError, "only one of"),
    "no samples": (lambda m: m.fit(X4[:0], Y4[:0]), ValueError, "x: .*0 samples"),
    "no samples to evaluate": (lambda m: m.evaluate(X4[:0], Y4[:0]), ValueError, "x: .*0 samples"),
    "no samples in a batch": (lambda m: m.train_on_batch(X4[:0], Y4[:0]), ValueError, "x: .*0 samples"),
    "no y": (lambda m: m.fit(X4), ValueError, "y: expected targets"),
    "shape of y": (lambda m: m.fit(X4, np.ones((20, 3))), ValueError, "y"),
    "y of one column": (lambda m: m.fit(X4, np.ones(20)), ValueError, "y"),
    "batch size 0": (lambda m: m.fit(X4, Y4, batch_size=0), ValueError, "batch_size: expected a positive int, got 0"),
    "batch size -1": (lambda m: m.fit(X4, Y4, batch_size=-1), ValueError, "batch_size: expected a positive int"),
    "batch size 2.5": (lambda m: m.fit(X4, Y4, batch_size=2.5), TypeError, "batch_size: expected a positive int"),
    "batch size True": (lambda m: m.fit(X4, Y4, batch_size=True), TypeError, "batch_size: expected a positive int"),
    "batch size 2**63": (lambda m: m.fit(X4, Y4, batch_size=2**63), ValueError, "batch_size: expected a positive int"),
    "epochs -1": (lambda m: m.fit(X4, Y4, epochs=-1), ValueError, "epochs: expected an int >= 0, got -1"),
    "epochs 1.5": (lambda m: m.fit(X4, Y4, epochs=1.5), TypeError, "epochs"),
    "verbose": (lambda m: m.fit(X4, Y4, verbose=3), ValueError, "verbose"),
    "validation_split": (lambda m: m.fit(X4, Y4, validation_split=1.0), ValueError, "validation_split"),
    "validation_data": (lambda m: m.fit(X4, Y4, validation_data=(X4,)), ValueError, "validation_data"),
    "validation width": (lambda m: m.fit(X4, Y4, validation_data=(X4[:, :3], Y4)), ValueError, r"\(N, 4\)"),
    "callbacks": (lambda m: m.fit(X4, Y4, callbacks=[print]), TypeError, "callbacks: expected Callback objects"),
    "class_weight": (lambda m: m.fit(X4, Y4, class_weight=[1, 2]), TypeError, "class_weight"),
    "learning rate": (lambda m: setattr(m.optimizer, "learning_rate", -1.0), ValueError, "learning_rate"),
    "optimizer": (lambda m: m.compile("adamm", "mse"), ValueError, "optimizer"),
    "loss": (lambda m: m.compile("adam", "msee"), ValueError, "loss"),
    "weights": (lambda m: m.set_weights([]), ValueError, "set_weights: expected 4 arrays, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_change_nothing(name):
    do, kind, message = BAD_DATA[name]
    model = compiled("adam")
    model.fit(X4, Y4, verbose=0)
    before = model.get_weights()
    with pytest.raises(kind, match=message):
        do(model)
    assert same(before, model.get_weights())
    assert int(model.optimizer.iterations) == 1
    assert isinstance(model.fit(X4, Y4, verbose=0), callbacks.History)


@pytest.mark.parametrize("labels, message", [
    (np.where(np.arange(20) == 5, 10, LABELS), "10"),
    (np.where(np.arange(20) == 5, -1, LABELS), "-1"),
    (np.where(np.arange(20) == 5, 0.5, LABELS), "0.5|integer"),
])  # fmt: skip
def test_bad_labels_change_nothing(labels, message):
    model = small(3)
    model.compile("adam", fastnn.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X4, LABELS, verbose=0)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(X4, labels, batch_size=2, shuffle=False, verbose=0)
    assert same(before, model.get_weights())


def test_images_with_channels_first_get_a_hint():
    model = Sequential(
        [layers.Conv2D(2, 3, input_shape=(32, 24, 3)), layers.Flatten(), layers.Dense(1)]
    )
    with pytest.raises(ValueError, match=r"channels_first.*x\.transpose\(0, 2, 3, 1\)"):
        model.predict(np.zeros((2, 3, 32, 24)))


@pytest.mark.parametrize("name", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_compile_comes_first(name):
    with pytest.raises(RuntimeError, match=rf"{name}: model .* call compile"):
        getattr(small(), name)(X4, Y4)


def test_arguments_without_effect_warn():
    with pytest.warns(UserWarning, match="steps_per_execution=7 has no effect"):
        small().compile(steps_per_execution=7)
    small().compile()


def test_a_dropped_model_is_freed():
    model = noisy()
    model.fit(IMAGES[:32], Y[:32], verbose=0)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


class Scaled(fastnn.Sequential):
    """Halves its gradients between computing and committing."""

    def gradients_ready(self, flat):
        self.seen = flat.shape
        return 0.5 * flat


@pytest.mark.parametrize("eager", [False, True])
def test_gradients_pass_one_point_before_anything_is_written(eager):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 3)).astype("float32"), rng.standard_normal((16, 1))
    found = []
    for make, rate in ((Scaled, 0.5), (fastnn.Sequential, 0.25)):
        fastnn.random.set_seed(0)
        model = make([layers.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
        model.compile(fastnn.optimizers.SGD(rate), "mse", run_eagerly=eager)
        model.fit(x, y, epochs=2, verbose=0)
        found.append(model.get_weights())
        if make is Scaled:
            assert model.seen == (3 * 4 + 4 + 4 + 1,)
    for scaled, slower in zip(*found, strict=True):
        np.testing.assert_array_equal(scaled, slower)


def test_gradients_ready_gives_back_what_it_got_in_another_size():
    class Shorter(fastnn.Sequential):
        def gradients_ready(self, flat):
            return flat[1:]

    model = Shorter([layers.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"gradients_ready: expected .* shape \(4,\)"):
        model.fit(np.ones((4, 3)), np.ones(4), verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_programs_of_a_model_share_the_largest_arena():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)).astype("float32"), rng.standard_normal((40, 1))
    models = []
    for _ in range(2):
        fastnn.random.set_seed(0)
        model = fastnn.Sequential([layers.Input((3,)), layers.Dense(64, "tanh"), layers.Dense(1)])
        model.compile("adam", "mse")
        models.append(model)
    shared, alone = models
    for _ in range(
        3
    ):  # in turn, at growing and shrinking sizes, the programs run on each other's memory
        for rows in (8, 40, 3):
            losses = [m.train_on_batch(x[:rows], y[:rows]) for m in models]
            assert losses[0] == losses[1]
            shared.predict(x[:rows], verbose=0)
            shared.evaluate(x[:rows], y[:rows], verbose=0)
    for a, b in zip(shared.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
