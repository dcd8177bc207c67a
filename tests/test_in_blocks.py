"""Convolutions and pooling that a program runs in blocks of images: the bits of the ops one by one."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, Variable, _core, ops

RNG = np.random.default_rng(0)


def program_of(step, x: np.ndarray) -> _core.Program:
    graph = fastnn.Graph()
    fed = graph.placeholder(x.shape, str(x.dtype))
    with graph:
        fetches = step(fed)
    return _core.Program(graph, [fed], list(fetches))


def steps_in_blocks(program: _core.Program) -> list[str]:
    return [
        line.split(" = ")[1].split("(")[0] for line in program.dump().splitlines() if " > " in line
    ]


def net(
    x_shape,
    kernel_shape,
    pool,
    *,
    dtype="float32",
    activation=None,
    input_gradient=False,
    **convolution,
):
    """One convolution, an activation and pooling: a function of x that gives values and gradients."""
    rng = np.random.default_rng(1)
    convolve = ops.conv2d if len(x_shape) == 4 else ops.conv1d
    before = Variable(rng.standard_normal(x_shape[-1:]).astype(dtype))
    kernel = Variable(rng.standard_normal(kernel_shape).astype(dtype))
    bias = Variable(rng.standard_normal(kernel_shape[-1:]).astype(dtype))
    variables = [kernel, bias, *([before] if input_gradient else [])]

    def step(x):
        with GradientTape() as tape:
            h = x * before if input_gradient else x
            y = convolve(h, kernel, bias, **convolution)
            z = pool(activation(y) if activation else y)
            loss = ops.mean(ops.square(z))
            gradients = tape.gradient(loss, variables)
        return (loss, z, *gradients)

    return step


def max_pool(y):
    return ops.max_pool2d(y, 2)


NETS = {
    "one channel": ((70, 28, 28, 1), (3, 3, 1, 32), max_pool, {"activation": ops.relu}),
    "linear": ((70, 28, 28, 1), (3, 3, 1, 32), max_pool, {}),
    "tanh": ((70, 28, 28, 1), (3, 3, 1, 32), max_pool, {"activation": ops.tanh}),
    "few filters": (
        (400, 28, 28, 1),
        (5, 5, 1, 6),
        max_pool,
        {"activation": ops.relu, "padding": "same"},
    ),
    "an inner layer": (
        (500, 14, 14, 6),
        (5, 5, 6, 16),
        max_pool,
        {"activation": ops.relu, "input_gradient": True},
    ),
    "average": ((70, 28, 28, 3), (3, 3, 3, 40), lambda y: ops.average_pool2d(y, 3, strides=2), {}),
    "overlapping windows": (
        (70, 28, 28, 3),
        (3, 3, 3, 40),
        lambda y: ops.max_pool2d(y, 3, strides=2, padding="same"),
        {"activation": ops.relu, "input_gradient": True},
    ),
    "global": ((300, 15, 15, 2), (3, 3, 2, 20), ops.global_max_pool2d, {"strides": 1}),
    "strides": ((300, 32, 32, 2), (3, 3, 2, 20), max_pool, {"strides": 2, "padding": "same"}),
    "float64": (
        (70, 28, 28, 1),
        (3, 3, 1, 32),
        max_pool,
        {"dtype": "float64", "activation": ops.relu},
    ),
    "one dimension": (
        (200, 300, 2),
        (5, 2, 24),
        lambda y: ops.max_pool1d(y, 2),
        {"activation": ops.relu, "input_gradient": True},
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_blocks_give_the_bits_of_the_ops_one_by_one(name):
    x_shape, kernel_shape, pool, arguments = NETS[name]
    step = net(x_shape, kernel_shape, pool, **arguments)
    x = RNG.standard_normal(x_shape).astype(arguments.get("dtype", "float32"))
    program = program_of(step, x)
    in_blocks = steps_in_blocks(program)
    backward = any("_backward > " in step for step in in_blocks)
    forward = any("_backward" not in step for step in in_blocks)
    assert backward and forward == (name != "tanh"), (
        program.dump()
    )  # its derivative reads what is pooled
    threads = fastnn.num_threads()
    fastnn.set_num_threads(1)
    try:
        expected = [np.asarray(t) for t in step(x)]
        for number in (1, 2, 3, 4):
            fastnn.set_num_threads(number)
            for values in (step(x), program.run([x])):
                for e, a in zip(expected, values, strict=True):
                    np.testing.assert_array_equal(np.asarray(a), e)
    finally:
        fastnn.set_num_threads(threads)


@pytest.mark.parametrize("rows", [24, 25, 48, 49, 73])  # whole blocks, and one image more
def test_sums_over_blocks_are_exact(rows):
    x = RNG.integers(-3, 4, (rows, 28, 28, 1)).astype(np.float32)
    dy = RNG.integers(-2, 3, (rows, 26, 26, 32)).astype(np.float32)
    kernel, bias = np.zeros((3, 3, 1, 32), np.float32), np.zeros(32, np.float32)
    _, dkernel, dbias = ops.conv2d_backward(dy, x, kernel, bias)
    windows = np.lib.stride_tricks.sliding_window_view(x[..., 0], (3, 3), axis=(1, 2))
    expected = np.einsum("nijrq,nijf->rqf", windows.astype(np.int64), dy.astype(np.int64))
    np.testing.assert_array_equal(np.asarray(dkernel)[:, :, 0], expected)
    np.testing.assert_array_equal(np.asarray(dbias), dy.sum(axis=(0, 1, 2), dtype=np.int64))


def test_a_block_is_all_that_is_kept_of_what_lies_between():
    x_shape, kernel_shape, pool, arguments = NETS["one channel"]
    step = net((512, *x_shape[1:]), kernel_shape, pool, **arguments)
    program = program_of(step, np.zeros((512, *x_shape[1:]), np.float32))
    between = 512 * 26 * 26 * 32 * 4
    assert program.arena_bytes < between, (program.arena_bytes, program.dump())


def test_what_somebody_else_reads_is_made_whole():
    kernel = Variable(RNG.standard_normal((3, 3, 1, 32)).astype(np.float32))
    x = RNG.standard_normal((70, 28, 28, 1)).astype(np.float32)

    def read_twice(x):
        y = ops.conv2d(x, kernel)
        return ops.max_pool2d(y, 2), ops.mean(y)

    def fetched(x):
        y = ops.conv2d(x, kernel)
        return ops.max_pool2d(y, 2), y

    def deep(x):  # 300 products to a pixel: memory is no matter
        weights = np.ones((10, 10, 3, 32), np.float32)
        return (ops.max_pool2d(ops.conv2d(ops.repeat(x, 3, axis=-1), weights), 2),)

    for step in (read_twice, fetched, deep):
        program = program_of(step, x)
        assert steps_in_blocks(program) == [], step.__name__
        for e, a in zip(step(x), program.run([x]), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(e))


def test_few_images_are_one_block():
    x_shape, kernel_shape, pool, arguments = NETS["one channel"]
    step = net((20, *x_shape[1:]), kernel_shape, pool, **arguments)
    assert steps_in_blocks(program_of(step, np.zeros((20, *x_shape[1:]), np.float32))) == []


def test_a_profile_counts_both_layers_of_a_block():
    model = fastnn.Sequential(
        [
            fastnn.layers.Input((28, 28, 1)),
            fastnn.layers.Conv2D(32, 3, activation="relu", name="stem"),
            fastnn.layers.MaxPooling2D(name="pool"),
            fastnn.layers.Flatten(),
            fastnn.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy")
    x, y = RNG.standard_normal((70, 28, 28, 1)).astype(np.float32), RNG.integers(0, 3, 70)
    rows = [row for row in model.profile(x, y, batch_size=70, repeats=1).rows if " > " in row.op]
    assert [(row.phase, row.layer, row.op) for row in rows] == [
        ("forward", "stem", "conv2d > max_pool2d+relu"),
        ("backward", "stem", "max_pool2d_backward > conv2d_backward"),
    ]
    assert all(row.flops == 2 * 70 * 26 * 26 * 9 * 32 and row.algorithm == "direct" for row in rows)
