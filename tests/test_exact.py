"""Sums of small integers are exact in every order, so these results are equal, not close.

And what else is exact: a row alone and in its batch, what a NaN may touch, what errors say.
"""

from __future__ import annotations

import numpy as np
import pytest

import reference
from fastnn import ops

DTYPES = ("float32", "float64")


def small(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-4, 5, shape)


def direct_gradients(dy, x, kernel, *, strides=1, padding="valid", dilation_rate=1, groups=1):
    """(dx, dkernel) in int64, tap by tap."""
    pair = reference._pair
    (sh, sw), (dh, dw) = pair(strides), pair(dilation_rate)
    _, H, W, _ = x.shape
    kh, kw, C, F = kernel.shape
    OH, top = reference._window(H, kh, sh, dh, padding)
    OW, left = reference._window(W, kw, sw, dw, padding)
    dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
    for g in range(groups):
        c, f = slice(g * C, (g + 1) * C), slice(g * F // groups, (g + 1) * F // groups)
        for i, j, r, q in np.ndindex(OH, OW, kh, kw):
            h, w = i * sh + r * dh - top, j * sw + q * dw - left
            if 0 <= h < H and 0 <= w < W:
                dx[:, h, w, c] += dy[:, i, j, f] @ kernel[r, q, :, f].T
                dkernel[r, q, :, f] += x[:, h, w, c].T @ dy[:, i, j, f]
    return dx, dkernel


CONVOLUTIONS = [
    (n, (h, w), (k, k2), c, f, options)
    for n, (h, w), (k, k2), c, f in (
        (1, (7, 6), (3, 3), 1, 8),
        (3, (8, 8), (3, 3), 16, 17),
        (13, (6, 5), (3, 3), 3, 16),
        (2, (9, 12), (5, 5), 3, 33),
        (2, (10, 9), (7, 3), 7, 15),
        (2, (6, 6), (1, 1), 33, 31),
        (1, (12, 13), (2, 4), 6, 6),
        (20, (16, 17), (3, 3), 2, 3),  # more pixels than one chunk of dW
        (1, (3, 600), (3, 3), 2, 2),  # a row longer than one block of dW
        (2, (5, 6), (3, 3), 300, 49),  # panels of the kernel in several tasks
    )
    for options in (
        {},
        {"padding": "same"},
        {"strides": 2, "padding": "same"},
        {"strides": (3, 2)},
        {"strides": (1, 3), "padding": "same"},
        {"dilation_rate": 2, "padding": "same"},
        {"dilation_rate": (1, 2), "padding": "same"},
    )
    if options.get("padding") == "same" or (h >= k and w >= k2)
] + [
    (2, (7, 6), (3, 3), 6, 4, {"groups": 2, "padding": "same"}),
    (2, (7, 6), (3, 3), 6, 12, {"groups": 6, "strides": 2}),
    (2, (7, 6), (3, 2), 8, 8, {"groups": 4, "dilation_rate": (1, 2)}),
    # Few channels or filters: along rows, row taps in tiles of 5, 3, 2 and 1, vectors with lanes outside.
    (3, (14, 13), (5, 5), 1, 6, {"padding": "same"}),
    (2, (14, 14), (5, 5), 6, 16, {}),
    (1, (20, 7), (9, 2), 2, 3, {"padding": "same"}),
    (1, (9, 8), (6, 4), 1, 2, {"padding": "same"}),
    (1, (9, 8), (4, 3), 2, 1, {"padding": "same", "dilation_rate": 2}),
    (1, (17, 9), (8, 3), 1, 3, {"strides": (2, 3), "padding": "same"}),
    (2, (5, 4), (3, 9), 1, 2, {"padding": "same"}),  # wider than the image
    (1, (4, 4), (2, 17), 1, 2, {"padding": "same"}),  # too wide for rows
    (1, (40, 120), (3, 3), 8, 3, {"padding": "same"}),  # more rows than are spread at a time
    (1, (40, 41), (5, 3), 3, 6, {"padding": "same"}),  # more than dW goes over at a time
    # Filters of one vector of some instruction set: pixels are broadcast from where they lie.
    *[(2, (9, 8), (5, 5), 3, f, {"padding": "same"}) for f in (2, 4, 8, 16)],
    *[(1, (7, 9), (5, 3), 2, f, {"strides": (1, 2), "padding": "same"}) for f in (2, 4, 8, 16)],
    (1, (4, 9), (5, 5), 2, 16, {"padding": "same"}),  # fewer rows than taps
    (1, (9, 2), (3, 5), 2, 16, {"padding": "same"}),  # wider than the image
    (1, (70, 120), (3, 3), 16, 16, {"padding": "same"}),  # more rows than one task's
    # Of several vectors, on both sides of the threshold in channels.
    *[(2, (9, 8), (3, 3), c, f, {"padding": "same"}) for c in (1, 3, 4) for f in (32, 48)],
    *[(1, (9, 8), (5, 5), c, 64, {}) for c in (2, 3, 8, 9)],
    (1, (70, 6), (3, 3), 2, 32, {"strides": (1, 2), "padding": "same"}),
    (1, (5, 1), (3, 3), 1, 64, {"padding": "same"}),  # pixels with one tap
    (2, (9, 8), (3, 3), 2, 32, {"dilation_rate": (1, 2), "padding": "same"}),
    # Both sides of the thresholds in filters, channels and taps.
    *[(2, (6, 7), (3, 3), 2, f, {"padding": "same"}) for f in (3, 4, 7, 8, 15, 16)],
    *[(2, (6, 7), (3, 3), c, 2, {"padding": "same"}) for c in (11, 12, 16, 17)],
    *[(1, (6, 7), (2, k), 3, 2, {}) for k in (1, 2)],
    (2, (6, 7), (3, 3), 13, 2, {"strides": 2, "padding": "same"}),
    (2, (6, 7), (3, 3), 13, 1, {"dilation_rate": (2, 3), "padding": "same"}),
    # Over images, in groups, parts of rows and tiles of what is left; in either pass.
    *[
        (n, (9, 8), (3, 5), 9, f, {"padding": "same", **options})
        for n, f in ((4, 7), (21, 6), (36, 3))
        for options in ({}, {"dilation_rate": (2, 1)})
    ],
    (19, (70, 30), (3, 3), 7, 6, {}),
    (17, (3, 2), (3, 3), 6, 6, {"dilation_rate": (4, 1), "padding": "same"}),  # rows with one tap
    (17, (6, 2), (3, 7), 7, 7, {"padding": "same"}),  # wider than the image
    # Depthwise, with one and several filters for a channel.
    *[
        (2, (8, 9), (3, 3), c, c * m, {"groups": c, **options})
        for c, m in ((5, 1), (16, 1), (33, 1), (3, 2), (3, 5), (2, 17))
        for options in (
            {"padding": "same"},
            {"strides": 2, "padding": "same"},
            {"dilation_rate": 2},
        )
    ],
    (1, (20, 9), (3, 3), 300, 300, {"groups": 300, "padding": "same"}),
    # Many tasks, each bringing the next one's images near; rows and columns that no window reaches.
    (500, (8, 9), (3, 3), 40, 20, {"strides": 2}),
    (500, (8, 9), (2, 3), 24, 20, {"strides": (3, 2)}),
    (500, (14, 12), (3, 3), 20, 24, {"strides": 2}),
    (600, (8, 7), (1, 1), 20, 24, {"strides": 3}),
    # dW from x in tiles: in parts of the channels, blocks of several images, kernels of one pixel along an axis.
    (9, (12, 23), (1, 1), 150, 40, {}),
    (9, (12, 23), (1, 1), 150, 40, {"strides": 2}),
    (5, (12, 23), (1, 3), 70, 40, {"strides": (2, 1)}),
    (5, (12, 23), (3, 1), 70, 40, {"strides": (1, 2), "padding": "same"}),
    (5, (12, 23), (3, 3), 140, 40, {"strides": (1, 2), "padding": "same"}),
    (4, (13, 23), (3, 2), 44, 40, {"strides": 2, "groups": 2, "padding": "same"}),
    (40, (3, 4), (2, 2), 70, 40, {"padding": "same"}),
    (1, (1, 900), (1, 3), 20, 40, {"padding": "same"}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, size, window, channels, filters, options", CONVOLUTIONS)
def test_conv2d_of_integers_is_exact(direct, n, size, window, channels, filters, options, dtype):
    rng = np.random.default_rng(0)
    groups = options.get("groups", 1)
    x = small(rng, n, *size, channels)
    kernel = small(rng, *window, channels // groups, filters)
    bias = small(rng, filters)
    expected = reference.conv2d(x, kernel, bias, **options)
    dy = small(rng, *expected.shape)
    y = ops.conv2d(x.astype(dtype), kernel.astype(dtype), bias.astype(dtype), **options)
    np.testing.assert_array_equal(y, expected)

    got = ops.conv2d_backward(
        dy.astype(dtype), x.astype(dtype), kernel.astype(dtype), bias.astype(dtype), **options
    )
    dx, dkernel = direct_gradients(dy, x, kernel, **options)
    for a, b in zip(got, (dx, dkernel, dy.sum((0, 1, 2))), strict=True):
        assert a.dtype == dtype
        np.testing.assert_array_equal(a, b)


ROWS = [
    (n, length, size, channels, filters, options)
    for n, length, size, channels, filters in (
        (3, 9, 3, 1, 8),
        (2, 300, 4, 3, 5),
        (40, 13, 5, 16, 17),  # more rows than one block of dW
        (2, 2, 7, 2, 3),
    )
    for options in (
        {},
        {"padding": "same"},
        {"padding": "causal"},
        {"padding": "causal", "strides": 3},
        {"padding": "causal", "dilation_rate": 4},
        {"padding": "same", "strides": 2},
    )
    if "padding" in options or length >= size
] + [
    (2, 9, 3, 6, 4, {"groups": 2, "padding": "causal"}),
    (2, 33, 3, 5, 10, {"groups": 5, "padding": "causal"}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, length, size, channels, filters, options", ROWS)
def test_conv1d_of_integers_is_exact(n, length, size, channels, filters, options, dtype):
    rng = np.random.default_rng(0)
    x = small(rng, n, length, channels)
    kernel = small(rng, size, channels // options.get("groups", 1), filters)
    bias = small(rng, filters)
    expected = reference.conv1d(x, kernel, bias, **options)
    dy = small(rng, *expected.shape)
    given = [a.astype(dtype) for a in (dy, x, kernel, bias)]
    np.testing.assert_array_equal(ops.conv1d(*given[1:], **options), expected)
    dx, dkernel = direct_gradients(
        dy[:, None],
        x[:, None],
        kernel[None],
        **{**options, "strides": (1, options.get("strides", 1))},
    )
    for a, b in zip(
        ops.conv1d_backward(*given, **options), (dx[:, 0], dkernel[0], dy.sum((0, 1))), strict=True
    ):
        np.testing.assert_array_equal(a, b)


TRANSPOSED = [
    (n, size, window, channels, filters, options)
    for n, size, window, channels, filters in (
        (2, (5, 4), (3, 3), 3, 8),
        (3, (4, 5), (2, 4), 16, 17),
        (1, (6, 3), (5, 1), 33, 1),
        (20, (5, 6), (3, 3), 2, 3),
        (2, (3, 4), (4, 4), 1, 16),
        (1, (1, 1), (2, 3), 7, 7),
    )
    for options in (
        {},
        {"padding": "same"},
        {"strides": 2},
        {"strides": 2, "padding": "same"},
        {"strides": (5, 6)},
        {"strides": (3, 5), "padding": "same"},
        {"strides": (2, 3), "output_padding": (1, 0)},
        {"strides": 3, "output_padding": 2, "padding": "same"},
        {"strides": 2, "output_padding": 0, "padding": "same"},
        {"dilation_rate": (2, 3)},
        {"dilation_rate": 2, "padding": "same"},
    )
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, size, window, channels, filters, options", TRANSPOSED)
def test_conv2d_transpose_of_integers_is_exact(
    direct, n, size, window, channels, filters, options, dtype
):
    rng = np.random.default_rng(0)
    x, kernel = small(rng, n, *size, channels), small(rng, *window, filters, channels)
    bias = small(rng, filters)
    expected = reference.conv2d_transpose(x, kernel, bias, **options)
    dy = small(rng, *expected.shape)
    given = [a.astype(dtype) for a in (dy, x, kernel, bias)]
    np.testing.assert_array_equal(ops.conv2d_transpose(*given[1:], **options), expected)

    pair = reference._pair
    (sh, sw), (dh, dw) = pair(options.get("strides", 1)), pair(options.get("dilation_rate", 1))
    tops = [
        reference._transposed(*a, options.get("padding", "valid"), p)[1]
        for *a, p in zip(
            size, window, (sh, sw), (dh, dw), pair(options.get("output_padding")), strict=True
        )
    ]
    dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
    for i, j, r, q in np.ndindex(*size, *window):
        h, w = i * sh + r * dh - tops[0], j * sw + q * dw - tops[1]
        if 0 <= h < dy.shape[1] and 0 <= w < dy.shape[2]:
            dx[:, i, j] += dy[:, h, w] @ kernel[r, q]
            dkernel[r, q] += dy[:, h, w].T @ x[:, i, j]
    got = ops.conv2d_transpose_backward(*given, **options)
    for a, b in zip(got, (dx, dkernel, dy.sum((0, 1, 2))), strict=True):
        assert a.dtype == dtype
        np.testing.assert_array_equal(a, b)

    # In one dimension along each axis: the same numbers with a window of one pixel across.
    if size[0] == 1 or window[0] == 1:
        return
    options = {
        key: value if isinstance(value, str) else pair(value)[0] for key, value in options.items()
    }
    row, column = x[:, :, 0], kernel[:, 0]
    y = ops.conv1d_transpose(row.astype(dtype), column.astype(dtype), given[3], **options)
    np.testing.assert_array_equal(y, reference.conv1d_transpose(row, column, bias, **options))


@pytest.mark.parametrize(
    "size, window, stride, padding, output_padding",
    [
        (size, window, stride, padding, output_padding)
        for size in (1, 4, 7)
        for window in (1, 2, 3, 4)
        for stride in (1, 2, 5)
        for padding in ("valid", "same")
        for output_padding in dict.fromkeys((None, 0, stride // 2, stride - 1))
        # Of a size that no convolution takes back to this one.
        if not (padding == "same" and window % 2 == 0 and output_padding == 0)
    ],
)
def test_conv_transpose_is_the_adjoint_of_conv(
    direct, size, window, stride, padding, output_padding
):
    """<conv(x), s> = <x, conv_transpose(s)> for x of the size of conv_transpose(s)."""
    rng = np.random.default_rng(0)
    kernel = small(rng, window, window, 3, 5).astype("f4")
    s = small(rng, 2, size, size + 1, 5).astype("f4")
    back = ops.conv2d_transpose(
        s, kernel, strides=stride, padding=padding, output_padding=output_padding
    )
    x = small(rng, *back.shape).astype("f4")
    y = ops.conv2d(x, kernel, strides=stride, padding=padding)
    assert y.shape == s.shape
    assert np.vdot(np.asarray(y), s) == np.vdot(x, np.asarray(back))
    dx, *_ = ops.conv2d_backward(s, x, kernel, strides=stride, padding=padding)
    np.testing.assert_array_equal(dx, back)


def test_a_causal_convolution_does_not_look_ahead():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((1, 20, 3)), rng.standard_normal((4, 3, 5))
    y = np.asarray(ops.conv1d(x, kernel, padding="causal", dilation_rate=2))
    for at in range(20):
        later = x.copy()
        later[:, at:] = np.nan
        z = np.asarray(ops.conv1d(later, kernel, padding="causal", dilation_rate=2))
        np.testing.assert_array_equal(z[:, :at], y[:, :at])
        assert np.isnan(z[:, at]).all()


def test_one_dimension_is_an_image_of_one_row():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 11, 5)).astype("f4")
    kernel, back = rng.standard_normal((2, 3, 5, 5)).astype("f4")
    for flat, image in (
        (ops.conv1d(x, kernel, strides=2), ops.conv2d(x[:, None], kernel[None], strides=(1, 2))),
        (
            ops.conv1d_transpose(x, back, strides=2, padding="same"),
            ops.conv2d_transpose(x[:, None], back[None], strides=(1, 2), padding="same"),
        ),
        (ops.depthwise_conv1d(x, kernel), ops.depthwise_conv2d(x[:, None], kernel[None])),
        (ops.max_pool1d(x, 3), ops.max_pool2d(x[:, None], (1, 3))),
        (ops.average_pool1d(x, 3), ops.average_pool2d(x[:, None], (1, 3))),
        (ops.global_max_pool1d(x), ops.global_max_pool2d(x[:, None])),
        (ops.global_average_pool1d(x), ops.global_average_pool2d(x[:, None])),
    ):
        assert np.asarray(flat).tobytes() == np.asarray(image).tobytes()


def test_depthwise_is_a_group_for_every_channel():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 6, 5)).astype("f4")
    kernel, bias = rng.standard_normal((3, 3, 5, 2)).astype("f4"), rng.standard_normal(10)
    bias = bias.astype("f4")
    np.testing.assert_array_equal(
        ops.depthwise_conv2d(x, kernel, bias),
        ops.conv2d(x, kernel.reshape(3, 3, 1, 10), bias, groups=5),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "m, k, n",
    [
        (1, 1, 1),
        (5, 300, 7),
        (64, 33, 65),
        (13, 520, 31),
        (150, 17, 300),
        *((m, 270, 150) for m in (1, 2, 3)),  # few rows, wide tiles
        (300, 300, 260),  # several blocks of rows, of panels and of products
        (9, 1024, 300),  # columns of x^T that would fill few sets of a cache
        (130, 337, 400),  # x^T in tiles, the last ones of four and three rows
        (523, 293, 530),  # x in tiles too, several blocks of them
        (1100, 1024, 200),  # x^T in tiles, in several pieces
        (4200, 1024, 130),  # and block by block
        (1, 37, 2100),  # a row of several spans
        *((70, 300, n) for n in (1, 3, 5, 10)),  # few columns, computed as rows
    ],
)
def test_matrix_products_of_integers_are_exact(m, k, n, dtype):
    rng = np.random.default_rng(1)
    x, kernel, bias, dy = small(rng, m, k), small(rng, k, n), small(rng, n), small(rng, m, n)
    as_float = [a.astype(dtype) for a in (x, kernel, bias, dy)]
    x, kernel, bias, dy = (a.astype(np.float64) for a in (x, kernel, bias, dy))  # exact, and BLAS
    np.testing.assert_array_equal(ops.matmul(as_float[0], as_float[1]), x @ kernel)
    np.testing.assert_array_equal(ops.dense(*as_float[:3]), x @ kernel + bias)
    got = ops.dense_backward(as_float[3], *as_float[:3])
    for a, b in zip(got, (dy @ kernel.T, x.T @ dy, dy.sum(0)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert ops.dense_backward(as_float[3], *as_float[:2])[2] is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 127, 1000])
def test_sums_of_integers_over_rows_are_exact(rows, dtype):
    rng = np.random.default_rng(4)
    for columns in range(1, 36):  # on both sides of what is summed as longer rows
        x = small(rng, rows, columns)
        np.testing.assert_array_equal(ops.sum(x.astype(dtype), axis=0), x.sum(0))
        if rows > 1 and columns > 1:  # a NaN stays in its column
            x = x.astype(dtype)
            x[-1, 0] = x[rows // 2, -1] = np.nan
            np.testing.assert_array_equal(ops.sum(x, axis=0), x.sum(0))


POOLS = [
    (x, options)
    for x in (
        *((2, 6, 8, 1), (1, 7, 9, 17), (3, 5, 5, 32), (2, 5, 12, 6), (1, 4, 9, 3)),
        *((2, 24, 2, 1), (2, 9, 3, 2)),  # a vector reaches over several rows
    )
    for options in (
        {},
        {"padding": "same"},
        {"pool_size": 3, "strides": 2, "padding": "same"},
        {"pool_size": (3, 2), "strides": 1},
        {"pool_size": 1, "strides": 2},
        {"pool_size": 20, "strides": 3, "padding": "same"},
    )
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, options", POOLS)
def test_pools_of_integers_are_exact(shape, options, dtype):
    rng = np.random.default_rng(2)
    x = small(rng, *shape)  # full of ties: the first maximum gets the gradient
    maximum = reference.max_pool2d(x, **options).astype(np.int64)
    average = reference.average_pool2d(x, **options)
    np.testing.assert_array_equal(ops.max_pool2d(x.astype(dtype), **options), maximum)
    # One division of two exact integers is correctly rounded on both sides.
    np.testing.assert_array_equal(
        ops.average_pool2d(x.astype(dtype), **options), average.astype(dtype)
    )

    dy = small(rng, *maximum.shape)
    pair = reference._pair
    size = options.get("pool_size", 2)
    (kh, kw), (sh, sw) = pair(size), pair(options.get("strides", size))
    _, top = reference._window(shape[1], kh, sh, 1, options.get("padding", "valid"))
    _, left = reference._window(shape[2], kw, sw, 1, options.get("padding", "valid"))
    dx = np.zeros_like(x)
    for n, i, j, c in np.ndindex(maximum.shape):
        h, w = i * sh - top, j * sw - left
        h0, w0 = max(h, 0), max(w, 0)
        window = x[n, h0 : h + kh, w0 : w + kw, c]
        r, q = np.unravel_index(np.argmax(window), window.shape)
        dx[n, h0 + r, w0 + q, c] += dy[n, i, j, c]
    np.testing.assert_array_equal(
        ops.max_pool2d_backward(dy.astype(dtype), x.astype(dtype), **options), dx
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 4, 17), (2, 3, 14, 6), (3, 9, 1, 1)])
def test_average_pool_gradient_of_integers_is_exact(shape, dtype):
    rng = np.random.default_rng(3)
    dy = 4 * small(rng, *shape)
    n, h, w, c = shape
    dx = ops.average_pool2d_backward(dy.astype(dtype), np.zeros((n, 2 * h, 2 * w, c), dtype))
    np.testing.assert_array_equal(dx, np.repeat(np.repeat(dy // 4, 2, 1), 2, 2))


ROW_OPS = {
    "dense": lambda x, w: ops.dense(x, w),
    "conv2d 1x1": lambda x, w: ops.conv2d(x, w[None, None]),
    "conv2d 3x3": lambda x, w: ops.conv2d(x, np.tile(w, (3, 3, 1, 1)), padding="same"),
    "conv2d 5x5 strides": lambda x, w: ops.conv2d(
        x, np.tile(w, (5, 5, 1, 1)), strides=2, padding="same"
    ),
    "conv2d dilated": lambda x, w: ops.conv2d(
        x, np.tile(w, (3, 3, 1, 1)), dilation_rate=2, padding="same"
    ),
    "conv2d few filters": lambda x, w: ops.conv2d(
        x, np.tile(w[:, :3], (3, 3, 1, 1)), padding="same"
    ),
    "conv2d over images": lambda x, w: ops.conv2d(x, np.tile(w[:, :6], (3, 3, 1, 1))),
    "conv2d one vector of filters": lambda x, w: ops.conv2d(
        x[..., :3], np.tile(w[:3, :16], (5, 5, 1, 1)), padding="same"
    ),
    "conv2d vectors of filters": lambda x, w: ops.conv2d(
        x[..., :2], np.tile(w[:2, :16], (3, 3, 1, 3)), padding="same"
    ),
    "conv2d few channels": lambda x, w: ops.conv2d(
        x[..., :2], np.tile(w[:2, :3], (5, 3, 1, 1)), padding="same"
    ),
    "conv2d depthwise": lambda x, w: ops.conv2d(
        x, np.tile(w[:, 0], (3, 3, 1, 1)), padding="same", groups=19
    ),
    "conv1d": lambda x, w: ops.conv1d(
        ops.reshape(x, (-1, x.shape[1] * x.shape[2], 19)), np.tile(w, (4, 1, 1)), padding="causal"
    ),
    "conv2d_transpose": lambda x, w: ops.conv2d_transpose(
        x, np.tile(w.T, (3, 3, 1, 1)), padding="same"
    ),
    "conv2d_transpose strides": lambda x, w: ops.conv2d_transpose(
        x, np.tile(w.T, (3, 4, 1, 1)), strides=(2, 3)
    ),
    "max_pool2d of few channels": lambda x, w: ops.max_pool2d(x[..., :3], 2, 2, "same"),
    "max_pool2d": lambda x, w: ops.max_pool2d(x, 3, 2, "same"),
    "average_pool2d": lambda x, w: ops.average_pool2d(x, 3, 2, "same"),
    "global_average_pool2d": lambda x, w: ops.global_average_pool2d(x),
}


@pytest.mark.parametrize("size", [5, 8, 20])
@pytest.mark.parametrize("op", ROW_OPS)
def test_a_row_has_the_same_bits_alone_and_in_a_batch(op, size):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((29, size, size, 19)).astype("f4")
    w = rng.standard_normal((19, 21)).astype("f4")
    f = ROW_OPS[op]
    batch, pullback = ops.vjp(lambda t: f(t, w), x)
    dy = rng.standard_normal(batch.shape).astype("f4")
    dx = np.asarray(pullback(dy)[0])
    for i in (0, 7, 28):
        one, pullback = ops.vjp(lambda t: f(t, w), x[i : i + 1])
        np.testing.assert_array_equal(np.asarray(one)[0], np.asarray(batch)[i])
        np.testing.assert_array_equal(np.asarray(pullback(dy[i : i + 1])[0])[0], dx[i])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k, n", [(270, 2), (270, 45), (33, 2100), (600, 10)])
def test_a_row_of_a_matrix_product_has_the_same_bits_alone_and_in_a_batch(k, n, dtype):
    rng = np.random.default_rng(6)
    x, w, bias, dy = (rng.standard_normal(s).astype(dtype) for s in ((65, k), (k, n), n, (65, n)))
    batch, dx = np.asarray(ops.dense(x, w, bias)), np.asarray(ops.dense_backward(dy, x, w)[0])
    for rows in (slice(0, 1), slice(7, 9), slice(64, 65), slice(3, 33)):
        np.testing.assert_array_equal(ops.dense(x[rows], w, bias), batch[rows])
        np.testing.assert_array_equal(ops.dense_backward(dy[rows], x[rows], w)[0], dx[rows])


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("op", ["conv2d", "max_pool2d", "average_pool2d"])
def test_a_nan_touches_only_what_reads_it(op, padding):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 7, 8, 5)).astype("f4")
    if op == "conv2d":
        kernel = rng.standard_normal((3, 3, 5, 6)).astype("f4")

        def f(t):
            return np.asarray(ops.conv2d(t, kernel, padding=padding))
    else:

        def f(t):
            return np.asarray(getattr(ops, op)(t, 3, 1, padding))

    clean = f(x)
    for h, w in ((0, 0), (3, 4), (6, 7)):
        bad = x.copy()
        bad[1, h, w, 2] = np.nan
        y = f(bad)
        first = 1 if padding == "same" else 0
        reads = np.zeros(y.shape, bool)
        for i, j in np.ndindex(y.shape[1:3]):
            if 0 <= h - i + first < 3 and 0 <= w - j + first < 3:
                reads[1, i, j] = True if op == "conv2d" else np.arange(5) == 2
        assert reads.any()
        assert np.isnan(y[reads]).all()
        np.testing.assert_array_equal(y[~reads], clean[~reads])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "channels, filters, groups",
    [(1, 1, 1), (3, 5, 1), (16, 3, 1), (16, 6, 1), (3, 48, 1), (8, 33, 1), (20, 20, 20)],
)
def test_padding_never_multiplies(channels, filters, groups, axis):
    """An infinite weight or gradient over the border would make NaN of a zero there."""
    x = np.ones((18, 6, 9, channels), "f4")
    kernel = np.ones((3, 3, channels // groups, filters), "f4")
    first = (slice(0, 1),) if axis == 0 else (slice(None), slice(0, 1))
    kernel[first] = np.inf
    y, pullback = ops.vjp(lambda t, k: ops.conv2d(t, k, padding="same", groups=groups), x, kernel)
    outer = np.take(np.asarray(y), 0, 1 + axis)
    inner = np.take(np.asarray(y), range(1, y.shape[1 + axis]), 1 + axis)
    assert np.isfinite(outer).all()
    assert np.isposinf(inner).all()

    # The last row (column) of dx is read by the first tap of nothing.
    dy = np.ones(y.shape, "f4")
    dx = np.asarray(pullback(dy)[0])
    last = dx.shape[1 + axis] - 1
    assert np.isfinite(np.take(dx, last, 1 + axis)).all()
    assert np.isposinf(np.take(dx, range(last), 1 + axis)).all()

    # Nor does the first tap see the first outputs, whatever their gradient.
    dy[(slice(None), *first)] = np.inf
    dkernel = np.asarray(pullback(dy)[1])
    assert np.isfinite(dkernel[first]).all()
    assert np.isposinf(np.take(dkernel, (1, 2), axis)).all()


@pytest.mark.parametrize(
    "channels, filters, groups",
    [(1, 1, 1), (3, 5, 1), (16, 3, 1), (16, 6, 1), (3, 48, 1), (8, 33, 1), (20, 20, 20)],
)
def test_an_infinity_reaches_only_the_taps_that_read_it(channels, filters, groups):
    x = np.ones((18, 6, 9, channels), "f4")
    x[:, :, -1] = np.inf
    kernel = np.ones((3, 3, channels // groups, filters), "f4")
    y, pullback = ops.vjp(lambda k: ops.conv2d(x, k, groups=groups), kernel)
    assert np.isfinite(np.asarray(y)[:, :, :-1]).all()
    dkernel = np.asarray(pullback(np.ones(y.shape, "f4"))[0])
    assert np.isfinite(dkernel[:, :2]).all()
    assert np.isposinf(dkernel[:, 2]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_a_maximum_over_nans_goes_to_the_first(dtype):
    x = np.array([[1, np.nan], [np.nan, 5]], dtype).reshape(1, 2, 2, 1)
    assert np.isnan(ops.max_pool2d(x).numpy()).all()
    dx = ops.max_pool2d_backward(np.ones((1, 1, 1, 1), dtype), x)
    np.testing.assert_array_equal(np.asarray(dx).reshape(2, 2), [[0, 1], [0, 0]])


IMAGES = np.zeros((8, 16, 32, 32), "f4")
KERNEL = np.zeros((3, 3, 16, 4), "f4")
X = np.zeros((2, 5, 6, 16), "f4")
BAD = [
    (
        lambda: ops.conv2d(IMAGES, KERNEL),
        ValueError,
        "conv2d: expected x of shape (batch, height, width, 16), got (8, 16, 32, 32); "
        "channels go last: x.transpose(0, 2, 3, 1)",
    ),
    (
        lambda: ops.conv2d(X[0], KERNEL),
        ValueError,
        "conv2d: expected x of shape (batch, height, width, 16), got (5, 6, 16)",
    ),
    (
        lambda: ops.conv2d(X, KERNEL[0]),
        ValueError,
        "conv2d: expected kernel of shape (height, width, in, out), got (3, 16, 4)",
    ),
    (
        lambda: ops.conv2d(X, KERNEL[:, :, :0]),
        ValueError,
        "conv2d: expected kernel of at least one channel and one filter, got (3, 3, 0, 4)",
    ),
    (
        lambda: ops.conv2d(X, KERNEL[:0]),
        ValueError,
        "conv2d: expected a kernel of at least 1 pixel, got 0 along the height",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, np.zeros(3, "f4")),
        ValueError,
        "conv2d: expected bias of shape (4,) and dtype float32, got (3,) and float32",
    ),
    (
        lambda: ops.conv2d(X, KERNEL.astype("f8")),
        TypeError,
        "conv2d: expected x and kernel of one dtype, got float32 and float64",
    ),
    (
        lambda: ops.conv2d(X.astype("i4"), KERNEL.astype("i4")),
        TypeError,
        "conv2d: expected float32 or float64, got int32",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, strides=0),
        ValueError,
        "conv2d: expected strides >= 1, got 0 along the height",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, strides=(1, -2)),
        ValueError,
        "conv2d: expected strides >= 1, got -2 along the width",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, strides=(1, 2, 3)),
        ValueError,
        "conv2d: expected strides to be an int or two, got (1, 2, 3)",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, dilation_rate=0),
        ValueError,
        "conv2d: expected dilation_rate >= 1, got 0 along the height",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, strides=2, dilation_rate=2),
        ValueError,
        "conv2d: expected strides or dilation_rate to be 1"
        ", got strides (2, 2) and dilation_rate (2, 2)",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, dilation_rate=2**62),
        ValueError,
        "conv2d: a kernel of 3 pixels with dilation_rate 4611686018427387904"
        " along the height is too large",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, padding="full"),
        ValueError,
        "conv2d: expected padding 'valid' or 'same', got 'full'",
    ),
    (
        lambda: ops.conv2d(X[:, :2], KERNEL),
        ValueError,
        "conv2d: expected x of height >= 3, the kernel's, with padding 'valid', got 2",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, dilation_rate=(1, 3)),
        ValueError,
        "conv2d: expected x of width >= 7, the kernel's, with padding 'valid', got 6",
    ),
    (
        lambda: ops.conv2d(X, KERNEL[:, :, :4], groups=3),
        ValueError,
        "conv2d: expected groups >= 1 that divide the 4 filters, got 3",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, groups=0),
        ValueError,
        "conv2d: expected groups >= 1 that divide the 4 filters, got 0",
    ),
    (
        lambda: ops.max_pool2d(X[0]),
        ValueError,
        "max_pool2d: expected x of shape (batch, height, width, channels), got (5, 6, 16)",
    ),
    (
        lambda: ops.max_pool2d(X.astype("i4")),
        TypeError,
        "max_pool2d: expected float32 or float64, got int32",
    ),
    (
        lambda: ops.average_pool2d(X, 6),
        ValueError,
        "average_pool2d: expected x of height >= 6, the pool's, with padding 'valid', got 5",
    ),
    (
        lambda: ops.max_pool2d(X, 0),
        ValueError,
        "max_pool2d: expected strides >= 1, got 0 along the height",
    ),
    (
        lambda: ops.max_pool2d(X, (0, 2), 1),
        ValueError,
        "max_pool2d: expected a pool of at least 1 pixel, got 0 along the height",
    ),
    (
        lambda: ops.max_pool2d(X, 2**16, 1, "same"),
        ValueError,
        "max_pool2d: expected pool_size of less than 2**31 pixels, got (65536, 65536)",
    ),
    (
        lambda: ops.average_pool2d(X, 2, padding="causal"),
        ValueError,
        "average_pool2d: expected padding 'valid' or 'same', got 'causal'",
    ),
    (
        lambda: ops.global_max_pool2d(X[:, :0]),
        ValueError,
        "global_max_pool2d: expected images of at least one pixel, got x of shape (2, 0, 6, 16)",
    ),
    (
        lambda: ops.global_average_pool2d(X[0]),
        ValueError,
        "global_average_pool2d: expected x of shape (batch, height, width, channels)"
        ", got (5, 6, 16)",
    ),
    (
        lambda: ops.conv1d(X[0, :, None], KERNEL[0]),
        ValueError,
        "conv1d: expected x of shape (batch, length, 16), got (5, 1, 6, 16)",
    ),
    (
        lambda: ops.conv1d(X[0].transpose(0, 2, 1), KERNEL[0]),
        ValueError,
        "conv1d: expected x of shape (batch, length, 16), got (5, 16, 6)"
        "; channels go last: x.transpose(0, 2, 1)",
    ),
    (
        lambda: ops.conv1d(X[0], KERNEL),
        ValueError,
        "conv1d: expected kernel of shape (size, in, out), got (3, 3, 16, 4)",
    ),
    (
        lambda: ops.conv1d(X[0, :, :2], KERNEL[0]),
        ValueError,
        "conv1d: expected x of length >= 3, the kernel's, with padding 'valid', got 2",
    ),
    (
        lambda: ops.conv1d(X[0], KERNEL[0], strides=2, dilation_rate=2),
        ValueError,
        "conv1d: expected strides or dilation_rate to be 1, got strides (2,)"
        " and dilation_rate (2,)",
    ),
    (
        lambda: ops.conv1d(X[0], KERNEL[0], strides=(1, 2)),
        ValueError,
        "conv1d: expected strides to be an int, got (1, 2)",
    ),
    (
        lambda: ops.conv1d(X[0], KERNEL[0], padding="full"),
        ValueError,
        "conv1d: expected padding 'valid', 'same' or 'causal', got 'full'",
    ),
    (
        lambda: ops.conv2d(X, KERNEL, padding="causal"),
        ValueError,
        "conv2d: expected padding 'valid' or 'same', got 'causal'",
    ),
    (
        lambda: ops.conv2d_transpose(X, KERNEL),
        ValueError,
        "conv2d_transpose: expected x of shape (batch, height, width, 4), got (2, 5, 6, 16)",
    ),
    (
        lambda: ops.conv2d_transpose(X, KERNEL[0]),
        ValueError,
        "conv2d_transpose: expected kernel of shape (height, width, out, in), got (3, 16, 4)",
    ),
    (
        lambda: ops.conv2d_transpose(X[..., :4], KERNEL, np.zeros(4, "f4")),
        ValueError,
        "conv2d_transpose: expected bias of shape (16,) and dtype float32, got (4,) and float32",
    ),
    (
        lambda: ops.conv2d_transpose(X[..., :4], KERNEL, output_padding=1),
        ValueError,
        "conv2d_transpose: expected output_padding >= 0 and < the stride of 1 along the height"
        ", got 1",
    ),
    (
        lambda: ops.conv2d_transpose(X[..., :4], KERNEL, strides=2, output_padding=(1, -1)),
        ValueError,
        "conv2d_transpose: expected output_padding >= 0 and < the stride of 2 along the width"
        ", got -1",
    ),
    (
        lambda: ops.conv2d_transpose(X[..., :4], KERNEL, strides=0),
        ValueError,
        "conv2d_transpose: expected strides >= 1, got 0 along the height",
    ),
    (
        lambda: ops.conv2d_transpose(X[:, :0, :, :4], KERNEL),
        ValueError,
        "conv2d_transpose: expected x of height >= 1, got 0",
    ),
    (
        lambda: ops.conv2d_transpose(X[..., :4], KERNEL, strides=2**61),
        ValueError,
        "conv2d_transpose: 5 pixels with strides of 2305843009213693952 along the height"
        " are too large",
    ),
    (
        lambda: ops.conv1d_transpose(X[0, ..., :4], KERNEL[0], strides=2, dilation_rate=2),
        ValueError,
        "conv1d_transpose: expected strides or dilation_rate to be 1, got strides (2,)"
        " and dilation_rate (2,)",
    ),
    (
        lambda: ops.depthwise_conv2d(X, KERNEL[:, :, 0]),
        ValueError,
        "depthwise_conv2d: expected kernel of shape (height, width, channels, multiplier)"
        ", got (3, 3, 4)",
    ),
    (
        lambda: ops.depthwise_conv2d(X[..., :8], KERNEL),
        ValueError,
        "depthwise_conv2d: expected x of shape (batch, height, width, 16), got (2, 5, 6, 8)",
    ),
    (
        lambda: ops.max_pool1d(X),
        ValueError,
        "max_pool1d: expected x of shape (batch, length, channels), got (2, 5, 6, 16)",
    ),
    (
        lambda: ops.average_pool1d(X[0], 7),
        ValueError,
        "average_pool1d: expected x of length >= 7, the pool's, with padding 'valid', got 6",
    ),
    (
        lambda: ops.global_max_pool1d(X[0, :, :0]),
        ValueError,
        "global_max_pool1d: expected images of at least one pixel, got x of shape (5, 0, 16)",
    ),
    (
        lambda: ops.conv2d_backward(np.zeros((2, 3, 4, 5), "f4"), X, KERNEL),
        ValueError,
        "output_gradients: expected shape (2, 3, 4, 4) and dtype float32"
        ", got (2, 3, 4, 5) and float32",
    ),
]


@pytest.mark.parametrize("call, error, message", BAD, ids=[m[:60] for *_, m in BAD])
def test_bad_input_says_what_was_expected(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_huge_strides_leave_one_window():
    x, kernel = np.ones((1, 4, 4, 2), "f4"), np.ones((3, 3, 2, 1), "f4")
    for stride in (4, 100, 2**62):
        assert ops.conv2d(x, kernel, strides=stride).numpy().tolist() == [[[[18.0]]]]
        assert ops.max_pool2d(x, 2, stride).shape == (1, 1, 1, 2)
        dx, *_ = ops.conv2d_backward(np.ones((1, 1, 1, 1), "f4"), x, kernel, strides=stride)
        assert np.asarray(dx).sum() == 18


def test_vjp_offers_what_can_be_had():
    y, pullback = ops.vjp(
        lambda a, i, b: (a * a, a), np.array([1.0, 2.0]), np.array([1, 2]), np.array([3.0])
    )
    assert [np.asarray(t).tolist() for t in y] == [[1.0, 4.0], [1.0, 2.0]]
    for _ in range(2):
        da, di, db = pullback((np.array([1.0, 1.0]), np.array([10.0, 10.0])))
        assert np.asarray(da).tolist() == [12.0, 14.0]
        assert di is None
        assert db is None


def test_an_empty_batch_of_long_rows_has_a_kernel_gradient_at_once():
    empty = np.zeros((0, 1 << 34, 8), np.float32)
    dx, dkernel, _ = ops.conv1d_backward(empty, empty, np.ones((3, 8, 8), "f4"), padding="same")
    assert dx.shape == empty.shape
    np.testing.assert_array_equal(np.asarray(dkernel), np.zeros((3, 8, 8)))


@pytest.mark.parametrize(
    "op",
    [
        ops.max_pool2d,
        ops.average_pool2d,
        ops.global_average_pool2d,
        lambda x: ops.batch_normalization_training(x)[0],
    ],
    ids=["max pool", "average pool", "global average pool", "batch norm"],
)
def test_images_without_channels_have_gradients(op):
    x = np.zeros((2, 4, 4, 0), "f4")
    y, pullback = ops.vjp(op, x)
    (dx,) = pullback(np.zeros(y.shape, "f4"))
    assert dx.shape == x.shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(3000, 13), (7, 5, 60, 2), (1030, 255), (11, 300), (3, 16), (0, 16), (0, 3, 16)]
)
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
def test_a_row_beside_many_is_what_numpy_gives(name, shape, dtype):
    rng = np.random.default_rng(1)
    x, row = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[-1]).astype(dtype)
    f = getattr(np, name)
    np.testing.assert_array_equal(getattr(ops, name)(x, row), f(x, row))
    np.testing.assert_array_equal(getattr(ops, name)(row, x), f(row, x))
