"""@fastnn.function, run_eagerly, and what makes a recorded step be recorded anew."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, Tensor, Variable, layers, ops
from fastnn.recorded import Recorded


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
        for _ in range(3):  # the third finds everything known
            model.train_on_batch(X, Y)
        change(model)
        model.run_eagerly = run_eagerly
        for _ in range(2):
            loss = model.train_on_batch(X, Y)
        found.append([loss, *(w.tobytes() for w in model.get_weights())])
    assert found[0] == found[1]
    unchanged = make_model()
    for _ in range(5):
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


def test_one_program_predicts_any_number_of_rows():
    model = make_model()
    many = np.random.default_rng(2).standard_normal((1000, 6)).astype(np.float32)
    counts = [*np.random.default_rng(3).integers(1, 1001, 200).tolist(), 1, 1000]
    for rows in counts:
        found = model.predict_on_batch(many[:rows])
        assert found.tobytes() == np.asarray(model(many[:rows])).tobytes()
        assert model.predict(many[:rows]).tobytes() == found.tobytes()
    assert len(model._predict_program) == 1


def test_a_program_grows_by_doubling():
    model = make_model()
    capacities = []
    for rows in (3, 1, 4, 5, 8, 9, 2):
        model.predict_on_batch(X.repeat(2, 0)[:rows])
        capacities.append(model._predict_program.run_for((X[:rows],)).program.capacity)
    assert capacities == [4, 4, 4, 8, 8, 16, 16]


def pairs(x):
    """Wants to know the number of rows, which must be even."""
    return ops.reshape(x, (x.shape[0] // 2, 2 * x.shape[1])) + 1.0


def fours(x):
    """Goes with four rows, or with one."""
    return x + np.arange(4, dtype=np.float32)[:, None]


@pytest.mark.parametrize("f, good, bad", [(pairs, (2, 4, 6), (3, 5)), (fours, (1, 4), (2, 3))])
def test_where_rows_matter_each_number_has_a_program_of_its_own(f, good, bad):
    recorded = Recorded(f, any_rows=True)
    for _ in range(3):
        for rows in good:
            expected = np.asarray(f(Tensor(X[:rows]))).tobytes()
            assert np.asarray(recorded(X[:rows])).tobytes() == expected
        for rows in bad:
            with pytest.raises(ValueError):
                recorded(X[:rows])


def test_row_counts_that_come_once_are_not_compiled_where_each_needs_its_own():
    recorded = Recorded(pairs, any_rows=True)
    for rows in (2, 4, 6):
        recorded(Tensor(X[:rows]))
    assert len(recorded) == 0
    recorded(Tensor(X[:4]))
    assert len(recorded) == 1


@pytest.mark.parametrize(
    "x, y",
    [
        (X.astype(np.float64), Y.astype(np.float64)),
        (X.astype(np.float64)[:, ::-1].copy(), Y),
        (X.tolist(), Y.tolist()),
        (np.asfortranarray(X), Y),
        (X.astype(int), Y.astype(int)),
        (X.astype(">f4"), Y.astype("f2")),
        (Tensor(X), Tensor(Y)),
    ],
)
def test_batches_of_any_kind_train_alike_when_they_are_known(x, y):
    found = []
    for run_eagerly in (True, False):
        model = make_model()
        model.run_eagerly = run_eagerly
        logs = [model.train_on_batch(x, y) for _ in range(4)]
        logs += [model.test_on_batch(x, y) for _ in range(3)]
        logs += [np.asarray(model.predict(x)).tobytes() for _ in range(3)]
        found.append([logs, *(w.tobytes() for w in model.get_weights())])
    assert found[0] == found[1]


def test_large_batches_train_alike_when_they_are_known():
    x = np.random.default_rng(0).standard_normal((3000, 6))
    found = []
    for run_eagerly in (True, False):
        model = make_model()
        model.run_eagerly = run_eagerly
        logs = [model.train_on_batch(x, x[:, :2]) for _ in range(4)]
        logs += [model.predict_on_batch(x).tobytes() for _ in range(3)]
        found.append(logs)
    assert found[0] == found[1]


def test_what_does_not_fit_is_refused_when_its_likes_are_known():
    model = make_model()
    model.pop()
    model.add(layers.Dense(3, "softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    for y in (labels, labels.astype(float)):
        for _ in range(3):
            model.train_on_batch(X, y)
        before = [w.tobytes() for w in model.get_weights()]
        for bad in (3, -1, 0.5) if y.dtype == float else (3, -1):
            wrong = np.where(np.arange(8) == 5, bad, y).astype(y.dtype)
            with pytest.raises(ValueError, match=r"^y: expected integer labels 0..2, got .* row 5"):
                model.train_on_batch(X, wrong)
        with pytest.raises(ValueError, match="x has 8 samples, y has 7"):
            model.train_on_batch(X, y[:7])
        with pytest.raises(ValueError, match=r"x: expected shape \(N, 6\)"):
            model.train_on_batch(X[:, :5], y)
        with pytest.raises(ValueError, match="finite"):
            model.train_on_batch(X, y, np.full(8, np.nan))
        assert [w.tobytes() for w in model.get_weights()] == before
        model.train_on_batch(X, y)
        assert [w.tobytes() for w in model.get_weights()] != before


def test_a_label_that_is_ignored_may_be_any_number():
    model = make_model()
    loss = fastnn.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    model.compile("sgd", loss)
    labels = np.array([0, 1, -1, 0, 1, -1, 0, 1])
    assert all(np.isfinite(model.train_on_batch(X, labels)) for _ in range(3))


def test_a_schedule_set_in_mid_training_is_followed_and_given_up_again():
    found = []
    for run_eagerly in (True, False):
        model = make_model()
        model.run_eagerly = run_eagerly
        rates = [0.1, fastnn.optimizers.schedules.PiecewiseConstantDecay([4], [1.0, 0.25]), 0.01]
        for rate in rates:
            model.optimizer.learning_rate = rate
            losses = [model.train_on_batch(X, Y) for _ in range(3)]
        found.append([losses, *(w.tobytes() for w in model.get_weights())])
    assert found[0] == found[1]


def test_a_model_that_its_optimizer_knows_is_freed():
    model = make_model()
    model.optimizer.learning_rate = fastnn.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    model.optimizer.owner = model
    for _ in range(3):
        model.train_on_batch(X, Y)
        model.predict(X)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_known_batches_from_several_threads():
    model = make_model()
    expected = [model.predict(X[:n]).tobytes() for n in range(1, 9)]
    wrong = []

    def ask():
        for i in range(300):
            n = i % 8 + 1
            if model.predict(X[:n]).tobytes() != expected[n - 1]:
                wrong.append(n)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
