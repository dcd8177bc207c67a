"""JAX: the whole step in one jit with donated buffers, called step by step or looped over inside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from fastnn.bench import nets
from fastnn.bench.nets import Array
from fastnn.bench.problems import LEARNING_RATE, Problem
from fastnn.bench.sides import Training, Work

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


class _Functions:
    """Channels last. New moving averages are collected on the way."""

    def __init__(self, training: bool) -> None:
        self.training = training
        self.averages: list[Any] = []

    def conv2d(self, x: Any, spec: nets.Conv2D, kernel: Any, bias: Any = None) -> Any:
        y = lax.conv_general_dilated(
            x,
            kernel,
            (spec.strides, spec.strides),
            spec.padding.upper(),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y if bias is None else y + bias

    def batch_normalization(
        self, x: Any, spec: nets.BatchNormalization, gamma: Any, beta: Any, mean: Any, variance: Any
    ) -> Any:
        if self.training:
            old, keep = (mean, variance), spec.momentum
            mean = jnp.mean(x, (0, 1, 2))
            variance = jnp.mean(jnp.square(x - mean), (0, 1, 2))
            new = zip(old, (mean, variance), strict=True)
            self.averages += [keep * before + (1 - keep) * now for before, now in new]
        return (x - mean) * (gamma * lax.rsqrt(variance + spec.epsilon)) + beta

    def dense(self, x: Any, kernel: Any, bias: Any) -> Any:
        return x @ kernel + bias

    def relu(self, x: Any) -> Any:
        return jnp.maximum(x, 0)

    def max_pooling(self, x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def global_average_pooling(self, x: Any) -> Any:
        return jnp.mean(x, (1, 2))

    def flatten(self, x: Any) -> Any:
        return x.reshape(len(x), -1)

    def residual(self, x: Any, spec: nets.Residual, weights: Iterator[Any]) -> Any:
        y = nets.run(self, spec.body, x, weights)
        return y + nets.run(self, spec.shortcut, x, weights)


def _split(problem: Problem) -> tuple[list[Any], list[Any]]:
    """Trainable weights and moving averages, a list of lists each."""
    weights = problem.weights()
    on_device = partial(jax.tree.map, jnp.asarray)
    return on_device([arrays[:2] for arrays in weights]), on_device(
        [arrays[2:] for arrays in weights]
    )


def _joined(parameters: list[Any], averages: list[Any]) -> Iterator[Any]:
    return iter([[*p, *a] for p, a in zip(parameters, averages, strict=True)])


def train(problem: Problem, batch: int, mode: str) -> Training:
    images, targets = problem.data(batch)
    x, y = jnp.asarray(images), jnp.asarray(targets)
    parameters, averages = _split(problem)

    def loss_of(parameters: Any, averages: Any) -> Any:
        side = _Functions(training=True)
        logits = nets.run(side, problem.layers, x, _joined(parameters, averages))
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)
        return -jnp.mean(chosen), jax.tree.unflatten(jax.tree.structure(averages), side.averages)

    def step(state: Any) -> Any:
        parameters, averages, m, v, t, _ = state
        (loss, averages), g = jax.value_and_grad(loss_of, has_aux=True)(parameters, averages)
        t = t + 1
        alpha = LEARNING_RATE * jnp.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
        m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, g)
        v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, g)
        parameters = jax.tree.map(
            lambda p, m, v: p - alpha * m / (jnp.sqrt(v) + EPSILON), parameters, m, v
        )
        return parameters, averages, m, v, t, loss

    one = jax.jit(step, donate_argnums=0)
    many = jax.jit(
        lambda state: lax.fori_loop(0, problem.steps, lambda _, s: step(s), state), donate_argnums=0
    )
    zeros = partial(jax.tree.map, jnp.zeros_like)
    state = [
        (parameters, averages, zeros(parameters), zeros(parameters), jnp.zeros(()), jnp.zeros(()))
    ]

    def single() -> float:
        state[0] = one(state[0])
        return float(state[0][-1])

    def epoch() -> None:
        if mode == "loop":
            state[0] = many(state[0])
        else:
            for _ in range(problem.steps):
                state[0] = one(state[0])
        jax.block_until_ready(state[0])

    return Training(single, epoch)


def infer(problem: Problem, batch: int, mode: str) -> Work:
    parameters, averages = _split(problem)
    x = jnp.asarray(problem.data(batch)[0])

    def eager_logits(x: Any, parameters: Any, averages: Any) -> Any:
        side = _Functions(training=False)
        return nets.run(side, problem.layers, x, _joined(parameters, averages))

    logits = jax.jit(eager_logits)

    def call() -> Array:
        return np.asarray(logits(x, parameters, averages))

    return Work(call, call)
