"""Plain NumPy, written well: `fastnn.numpy_twin`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import numpy_twin as twin
from fastnn.bench import nets
from fastnn.bench.nets import Array
from fastnn.bench.operations import DenseLayer, Operation
from fastnn.bench.problems import LEARNING_RATE, Problem
from fastnn.bench.sides import Training, Work


class _Layers:
    """A side whose "tensors" are the lists of layers so far."""

    def conv2d(self, x: list[Any], spec: nets.Conv2D, *weights: Array) -> list[Any]:
        kernel, *bias = weights
        return [*x, twin.Conv2D(kernel, bias[0] if bias else None, spec.strides, spec.padding)]

    def batch_normalization(
        self, x: list[Any], spec: nets.BatchNormalization, *weights: Array
    ) -> list[Any]:
        gamma, beta, mean, variance = weights
        layer = twin.BatchNormalization(gamma, beta, mean, variance, spec.momentum, spec.epsilon)
        return [*x, layer]

    def dense(self, x: list[Any], kernel: Array, bias: Array) -> list[Any]:
        return [*x, twin.Dense(kernel, bias)]

    def relu(self, x: list[Any]) -> list[Any]:
        return [*x, twin.ReLU()]

    def max_pooling(self, x: list[Any]) -> list[Any]:
        return [*x, twin.MaxPooling2D()]

    def global_average_pooling(self, x: list[Any]) -> list[Any]:
        return [*x, twin.GlobalAveragePooling2D()]

    def flatten(self, x: list[Any]) -> list[Any]:
        return [*x, twin.Flatten()]

    def residual(self, x: list[Any], spec: nets.Residual, weights: Iterator[Any]) -> list[Any]:
        body, shortcut = (nets.run(self, part, [], weights) for part in (spec.body, spec.shortcut))
        return [*x, twin.Residual(body, shortcut)]


def build(problem: Problem) -> twin.Network:
    """The network with the problem's first weights."""
    layers = nets.run(_Layers(), problem.layers, [], iter(problem.weights()))
    return twin.Network(layers)


def train(problem: Problem, batch: int, mode: str) -> Training:
    network = build(problem)
    x, y = problem.data(batch)

    def step() -> float:
        return network.train_step(x, y, LEARNING_RATE)

    return Training(step, lambda: [step() for _ in range(problem.steps)])


def infer(problem: Problem, batch: int, mode: str) -> Work:
    network = build(problem)
    x, _ = problem.data(batch)
    return Work(lambda: network.logits(x), lambda: network.logits(x))


def operate(operation: Operation, what: str, mode: str) -> Work:
    x, kernel, dy = operation.arrays()
    layer: Any
    if isinstance(operation, DenseLayer):
        layer = twin.Dense(kernel, np.zeros(operation.units, np.float32))
    elif operation.groups == 1:
        layer = twin.Conv2D(kernel, None, operation.stride, operation.padding)
    else:
        layer = twin.DepthwiseConv2D(kernel[:, :, 0])
    layer.forward(x, True)  # the patches that it gathers serve the kernel's gradient
    if what == "forward":
        return Work(lambda: layer.forward(x, True), lambda: layer.forward(x, True))
    if what == "input_gradient":
        return Work(lambda: layer.input_gradient(dy), lambda: layer.input_gradient(dy))

    def dkernel() -> Array:
        layer.weight_gradients(dy)
        return np.reshape(layer.gradients[0], kernel.shape)

    return Work(dkernel, dkernel)
