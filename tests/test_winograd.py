"""Winograd's convolution: values and gradients against float64 twins, and when it is chosen."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
import reference
from fastnn import _core, config, ops
from numerics import numeric_gradient, relative_error

# Root mean square and largest error over the root mean square of the expected result, in units of eps: 8e-7 and 2e-5
# in float32. A class of its own beside numerics.assert_close, because the transforms amplify the errors of the sums
# they surround (by about seven), by constants that do not depend on the depth.
RMS, WORST = 6.7, 168

PROBLEMS = [
    # images, (height, width), channels, filters, padding
    *[(1, (n, n), 16, 16, "same") for n in range(4, 13)],
    (2, (13, 14), 17, 20, "same"),
    (3, (7, 5), 20, 33, "same"),
    (2, (7, 6), 33, 17, "valid"),
    (1, (15, 16), 64, 33, "valid"),
    (1, (18, 19), 16, 64, "valid"),
    (2, (28, 28), 16, 17, "same"),
    (1, (8, 9), 65, 16, "same"),  # two chains of channels
    (2, (5, 4), 130, 129, "same"),  # three, and three groups of columns
    (2, (3, 3), 5, 3, "valid"),  # one pixel
    # dx from fewer tiles than it has itself: 9 for 16, 3 for 8, 1 for 4
    (5, (13, 14), 20, 33, "valid"),
    (3, (6, 13), 130, 49, "valid"),  # three groups of columns
    (2, (5, 6), 400, 100, "valid"),  # two groups of filters
    (1, (1, 2), 3, 2, "same"),
    (1, (5, 4), 400, 100, "same"),  # two groups of filters
    (15, (32, 36), 16, 16, "same"),  # two chunks of the kernel's gradient
]


@pytest.fixture(autouse=True)
def winograd():
    before = config.conv_algorithm("winograd")
    yield
    config.conv_algorithm(before)


def make(n, size, channels, filters, padding, dtype):
    """x as behind a relu, a kernel as He's initializer makes it, a bias, and an upstream gradient."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((n, *size, channels)), 0)
    kernel = rng.standard_normal((3, 3, channels, filters)) * np.sqrt(2 / (9 * channels))
    bias = rng.standard_normal(filters)
    lost = 2 if padding == "valid" else 0
    dy = rng.standard_normal((n, size[0] - lost, size[1] - lost, filters))
    return [a.astype(dtype) for a in (x, kernel, bias, dy)]


def twin(x, kernel, bias, dy, padding):
    """y, dx and dkernel in float64: sums over the nine taps, each one matrix product."""
    x, kernel, bias, dy = (np.asarray(a, "f8") for a in (x, kernel, bias, dy))
    (_, h, w, _), (_, oh, ow, _) = x.shape, dy.shape
    before = 1 if padding == "same" else 0
    wide = np.pad(x, ((0, 0), (before, before), (before, before), (0, 0)))
    dwide = np.zeros_like(wide)
    y, dkernel = np.zeros_like(dy) + bias, np.zeros_like(kernel)
    for r, q in np.ndindex(3, 3):
        reads = np.s_[:, r : r + oh, q : q + ow]
        y += wide[reads] @ kernel[r, q]
        dwide[reads] += dy @ kernel[r, q].T
        dkernel[r, q] = np.tensordot(wide[reads], dy, ((0, 1, 2), (0, 1, 2)))
    return y, dwide[:, before : before + h, before : before + w], dkernel


def passes(x, kernel, bias, dy, padding):
    y = np.asarray(ops.conv2d(x, kernel, bias, padding=padding))
    dx, dkernel, _ = ops.conv2d_backward(dy, x, kernel, bias, padding=padding)
    return y, np.asarray(dx), np.asarray(dkernel)


def assert_accurate(actual, expected, what):
    eps = np.finfo(actual.dtype).eps
    size = np.sqrt(np.mean(expected**2))
    error = (actual - expected) / size
    rms, worst = np.sqrt(np.mean(error**2)), np.max(np.abs(error))
    assert rms <= RMS * eps, f"{what}: rms error {rms:.3g}, {rms / eps:.3g} eps"
    assert worst <= WORST * eps, f"{what}: largest error {worst:.3g}, {worst / eps:.3g} eps"


def test_the_twin_is_the_reference():
    x, kernel, bias, dy = make(2, (6, 5), 3, 4, "same", "f8")
    y, *_ = twin(x, kernel, bias, dy, "same")
    np.testing.assert_allclose(y, reference.conv2d(x, kernel, bias, padding="same"), atol=1e-13)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n, size, channels, filters, padding", PROBLEMS)
def test_all_passes_are_the_twins(n, size, channels, filters, padding, dtype):
    data = make(n, size, channels, filters, padding, dtype)
    for what, a, e in zip(
        ("y", "dx", "dkernel"), passes(*data, padding), twin(*data, padding), strict=True
    ):
        assert a.dtype == dtype
        assert_accurate(a, e, what)


@pytest.mark.parametrize(
    "size, fewer",
    [((13, 14), True), ((9, 10), True), ((6, 5), True), ((8, 7), False), ((12, 15), False)],
)
def test_the_input_gradient_is_the_adjoint_where_that_has_fewer_tiles(size, fewer):
    x, kernel, bias, dy = make(2, size, 17, 20, "valid", "f4")
    _, dx, _ = passes(x, kernel, bias, dy, "valid")
    wide = np.pad(dy, ((0, 0), (2, 2), (2, 2), (0, 0)))
    turned = np.ascontiguousarray(kernel[::-1, ::-1].transpose(0, 1, 3, 2))
    gathered = np.asarray(ops.conv2d(wide, turned))
    assert np.array_equal(dx, gathered) != fewer


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size, channels", [((6, 6), 17), ((13, 9), 130)])
def test_a_transposed_convolution_adds_its_bias_once(size, channels, dtype):
    x, kernel, _, dy = make(3, size, channels, 20, "valid", dtype)
    bias = np.random.default_rng(1).standard_normal(channels).astype(dtype)
    expected = twin(x, kernel, 0, dy, "valid")[1] + bias
    y = np.asarray(ops.conv2d_transpose(dy, kernel, bias))
    assert_accurate(y, expected, "y")


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_transposed_convolution_is_the_gradient_to_the_bit(padding):
    x, kernel, _, dy = make(2, (13, 14), 17, 20, padding, "f4")
    expected = ops.conv2d_backward(dy, x, kernel, padding=padding)
    assert (
        np.asarray(ops.conv2d_transpose(dy, kernel, padding=padding)).tobytes()
        == np.asarray(expected[0]).tobytes()
    )
    dy_of, dkernel, _ = ops.conv2d_transpose_backward(x, dy, kernel, padding=padding)
    y = ops.conv2d(x, kernel, padding=padding)
    assert np.asarray(dy_of).tobytes() == np.asarray(y).tobytes()
    assert np.asarray(dkernel).tobytes() == np.asarray(expected[1]).tobytes()


@pytest.mark.parametrize(
    "images, size, channels, padding",
    [
        (8, 16, 64, "same"),
        (8, 8, 256, "same"),
        (64, 16, 64, "same"),
        (64, 13, 64, "valid"),
        (8, 14, 256, "valid"),
    ],
)
def test_errors_stay_within_the_promise_for_many_channels(images, size, channels, padding):
    data = make(images, (size, size), channels, channels, padding, "f4")
    for what, a, e in zip(
        ("y", "dx", "dkernel"), passes(*data, padding), twin(*data, padding), strict=True
    ):
        assert_accurate(a, e, what)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(4, 4), (5, 7)])
def test_gradients_are_the_differences(size, padding):
    x, kernel, bias, dy = make(1, size, 2, 3, padding, "f8")
    _, dx, dkernel = passes(x, kernel, bias, dy, padding)

    def loss(inputs):
        return float(np.vdot(dy, np.asarray(ops.conv2d(*inputs, bias, padding=padding))))

    for analytic, numeric in zip(
        (dx, dkernel), numeric_gradient(loss, [x, kernel], [0, 1]), strict=True
    ):
        assert relative_error(analytic, numeric) < 1e-7


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_three_passes_are_adjoint(padding):
    x, kernel, bias, dy = make(3, (9, 10), 17, 20, padding, "f8")
    y, dx, dkernel = passes(x, kernel, 0 * bias, dy, padding)
    for a, b in ((x, dx), (kernel, dkernel)):
        size = np.linalg.norm(y) * np.linalg.norm(dy) + np.linalg.norm(a) * np.linalg.norm(b)
        assert abs(np.vdot(y, dy) - np.vdot(a, b)) <= 1e-12 * size


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_no_images(padding):
    x, kernel, bias, dy = make(0, (6, 6), 16, 17, padding, "f4")
    y, dx, dkernel = passes(x, kernel, bias, dy, padding)
    assert y.shape == dy.shape
    assert dx.shape == x.shape
    assert not dkernel.any()


@pytest.mark.parametrize(
    "images, size, padding", [(2, (32, 36), "same"), (15, (32, 36), "same"), (3, (13, 14), "valid")]
)
def test_a_second_gradient_is_added(images, size, padding):
    x, kernel, bias, dy = make(images, size, 16, 17, padding, "f4")
    _, dx, dkernel = passes(x, kernel, bias, dy, padding)
    tensors = [fastnn.Tensor(x), fastnn.Tensor(kernel)]
    with fastnn.GradientTape() as tape:
        tape.watch(tensors)
        ys = [ops.conv2d(*tensors, padding=padding) for _ in range(2)]
    for twice, once in zip(tape.gradient(ys, tensors, [dy, 3 * dy]), (dx, dkernel), strict=True):
        three = passes(x, kernel, bias, 3 * dy, padding)[1 if once is dx else 2]
        np.testing.assert_array_equal(np.asarray(twice), once + three)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_nan_touches_the_tiles_that_read_it(padding):
    x, kernel, bias, dy = make(2, (11, 13), 16, 17, padding, "f4")
    clean, *_ = passes(x, kernel, bias, dy, padding)
    before = 1 if padding == "same" else 0
    for h, w in ((0, 0), (4, 5), (10, 12)):
        for bad in (np.nan, np.inf):
            spoiled = x.copy()
            spoiled[1, h, w, 2] = bad
            y, *_ = passes(spoiled, kernel, bias, dy, padding)
            rows, columns = np.ogrid[: y.shape[1], : y.shape[2]]
            reads = (abs(rows + 1 - before - h) <= 1) & (abs(columns + 1 - before - w) <= 1)
            assert not np.isfinite(y[1, reads]).any()
            top, left = rows // 4 * 4 - before, columns // 4 * 4 - before
            tile_reads = (h - top >= 0) & (h - top < 6) & (w - left >= 0) & (w - left < 6)
            np.testing.assert_array_equal(y[1, ~tile_reads], clean[1, ~tile_reads])
            np.testing.assert_array_equal(y[0], clean[0])


def test_a_nan_in_the_upstream_gradient_touches_its_tile():
    x, kernel, bias, dy = make(2, (13, 14), 16, 17, "valid", "f4")
    clean = passes(x, kernel, bias, dy, "valid")[1]
    for h, w in ((0, 0), (3, 6), (5, 11), (10, 4)):
        for bad in (np.nan, np.inf):
            spoiled = dy.copy()
            spoiled[1, h, w, 2] = bad
            dx = passes(x, kernel, bias, spoiled, "valid")[1]
            assert not np.isfinite(dx[1, h : h + 3, w : w + 3]).any()
            top, left = h // 4 * 4, w // 4 * 4
            expected = clean.copy()
            expected[1, top : top + 6, left : left + 6] = dx[1, top : top + 6, left : left + 6]
            np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize(
    "images, size, channels, filters, padding",
    [
        (5, 9, 17, 33, "same"),
        (13, 36, 16, 16, "same"),
        (2, 8, 400, 130, "same"),
        (21, 13, 33, 17, "valid"),
        (3, 22, 400, 80, "valid"),
    ],
)
def test_the_same_bits_for_any_number_of_threads(images, size, channels, filters, padding):
    data = make(images, (size, size), channels, filters, padding, "f4")
    threads = fastnn.num_threads()
    try:
        fastnn.set_num_threads(1)
        expected = passes(*data, padding)
        for n in (2, 3, 4):
            fastnn.set_num_threads(n)
            for a, e in zip(passes(*data, padding), expected, strict=True):
                np.testing.assert_array_equal(a, e)
    finally:
        fastnn.set_num_threads(threads)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_an_image_has_the_same_bits_alone_and_in_a_batch(padding):
    x, kernel, bias, dy = make(70, (9, 13), 19, 21, padding, "f4")
    y, dx, _ = passes(x, kernel, bias, dy, padding)
    for i in (0, 33, 69):
        one = np.s_[i : i + 1]
        y1, dx1, _ = passes(x[one], kernel, bias, dy[one], padding)
        np.testing.assert_array_equal(y1, y[one])
        np.testing.assert_array_equal(dx1, dx[one])


def with_algorithm(algorithm, x, kernel, **options):
    before = config.conv_algorithm(algorithm)
    try:
        return np.asarray(ops.conv2d(x, kernel, **options))
    finally:
        config.conv_algorithm(before)


@pytest.mark.parametrize(
    "size, channels, filters, dtype, options, expected",
    [
        ((6, 6), 16, 16, "f4", {}, "winograd"),
        ((4, 9), 33, 17, "f4", {"padding": "same"}, "winograd"),
        ((5, 9), 16, 16, "f4", {}, "direct"),  # three rows of outputs
        ((5, 5), 64, 64, "f4", {"padding": "same"}, "direct"),  # tiles mostly outside
        ((6, 6), 16, 32, "f4", {"padding": "same"}, "direct"),  # too much of them for few channels
        ((6, 6), 32, 32, "f4", {"padding": "same"}, "winograd"),
        ((9, 9), 15, 16, "f4", {}, "direct"),
        ((9, 9), 16, 15, "f4", {}, "direct"),
        ((9, 9), 16, 16, "f8", {}, "direct"),
    ],
)
def test_auto_chooses_by_the_geometry(size, channels, filters, dtype, options, expected):
    x, kernel, *_ = make(2, size, channels, filters, "same", dtype)
    results = {
        name: with_algorithm(name, x, kernel, **options) for name in ("auto", "direct", "winograd")
    }
    np.testing.assert_array_equal(results["auto"], results[expected])
    assert not np.array_equal(results["direct"], results["winograd"])


@pytest.mark.parametrize(
    "kernel_shape, options",
    [
        ((3, 3, 16, 16), {"strides": 2}),
        ((3, 3, 16, 16), {"strides": (1, 2)}),
        ((3, 3, 16, 16), {"dilation_rate": 2}),
        ((3, 3, 8, 16), {"groups": 2}),
        ((3, 1, 16, 16), {}),
        ((5, 5, 16, 16), {}),
    ],
)
def test_what_winograd_cannot_compute_stays_direct(kernel_shape, options):
    x, _, _, _ = make(2, (9, 9), 16, 16, "same", "f4")
    kernel = np.random.default_rng(1).standard_normal(kernel_shape).astype("f4")
    np.testing.assert_array_equal(
        with_algorithm("winograd", x, kernel, **options),
        with_algorithm("direct", x, kernel, **options),
    )


def test_an_op_keeps_the_algorithm_that_it_was_recorded_with():
    x, kernel, bias, dy = make(2, (9, 9), 16, 16, "same", "f4")
    _, dx, dkernel = passes(x, kernel, bias, dy, "same")
    _, pullback = ops.vjp(lambda x, k: ops.conv2d(x, k, padding="same"), x, kernel)
    config.conv_algorithm("direct")
    for a, e in zip(pullback(dy), (dx, dkernel), strict=True):
        np.testing.assert_array_equal(np.asarray(a), e)
    assert not np.array_equal(passes(x, kernel, bias, dy, "same")[1], dx)


def test_recorded_functions_notice_a_change():
    x, kernel, *_ = make(2, (9, 9), 16, 16, "same", "f4")
    recordings = []

    @fastnn.function
    def f(x):
        recordings.append(config.conv_algorithm())
        return ops.conv2d(x, kernel)

    by_name = {name: with_algorithm(name, x, kernel) for name in ("winograd", "direct")}
    for name in ("winograd", "direct", "direct", "winograd"):
        config.conv_algorithm(name)
        for _ in range(3):
            np.testing.assert_array_equal(np.asarray(f(x)), by_name[name])
    assert recordings.count("direct") >= 1
    assert len(recordings) < 12


@pytest.mark.parametrize("algorithm", ["winograd", "direct"])
@pytest.mark.parametrize("channels, filters", [(16, 17), (16, 80), (300, 80)])
def test_programs_with_fused_activations_have_the_bits_of_the_ops(channels, filters, algorithm):
    config.conv_algorithm(algorithm)
    x, kernel, bias, _ = make(2, (9, 10), channels, filters, "same", "f4")
    second = np.random.default_rng(1).standard_normal((3, 3, filters, 18)).astype("f4")
    weights = [fastnn.Variable(kernel), fastnn.Variable(bias), fastnn.Variable(second)]

    def step(x):
        with fastnn.GradientTape() as tape:
            h = ops.relu(ops.conv2d(x, weights[0], weights[1], padding="same"))
            y = ops.tanh(ops.conv2d(h, weights[2]))
        return [y, *tape.gradient(y, weights)]

    recorded = fastnn.function(step)
    recorded(x)
    for a, e in zip(recorded(x), step(x), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(e))


def test_programs_name_the_algorithm():
    x = fastnn.Tensor(np.zeros((2, 9, 9, 16), "f4"))
    kernel = fastnn.Variable(np.zeros((3, 3, 16, 16), "f4"))
    for name in ("winograd", "direct"):
        config.conv_algorithm(name)
        graph = _core.Graph()
        with graph:
            feed = graph.placeholder(tuple(x.shape), x.dtype)
            y = ops.conv2d(feed, kernel)
        rows = _core.Program(graph, [feed], [y]).profile([x], 1)
        assert [row[3] for row in rows] == [name]


def test_the_setting_is_returned_and_checked():
    assert config.conv_algorithm() == "winograd"
    assert config.conv_algorithm("auto") == "winograd"
    assert config.conv_algorithm() == "auto"
    with pytest.raises(ValueError, match="expected 'auto', 'direct' or 'winograd', got 'fft'"):
        config.conv_algorithm("fft")
    assert config.conv_algorithm() == "auto"
    changes = _core.changes()
    config.conv_algorithm("auto")
    assert _core.changes() == changes
