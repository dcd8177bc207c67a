"""Losses against their formulas in NumPy, their gradients against differences, and the rules for
shapes and weights.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import losses, ops
from numerics import assert_close, numeric_gradient, relative_error

E = 1e-7


def _cosine(t, p):
    return np.sum(t * p, -1) / (np.linalg.norm(t, axis=-1) * np.linalg.norm(p, axis=-1))


def _hinge(t):
    return 2 * t - 1 if np.isin(t, (0, 1)).all() else t


def _huber(t, p, delta=1.0):
    e = np.abs(t - p)
    return np.mean(np.where(e <= delta, e**2 / 2, delta * e - delta**2 / 2), -1)


def _normalized(p):
    return p / p.sum(-1, keepdims=True)


FORMULAS = {
    "mean_squared_error": lambda t, p: np.mean((t - p) ** 2, -1),
    "mean_absolute_error": lambda t, p: np.mean(np.abs(t - p), -1),
    "mean_absolute_percentage_error": lambda t, p: (
        100 * np.mean(np.abs(t - p) / np.maximum(np.abs(t), E), -1)
    ),
    "mean_squared_logarithmic_error": lambda t, p: np.mean(
        (np.log1p(np.maximum(t, E)) - np.log1p(np.maximum(p, E))) ** 2, -1
    ),
    "binary_crossentropy": lambda t, p: -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p), -1),
    "categorical_crossentropy": lambda t, p: -np.sum(t * np.log(_normalized(p)), -1),
    "sparse_categorical_crossentropy": lambda t, p: (
        -np.log(np.take_along_axis(_normalized(p), t[..., None], -1)[..., 0])
    ),
    "hinge": lambda t, p: np.mean(np.maximum(1 - _hinge(t) * p, 0), -1),
    "squared_hinge": lambda t, p: np.mean(np.maximum(1 - _hinge(t) * p, 0) ** 2, -1),
    "categorical_hinge": lambda t, p: np.maximum(
        1 + np.max((1 - t) * p, -1) - np.sum(t * p, -1), 0
    ),
    "log_cosh": lambda t, p: np.mean(np.log(np.cosh(p - t)), -1),
    "huber": _huber,
    "kl_divergence": lambda t, p: np.sum(
        np.clip(t, E, 1) * np.log(np.clip(t, E, 1) / np.clip(p, E, 1)), -1
    ),
    "poisson": lambda t, p: np.mean(p - t * np.log(p + E), -1),
    "cosine_similarity": _cosine,
}


def inputs(name: str, rows=(7,), columns: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    shape = (*rows, columns)
    scores = rng.uniform(0.05, 0.95, shape)
    if name == "sparse_categorical_crossentropy":
        return rng.integers(0, columns, rows), scores
    if name in ("categorical_crossentropy", "categorical_hinge"):
        return np.eye(columns)[rng.integers(0, columns, rows)], scores
    if name in ("binary_crossentropy", "hinge", "squared_hinge"):
        return rng.integers(0, 2, shape).astype(float), scores
    if name == "kl_divergence":
        return _normalized(rng.uniform(0.1, 1, shape)), _normalized(scores)
    if name == "huber":
        return 3 * rng.standard_normal(shape), scores
    return rng.uniform(0.1, 2, shape), scores


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FORMULAS)
def test_one_value_per_row_as_the_formula_says(name, dtype):
    for rows in ((1,), (7,), (3, 4)):
        t, p = inputs(name, rows)
        p = p.astype(dtype)
        t = t if t.dtype.kind == "i" else t.astype(dtype)
        expected = FORMULAS[name](t.astype("f8") if t.dtype.kind == "f" else t, p.astype("f8"))
        actual = getattr(losses, name)(t, p)
        assert actual.dtype == dtype
        # 100 for the percentage; the logarithms have 16 roundings in a row.
        assert_close(actual, expected, c=16, depth=5)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradient_is_the_differences_and_goes_to_y_pred_only(name):
    t, p = inputs(name)
    loss = losses.get(name)
    weights = np.linspace(0.5, 2, len(p))
    y_true, y_pred = fastnn.Tensor(t), fastnn.Tensor(p)
    with fastnn.GradientTape() as tape:
        tape.watch([y_pred, y_true] if t.dtype.kind == "f" else y_pred)
        value = loss(y_true, y_pred, sample_weight=weights)
    analytic, none = tape.gradient(value, [y_pred, y_true])
    assert none is None
    numeric = numeric_gradient(
        lambda xs: float(loss(t, xs[0], sample_weight=weights)), [p.copy()], [0]
    )
    assert relative_error(np.asarray(analytic), numeric[0]) < 1e-7


@pytest.mark.parametrize("name", FORMULAS)
def test_reductions(name):
    t, p = inputs(name)
    values = np.asarray(losses.get(name).call(t, p))
    w = np.linspace(0, 3, len(p))
    cls = type(losses.get(name))
    expected = {
        "sum_over_batch_size": (values.mean(), np.mean(w * values)),
        "mean": (values.mean(), np.mean(w * values)),
        "sum": (values.sum(), np.sum(w * values)),
        "mean_with_sample_weight": (values.mean(), np.sum(w * values) / w.sum()),
        "none": (values, w * values),
        None: (values, w * values),
    }
    for reduction, (plain, weighted) in expected.items():
        loss = cls(reduction=reduction)
        assert_close(loss(t, p), plain, c=16, depth=7)
        assert_close(loss(t, p, sample_weight=w), weighted, c=16, depth=7)
        assert_close(loss(t, p, sample_weight=w[:, None]), weighted, c=16, depth=7)
    assert_close(cls()(t, p, w, normalizer=4.0), np.sum(w * values) / 4, c=16, depth=7)


def test_weights_of_sequences_serve_all_their_steps():
    t, p = inputs("mean_squared_error", (3, 4))
    values = FORMULAS["mean_squared_error"](t, p)
    w = np.array([1.0, 0.0, 2.0])
    assert_close(losses.MeanSquaredError()(t, p, w), np.mean(values * w[:, None]), c=16, depth=12)
    by_weight = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    assert_close(by_weight(t, p, w), np.sum(values * w[:, None]) / 12, c=16, depth=12)


def test_no_weight_at_all_gives_zero():
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    assert float(loss([[1.0]], [[2.0]], sample_weight=[0.0])) == 0


COLUMN_LOSSES = [n for n in FORMULAS if "categorical" not in n]


@pytest.mark.parametrize("name", COLUMN_LOSSES)
def test_vectors_against_columns_are_the_same_rows(name):
    t, p = inputs(name, (6,), 1)
    loss = losses.get(name)
    both = np.asarray(loss(t, p))
    np.testing.assert_array_equal(np.asarray(loss(t[:, 0], p)), both)
    np.testing.assert_array_equal(np.asarray(loss(t, p[:, 0])), both)
    with_weights = loss(t, p, sample_weight=np.arange(6.0))
    np.testing.assert_array_equal(
        np.asarray(loss(t[:, 0], p, sample_weight=np.arange(6.0))), with_weights
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_other_shapes_are_errors(name):
    t, p = inputs(name, (6,), 4)
    with pytest.raises(ValueError, match=name):
        losses.get(name)(t[:5], p)
    with pytest.raises(ValueError, match=r"sample_weight: expected"):
        losses.get(name)(t, p, sample_weight=np.ones(5))
    if name != "sparse_categorical_crossentropy":
        with pytest.raises(ValueError, match="to_categorical"):
            losses.get(name)(np.zeros(6), p)


def test_one_hot_rows_for_the_sparse_form_are_an_error_with_a_hint():
    with pytest.raises(ValueError, match="one-hot"):
        losses.sparse_categorical_crossentropy(np.eye(3), np.ones((3, 3)))


def test_softmax_and_crossentropy_of_the_lesson():
    t = np.array([[0.0, 1.0, 0.0, 0.0]])
    p = np.array([[0.3, 0.2, 0.1, 0.4]])
    assert float(losses.CategoricalCrossentropy()(t, p)) == pytest.approx(1.6094, abs=5e-5)
    z = fastnn.Tensor(np.log(p))
    with fastnn.GradientTape() as tape:
        tape.watch(z)
        value = losses.CategoricalCrossentropy(from_logits=True)(t, z)
    np.testing.assert_allclose(
        np.asarray(tape.gradient(value, z)), [[0.3, -0.8, 0.1, 0.4]], atol=1e-15
    )


def test_sigmoid_and_crossentropy_of_the_lesson():
    z = fastnn.Tensor(np.array([[0.3], [-1.2], [2.0]]))
    t = np.array([1.0, 0.0, 0.0])
    with fastnn.GradientTape() as tape:
        tape.watch(z)
        value = losses.BinaryCrossentropy(reduction="sum")(t, ops.sigmoid(z))
    expected = np.asarray(ops.sigmoid(z)) - t[:, None]
    np.testing.assert_allclose(np.asarray(tape.gradient(value, z)), expected, rtol=1e-12)


def test_sparse_crossentropy_normalises_two_sigmoid_outputs():
    value = losses.SparseCategoricalCrossentropy()([0], [[0.9, 0.8]])
    assert float(value) == pytest.approx(0.63599, abs=5e-6)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
def test_sparse_labels_of_any_dtype_and_shape(shape, dtype):
    t, p = inputs("sparse_categorical_crossentropy", (6,), 4)
    expected = FORMULAS["sparse_categorical_crossentropy"](t, p)
    actual = losses.sparse_categorical_crossentropy(t.astype(dtype).reshape(shape), p)
    assert_close(actual, expected, c=16)


def test_label_out_of_range_is_an_error():
    with pytest.raises(ValueError, match="label 4"):
        losses.SparseCategoricalCrossentropy()([0, 4], np.full((2, 4), 0.25))


def test_ignored_class_counts_neither_in_sum_nor_mean():
    t, p = np.array([0, -1, 2, -1]), np.random.default_rng(0).uniform(0.1, 1, (4, 3))
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    rows = FORMULAS["sparse_categorical_crossentropy"](t[[0, 2]], p[[0, 2]])
    assert_close(loss(t, p), rows.mean(), c=16)
    assert_close(loss(t[:, None], p), rows.mean(), c=16)
    weighted = losses.SparseCategoricalCrossentropy(
        ignore_class=-1, reduction="mean_with_sample_weight"
    )
    w = np.array([1.0, 5.0, 3.0, 7.0])
    assert_close(weighted(t, p, w), (rows[0] + 3 * rows[1]) / 4, c=16)


def test_logits_smoothing_and_axis():
    rng = np.random.default_rng(1)
    z, t = 3 * rng.standard_normal((4, 3)), np.eye(3)[[0, 2, 1, 0]]
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    smooth = t * 0.9 + 0.1 / 3
    expected = -np.sum(smooth * np.log(p), -1)
    assert_close(
        losses.categorical_crossentropy(t, z, from_logits=True, label_smoothing=0.1), expected, c=32
    )
    assert_close(
        losses.categorical_crossentropy(t.T, p.T, axis=0), -np.sum(t * np.log(p), -1), c=32
    )
    assert_close(
        losses.sparse_categorical_crossentropy([0, 2, 1, 0], z.T, from_logits=True, axis=0),
        -np.sum(t * np.log(p), -1),
        c=32,
    )
    s = 1 / (1 + np.exp(-z))
    smooth = t * 0.8 + 0.1
    expected = -np.mean(smooth * np.log(s) + (1 - smooth) * np.log(1 - s), -1)
    assert_close(
        losses.binary_crossentropy(t, z, from_logits=True, label_smoothing=0.2), expected, c=32
    )
    with pytest.raises(ValueError, match="label_smoothing"):
        losses.BinaryCrossentropy(label_smoothing=1.5)
    with pytest.raises(ValueError, match="axis"):
        losses.categorical_crossentropy(t, z, axis=2)


def test_huber_delta():
    t, p = inputs("huber")
    assert_close(losses.Huber(delta=0.5)(t, p), _huber(t, p, 0.5).mean(), c=16)
    with pytest.raises(ValueError, match="delta"):
        losses.Huber(delta=0)


def test_hinge_takes_zero_one_and_minus_one_one():
    p = np.array([[0.3], [-0.4]])
    expected = float(losses.Hinge()([[-1.0], [1.0]], p))
    assert float(losses.Hinge()([[0.0], [1.0]], p)) == expected == pytest.approx((1.3 + 1.4) / 2)


def test_log_cosh_of_large_errors_does_not_overflow():
    np.testing.assert_allclose(
        np.asarray(losses.log_cosh([[0.0], [0.0]], [[1e4], [-1e4]])), 1e4 - np.log(2), rtol=1e-6
    )


def test_cosine_loss_is_the_negative_similarity():
    assert float(losses.CosineSimilarity()([[1.0, 1.0]], [[2.0, 2.0]])) == pytest.approx(-1)
    assert float(losses.CosineSimilarity()([[1.0, 1.0]], [[0.0, 0.0]])) == 0


def test_integers_and_lists_are_taken():
    assert float(losses.MeanSquaredError()([0, 1], [1, 1])) == 0.5
    assert float(losses.MeanSquaredError(dtype="float64")([[0.0]], np.ones((1, 1), "f4"))) == 1
    assert (
        losses.MeanSquaredError(dtype="float64")([[0.0]], np.ones((1, 1), "f4")).dtype == np.float64
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_placeholders_record_the_eager_nodes(name, weighted):
    t, p = inputs(name)
    loss = losses.get(name)
    w = np.ones(len(p)) if weighted else None
    with fastnn.Graph(tracing=False) as eager:
        loss(fastnn.Tensor(t), fastnn.Tensor(p), w if w is None else fastnn.Tensor(w))
    for rows in (len(p), None):
        graph = fastnn.Graph()
        with graph:
            value = loss(
                graph.placeholder((rows, *t.shape[1:]), t.dtype.name),
                graph.placeholder((rows, *p.shape[1:]), "float64"),
                graph.placeholder((rows,), "float64") if weighted else None,
            )
        assert value.shape == ()
        assert [n[0] for n in graph.nodes] == [n[0] for n in eager.nodes]


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("mse", losses.MeanSquaredError),
        ("MAE", losses.MeanAbsoluteError),
        ("mape", losses.MeanAbsolutePercentageError),
        ("msle", losses.MeanSquaredLogarithmicError),
        ("bce", losses.BinaryCrossentropy),
        ("logcosh", losses.LogCosh),
        ("kld", losses.KLDivergence),
        ("kullback_leibler_divergence", losses.KLDivergence),
        ("cosine_proximity", losses.CosineSimilarity),
        ("SquaredHinge", losses.SquaredHinge),
        ("huber", losses.Huber),
    ],
)
def test_names(name, cls):
    assert type(losses.get(name)) is cls
    assert type(losses.get({"class_name": cls.__name__, "config": {}})) is cls
    assert type(losses.get(cls)) is cls


def test_get():
    loss = losses.Huber(delta=2.0, name="h", reduction="sum")
    assert losses.get(loss) is loss
    assert losses.get(None) is None
    again = losses.get(losses.serialize(loss))
    assert (
        again.get_config() == loss.get_config() == {"delta": 2.0, "name": "h", "reduction": "sum"}
    )
    own = losses.get(lambda y_true, y_pred: ops.mean(ops.abs(y_true - y_pred), axis=-1))
    assert float(own(np.zeros((2, 1)), np.ones((2, 1)), sample_weight=[1.0, 3.0])) == 2
    with pytest.raises(ValueError, match="'categorical_crossentropy'"):
        losses.get("categorical_crosentropy")
    with pytest.raises(TypeError, match="loss"):
        losses.get(3)
    with pytest.raises(ValueError, match="reduction"):
        losses.MeanSquaredError(reduction="average")


@pytest.mark.parametrize("name", FORMULAS)
def test_config_makes_the_same_loss(name):
    loss = losses.get(name)
    assert type(loss).from_config(loss.get_config()).get_config() == loss.get_config()
