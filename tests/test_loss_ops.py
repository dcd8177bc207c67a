"""Losses, softmax and normalisation beyond the table of ops: fixed numbers, errors, extremes."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import ops
from numerics import assert_close, numeric_gradient, relative_error

LOSSES = (
    ops.categorical_crossentropy,
    ops.sparse_categorical_crossentropy,
    ops.binary_crossentropy,
    ops.mean_squared_error,
    ops.mean_absolute_error,
)


def gradient(f, x):
    x = fastnn.Tensor(x)
    with fastnn.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    return np.asarray(tape.gradient(y, x))


def test_softmax_of_the_lesson():
    y = ops.softmax(np.array([5.0, 2.0, -1.0, 3.0])).numpy()
    np.testing.assert_allclose(y, [0.842, 0.042, 0.002, 0.114], atol=5e-4)


def test_cross_entropy_of_the_lesson():
    y, p = np.array([[0.0, 1.0, 0.0, 0.0]]), np.array([[0.3, 0.2, 0.1, 0.4]])
    assert float(ops.categorical_crossentropy(y, p)) == pytest.approx(1.6094, abs=5e-5)
    assert float(ops.categorical_crossentropy(y, np.log(p), from_logits=True)) == pytest.approx(
        1.6094, abs=5e-5
    )
    for loss, target in (
        (ops.categorical_crossentropy, y),
        (ops.sparse_categorical_crossentropy, [1]),
    ):
        dz = gradient(lambda z, f=loss, t=target: f(t, z, from_logits=True), np.log(p))
        np.testing.assert_allclose(dz, [[0.3, -0.8, 0.1, 0.4]], atol=1e-15)


def test_sparse_cross_entropy_normalises_probabilities():
    assert float(ops.sparse_categorical_crossentropy([0], np.array([[0.9, 0.8]]))) == pytest.approx(
        0.63599, abs=5e-6
    )


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_a_label_out_of_range_is_named(dtype, from_logits):
    labels = np.zeros(8, dtype)
    labels[5] = 10
    with pytest.raises(ValueError, match=r"y_true: label 10 at row 5; expected 0\.\.9"):
        ops.sparse_categorical_crossentropy(labels, np.ones((8, 10)), from_logits)


@pytest.mark.parametrize("label", [-1, -3.0, 0.5, np.nan, np.inf, 1e300, 2**62])
def test_a_label_that_is_no_class_is_an_error(label):
    with pytest.raises(ValueError, match=r"y_true: label .* at row 1"):
        ops.sparse_categorical_crossentropy(np.array([0, label]), np.ones((2, 3)))


def test_labels_that_change_after_the_forward_pass_cannot_crash_the_gradient():
    labels, z = np.zeros(3, np.int64), fastnn.Tensor(np.ones((3, 4)))
    with fastnn.GradientTape() as tape:
        tape.watch(z)
        loss = ops.sparse_categorical_crossentropy(labels, z, True)
    labels[2] = 1 << 40
    with pytest.raises(ValueError, match="at row 2"):
        tape.gradient(loss, z)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "shapes", [((3,), (4, 2)), ((4, 3), (4, 2)), ((4, 2), (4, 3)), ((2, 4), (4,))]
)
def test_shapes_that_do_not_fit(loss, shapes):
    with pytest.raises(ValueError, match="expected y_true of"):
        loss(np.zeros(shapes[0]), np.ones(shapes[1]))


def test_shape_errors_say_which_loss_would_do():
    with pytest.raises(ValueError, match="use sparse_categorical_crossentropy"):
        ops.categorical_crossentropy(np.zeros(3, int), np.ones((3, 5)))
    with pytest.raises(ValueError, match="use categorical_crossentropy"):
        ops.sparse_categorical_crossentropy(np.zeros((3, 5)), np.ones((3, 5)))


def test_other_arguments_are_judged():
    y = np.ones((2, 3))
    with pytest.raises(
        ValueError, match="reduction: expected 'none', 'sum' or 'mean', got 'average'"
    ):
        ops.mean_squared_error(y, y, reduction="average")
    with pytest.raises(ValueError, match="label_smoothing"):
        ops.categorical_crossentropy(y, y, label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"sample_weight: expected shape \(2,\)"):
        ops.mean_squared_error(y, y, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="normalizer"):
        ops.mean_squared_error(y, y, normalizer=np.ones(2))
    with pytest.raises(TypeError, match="y_pred"):
        ops.mean_squared_error(y, np.ones((2, 3), int))


@pytest.mark.parametrize("loss", LOSSES[2:])
def test_vectors_against_columns_are_the_same_rows(loss):
    rng = np.random.default_rng(0)
    t, z = rng.uniform(0.1, 0.9, (2, 9))
    expected = loss(t[:, None], z[:, None], reduction="none").numpy()
    assert expected.shape == (9,)
    np.testing.assert_array_equal(loss(t, z[:, None], reduction="none"), expected)
    np.testing.assert_array_equal(loss(t[:, None], z, reduction="none"), expected)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32"])
def test_targets_of_any_dtype(dtype):
    y = np.eye(3, dtype=dtype)
    p = np.random.default_rng(1).uniform(0.1, 0.9, (3, 3))
    for loss in (ops.categorical_crossentropy, ops.binary_crossentropy, ops.mean_squared_error):
        assert float(loss(y, p)) == float(loss(np.eye(3), p))
    assert float(ops.sparse_categorical_crossentropy(np.array([0, 1, 1], dtype), p)) == float(
        ops.sparse_categorical_crossentropy([0, 1, 1], p)
    )


def test_weights_are_divided_by_the_rows_not_by_their_sum():
    y, z, w = (
        np.zeros((4, 1)),
        np.array([[1.0], [2.0], [3.0], [4.0]]),
        np.array([1.0, 0.0, 2.0, 0.5]),
    )
    total = 1 + 18 + 8
    assert float(ops.mean_squared_error(y, z, w)) == total / 4
    assert float(ops.mean_squared_error(y, z, w, reduction="sum")) == total
    assert float(ops.mean_squared_error(y, z, w, normalizer=9)) == total / 9
    assert (
        float(ops.mean_squared_error(y, z, w, normalizer=fastnn.Tensor(np.array(2.0)))) == total / 2
    )
    assert float(ops.mean_squared_error(y, z, w, normalizer=0)) == 0
    np.testing.assert_array_equal(ops.mean_squared_error(y, z, w, reduction="none"), [1, 0, 18, 8])


def test_targets_and_weights_are_constants():
    y, z, w = (fastnn.Tensor(np.full((2, 2), v)) for v in (0.25, 0.5, 1.0))
    w = fastnn.Tensor(np.ones(2))
    with fastnn.GradientTape() as tape:
        tape.watch([y, z, w])
        loss = ops.binary_crossentropy(y, z, sample_weight=w)
    dy, dz, dw = tape.gradient(loss, [y, z, w])
    assert dy is None and dw is None and dz is not None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand(dtype):
    z = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4 - 1, 0]], dtype)
    e = 1 / (1 + np.exp(-1))
    probabilities = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [e, 1 - e, 0]])
    assert_close(ops.softmax(z).numpy(), probabilities, c=4)
    assert_close(ops.softmax(z.T, axis=0).numpy(), probabilities.T, c=4)
    logs = np.array(
        [[0, -1e4, -2e4], [-np.log(3)] * 3, [np.log(e), np.log(1 - e), np.log(e) - 1e4]]
    )
    assert_close(ops.log_softmax(z).numpy(), logs, c=4)
    loss = ops.sparse_categorical_crossentropy([1, 0, 0], z, True, reduction="none").numpy()
    assert_close(loss, np.array([1e4, np.log(3), -np.log(e)]), c=4)
    dz = gradient(
        lambda z: ops.sparse_categorical_crossentropy([1, 0, 0], z, True, reduction="sum"), z
    )
    assert_close(dz, probabilities - np.eye(3)[[1, 0, 0]], c=4)
    t, z = np.array([[0], [1], [0], [1]], dtype), np.array([[1e4], [1e4], [-1e4], [-1e4]], dtype)
    np.testing.assert_array_equal(
        ops.binary_crossentropy(t, z, True, reduction="none"), [1e4, 0, 0, 1e4]
    )
    dz = gradient(lambda z: ops.binary_crossentropy(t, z, True, reduction="sum"), z)
    np.testing.assert_array_equal(dz, [[1], [0], [0], [-1]])


def test_certain_probabilities_have_finite_losses():
    one = -np.log(1 - 1e-7)
    y, p = np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(
        ops.categorical_crossentropy(y, p, reduction="none"), [one, -np.log(1e-7)], rtol=1e-12
    )
    np.testing.assert_allclose(
        ops.binary_crossentropy(y, p, reduction="none"), [one, -np.log(1e-7)], rtol=1e-8
    )
    assert np.all(np.isfinite(gradient(lambda p: ops.categorical_crossentropy(y, p), p)))
    assert np.all(np.isfinite(gradient(lambda p: ops.binary_crossentropy(y, p), p)))


@pytest.mark.parametrize("width", [1, 3, 8, 17])
def test_nan_comes_through(width):
    z = np.full((3, width), 0.5, np.float32)
    z[1, width // 2] = np.nan
    one_hot = np.eye(width, dtype="f4")[[0, 0, 0]]
    for f in (ops.softmax, ops.log_softmax):
        y = f(z).numpy()
        assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()
        np.testing.assert_array_equal(
            np.isnan(f(z.T, axis=0).numpy()), np.isnan(z).any(axis=1) & np.ones((width, 3), bool)
        )
    for logits in (False, True):
        for loss, y in (
            (ops.categorical_crossentropy, one_hot),
            (ops.sparse_categorical_crossentropy, [0, 0, 0]),
            (ops.binary_crossentropy, one_hot),
        ):
            found = loss(y, z, logits, reduction="none").numpy()
            np.testing.assert_array_equal(np.isnan(found), [False, True, False])
            dz = gradient(lambda z, f=loss, t=y, k=logits: f(t, z, k), z)
            np.testing.assert_array_equal(np.isnan(dz).any(axis=1), [False, True, False])
    for loss in (ops.mean_squared_error, ops.mean_absolute_error):
        np.testing.assert_array_equal(
            np.isnan(loss(one_hot, z, reduction="none").numpy()), [False, True, False]
        )
    assert np.isnan(ops.batch_normalization_training(z)[0].numpy()[:, width // 2]).all()
    assert np.isnan(ops.layer_normalization(z).numpy()[1]).all()


def test_a_row_of_minus_infinity_is_nan_and_a_masked_class_is_not():
    assert np.isnan(ops.softmax(np.full((2, 5), -np.inf)).numpy()).all()
    z = np.array([[0.0, -np.inf, 0.0]])
    np.testing.assert_array_equal(ops.softmax(z), [[0.5, 0, 0.5]])
    assert float(ops.categorical_crossentropy([[1, 0, 0]], z, True)) == pytest.approx(np.log(2))
    assert float(ops.sparse_categorical_crossentropy([1], z, True)) == np.inf


@pytest.mark.parametrize("width", [1, 3, 10, 33])
def test_a_row_does_not_depend_on_its_batch(width):
    rng = np.random.default_rng(2)
    z = rng.uniform(0.1, 0.9, (3000, width)).astype("f4")
    t = rng.uniform(0, 1, (3000, width)).astype("f4")
    labels = rng.integers(0, width, 3000)
    functions = {
        "softmax": lambda s: ops.softmax(z[s]),
        "layer_normalization": lambda s: ops.layer_normalization(z[s]),
        "categorical": lambda s: ops.categorical_crossentropy(t[s], z[s], True, reduction="none"),
        "sparse": lambda s: ops.sparse_categorical_crossentropy(labels[s], z[s], reduction="none"),
        "binary": lambda s: ops.binary_crossentropy(t[s], z[s], True, reduction="none"),
        "squared": lambda s: ops.mean_squared_error(t[s], z[s], reduction="none"),
    }
    for name, f in functions.items():
        whole = f(slice(None)).numpy()
        for row in (0, 1, 7, 1500, 2999):
            np.testing.assert_array_equal(
                whole[row], f(slice(row, row + 1)).numpy()[0], err_msg=name
            )


@pytest.mark.parametrize("axis", [0, 1])
def test_batch_statistics_far_from_zero(axis):
    rng = np.random.default_rng(3)
    x = (1e4 + rng.standard_normal((20000, 5))).astype("f4")
    exact = x.astype("f8")
    y, mean, variance = ops.batch_normalization_training(
        x if axis == 1 else x.T.copy(), axis=axis, epsilon=0.0
    )
    # Sums run in blocks of 128, here 157 of them. E[x^2] - E[x]^2 in float32 would be off by 10.
    depth = 128 + 157
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=np.finfo("f4").eps)
    assert_close(variance.numpy(), exact.var(axis=0), c=4, depth=depth)
    y = y.numpy() if axis == 1 else y.numpy().T
    assert_close(y, (exact - exact.mean(axis=0)) / exact.std(axis=0), c=4, depth=depth)


def test_layer_statistics_far_from_zero():
    x = (1e4 + np.random.default_rng(4).standard_normal((3, 1000))).astype("f4")
    exact = x.astype("f8")
    expected = (exact - exact.mean(axis=1, keepdims=True)) / exact.std(axis=1, keepdims=True)
    np.testing.assert_allclose(
        ops.layer_normalization(x, epsilon=0.0), expected, atol=16 * np.finfo("f4").eps
    )


def test_one_value_per_channel_has_no_variance():
    y, mean, variance = ops.batch_normalization_training(
        np.array([[3.0, 1e8]], "f4"), beta=np.array([1, 2], "f4")
    )
    np.testing.assert_array_equal(variance, [0, 0])
    np.testing.assert_array_equal(mean, [3, 1e8])
    np.testing.assert_array_equal(y, [[1, 2]])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
def test_an_empty_batch_has_no_statistics(shape):
    with pytest.raises(ValueError, match="at least one value per channel"):
        ops.batch_normalization_training(np.zeros(shape))


def test_normalisation_errors():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"gamma of shape \(3,\)"):
        ops.batch_normalization_training(x, np.ones(2))
    with pytest.raises(ValueError, match=r"variance of shape \(3,\)"):
        ops.batch_normalization(x, np.ones(3), np.ones(4))
    with pytest.raises(TypeError, match="beta of x's dtype"):
        ops.layer_normalization(x, beta=np.ones(3, "f4"))
    with pytest.raises(ValueError, match="axis: expected the last axis or axes"):
        ops.layer_normalization(np.ones((2, 3, 4)), axis=1)
    with pytest.raises(ValueError, match="axis"):
        ops.softmax(x, axis=2)
    with pytest.raises(ValueError, match="epsilon"):
        ops.batch_normalization_training(x, epsilon=-1.0)


def test_statistics_are_constants():
    x = fastnn.Tensor(np.random.default_rng(5).standard_normal((4, 3)))
    with fastnn.GradientTape() as tape:
        tape.watch(x)
        _, mean, variance = ops.batch_normalization_training(x)
    assert tape.gradient([mean, variance], x) is None


def test_backward_functions():
    rng = np.random.default_rng(6)
    x, gamma, beta, dy = (
        rng.standard_normal((6, 4)),
        *rng.standard_normal((2, 4)),
        rng.standard_normal((6, 4)),
    )
    for backward, forward in (
        (ops.batch_normalization_backward, lambda *p: ops.batch_normalization_training(*p)[0]),
        (ops.layer_normalization_backward, ops.layer_normalization),
    ):
        numeric = numeric_gradient(
            lambda p, f=forward: float(np.vdot(dy, f(*p))), [x, gamma, beta], range(3)
        )
        for a, n in zip(backward(dy, x, gamma, beta), numeric, strict=True):
            assert relative_error(np.asarray(a), n) < 1e-7
        assert backward(dy, x)[1:] == (None, None)
        dx, none, dbeta = backward(dy, x, beta=beta)
        assert none is None
        np.testing.assert_array_equal(dx, backward(dy, x, np.ones(4))[0])
        np.testing.assert_array_equal(dbeta, backward(dy, x, gamma, beta)[2])
    y = ops.softmax(x).numpy()
    expected = y * (dy - (y * dy).sum(axis=1, keepdims=True))
    assert_close(ops.softmax_backward(dy, x).numpy(), expected, c=4)
