"""Plain NumPy, written well: `fastnn.numpy_twin`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn import numpy_twin as twin
from fastnn.bench import nets
from fastnn.bench.nets import Array
from fastnn.bench.problems import LEARNING_RATE, Problem
from fastnn.bench.sides import Training

MODES = ("",)


def version() -> str:
    return np.__version__


class _Layers:
    """A side whose "tensors" are the lists of layers so far."""

    def conv2d(self, x: list[Any], spec: nets.Conv2D, *weights: Array) -> list[Any]:
        kernel, bias = weights if spec.use_bias else (*weights, None)
        layer = twin.Conv2D(kernel, bias, spec.strides, spec.padding, input_gradient=bool(x))
        return [*x, layer]

    def batch_normalization(
        self, x: list[Any], spec: nets.BatchNormalization, *weights: Array
    ) -> list[Any]:
        return [*x, twin.BatchNormalization(*weights, spec.momentum, spec.epsilon)]

    def dense(self, x: list[Any], kernel: Array, bias: Array) -> list[Any]:
        return [*x, twin.Dense(kernel, bias, input_gradient=bool(x))]

    def relu(self, x: list[Any]) -> list[Any]:
        return [*x, twin.ReLU()]

    def max_pooling(self, x: list[Any]) -> list[Any]:
        return [*x, twin.MaxPooling2D()]

    def global_average_pooling(self, x: list[Any]) -> list[Any]:
        return [*x, twin.GlobalAveragePooling2D()]

    def flatten(self, x: list[Any]) -> list[Any]:
        return [*x, twin.Flatten()]

    def residual(self, x: list[Any], spec: nets.Residual, weights: Iterator[Any]) -> list[Any]:
        # Two rows of layers of their own. `None` stands for what they read, so that neither takes itself for the first.
        body, shortcut = (
            nets.run(self, part, [None], weights)[1:] for part in (spec.body, spec.shortcut)
        )
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


def infer(problem: Problem, batch: int, mode: str) -> Callable[[], Array]:
    network = build(problem)
    x, _ = problem.data(batch)
    return lambda: network.logits(x)
