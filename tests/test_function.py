"""@fastnn.function, run_eagerly, and what makes a recorded step be recorded anew."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, Tensor, Variable, layers, ops


@pytest.fixture
def eager():
    fastnn.config.run_eagerly(True)
    yield
    fastnn.config.run_eagerly(False)


def descent():
    w = Variable(0.0)
    optimizer = fastnn.optimizers.SGD(0.01)
    traces = []

    @fastnn.function
    def step(coefficients):
        traces.append(1)
        with GradientTape() as tape:
            a, b, c = coefficients[0, 0], coefficients[1, 0], coefficients[2, 0]
            cost = a * w * w + b * w + c
            optimizer.apply_gradients(zip(tape.gradient(cost, [w]), [w], strict=True))
        return cost

    return w, optimizer, step, traces


def test_the_lessons_parabola_with_coefficients_as_data():
    w, _, step, traces = descent()
    coefficients = np.array([[1.0], [-20.0], [100.0]], np.float32)
    for _ in range(1001):
        step(coefficients)
    assert float(w) == pytest.approx(9.99998, abs=2e-5)
    assert len(traces) == 1


def test_eager_and_recorded_give_the_same_bits():
    found = []
    for run_eagerly in (True, False):
        fastnn.config.run_eagerly(run_eagerly)
        try:
            w, _, step, _ = descent()
            costs = [
                float(step(np.array([[1.0], [-20.0], [100.0]], np.float32))) for _ in range(20)
            ]
            found.append((costs, float(w)))
        finally:
            fastnn.config.run_eagerly(False)
    assert found[0] == found[1]


def test_the_learning_rate_is_an_input():
    w, optimizer, step, traces = descent()
    coefficients = np.array([[0.0], [1.0], [0.0]], np.float32)
    step(coefficients)
    assert float(w) == pytest.approx(-0.01)
    optimizer.learning_rate = 1.0
    step(coefficients)
    assert float(w) == pytest.approx(-1.01)
    assert len(traces) == 1


def test_a_schedule_is_followed():
    w = Variable(0.0)
    optimizer = fastnn.optimizers.SGD(
        fastnn.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.25])
    )

    @fastnn.function
    def step():
        with GradientTape() as tape:
            cost = w * 1.0
        optimizer.apply(tape.gradient(cost, [w]), [w])

    eager, recorded = [], []
    for log in (eager, recorded):
        fastnn.config.run_eagerly(log is eager)
        w.assign(0.0)
        optimizer.iterations.assign(0)
        for _ in range(4):
            step()
            log.append(float(w))
    fastnn.config.run_eagerly(False)
    assert eager == recorded
    assert len(set(np.diff(eager))) == 2


def test_new_shapes_and_constants_are_recorded_once_each():
    traces = []

    @fastnn.function
    def scale(x, factor, *, shift=0.0):
        traces.append((x.shape, factor, shift))
        return {"y": x * factor + shift, "n": [x]}

    for _ in range(2):
        for rows, factor in ((2, 3.0), (4, 3.0), (2, 5.0)):
            x = np.ones((rows, 2), np.float32)
            result = scale(x, factor, shift=1.0)
            np.testing.assert_array_equal(np.asarray(result["y"]), factor + 1)
            np.testing.assert_array_equal(np.asarray(result["n"][0]), x)
    assert traces == [((2, 2), 3.0, 1.0), ((4, 2), 3.0, 1.0), ((2, 2), 5.0, 1.0)]


def test_python_happens_while_recording_only(capsys):
    log = []

    @fastnn.function
    def step(x):
        print("recording")
        log.append(x.is_placeholder)
        return x + len(log)

    for rows in (2, 2, 3, 2):
        assert float(np.asarray(step(np.zeros(rows, np.float32)))[0]) == (2 if rows == 3 else 1)
    assert capsys.readouterr().out == "recording\n" * 2
    assert log == [True, True]
    fastnn.config.run_eagerly(True)
    try:
        step(np.zeros(2, np.float32))
        step(np.zeros(2, np.float32))
    finally:
        fastnn.config.run_eagerly(False)
    assert log == [True, True, False, False]


def test_methods_and_layers():
    class Scorer:
        def __init__(self):
            self.dense = layers.Dense(1, kernel_initializer="ones")

        @fastnn.function
        def score(self, x):
            return self.dense(x)

    a, b = Scorer(), Scorer()
    x = np.ones((3, 2), np.float32)
    for scorer in (a, b, a):
        np.testing.assert_array_equal(np.asarray(scorer.score(x)), 2)
    b.dense.kernel.assign(np.zeros((2, 1)))
    np.testing.assert_array_equal(np.asarray(b.score(x)), 0)
    np.testing.assert_array_equal(np.asarray(a.score(x)), 2)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: ops.sum(x) > 0,
        lambda x: float(ops.sum(x)) > 0,
        lambda x: x.numpy()[0] > 0,
        lambda x: np.asarray(x)[0] > 0,
        lambda x: x[0].item() > 0,
        lambda x: int(x[0]) > 0,
        lambda x: range(3)[ops.argmax(x)] > 0,
        lambda x: max(x.tolist()) > 0,
    ],
)
def test_a_branch_on_data_says_so_and_names_the_way_out(read):
    @fastnn.function
    def branchy(x):
        return x if read(x) else -x

    with pytest.raises(RuntimeError, match="run_eagerly"):
        branchy(np.ones(2, np.float32))
    assert float(ops.sum(np.ones(2, np.float32))) == 2  # nothing records any more


def test_run_eagerly_allows_a_branch_on_data(eager):
    @fastnn.function
    def branchy(x):
        return x if float(ops.sum(x)) > 0 else -x

    np.testing.assert_array_equal(np.asarray(branchy(Tensor([-1.0, -2.0]))), [1, 2])


def test_an_error_while_recording_leaves_everything_as_it_was():
    w = Variable([1.0, 2.0])

    @fastnn.function
    def broken(x):
        w.assign_add(x)
        return ops.matmul(w, x, True, True)[5]

    for _ in range(2):
        with pytest.raises((ValueError, IndexError)):
            broken(np.ones(2, np.float32))
        np.testing.assert_array_equal(np.asarray(w), [1, 2])
    np.testing.assert_array_equal(np.asarray(ops.square(w)), [1, 4])


@pytest.mark.parametrize("eagerly", [True, False])
def test_a_gradient_after_an_assignment_is_refused(eagerly):
    w = Variable([2.0])

    def step(late):
        with GradientTape() as tape:
            y = w * w
        if late:
            w.assign(w + 1.0)
        gradient = tape.gradient(y, w)
        w.assign(w + 1.0)
        return gradient

    run = step if eagerly else fastnn.function(step)
    with pytest.raises(RuntimeError, match="overwritten"):
        run(True)
    w.assign([2.0])
    for value in (2.0, 3.0):
        assert float(run(False)) == 2 * value


def test_functions_inside_functions_are_part_of_them():
    @fastnn.function
    def inner(x):
        return x * 2.0

    @fastnn.function
    def outer(x):
        return inner(x) + inner(x)

    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(outer(np.ones(3, np.float32))), 4)


def test_arguments_that_cannot_be_told_apart_are_refused():
    @fastnn.function
    def f(x, option):
        return x

    with pytest.raises(TypeError, match="hashable"):
        f(np.ones(2, np.float32), {1, 2})


def make_model():
    fastnn.random.set_seed(0)
    model = fastnn.Sequential(
        [layers.Input((6,)), layers.Dense(5, "relu"), layers.Dropout(0.5), layers.Dense(2)]
    )
    model.compile(fastnn.optimizers.SGD(0.1), "mse")
    return model


X = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((8, 2)).astype(np.float32)


def change_rate(model):
    model.layers[1].rate = 0.0


def freeze_layer(model):
    model.layers[0].trainable = False


def freeze_variable(model):
    model.layers[0].kernel.trainable = False


def clip(model):
    model.optimizer.clipnorm = 1e-3


def shorten(model):
    model.pop()
    model.add(layers.Dense(2, kernel_initializer="ones"))


def recompile(model):
    model.compile(fastnn.optimizers.SGD(0.1), "mae")


@pytest.mark.parametrize(
    "change", [change_rate, freeze_layer, freeze_variable, clip, shorten, recompile]
)
def test_a_change_between_steps_is_noticed(change):
    found = []
    for run_eagerly in (True, False):
        model = make_model()
        model.run_eagerly = run_eagerly
        model.train_on_batch(X, Y)
        change(model)
        model.run_eagerly = run_eagerly
        for _ in range(2):
            loss = model.train_on_batch(X, Y)
        found.append([loss, *(w.tobytes() for w in model.get_weights())])
    assert found[0] == found[1]
    unchanged = make_model()
    for _ in range(3):
        unchanged.train_on_batch(X, Y)
    assert [w.tobytes() for w in unchanged.get_weights()] != found[0][1:]


def test_the_learning_rate_and_the_end_of_training_record_nothing_anew():
    model = make_model()
    model.train_on_batch(X, Y)
    run = model._train_program.run_for((X, Y, None))
    model.optimizer.learning_rate = 0.5
    model.stop_training = False
    model.train_on_batch(X, Y)
    assert model._train_program.run_for((X, Y, None)) is run


def test_row_counts_of_predict_that_come_once_are_not_compiled():
    model = make_model()
    for rows in range(1, 9):
        model.predict(X[:rows])
    assert not model._predict_program._programs
    model.predict(X[:3])
    assert len(model._predict_program._programs) == 1
