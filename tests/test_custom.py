"""custom_gradient and py_function: eagerly, on a tape, and inside recorded steps."""

from __future__ import annotations

import ctypes
import gc
import threading
import traceback
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, Tensor, Variable, _core, layers, ops

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 4)).astype(np.float32)
Y = RNG.standard_normal((20, 2)).astype(np.float32)


def array(x):
    return np.asarray(x)


@fastnn.custom_gradient
def reverse(x):
    return x, lambda upstream: -upstream


@fastnn.custom_gradient
def log1pexp(x):
    e = ops.exp(x)
    return ops.log(1.0 + e), lambda upstream: upstream * (1 - 1 / (1 + e))


# ---- custom_gradient


def test_the_gradient_given_replaces_the_ops():
    x = Variable(np.array([100.0, 0.0]))
    with GradientTape() as tape:
        y = log1pexp(x)
    np.testing.assert_array_equal(array(tape.gradient(y, x)), [1, 0.5])


def test_a_function_that_returns_its_argument():
    x = Variable([1.0, 2.0])
    with GradientTape() as tape:
        y = reverse(x) * 3.0 + x
    np.testing.assert_array_equal(array(y), [4, 8])
    np.testing.assert_array_equal(array(tape.gradient(y, x)), [-2, -2])


def test_several_outputs():
    @fastnn.custom_gradient
    def parts(a, b):
        def grad_fn(*upstream):
            assert len(upstream) == 3
            assert upstream[2] is None
            return upstream[0] * 10.0, upstream[1] * 100.0

        return {"a": a, "rest": [b * 2.0, ops.argmax(a)]}, grad_fn

    a, b = Variable([1.0, 3.0]), Variable([[2.0]])
    with GradientTape(persistent=True) as tape:
        y = parts(a, b)
        both = ops.sum(y["a"]) + ops.sum(y["rest"][0] * y["rest"][0])
        one = y["a"] * 2.0
    assert int(y["rest"][1]) == 1
    da, db = tape.gradient(both, [a, b])
    np.testing.assert_array_equal(array(da), [10, 10])
    np.testing.assert_array_equal(array(db), [[800]])
    da, db = tape.gradient(one, [a, b])
    np.testing.assert_array_equal(array(da), [20, 20])
    np.testing.assert_array_equal(array(db), [[0]])


def test_variables_that_it_reads():
    w, frozen = Variable([2.0]), Variable([5.0], trainable=False)

    @fastnn.custom_gradient
    def scaled(x):
        def grad_fn(upstream, variables):
            assert [v.name for v in variables] == [w.name]
            return upstream * 7.0, [upstream * 11.0]

        return x * w * frozen, grad_fn

    x = Variable([3.0])
    with GradientTape() as tape:
        y = scaled(x)
    dx, dw = tape.gradient(y, [x, w])
    assert (float(y), float(dx), float(dw)) == (30, 7, 11)


def test_variables_among_the_arguments_are_arguments():
    @fastnn.custom_gradient
    def product(x, w):
        return x * w, lambda upstream: (upstream * w, upstream * x * 2.0)

    x, w = Variable([3.0]), Variable([2.0])
    with GradientTape() as tape:
        y = product(x, w)
    dx, dw = tape.gradient(y, [x, w])
    assert (float(dx), float(dw)) == (2, 6)


def test_arguments_of_every_kind():
    @fastnn.custom_gradient
    def mixed(pair, array_, scale, rows):
        assert isinstance(array_, Tensor)
        assert scale == 2.0
        y = (pair[0] + pair[1] + array_) * scale
        return y, lambda upstream: ([upstream, upstream * 2.0], upstream * 3.0, None, None)

    a, b = Variable([1.0]), Variable([1.0])
    with GradientTape() as tape:
        y = mixed((a, b), np.ones(1, np.float32), 2.0, np.array([1]))
    da, db = tape.gradient(y, [a, b])
    assert (float(y), float(da), float(db)) == (6, 1, 2)


def test_a_method():
    class Scaler:
        factor = 5.0

        @fastnn.custom_gradient
        def scale(self, x):
            return x * self.factor, lambda upstream: upstream * -self.factor

    x = Variable([1.0])
    with GradientTape() as tape:
        y = Scaler().scale(x)
    assert (float(y), float(tape.gradient(y, x))) == (5, -5)


def test_none_says_that_it_does_not_depend():
    @fastnn.custom_gradient
    def first(a, b):
        return a + b, lambda upstream: (upstream, None)

    a, b = Variable([1.0]), Variable([1.0])
    with GradientTape() as tape:
        y = first(a, b)
    da, db = tape.gradient(y, [a, b])
    assert float(da) == 1
    assert db is None


@pytest.mark.parametrize(
    ("gradients", "error", "words"),
    [
        (lambda g: (g, g), ValueError, "'broken': expected 1 gradients, one per argument, got 2"),
        (lambda g: (), ValueError, "'broken': expected 1 gradients, one per argument, got 0"),
        (
            lambda g: ops.sum(g),
            ValueError,
            r"'broken': expected the gradient of argument 1 in shape \(2,\), got \(\)",
        ),
        (
            lambda g: ops.cast(g, "float64"),
            TypeError,
            "'broken': expected the gradient of argument 1 in dtype float32, got float64",
        ),
        (lambda g: "no", TypeError, "'broken': gradient of argument 1: .*expected an array"),
        (lambda g: 1 / 0, ZeroDivisionError, "division"),
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_gradients_that_do_not_fit(gradients, error, words, recorded):
    @fastnn.custom_gradient
    def broken(x):
        return x * 2.0, gradients

    w = Variable([1.0, 2.0])

    def step():
        with GradientTape() as tape:
            y = broken(w)
        return tape.gradient(y, w)

    with pytest.raises(error, match=words):
        (fastnn.function(step) if recorded else step)()
    assert float(ops.sum(w)) == 3  # and not a placeholder: nothing records any more


def test_gradients_of_variables_that_do_not_fit():
    w = Variable([1.0, 2.0])
    for found, words in (
        (lambda g: g, "expected grad_fn to return"),
        (lambda g: (g, []), "expected 1 gradients, one per variable, got 0"),
        (lambda g: (g, [ops.sum(g)]), "gradient of variable 1 in shape"),
    ):
        broken = fastnn.custom_gradient(
            lambda x, found=found: (x * w, lambda g, variables: found(g))
        )
        with GradientTape() as tape:
            y = broken(Tensor([1.0, 1.0]))
        with pytest.raises((TypeError, ValueError), match=words):
            tape.gradient(y, w)


def test_calls_that_do_not_fit():
    with pytest.raises(TypeError, match=r"'log1pexp': expected positional arguments only.* x="):
        log1pexp(x=1.0)
    with pytest.raises(TypeError, match="'<lambda>': expected it to return"):
        fastnn.custom_gradient(lambda x: x)(1.0)
    with pytest.raises(TypeError, match=r"return \(y, grad_fn\), got a tuple of 3"):
        fastnn.custom_gradient(lambda x: (x, x, lambda g: g))(1.0)
    with pytest.raises(TypeError, match=r"'<lambda>': outputs: .*None"):
        fastnn.custom_gradient(lambda x: ([x, None], lambda g: g))(1.0)
    with pytest.raises(TypeError, match="expected a function"):
        fastnn.custom_gradient(3)
    w = Variable([1.0], name="scale")
    with pytest.raises(TypeError, match="'<lambda>': it reads the trainable variable 'scale'"):
        fastnn.custom_gradient(lambda x: (x * w, lambda g: g))(Tensor([1.0]))


def test_an_error_inside_leaves_the_tape_recording():
    @fastnn.custom_gradient
    def fails(x):
        raise KeyError("inside")

    w = Variable(3.0)
    with GradientTape() as tape:
        with pytest.raises(KeyError):
            fails(w)
        y = w * w
    assert float(tape.gradient(y, w)) == 6


def test_tapes_inside_and_outside():
    @fastnn.custom_gradient
    def slope(x):
        with GradientTape() as inner:
            inner.watch(x)
            y = x * x * x
        return inner.gradient(y, x), lambda upstream: upstream * 6.0 * x

    w = Variable(2.0)
    with GradientTape() as first, GradientTape(persistent=True) as second:
        y = slope(w)
    assert float(y) == 12
    assert [float(t.gradient(y, w)) for t in (first, second, second)] == [12, 12, 12]


def test_inside_each_other():
    @fastnn.custom_gradient
    def outer(x):
        y = log1pexp(reverse(x))
        return y, lambda upstream: upstream * y

    w = Variable(100.0)
    with GradientTape() as tape:
        y = outer(w)
    assert float(tape.gradient(y, w)) == float(y)


def test_a_value_assigned_since_is_noticed():
    w = Variable(3.0)
    with GradientTape() as tape:
        y = log1pexp(w)
    w.assign(1.0)
    with pytest.raises(RuntimeError, match=r"'log1pexp' needs a value .* overwritten"):
        tape.gradient(y, w)


def test_a_gradient_that_asks_its_own_tape():
    tapes = []

    @fastnn.custom_gradient
    def curious(x):
        return x * 2.0, lambda upstream: tapes[0].gradient(other, w)

    w = Variable(3.0)
    for persistent in (True, False):
        tapes[:] = [GradientTape(persistent=persistent)]
        with tapes[0] as tape:
            other = w * w
            y = curious(w)
        if persistent:
            assert float(tape.gradient(y, w)) == 6
        else:
            with pytest.raises(RuntimeError, match="persistent"):
                tape.gradient(y, w)


def test_a_gradient_that_knows_its_tape_keeps_nothing():
    def make():
        tape, w = GradientTape(persistent=True), Variable(1.0)
        with tape:

            @fastnn.custom_gradient
            def f(x):
                return x * 1.0, lambda upstream: upstream * float(tape is not None)

            tape.gradient(f(w), w)
        return weakref.ref(tape)

    gone = make()
    gc.collect()
    assert gone() is None


def test_a_used_tape_lets_go_of_the_function():
    class Kept:
        pass

    kept = Kept()
    gone = weakref.ref(kept)
    w = Variable(1.0)
    with GradientTape() as tape:
        y = fastnn.custom_gradient(lambda x, kept=kept: (x, lambda g: g if kept else None))(w)
    del kept
    assert gone() is not None
    tape.gradient(y, w)
    assert gone() is None


def test_recorded_it_is_ops_and_no_python():
    calls = []

    @fastnn.custom_gradient
    def f(x):
        calls.append("forward")

        def grad_fn(upstream):
            calls.append("backward")
            return upstream * ops.sign(x)

        return ops.square(x), grad_fn

    @fastnn.function
    def step(x):
        with GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        return y, tape.gradient(y, x)

    for _ in range(3):
        y, g = step(X)
        np.testing.assert_array_equal(array(y), X * X)
        np.testing.assert_array_equal(array(g), np.sign(X))
    assert calls == ["forward", "backward"]
    (recorded,) = step._recorded.values()
    run = recorded.run_for((X,))
    assert [n for n in ("square(", "sign(", "multiply(") if n not in run.program.dump()] == []


def test_on_symbolic_tensors():
    x = fastnn.Input((4,))
    model = fastnn.Model(x, reverse(layers.Dense(2, use_bias=False)(x)) * 2.0)
    kernel = model.weights[0]
    with GradientTape() as tape:
        y = model(X)
    np.testing.assert_allclose(array(y), 2 * X @ array(kernel), rtol=1e-5)
    np.testing.assert_allclose(
        array(tape.gradient(y, kernel)), -2 * X.T @ np.ones((20, 2), np.float32), rtol=1e-5
    )


def test_it_may_be_a_loss():
    @fastnn.custom_gradient
    def clipped(y_true, y_pred):
        difference = y_pred - y_true
        return (
            ops.mean(ops.square(difference), axis=-1),
            lambda upstream: (
                None,
                ops.expand_dims(upstream, -1) * ops.clip(difference, -0.1, 0.1),
            ),
        )

    found = []
    for eager in (True, False):
        fastnn.random.set_seed(0)
        model = fastnn.Sequential([layers.Input((4,)), layers.Dense(2)])
        model.compile("sgd", clipped, run_eagerly=eager)
        model.fit(X, Y, epochs=2, batch_size=8, verbose=0)
        found.append([w.tobytes() for w in model.get_weights()])
    assert found[0] == found[1]


# ---- py_function


def median(x):
    return np.median(x, axis=1).astype(x.dtype)


def cube(x):
    return x**3


def cube_gradient(x, y, upstream):
    assert not (x.flags.writeable or y.flags.writeable or upstream.flags.writeable)
    return 3 * x**2 * upstream


def cubed(x):
    return fastnn.py_function(cube, [x], x.shape, x.dtype, gradient=cube_gradient)


class Cube(layers.Layer):
    def call(self, x):
        return cubed(x)


def test_numpy_code_eagerly():
    y = fastnn.py_function(median, [X], (None,), "float32")
    assert isinstance(y, Tensor)
    np.testing.assert_array_equal(array(y), np.median(X, axis=1))
    y = fastnn.py_function(lambda a, b: (a.sum(), [1, 2]), [X, Y], [(), (2,)], ["float32", "int64"])
    assert float(y[0]) == X.sum()
    assert y[1].tolist() == [1, 2]


def test_it_runs_in_every_run_and_never_while_recording():
    calls = []

    def count():
        calls.append(1)
        return np.array([len(calls)])

    @fastnn.function
    def step(x):
        recorded = len(calls)
        return x + ops.cast(fastnn.py_function(count, [], (1,), "int64"), "float32"), recorded

    for i in range(1, 4):
        y, recorded = step(np.zeros(1, np.float32))
        assert (float(y), int(recorded)) == (i, 0)


def test_constants_are_no_reason_to_run_it_early():
    constant = np.ones(3, np.float32)
    scale = [1.0]

    @fastnn.function
    def step(x):
        return x + fastnn.py_function(lambda c: c * np.float32(scale[0]), constant, 3, "float32")

    for scale[0] in (1.0, 5.0):
        np.testing.assert_array_equal(array(step(np.zeros(3, np.float32))), scale[0])


def test_a_result_that_nobody_reads_is_computed_all_the_same():
    seen = []

    @fastnn.function
    def step(x):
        y = x * 2.0
        fastnn.py_function(lambda v: seen.append(v.copy()) or 0.0, y, (), "float32")
        return y

    step(X)
    step(X)
    np.testing.assert_array_equal(seen, [X * 2, X * 2])


def test_inputs_are_views_that_cannot_be_written():
    x = Tensor(X)

    def look(a):
        assert np.shares_memory(a, array(x))
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            a.flags.writeable = True
        return 0

    fastnn.py_function(look, x, (), "int64")


def test_an_array_that_is_kept_outlives_the_program():
    kept = []

    @fastnn.function
    def step(x):
        return fastnn.py_function(lambda a: kept.append(a) or 0, x * 2.0, (), "int64")

    step(X)
    del step
    gc.collect()
    assert kept[0].copy().shape == X.shape  # stale, and memory all the same


@pytest.mark.parametrize("recorded", [False, True])
def test_its_gradient(recorded):
    def product(a, b, n):
        return a * b, n + 1, a.sum(axis=1)

    def gradient(a, b, n, y, m, s, dy, dm, ds):
        assert dm is None
        np.testing.assert_array_equal(y, a * b)
        assert m == n + 1
        return dy * b + ds[:, None], dy * a, None

    def step(a, b):
        with GradientTape() as tape:
            tape.watch([a, b])
            y, n, s = fastnn.py_function(
                product,
                [a, b, Tensor(4)],
                [(None, 4), (), (None,)],
                ["float32", "int64", "float32"],
                gradient=gradient,
            )
            loss = ops.sum(y * y) + ops.sum(s * 3.0)
        return [*tape.gradient(loss, [a, b]), n]

    a, b = Tensor(X), Tensor(X[::-1].copy())
    da, db, n = (fastnn.function(step) if recorded else step)(a, b)
    assert int(n) == 5
    np.testing.assert_allclose(array(da), 2 * X * X[::-1] ** 2 + 3, rtol=1e-5)
    np.testing.assert_allclose(array(db), 2 * X[::-1] * X**2, rtol=1e-5)


def test_its_gradient_agrees_with_differences():
    point = np.linspace(-1, 2, 5)
    found = fastnn.gradcheck.numeric_gradient(lambda t: float(ops.sum(cubed(Tensor(t)))), point)
    w = Variable(point)
    with GradientTape() as tape:
        y = cubed(w)
    np.testing.assert_allclose(array(tape.gradient(y, w)), found, rtol=1e-7, atol=1e-9)


def test_none_is_a_gradient_of_zeros():
    w = Variable([1.0, 2.0])
    with GradientTape() as tape:
        y = fastnn.py_function(np.sign, w, (2,), "float32", gradient=lambda *_: None)
    np.testing.assert_array_equal(array(tape.gradient(y, w)), [0, 0])


@pytest.mark.parametrize("recorded", [False, True])
def test_no_gradient_is_an_error_when_it_is_asked_for(recorded):
    w = Variable(X)

    def step():
        with GradientTape() as tape:
            y = fastnn.py_function(median, w, (None,), "float32")
        return tape.gradient(y, w)

    with pytest.raises(RuntimeError, match="py_function 'median': has no gradient; give gradient="):
        (fastnn.function(step) if recorded else step)()
    with GradientTape() as tape:
        y = ops.sum(w) + fastnn.py_function(
            np.sum, ops.stop_gradient(w), (), "float32"
        )  # as it says
    assert float(ops.sum(tape.gradient(y, w))) == X.size


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    ("fn", "shape", "dtype", "error", "words"),
    [
        (
            median,
            (3,),
            "float32",
            ValueError,
            r"median': expected an output of shape \(3,\), got one of shape \(20,\)",
        ),
        (
            median,
            (None,),
            "float64",
            TypeError,
            "median': expected an output of dtype float64, got float32",
        ),
        (lambda x: 1.5, (), "int64", TypeError, "of dtype int64, got float64"),
        (lambda x: None, (), "int64", TypeError, r"of shape \(\), got None"),
        (lambda x: (1, 2), [()], "int64", ValueError, "expected 1 outputs, got 2"),
        (lambda x: 1, [()], "int64", TypeError, "expected a list of 1 outputs, got int"),
        (lambda x: "text", (), "int64", TypeError, "of dtype int64"),
    ],
)
def test_results_that_do_not_fit(fn, shape, dtype, error, words, recorded):
    def step(x):
        return fastnn.py_function(fn, x, shape, dtype)

    with pytest.raises(error, match="py_function '.*" + words):
        (fastnn.function(step) if recorded else step)(X)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((3, X, (), "float32"), TypeError, "fn: expected a function, got 3"),
        ((median, X, (None, None), "float32"), ValueError, "known dimensions after the first"),
        ((median, X, (-1,), "float32"), ValueError, "known dimensions after the first"),
        ((median, X, "20", "float32"), TypeError, "expected a shape or a list of shapes"),
        ((median, X, ["20"], "float32"), TypeError, "expected a shape or a list of shapes"),
        ((median, X, [(20,)], ["float32"] * 2), ValueError, "dtypes: expected 1, one per output"),
        ((median, X, (20,), "float16"), TypeError, "dtype: expected one of"),
        (
            (median, [], (None,), "float32"),
            ValueError,
            "first dimension of the first input, got no input",
        ),
        ((median, 1.0, (None,), "float32"), ValueError, "first input, got a scalar"),
        ((median, X, (20,), "float32", 3), TypeError, "gradient: expected a function"),
    ],
)
def test_calls_of_py_function_that_do_not_fit(arguments, error, words):
    with pytest.raises(error, match=words):
        fastnn.py_function(*arguments)


@pytest.mark.parametrize(
    ("gradient", "error", "words"),
    [
        (
            lambda x, y, g: (g, g),
            ValueError,
            "gradient of py_function 'cube': expected 1 gradients",
        ),
        (
            lambda x, y, g: g[:1],
            ValueError,
            "gradient of py_function 'cube': expected an output of",
        ),
        (lambda x, y, g: g > 0, TypeError, "of dtype float32, got bool"),
    ],
)
def test_numpy_gradients_that_do_not_fit(gradient, error, words):
    w = Variable([1.0, 2.0])
    with GradientTape() as tape:
        y = fastnn.py_function(cube, w, (2,), "float32", gradient=gradient)
    with pytest.raises(error, match=words):
        tape.gradient(y, w)


def test_python_numbers_are_weak():
    y = fastnn.py_function(lambda: (1, 2.5, True), [], [(), (), ()], "float32")
    assert [float(v) for v in y] == [1, 2.5, 1]


class Trouble(Exception):
    """No exception of ours."""


class Touchy(layers.Layer):
    """Raises what it was told to, at a step it was told."""

    def __init__(self):
        super().__init__()
        self._step, self._fail_at, self._error = 0, None, Trouble("inside")

    def call(self, x):
        return fastnn.py_function(self._compute, [x], x.shape, x.dtype, gradient=lambda x, y, g: g)

    def _compute(self, x):
        self._step += 1
        if self._step == self._fail_at:
            raise self._error
        return x.copy()


def touchy(eager=False):
    fastnn.random.set_seed(0)
    model = fastnn.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(3, "tanh"),
            layers.Dropout(0.5),
            Touchy(),
            layers.Dense(2),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=eager)
    return model


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [array(v).tobytes() for v in variables]


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("error", [Trouble("inside"), KeyboardInterrupt("inside")])
def test_an_exception_ends_the_step_and_changes_nothing(error, eager):
    model, twin = touchy(eager), touchy(eager)
    touched = model.layers[2]
    touched._fail_at, touched._error = 4, error
    with pytest.raises(type(error)) as caught:
        model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    assert caught.value is error
    assert "_compute" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, Exception):
        assert "in epoch 1, step 4; the model is as of the step before" in error.__notes__
    for start in (0, 5, 10):
        twin.train_on_batch(X[start : start + 5], Y[start : start + 5])
    assert state_of(model) == state_of(twin)
    model.train_on_batch(X[15:], Y[15:])  # and goes on
    twin.train_on_batch(X[15:], Y[15:])
    assert state_of(model) == state_of(twin)


@pytest.mark.parametrize("threads", [1, 3])
def test_training_with_numpy_code_gives_the_bits_of_eager_training(threads):
    before = fastnn.num_threads()
    fastnn.set_num_threads(threads)
    try:
        found = []
        for eager in (True, False):
            model = touchy(eager)
            history = model.fit(X, Y, batch_size=8, epochs=3, verbose=0).history
            found.append((history, state_of(model), model.predict(X, verbose=0).tobytes()))
        assert found[0] == found[1]
    finally:
        fastnn.set_num_threads(before)


def test_ops_and_models_inside_numpy_code():
    # Large enough for a team of threads, were it not for the call in the middle.
    fastnn.random.set_seed(0)
    inner = fastnn.Sequential([layers.Input((256,)), layers.Dense(256)])
    big = np.random.default_rng(1).standard_normal((512, 256)).astype(np.float32)
    before = fastnn.num_threads()
    fastnn.set_num_threads(3)

    def predict(x):
        with fastnn.Graph() as graph, GradientTape() as tape:
            tape.watch(Tensor(x))
        assert graph.nodes == []
        return inner.predict(x, verbose=0)

    @fastnn.function
    def step(x):
        y = fastnn.py_function(predict, ops.relu(x @ inner.weights[0]), x.shape, x.dtype)
        return y @ inner.weights[0]

    try:
        expected = inner.predict(ops.relu(big @ inner.weights[0])) @ inner.weights[0]
        for _ in range(6):
            np.testing.assert_array_equal(array(step(big)), array(expected))
    finally:
        fastnn.set_num_threads(before)


def test_no_parallel_region_is_open_around_numpy_code():
    openmp = ctypes.CDLL(
        _core.__file__
    )  # finds the functions of the library that the extension uses
    big = np.ones((512, 512), np.float32)
    before = fastnn.num_threads()
    fastnn.set_num_threads(3)

    @fastnn.function
    def step(x):
        y = fastnn.py_function(lambda _: openmp.omp_in_parallel(), x @ x, (), "int64")
        return x @ x, y

    try:
        assert [int(step(big)[1]) for _ in range(6)] == [0] * 6
    finally:
        fastnn.set_num_threads(before)


def test_ops_inside_numpy_code_are_on_no_tape():
    w = Variable([1.0, 2.0])
    with fastnn.Graph(tracing=False) as graph, GradientTape() as tape:
        y = fastnn.py_function(
            lambda x: array(ops.square(x) * w), w, (2,), "float32", gradient=lambda x, y, g: g
        )
    assert [name for name, _, _ in graph.nodes] == ["py_function '<lambda>'", "stop_gradient"]
    np.testing.assert_array_equal(array(tape.gradient(y, w)), [1, 1])


def test_denormals_are_there_for_numpy_code():
    @fastnn.function
    def step(x):
        return fastnn.py_function(lambda v: v * np.float32(0.5) > 0, x, (1,), "bool")

    smallest = np.array([2e-38], np.float32)
    assert (smallest * np.float32(0.5) > 0).all()
    assert bool(step(smallest))
    assert bool(fastnn.py_function(lambda v: v * np.float32(0.5) > 0, smallest, (1,), "bool"))


def test_threads_side_by_side():
    models = [touchy() for _ in range(3)]
    threads = [
        threading.Thread(target=m.fit, args=(X, Y), kwargs={"epochs": 20, "verbose": 0})
        for m in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    weights = [[w.tobytes() for w in m.get_weights()] for m in models]
    alone = touchy()
    alone.fit(X, Y, epochs=20, verbose=0)
    assert all(len(w) == len(alone.get_weights()) for w in weights)
    assert all(m.layers[2]._step == alone.layers[2]._step for m in models)


def test_batches_of_every_size_and_symbolic_tensors():
    x = fastnn.Input((4,))
    center = fastnn.py_function(median, x, (None,), "float32")
    assert center.shape == (None,)
    model = fastnn.Model(x, x - ops.expand_dims(center, 1))
    for rows in (1, 3, 20):
        for _ in range(2):
            np.testing.assert_array_equal(
                model.predict(X[:rows]), X[:rows] - np.median(X[:rows], axis=1, keepdims=True)
            )
    assert Cube().compute_output_shape((None, 4)) == (None, 4)


def test_a_dropped_model_is_freed():
    model = touchy()
    model.fit(X, Y, epochs=1, verbose=0)
    model.predict(X[:3], verbose=0)
    gone = [weakref.ref(model), weakref.ref(model.layers[2]), weakref.ref(model.optimizer)]
    functions = len(fastnn.custom._functions)
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    assert len(fastnn.custom._functions) < functions


def test_eager_calls_leave_nothing_behind():
    gc.collect()
    before = len(fastnn.custom._functions)
    gc.disable()
    try:
        w = Variable([1.0, 2.0])
        for _ in range(3):
            with GradientTape() as tape:
                y = cubed(w)
            tape.gradient(y, w)
        del tape, y
        assert len(fastnn.custom._functions) == before
    finally:
        gc.enable()


def test_a_program_that_outlives_its_owner_says_so():
    graph = fastnn.Graph()
    x = graph.placeholder((2,))
    with graph:
        y = fastnn.py_function(cube, x, (2,), "float32")
    program = _core.Program(graph, [x], [y])
    np.testing.assert_array_equal(array(program.run([np.ones(2, np.float32)])[0]), 1)
    del graph, x, y
    gc.collect()
    with pytest.raises(RuntimeError, match=r"'cube': the model, function or graph .* is gone"):
        program.run([np.ones(2, np.float32)])
