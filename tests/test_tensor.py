"""Tensor and Variable as objects that NumPy reads and writes, and Python's operators on them."""

from __future__ import annotations

import gc
import itertools
import operator
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastnn
from fastnn import Tensor, Variable, _core, ops

DTYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")


# ---- memory that is shared


@pytest.mark.parametrize("dtype", DTYPES)
def test_asarray_shares_memory_and_writes(dtype):
    t = ops.copy(np.zeros((2, 3), dtype))
    a, b = np.asarray(t), t.numpy()
    assert np.shares_memory(a, b)
    assert a.dtype == dtype
    assert a.flags.writeable
    a[1, 2] = 1
    assert t.tolist()[1][2] == 1


def test_asarray_of_a_variable_is_a_readonly_live_view():
    v = Variable(np.zeros(3, "f4"))
    view = np.asarray(v)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    v.assign([1, 2, 3])
    np.testing.assert_array_equal(view, [1, 2, 3])
    v.numpy(writable=True)[1] = 7
    assert view[1] == 7
    del v
    gc.collect()
    np.testing.assert_array_equal(view, [1, 7, 3])


def test_asarray_dtype_and_copy_are_numpys():
    t = ops.copy(np.arange(3.0))
    assert np.shares_memory(np.asarray(t, copy=False), t.numpy())
    assert not np.shares_memory(np.array(t, copy=True), t.numpy())
    assert np.asarray(t, dtype="f4").dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.asarray(t, dtype="f4", copy=False)


def test_memoryview_and_dlpack_do_not_copy():
    t = ops.copy(np.arange(6.0).reshape(2, 3))
    assert memoryview(t).shape == (2, 3)
    memoryview(t)[1, 2] = 9.0
    assert np.shares_memory(np.from_dlpack(t), t.numpy())
    assert t.numpy()[1, 2] == 9
    assert memoryview(Variable(1.0)).readonly


def test_a_tensor_from_dlpack_alone_does_not_copy():
    class Foreign:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    array = np.arange(4.0, dtype="f4")
    assert np.shares_memory(np.asarray(Tensor(Foreign(array))), array)


def test_a_pinned_input_is_not_copied_and_is_freed_with_the_tape():
    class Array(np.ndarray):
        pass

    x = np.ones((1000, 1000)).view(Array)
    alive = weakref.ref(x)
    w = Variable(np.ones(1000))
    tracemalloc.start()
    with fastnn.GradientTape() as tape:
        t = Tensor(x)
        loss = ops.matmul(t, ops.expand_dims(w, 1))
    assert np.shares_memory(np.asarray(t), x)
    assert tracemalloc.get_traced_memory()[1] < x.nbytes / 10
    tracemalloc.stop()
    tape.gradient(loss, w)
    del x, t, tape, loss
    gc.collect()
    assert alive() is None


# ---- what comes in


@pytest.mark.parametrize(
    "value",
    [
        np.array([1j]),
        np.array(["a"]),
        np.array([None]),
        np.array(["2020-01-01"], "datetime64[D]"),
        [[1], [1, 2]],
        None,
        "abc",
        object(),
        {"a": 1},
    ],
    ids=repr,
)
def test_what_is_no_number_is_a_type_error_naming_the_argument(value):
    with pytest.raises(TypeError, match="x:"):
        ops.exp(value)


def test_more_than_eight_dimensions_is_a_value_error():
    with pytest.raises(ValueError, match="at most 8 dimensions"):
        Tensor(np.zeros((1,) * 9))
    with pytest.raises(ValueError, match="at most 8 dimensions"):
        ops.expand_dims(np.zeros((1,) * 8), 0)


def test_python_numbers_are_weak_and_lists_become_floatx():
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor([1, 2]).dtype == np.int64
    assert Tensor([True]).dtype == bool
    for dtype in ("float32", "float64"):
        x = np.ones(2, dtype)
        assert (Tensor(x) * 2.5).dtype == dtype
        assert (1 + Tensor(x)).dtype == dtype
    assert (Tensor(np.ones(2, "i4")) + 1).dtype == np.int32
    assert (Tensor(np.ones(2, "i4")) * 0.5).dtype == np.float32
    assert (np.float64(2) * Tensor(np.ones(2, "f4"))).dtype == np.float64


def test_clip_keeps_integers_within_bounds_that_are_integers():
    x = np.arange(-3, 4, dtype=np.int32)
    for low, high in ((-1, 2), (-np.inf, 2.0), (0, np.inf), (None, 2), (-1, None)):
        y = ops.clip(x, low, high)
        assert y.dtype == np.int32
        np.testing.assert_array_equal(y, np.clip(x, low, high))
    y = ops.clip(x, -0.5, 1.5)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.clip(x, -0.5, 1.5))


@pytest.mark.parametrize("bounds", [(2, 1), (np.nan, 1), (0, np.nan)])
def test_clip_needs_bounds_in_order(bounds):
    with pytest.raises(ValueError, match="x_min <= x_max"):
        ops.clip(np.ones(2, "f4"), *bounds)


def test_clip_needs_numbers_as_bounds():
    with pytest.raises(
        TypeError, match=r"clip: expected numbers for x_min and x_max, got '0' and 3"
    ):
        ops.clip(np.ones(2, "f4"), "0", 3)


def test_what_measures_kernels_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="measure_peak: expected a duration of more than 0"):
        _core.measure_peak(duration=-1)
    with pytest.raises(ValueError, match=r"time_conv2d: expected pass_ forward, .*, got y"):
        _core.time_conv2d((1, 4, 4, 1), (3, 3, 1, 1), "y")


@pytest.mark.parametrize(("a", "b"), list(itertools.product(DTYPES, DTYPES)))
def test_arrays_promote_as_numpys(a, b):
    expected = np.promote_types(a, b)
    if expected not in [np.dtype(d) for d in DTYPES]:
        pytest.fail(f"{a} and {b} promote to {expected}")
    found = ops.where([True], np.ones(1, a), np.ones(1, b))
    assert found.dtype == expected


def test_scalars_and_len():
    assert float(Tensor([2.5])) == 2.5
    assert int(Tensor(3)) == 3
    assert bool(Tensor(0.0)) is False
    assert [1, 2, 3][Tensor(1)] == 2
    assert len(Tensor([1, 2, 3])) == 3
    with pytest.raises(TypeError, match="0-d"):
        len(Tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(Tensor(1.0))
    with pytest.raises((TypeError, ValueError)):
        float(Tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor([1.0, 2.0]))


def test_repr_shows_values_shape_and_dtype():
    assert repr(Tensor([1.5, 2.0])) == "<Tensor shape=(2,) dtype=float32 [1.5, 2. ]>"
    text = repr(Variable([1.5], name="w"))
    assert "'w'" in text and "(1,)" in text and "float32" in text and "1.5" in text


def test_hash_is_identity_and_none_is_no_number():
    a, b = Tensor([1.0]), Tensor([1.0])
    assert len({a, b, a}) == 2
    assert {a: 1}[a] == 1
    assert (a == None) is False  # noqa: E711
    assert (a != "x") is True


# ---- operators


def test_array_times_tensor_stays_on_the_tape():
    a = np.array([1.0, 2.0])
    t = Tensor(np.array([3.0, 4.0]))
    with fastnn.GradientTape() as tape:
        tape.watch(t)
        y = a * t + (a @ t) - a / t
    assert isinstance(y, Tensor)
    np.testing.assert_allclose(tape.gradient(y, t), a + 2 * a + a / t.numpy() ** 2)
    assert isinstance(a < t, Tensor)
    assert isinstance(np.float64(2) * t, Tensor)


def test_numpys_functions_name_the_op_to_use():
    with pytest.raises(TypeError, match=r"fastnn\.ops\.exp"):
        np.exp(Tensor([1.0]))
    with pytest.raises(TypeError, match=r"fastnn\.ops\.abs"):
        np.abs(Variable([1.0]))
    a = np.ones(2)
    with pytest.raises(TypeError, match=r"fastnn\.ops\.multiply"):
        a *= Tensor([1.0, 2.0])


def test_comparison_and_logic_operators():
    x = np.array([1.0, 2.0, np.nan])
    t = Tensor(x)
    for f in (
        lambda a: a == 2,
        lambda a: a != 2,
        lambda a: a < 2,
        lambda a: a <= 2,
        lambda a: a > 1.5,
        lambda a: a >= x,
        lambda a: (a > 0) & (a < 2),
        lambda a: (a > 0) | (a < 2),
        lambda a: ~(a > 0) ^ True,
    ):
        found = f(t)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, f(x))
    with pytest.raises(TypeError, match="bool"):
        t & t
    with pytest.raises(TypeError, match="bool"):
        operator.invert(t)


def test_numpys_methods():
    x = np.arange(24.0).reshape(2, 3, 4)
    for a in (Tensor(x), Variable(x)):
        np.testing.assert_array_equal(a.T, x.T)
        np.testing.assert_array_equal(a.transpose(1, 0, 2), x.transpose(1, 0, 2))
        np.testing.assert_array_equal(a.transpose(), x.transpose())
        np.testing.assert_array_equal(a.reshape(4, -1), x.reshape(4, -1))
        np.testing.assert_array_equal(a.reshape((6, 4)), x.reshape(6, 4))
        np.testing.assert_array_equal(a.flatten(), x.flatten())
        np.testing.assert_array_equal(a.astype("i4"), x.astype("i4"))
        for name in ("sum", "mean", "max", "min"):
            np.testing.assert_array_equal(getattr(a, name)(axis=1), getattr(x, name)(axis=1))


@pytest.mark.parametrize(
    ("a", "b"), [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((3,), (4, 3, 2)), ((4, 2, 3), (3,))]
)
def test_matmul_of_vectors_is_numpys(a, b):
    x, y = np.random.default_rng(0).standard_normal(a), np.random.default_rng(1).standard_normal(b)
    np.testing.assert_allclose(Tensor(x) @ Tensor(y), x @ y, rtol=1e-14)
    np.testing.assert_allclose(x @ Tensor(y), x @ y, rtol=1e-14)


# ---- indexing

KEYS = [
    1,
    -1,
    np.int64(2),
    slice(1, 3),
    (slice(None, None, -1), 2),
    (..., 0),
    (None, 1, ..., None),
    (slice(3, 0, -2), slice(-100, 100), slice(5, 1)),
    ...,
    None,
    (),
    (1, 2, 3),
    (slice(1, 5), ..., slice(None, None, 2)),
    slice(10, 20),
    slice(-1, -10, -1),
    [0, 2, -1, 2],
    np.array([[0, 1], [2, 2]]),
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_indexing_is_numpys_with_its_gradient(key):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 5, 6))
    for t in (Tensor(x), Variable(x)):
        with fastnn.GradientTape() as tape:
            tape.watch(t)
            y = t[key]
        np.testing.assert_array_equal(y, x[key])
        assert not np.shares_memory(np.asarray(y), np.asarray(t))
        seed = rng.standard_normal(y.shape)
        expected = np.zeros_like(x)
        np.add.at(expected, key, seed)
        np.testing.assert_allclose(tape.gradient(y, t, seed), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("key", "error", "match"),
    [
        (4, IndexError, "index 4 is out of bounds for axis 0 with size 4"),
        ((0, -6), IndexError, "index -6 is out of bounds for axis 1 with size 5"),
        ((0, 0, 0), IndexError, "too many indices"),
        ((..., ...), IndexError, "single ellipsis"),
        (1.5, IndexError, "float"),
        (True, IndexError, "bool"),
        ([True, False, True, True], IndexError, "mask"),
        ([9], IndexError, "index 9 is out of bounds"),
        (slice(None, None, 0), ValueError, "zero"),
    ],
    ids=repr,
)
def test_a_wrong_index_is_an_index_error(key, error, match):
    with pytest.raises(error, match=match):
        Tensor(np.zeros((4, 5)))[key]


def test_iteration_and_unpacking():
    x = np.arange(6.0).reshape(2, 3)
    first, second = Tensor(x)
    np.testing.assert_array_equal(second, x[1])
    assert [row.shape for row in Variable(x)] == [(3,), (3,)]
    np.testing.assert_array_equal(first, x[0])


def test_indexing_a_placeholder_infers():
    p = fastnn.Graph().placeholder((None, 5), "float32")
    assert p[:, 1:3].shape == (None, 2)
    assert p[0].shape == (5,)
    assert p[1:, None].shape == (None, 1, 5)
    assert ops.transpose(p).shape == (5, None)
    with pytest.raises(IndexError, match="axis 1"):
        p[:, 7]


# ---- what the table of ops cannot say


def test_nan_wins_and_ties_share():
    x = np.array([1.0, np.nan, 3.0, np.nan])
    assert np.isnan(float(ops.max(x))) and np.isnan(float(ops.min(x)))
    assert int(ops.argmax(x)) == int(ops.argmin(x)) == 1
    t = Tensor(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]))
    with fastnn.GradientTape() as tape:
        tape.watch(t)
        y = ops.max(t, axis=1)
    np.testing.assert_allclose(tape.gradient(y, t), [[0, 0.5, 0.5], [1 / 3] * 3])


def test_reductions_of_nothing():
    empty = np.zeros((0, 3), "f4")
    np.testing.assert_array_equal(ops.sum(empty, 0), np.zeros(3))
    np.testing.assert_array_equal(ops.prod(empty, 0), np.ones(3))
    assert np.isnan(np.asarray(ops.mean(empty, 0))).all()
    assert ops.max(empty, axis=1).shape == (0,)
    assert bool(ops.all(empty)) and not bool(ops.any(empty))
    for op in (ops.max, ops.min, ops.argmax, ops.argmin):
        with pytest.raises(ValueError, match="at least one element"):
            op(empty, axis=0)


def test_reduction_dtypes_and_axes():
    assert ops.sum(np.ones(3, bool)).dtype == np.int64
    assert int(ops.sum(np.full(3, 200, "u1"))) == 600
    assert ops.mean([1, 2]).dtype == np.float32
    assert ops.max(np.array([1], "u1")).dtype == np.uint8
    with pytest.raises(ValueError, match="axis"):
        ops.sum(np.ones((2, 3)), axis=2)
    with pytest.raises(ValueError, match="twice"):
        ops.sum(np.ones((2, 3)), axis=(1, -1))


def test_variance_is_accurate_far_from_zero():
    x = (1e4 + np.random.default_rng(0).standard_normal(100_000)).astype("f4")
    assert abs(float(ops.var(x)) / np.var(x.astype(float)) - 1) < 1e-4


def test_logsumexp_does_not_overflow():
    assert float(ops.logsumexp(np.array([1e4, 1e4]))) == pytest.approx(1e4 + np.log(2))
    assert float(ops.logsumexp(np.array([-np.inf, -np.inf]))) == -np.inf
    assert float(ops.logsumexp(np.array([np.inf, 1.0]))) == np.inf
    assert np.isnan(float(ops.logsumexp(np.array([np.nan, 1.0]))))


def test_gradient_of_a_product_with_zeros():
    t = Tensor(np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0]]))
    with fastnn.GradientTape() as tape:
        tape.watch(t)
        y = ops.prod(t, axis=1)
    np.testing.assert_array_equal(tape.gradient(y, t), [[0, 6, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: ops.transpose(x, (0,)), ValueError, "axes"),
        (lambda x: ops.transpose(x, (0, 0)), ValueError, "twice"),
        (lambda x: ops.squeeze(x, 0), ValueError, "one element"),
        (lambda x: ops.concatenate([]), ValueError, "at least one"),
        (lambda x: ops.concatenate([x, x[0]]), ValueError, "position 1"),
        (lambda x: ops.stack([]), ValueError, "at least one"),
        (lambda x: ops.split(x, 2, 1), ValueError, "divides"),
        (lambda x: ops.pad(x, -1), ValueError, ">= 0"),
        (lambda x: ops.pad(x, 1, mode="wrap"), ValueError, "constant"),
        (lambda x: ops.pad(x, ((1, 1), (1, 1), (1, 1))), ValueError, "per dimension"),
        (lambda x: ops.broadcast_to(x, (2, 4)), ValueError, "broadcast"),
        (lambda x: ops.take(x, [0, 2], 0), IndexError, "index 2 .* size 2"),
        (lambda x: ops.take(x, [0.5], 0), TypeError, "int32 or int64"),
        (lambda x: ops.take_along_axis(x, np.zeros((3, 1), int), 1), ValueError, "shape"),
        (lambda x: ops.top_k(x, 4), ValueError, "k in"),
        (lambda x: ops.one_hot(x, 3), TypeError, "int32 or int64"),
        (lambda x: ops.where([True, False], x, x), ValueError, "broadcast"),
        (lambda x: ops.moveaxis(x, (0, 1), 0), ValueError, "moveaxis"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call(np.zeros((2, 3)))


# ---- any array


@st.composite
def views(draw):
    array = draw(
        hnp.arrays(
            draw(st.sampled_from([np.float32, np.float64])),
            hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9),
            elements=st.floats(-100, 100, width=32),
        )
    )
    keys = tuple(
        slice(None, None, draw(st.sampled_from([1, -1, 2, -3]))) for _ in range(array.ndim)
    )
    return array[keys].transpose(draw(st.permutations(range(array.ndim))))


@settings(max_examples=200, deadline=None)
@given(views())
def test_any_view_gives_the_bits_of_its_contiguous_copy(x):
    plain = np.ascontiguousarray(x)
    for op in (
        ops.tanh,
        ops.sum,
        ops.mean,
        lambda a: ops.sum(a, 0),
        ops.transpose,
        ops.flip,
        lambda a: a * 2.5 + a,
    ):
        np.testing.assert_array_equal(np.asarray(op(Tensor(x))), np.asarray(op(Tensor(plain))))
    np.testing.assert_array_equal(ops.transpose(x), plain.T)
    np.testing.assert_array_equal(Tensor(x)[::-1], plain[::-1])


@pytest.mark.parametrize("op", [ops.add, ops.multiply, ops.equal])
def test_an_int_among_booleans_is_an_int(op):
    x = np.array([True, False])
    for a, b in ((x, 5), (5, x)):
        found, expected = np.asarray(op(a, b)), getattr(np, op.__name__)(a, b)
        np.testing.assert_array_equal(found.astype(int), expected.astype(int))


def test_integers_wrap_as_numpys():
    low, high = np.array([-(2**63)]), np.array([2**63 - 1, 2**62])
    for found, expected in (
        (ops.negative(low), -low),
        (ops.abs(low), np.abs(low)),
        (ops.multiply(high, high), high * high),
        (ops.subtract(low, high), low - high),
        (ops.sum(high), high.sum()),
        (ops.prod(high), high.prod()),
    ):
        np.testing.assert_array_equal(np.asarray(found), expected)


def test_clipping_integers_is_exact():
    x = np.array([2**53 + 1, 2**62 + 1, -5])
    np.testing.assert_array_equal(np.asarray(ops.clip(x, 0, 2**63)), np.maximum(x, 0))
    bytes_ = np.array([0, 7, 255], np.uint8)
    np.testing.assert_array_equal(np.asarray(ops.clip(bytes_, 300, 400)), 255)


def test_the_value_of_a_variable_is_read_only_as_the_variable_is():
    value = fastnn.Variable([1.0, 2.0]).value
    for view in (value.numpy(), np.asarray(value), np.asarray(memoryview(value))):
        assert not view.flags.writeable
