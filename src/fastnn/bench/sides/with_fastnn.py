"""fastnn: `fit`, one call an epoch, and `train_on_batch`, one call a step; `predict_on_batch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import fastnn
from fastnn import layers, ops
from fastnn.bench import nets
from fastnn.bench.nets import Array
from fastnn.bench.operations import Convolution, Operation
from fastnn.bench.problems import LEARNING_RATE, Problem
from fastnn.bench.sides import Training, Work


class _Symbolic:
    """Builds a functional model; remembers which weights belong to which layer."""

    def __init__(self) -> None:
        self.weights: list[tuple[Any, Sequence[Array]]] = []

    def _call(self, layer: Any, x: Any, *weights: Array) -> Any:
        self.weights.append((layer, weights))
        return layer(x)

    def conv2d(self, x: Any, spec: nets.Conv2D, *weights: Array) -> Any:
        layer = layers.Conv2D(
            spec.filters, spec.kernel, spec.strides, spec.padding, use_bias=spec.use_bias
        )
        return self._call(layer, x, *weights)

    def batch_normalization(self, x: Any, spec: nets.BatchNormalization, *weights: Array) -> Any:
        return self._call(
            layers.BatchNormalization(momentum=spec.momentum, epsilon=spec.epsilon), x, *weights
        )

    def dense(self, x: Any, kernel: Array, bias: Array) -> Any:
        return self._call(layers.Dense(len(bias)), x, kernel, bias)

    def relu(self, x: Any) -> Any:
        return layers.ReLU()(x)

    def max_pooling(self, x: Any) -> Any:
        return layers.MaxPooling2D()(x)

    def global_average_pooling(self, x: Any) -> Any:
        return layers.GlobalAveragePooling2D()(x)

    def flatten(self, x: Any) -> Any:
        return layers.Flatten()(x)

    def residual(self, x: Any, spec: nets.Residual, weights: Iterator[Any]) -> Any:
        y = nets.run(self, spec.body, x, weights)
        return layers.Add()([y, nets.run(self, spec.shortcut, x, weights)])


def build(problem: Problem) -> Any:
    """The model, compiled, with the problem's first weights."""
    side = _Symbolic()
    x = layers.Input(problem.shape)
    model = fastnn.Model(x, nets.run(side, problem.layers, x, iter(problem.weights())))
    for layer, weights in side.weights:
        layer.set_weights(list(weights))
    model.compile(
        fastnn.optimizers.Adam(LEARNING_RATE),
        fastnn.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def train(problem: Problem, batch: int, mode: str) -> Training:
    model = build(problem)
    x, y = problem.data(batch)

    def step() -> float:
        return float(model.train_on_batch(x, y))

    if mode == "train_on_batch":
        return Training(step, lambda: [step() for _ in range(problem.steps)])
    many_x = np.tile(x, (problem.steps, *[1] * len(problem.shape)))
    many_y = np.tile(y, problem.steps)
    return Training(step, lambda: model.fit(many_x, many_y, batch_size=batch, verbose=0))


def infer(problem: Problem, batch: int, mode: str) -> Work:
    model = build(problem)
    x, _ = problem.data(batch)

    def call() -> Array:
        return np.asarray(model.predict_on_batch(x))

    return Work(call, call)


def operate(operation: Operation, what: str, mode: str) -> Work:
    x, kernel, dy = (fastnn.Tensor(a) for a in operation.arrays())
    if isinstance(operation, Convolution):
        forward = partial(ops.conv2d, x, kernel, **operation.options)
    else:
        forward = partial(ops.dense, x, kernel, np.zeros(operation.units, np.float32))
    if what == "forward":
        return Work(forward, lambda: np.asarray(forward()))
    source = x if what == "input_gradient" else kernel
    with fastnn.GradientTape(persistent=True) as tape:
        tape.watch(source)
        y = forward()

    def gradient() -> Any:
        return tape.gradient(y, source, dy)

    return Work(gradient, lambda: np.asarray(gradient()))
