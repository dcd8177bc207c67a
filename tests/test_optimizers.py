"""Every optimizer against a float64 twin written here, the lessons' figures, clipping, schedules, updates in place."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import ops, optimizers
from fastnn.optimizers import schedules

SHAPES = [(3, 7), (33,), (), (2, 3, 19)]


def sgd(momentum=0.0, nesterov=False, form="keras"):
    def step(w, g, s, t, lr):
        v = s.get("v", 0.0)
        share = {"keras": -lr * g, "torch": g, "lesson": (1 - momentum) * g}[form]
        v = s["v"] = momentum * v + share
        move = momentum * v + share if nesterov else v
        return w + (move if form == "keras" else -lr * move)

    return step


def rmsprop(rho=0.9, momentum=0.0, eps=1e-7, centered=False, lesson=False):
    def step(w, g, s, t, lr):
        s["s"] = rho * s.get("s", 0.0) + (1 - rho) * g * g
        s["mean"] = rho * s.get("mean", 0.0) + (1 - rho) * g
        d = s["s"] - s["mean"] ** 2 if centered else s["s"]
        s["v"] = momentum * s.get("v", 0.0) + lr * g / (
            np.sqrt(d) + eps if lesson else np.sqrt(d + eps)
        )
        return w - s["v"]

    return step


def adam(b1=0.9, b2=0.999, eps=1e-7, amsgrad=False, lesson=False):
    def step(w, g, s, t, lr):
        m = s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
        v = s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g * g
        if amsgrad:
            v = s["top"] = np.maximum(s.get("top", 0.0), v)
        if lesson:
            return w - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        return w - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)

    return step


def adagrad(w, g, s, t, lr):
    s["a"] = s.get("a", 0.1) + g * g
    return w - lr * g / np.sqrt(s["a"] + 1e-7)


def adadelta(w, g, s, t, lr):
    s["g"] = 0.95 * s.get("g", 0.0) + 0.05 * g * g
    d = np.sqrt(s.get("d", 0.0) + 1e-7) / np.sqrt(s["g"] + 1e-7) * g
    s["d"] = 0.95 * s.get("d", 0.0) + 0.05 * d * d
    return w - lr * d


def adamax(w, g, s, t, lr):
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["u"] = np.maximum(0.999 * s.get("u", 0.0), np.abs(g))
    return w - lr / (1 - 0.9**t) * s["m"] / (s["u"] + 1e-7)


def nadam(w, g, s, t, lr):
    u, u1 = (0.9 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
    p = s["p"] = s.get("p", 1.0) * u
    m = s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    v = s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g * g
    m_hat = u1 * m / (1 - p * u1) + (1 - u) * g / (1 - p)
    return w - lr * m_hat / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)


def lion(w, g, s, t, lr):
    m = s.get("m", np.zeros_like(g))
    s["m"] = 0.99 * m + 0.01 * g
    return w - lr * np.sign(0.9 * m + 0.1 * g)


O = optimizers  # noqa: E741
PAIRS = {
    "sgd": (lambda **k: O.SGD(0.1, **k), sgd()),
    "momentum": (lambda **k: O.SGD(0.1, 0.9, **k), sgd(0.9)),
    "nesterov": (lambda **k: O.SGD(0.1, 0.9, True, **k), sgd(0.9, True)),
    "torch": (lambda **k: O.SGD(0.1, 0.9, momentum_form="torch", **k), sgd(0.9, form="torch")),
    "torch nesterov": (
        lambda **k: O.SGD(0.1, 0.9, True, momentum_form="torch", **k), sgd(0.9, True, "torch"),
    ),
    "lesson": (lambda **k: O.SGD(0.1, 0.9, momentum_form="lesson", **k), sgd(0.9, form="lesson")),
    "rmsprop": (lambda **k: O.RMSprop(0.1, **k), rmsprop()),
    "rmsprop all": (
        lambda **k: O.RMSprop(0.1, 0.8, 0.7, 1e-3, True, **k), rmsprop(0.8, 0.7, 1e-3, True),
    ),
    "rmsprop momentum": (lambda **k: O.RMSprop(0.1, 0.8, 0.7, **k), rmsprop(0.8, 0.7)),
    "rmsprop lesson": (
        lambda **k: O.RMSprop(0.1, epsilon=1e-3, epsilon_placement="lesson", **k),
        rmsprop(eps=1e-3, lesson=True),
    ),
    "adam": (lambda **k: O.Adam(0.1, **k), adam()),
    "adam all": (lambda **k: O.Adam(0.1, 0.8, 0.9, 1e-3, True, **k), adam(0.8, 0.9, 1e-3, True)),
    "adam lesson": (
        lambda **k: O.Adam(0.1, epsilon=1e-3, epsilon_placement="lesson", **k),
        adam(eps=1e-3, lesson=True),
    ),
    "adagrad": (lambda **k: O.Adagrad(0.1, **k), adagrad),
    "adadelta": (lambda **k: O.Adadelta(0.1, **k), adadelta),
    "adamax": (lambda **k: O.Adamax(0.1, **k), adamax),
    "nadam": (lambda **k: O.Nadam(0.1, **k), nadam),
    "lion": (lambda **k: O.Lion(0.1, **k), lion),
}  # fmt: skip


def make(dtype, shapes=SHAPES):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(s).astype(dtype) for s in shapes]
    return values, [fastnn.Variable(v) for v in values]


def gradients(t, dtype, shapes=SHAPES):
    rng = np.random.default_rng(100 + t)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


@pytest.mark.parametrize("weight_decay", [None, 0.03])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PAIRS)
def test_ten_steps_are_the_twins(name, dtype, weight_decay):
    build, twin = PAIRS[name]
    optimizer = build(weight_decay=weight_decay)
    values, variables = make(dtype)
    expected = [v.astype("float64") for v in values]
    states: list[dict] = [{} for _ in values]
    for t in range(1, 11):
        gs = gradients(t, dtype)
        optimizer.apply(gs, variables)
        for i, g in enumerate(gs):
            w = expected[i] * (1 - 0.1 * (weight_decay or 0))
            expected[i] = twin(w, g.astype("float64"), states[i], t, 0.1)
        if t in (1, 10):
            for v, e in zip(variables, expected, strict=True):
                np.testing.assert_allclose(
                    np.asarray(v), e, rtol=0, atol=1e-12 if dtype == "float64" else 2e-5
                )
    assert int(optimizer.iterations) == 10


@pytest.mark.parametrize("name", PAIRS)
def test_placeholders_record_what_eager_runs(name):
    nodes = []
    for tracing in (False, True):
        optimizer = PAIRS[name][0](clipnorm=1.0)
        values, variables = make("float32")
        optimizer.build(variables)
        optimizer.apply(gradients(1, "float32"), variables)
        before = [np.asarray(v).copy() for v in variables]
        with fastnn.Graph(tracing=tracing) as graph:
            gs = (
                [graph.placeholder(v.shape) for v in values] if tracing else gradients(2, "float32")
            )
            optimizer.apply(gs, variables)
        nodes.append([n[0] for n in graph.nodes])
        assert all(np.array_equal(b, v) for b, v in zip(before, variables, strict=True)) == tracing
    assert nodes[0] == nodes[1]


@pytest.mark.parametrize("name", ["nesterov", "rmsprop all", "adam all"])
def test_any_number_of_threads_gives_the_same_bits(name):
    shapes, found, before = [(300, 301), (77,), (50_001,)], [], fastnn.num_threads()
    try:
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            optimizer, (_, variables) = PAIRS[name][0](), make("float32", shapes)
            for t in range(2):
                optimizer.apply(gradients(t, "float32", shapes), variables)
            found.append([np.asarray(v).tobytes() for v in variables])
    finally:
        fastnn.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_the_lessons_momentum_example():
    def run(form):
        w, optimizer = fastnn.Variable(np.float64(0)), O.SGD(0.1, 0.9, momentum_form=form)
        for step in range(6):
            optimizer.learning_rate = (1.0 if form == "lesson" else 0.1) * (0.1 if step >= 3 else 1)
            optimizer.apply([2 * np.asarray(w) - 10], [w])
        return float(w)

    assert run("keras") == pytest.approx(9.4424, abs=5e-5)
    assert run("torch") == pytest.approx(5.1960, abs=5e-5)
    assert run("lesson") == pytest.approx(run("torch"), abs=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "gradient", "size"),
    [
        (lambda: O.SGD(1.0), 3.0, 3.0),
        (lambda: O.SGD(1.0, 0.9, momentum_form="lesson"), 3.0, 0.3),
        (lambda: O.RMSprop(1.0), 3.0, 3.162),
        (lambda: O.Adam(1.0), 3.0, 1.0),
        (lambda: O.RMSprop(1.0, epsilon=1e-8, epsilon_placement="lesson"), 1e-5, 3.152),
        (lambda: O.RMSprop(1.0), 1e-5, 0.0316),
        (lambda: O.Adam(1.0, epsilon=1e-8, epsilon_placement="lesson"), 1e-5, 0.999),
        (lambda: O.Adam(1.0), 1e-5, 0.760),
    ],
)
def test_first_step(optimizer, gradient, size):
    w = fastnn.Variable(np.float64(0))
    optimizer().apply([gradient], [w])
    assert -float(w) == pytest.approx(size, rel=1e-3)


def test_clipping():
    def moved(**kwargs):
        w = [fastnn.Variable(np.zeros(2)), fastnn.Variable(np.zeros(1))]
        O.SGD(1.0, **kwargs).apply([[3.0, -4.0], [12.0]], w)
        return [(-np.asarray(v)).tolist() for v in w]

    assert moved(clipvalue=3.5) == [[3.0, -3.5], [3.5]]
    np.testing.assert_allclose(np.concatenate(moved(clipnorm=1.0)), [0.6, -0.8, 1.0])
    np.testing.assert_allclose(np.concatenate(moved(clipnorm=100.0)), [3, -4, 12])
    np.testing.assert_allclose(np.concatenate(moved(global_clipnorm=6.5)), [1.5, -2, 6])


def test_learning_rate():
    optimizer, w = O.Adam(), fastnn.Variable(np.float64(0))
    optimizer.learning_rate = 0.01
    assert optimizer.learning_rate == 0.01
    optimizer.apply([1.0], [w])
    assert float(w) == pytest.approx(-0.01, rel=1e-5)
    optimizer = O.SGD(schedules.PiecewiseConstantDecay([0, 1], [1.0, 0.5, 0.25]))
    w = fastnn.Variable(np.float64(0))
    for expected in (-1, -1.5, -1.75):
        optimizer.apply([1.0], [w])
        assert float(w) == expected
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            optimizer.learning_rate = bad
    for bad in ("fast", None, True):
        with pytest.raises(TypeError):
            O.SGD(bad)


def test_schedules():
    assert schedules.ExponentialDecay(1.0, 10, 0.5)(5) == pytest.approx(0.5**0.5)
    assert schedules.ExponentialDecay(1.0, 10, 0.5, staircase=True)(19) == 0.5
    assert schedules.InverseTimeDecay(0.2, 1, 1.0)(3) == pytest.approx(0.05)
    assert schedules.PolynomialDecay(1.0, 10, 0.0)(5) == 0.5
    assert schedules.PolynomialDecay(1.0, 10, 0.0, cycle=True)(15) == 0.25
    assert schedules.CosineDecay(1.0, 10, 0.1)(10) == pytest.approx(0.1)
    warm = schedules.CosineDecay(0.0, 10, warmup_target=2.0, warmup_steps=4)
    assert [warm(2), warm(4), warm(9)] == pytest.approx([1.0, 2.0, 1.0])


def test_another_list_of_variables_loses_no_slot():
    (_, variables), (_, twins) = make("float64"), make("float64")
    both, alone = O.Adam(0.1), [O.Adam(0.1) for _ in twins]
    for indices in ([0, 1, 2, 3], [2, 0], [3], [1, 0, 3, 2]):
        gs = gradients(len(indices), "float64")
        both.apply([gs[i] for i in indices], [variables[i] for i in indices])
        for i, optimizer in enumerate(alone):
            optimizer.iterations.assign(int(both.iterations) - 1)
            if i in indices:
                optimizer.apply([gs[i]], [twins[i]])
    for v, t in zip(variables, twins, strict=True):
        np.testing.assert_array_equal(np.asarray(v), np.asarray(t))


def test_both_dtypes_at_once_and_missing_gradients():
    a, b, c = (fastnn.Variable(np.ones(3, d), name=d) for d in ("float32", "float64", "float32"))
    optimizer = O.Adam(0.5)
    with pytest.warns(UserWarning, match="float64"):
        optimizer.apply_gradients([(np.ones(3), a), (None, b), (np.ones(3), c)])
    np.testing.assert_array_equal(np.asarray(b), 1)
    optimizer.apply([np.ones(3)] * 3, [a, b, c])
    assert np.all(np.asarray(b) < 1)
    with pytest.raises(ValueError, match="None"):
        optimizer.apply([None], [a])
    with pytest.raises(ValueError):
        optimizer.apply([np.ones(4)], [a])
    with pytest.raises(ValueError):
        optimizer.apply([], [a])


def test_minimize_and_config():
    w = fastnn.Variable(0.0)
    optimizer = O.SGD(0.01)
    optimizer.minimize(lambda: w * w - 10 * w + 25, [w])
    assert float(w) == pytest.approx(0.1)
    for name in (
        "sgd",
        "rmsprop",
        "adam",
        "adamw",
        "adagrad",
        "adadelta",
        "adamax",
        "nadam",
        "lion",
    ):
        optimizer = O.get(name)
        config = {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}
        assert O.get(config).get_config() == optimizer.get_config()
    decayed = O.Adam(schedules.ExponentialDecay(0.1, 5, 0.5))
    assert O.Adam.from_config(decayed.get_config()).learning_rate == 0.1
    with pytest.raises(ValueError):
        O.get("nothing")
    with pytest.raises(ValueError):
        O.SGD(clipnorm=1.0, clipvalue=1.0)


def test_updates_in_place():
    for n in (1, 17, 40_000):
        w, g = np.ones((n, 2)), np.linspace(-1, 1, 2 * n).reshape(n, 2)
        m, v, state = np.zeros_like(w), np.zeros_like(w), {}
        expected = w.copy()
        for t in (1, 2, 3):
            ops.adam_update(w, g, m, v, t, learning_rate=0.1)
            expected = adam()(expected, g, state, t, 0.1)
        np.testing.assert_allclose(w, expected, rtol=0, atol=1e-13)


def test_what_cannot_be_updated_in_place():
    good = np.ones(4, "float32")
    read_only = np.ones(4, "float32")
    read_only.flags.writeable = False
    for bad, error in (
        (read_only, ValueError),
        (np.ones(8, "float32")[::2], ValueError),
        (np.ones(4, ">f4"), TypeError),
        (np.ones(4, "int64"), TypeError),
        ([1.0] * 4, TypeError),
        (np.ones(5, "float32"), ValueError),
    ):
        with pytest.raises(error):
            ops.sgd_update(bad, good, 0.1)
        with pytest.raises(error):
            ops.momentum_update(good, good, bad, 0.1)
    with pytest.raises(TypeError):
        ops.momentum_update(good, good, np.zeros(4), 0.1)
    with pytest.raises(ValueError):
        ops.adam_update(good, good, good.copy(), good.copy(), 0)
    np.testing.assert_array_equal(good, 1)
