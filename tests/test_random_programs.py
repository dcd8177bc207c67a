"""Random steps, run eagerly and as programs, on one thread and on several: the same bits."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, Variable, _core, ops

ACTIVATIONS = [
    *[ops.relu] * 4,
    *[ops.elu, ops.selu, ops.gelu, ops.silu, ops.mish, ops.tanh, ops.sigmoid, ops.softplus],
    *[ops.softsign, ops.hard_sigmoid, ops.exp, ops.abs, ops.square, ops.negative],
    lambda x: ops.leaky_relu(x, 0.1),
    lambda x: ops.clip(x, -0.5, 0.5),
]
BINARY = [ops.add, ops.subtract, ops.multiply, ops.maximum, ops.divide]


class Step:
    """A step made of random ops, the same at each call and for each object of this seed; variables of its own."""

    def __init__(self, seed: int, dtype: str, nodes: int, gradients: bool) -> None:
        self.seed, self.dtype, self.nodes, self.gradients = seed, dtype, nodes, gradients
        self.variables: list[Variable] = []

    def __call__(self, *feeds):
        self.rng = np.random.default_rng([self.seed, 1])
        self.used: list[Variable] = []
        *inputs, labels = feeds
        with GradientTape(persistent=True) as tape:
            for x in inputs:
                tape.watch(x)
            # What a feed holds is never overwritten; a value of the program may be.
            self.values = [x * 1.0 for x in inputs] if self.chance(0.5) else list(inputs)
            for _ in range(self.rng.integers(2, self.nodes)):
                images = [v for v in self.values if len(v.shape) == 4]
                x = self.recent(images if images and self.chance(0.7) else self.values)
                self.values.append(self.image_op(x) if len(x.shape) == 4 else self.vector_op(x))
            targets = [self.target(labels)]
            targets += [self.any_of(self.values) for _ in range(self.chance(0.2))]
        fetches = [self.any_of(self.values) for _ in range(self.rng.integers(0, 4))]
        fetches += targets[: self.chance(0.4)]
        if self.gradients:
            fetches += self.gradients_of(tape, targets, inputs)
        return fetches or [self.values[-1]]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def any_of(self, items):
        return items[self.rng.integers(len(items))]

    def recent(self, values):
        return values[-1 - min(int(self.rng.exponential(1.2)), len(values) - 1)]

    def like(self, x, shape_of=lambda v: v.shape[1:]):
        """A value to go with x: of the same shape, but for the rows that are not known everywhere."""
        return self.recent(
            [v for v in self.values if len(v.shape) == len(x.shape) and shape_of(v) == shape_of(x)]
        )

    def weight(self, *shape: int) -> Variable:
        alike = [v for v in self.used if v.shape == shape]
        if alike and self.chance(0.3):
            return self.any_of(alike)
        k = len(self.used)
        if k == len(self.variables):
            start = np.random.default_rng([self.seed, 2, k]).standard_normal(shape)
            self.variables.append(Variable((0.5 * start).astype(self.dtype)))
        self.used.append(self.variables[k])
        return self.variables[k]

    def maybe(self, *shape: int) -> Variable | None:
        return self.weight(*shape) if self.chance(0.7) else None

    def image_op(self, x):
        _, height, width, channels = x.shape
        kind = self.rng.integers(14)
        size, stride = int(self.any_of([1, 2, 3, 3, 5])), int(self.any_of([1, 1, 2]))
        padding = "same" if min(height, width) < size else self.any_of(["same", "valid"])
        if kind < 3:
            return self.any_of(ACTIVATIONS)(x)
        if kind < 5:
            filters = int(self.any_of([1, 3, 8, 16]))
            if self.chance(0.2) and height * width < 200:
                kernel = self.weight(size, size, filters, channels)
                return ops.conv2d_transpose(x, kernel, self.maybe(filters), stride, padding)
            kernel = self.weight(size, size, channels, filters)
            return ops.conv2d(x, kernel, self.maybe(filters), strides=stride, padding=padding)
        if kind < 8:
            pool = self.any_of([ops.max_pool2d, ops.max_pool2d, ops.average_pool2d])
            return pool(x, size, stride, padding)
        if kind == 8:
            return self.any_of([ops.global_max_pool2d, ops.global_average_pool2d])(x)
        if kind == 9:
            return self.normalized(x, channels)
        if kind == 10:
            return ops.reshape(
                x, self.any_of([(-1, height * width * channels), (-1, *x.shape[:0:-1])])
            )
        if kind == 11:
            return ops.dropout(x, 0.3, seed=self.seed, step=1)
        if kind == 12:
            return ops.concatenate([x, self.like(x, lambda v: v.shape[1:3])])
        return self.any_of(BINARY)(x, self.like(x))

    def vector_op(self, x):
        columns = x.shape[1]
        kind = self.rng.integers(11)
        if kind < 3:
            return self.any_of(ACTIVATIONS)(x)
        if kind < 6:
            units = int(self.any_of([1, 3, 10, 32]))
            return ops.dense(x, self.weight(columns, units), self.maybe(units))
        if kind == 6:
            return ops.layer_normalization(x, self.weight(columns), self.maybe(columns))
        if kind == 7:
            return self.normalized(x, columns)
        if kind == 8:
            return ops.softmax(x)
        if kind == 9:
            return self.any_of(BINARY[:3])(x, self.weight(columns))
        return self.any_of(BINARY)(x, self.like(x))

    def normalized(self, x, channels: int):
        gamma, beta = self.maybe(channels), self.maybe(channels)
        if self.gradients and self.chance(0.7):
            return ops.batch_normalization_training(x, gamma, beta)[0]
        mean, variance = self.weight(channels), ops.square(self.weight(channels))
        return ops.batch_normalization(x, mean, variance, gamma, beta)

    def target(self, labels):
        rows = [v for v in self.values if len(v.shape) == 2 and v.shape[1] > 2]
        if rows and self.chance(0.5):
            loss = fastnn.losses.sparse_categorical_crossentropy(
                labels, rows[-1], from_logits=self.chance(0.8)
            )
            return ops.mean(loss) if self.chance(0.6) else loss
        return ops.mean(ops.square(self.values[-1])) if self.chance(0.6) else self.values[-1]

    def gradients_of(self, tape, targets, inputs):
        sources = [v for v in dict.fromkeys(self.used) if self.chance(0.85)]
        sources += [x for x in inputs if self.chance(0.4)]
        sources += [self.any_of(self.values) for _ in range(self.chance(0.3))]
        gradients = tape.gradient(targets, sources)
        changes = list(zip(sources, gradients, strict=True))
        if self.chance(0.2):
            gradients += tape.gradient([self.any_of(self.values)], sources)
        gradients = [g for g in gradients if g is not None]
        if gradients and self.chance(0.2):
            gradients.append(self.any_of(ACTIVATIONS)(self.any_of(gradients)))
        if self.chance(0.5):
            for v, g in changes:
                if isinstance(v, Variable) and g is not None:
                    v.assign_add(-0.01 * g)
        return gradients


def data(rng, rows: int, image: tuple[int, ...], dtype: str, wild: bool) -> list[np.ndarray]:
    found = [rng.standard_normal((rows, *shape)).astype(dtype) for shape in (image, (12,))]
    if wild:
        for x in found:
            x.flat[rng.integers(0, x.size, 4)] = [np.nan, np.inf, -0.0, 1e-40]
    return [*found, rng.integers(0, 3, rows)]


def check(seed: int) -> None:
    rng = np.random.default_rng([seed, 3])
    large = rng.random() < 0.05  # over 1 MiB a value: what programs forget or split
    image = (int(rng.integers(60, 70)), 64, 8) if large else tuple(rng.integers(1, 13, 3).tolist())
    dtype, wild = str(rng.choice(["float32", "float32", "float64"])), bool(rng.random() < 0.2)
    capacity = 16 if rng.random() < 0.3 and not large else 0
    rows = int(rng.integers(8, 11) if large else rng.integers(1, 9))
    eager, recorded = (Step(seed, dtype, 5 if large else 12, capacity == 0) for _ in range(2))
    graph = fastnn.Graph()
    feeds = [
        graph.placeholder((None if capacity else rows, *x.shape[1:]), x.dtype)
        for x in data(rng, rows, image, dtype, wild)
    ]
    with graph:
        program = _core.Program(graph, feeds, recorded(*feeds), capacity)
    for threads in (1, 2, 3):
        fastnn.set_num_threads(threads)
        if capacity:
            rows = int(rng.integers(1, capacity + 1))
        values = data(rng, rows, image, dtype, wild)
        expected = [np.array(t) for t in eager(*map(fastnn.Tensor, values))]
        for e, a in zip(expected, program.run(values), strict=True):
            np.testing.assert_array_equal(np.asarray(a), e, f"seed {seed}")
        for v, w in zip(eager.variables, recorded.variables, strict=True):
            np.testing.assert_array_equal(np.array(w), np.array(v), f"seed {seed}")


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_a_random_program_gives_the_bits_of_its_step(start):
    threads = fastnn.num_threads()
    try:
        with np.errstate(all="ignore"):
            for seed in range(start, start + 50):
                check(seed)
    finally:
        fastnn.set_num_threads(threads)
