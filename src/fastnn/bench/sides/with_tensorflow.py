"""TensorFlow: the whole step in one tf.function, as a graph or compiled by XLA; Adam is TensorFlow's fused kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from fastnn.bench import nets
from fastnn.bench.nets import Array
from fastnn.bench.problems import LEARNING_RATE, Problem
from fastnn.bench.sides import Training, Work

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


class _Functions:
    """Channels last. In training, moving averages are variables that are assigned on the way."""

    def __init__(self, training: bool) -> None:
        self.training = training

    def conv2d(self, x: Any, spec: nets.Conv2D, kernel: Any, bias: Any = None) -> Any:
        y = tf.nn.conv2d(x, kernel, spec.strides, spec.padding.upper())
        return y if bias is None else tf.nn.bias_add(y, bias)

    def batch_normalization(
        self, x: Any, spec: nets.BatchNormalization, gamma: Any, beta: Any, mean: Any, variance: Any
    ) -> Any:
        if not self.training:
            return tf.nn.batch_normalization(x, mean, variance, beta, gamma, spec.epsilon)
        y, new_mean, new_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=spec.epsilon
        )
        for average, new in ((mean, new_mean), (variance, new_variance)):
            average.assign_sub((1 - spec.momentum) * (average - new))
        return y

    def dense(self, x: Any, kernel: Any, bias: Any) -> Any:
        return tf.nn.bias_add(tf.matmul(x, kernel), bias)

    def relu(self, x: Any) -> Any:
        return tf.nn.relu(x)

    def max_pooling(self, x: Any) -> Any:
        return tf.nn.max_pool2d(x, 2, 2, "VALID")

    def global_average_pooling(self, x: Any) -> Any:
        return tf.reduce_mean(x, (1, 2))

    def flatten(self, x: Any) -> Any:
        return tf.reshape(x, (x.shape[0], -1))

    def residual(self, x: Any, spec: nets.Residual, weights: Iterator[Any]) -> Any:
        y = nets.run(self, spec.body, x, weights)
        return y + nets.run(self, spec.shortcut, x, weights)


def train(problem: Problem, batch: int, mode: str) -> Training:
    images, targets = problem.data(batch)
    x, y = tf.constant(images), tf.constant(targets)
    weights = [
        [tf.Variable(a, trainable=i < 2) for i, a in enumerate(arrays)]
        for arrays in problem.weights()
    ]
    parameters = [v for variables in weights for v in variables if v.trainable]
    slots = [[tf.Variable(tf.zeros_like(p)) for p in parameters] for _ in range(2)]
    powers = [tf.Variable(BETA_1), tf.Variable(BETA_2)]
    side = _Functions(training=True)

    def eager_step() -> Any:
        with tf.GradientTape() as tape:
            logits = nets.run(side, problem.layers, x, iter(weights))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, parameters)
        for p, m, v, g in zip(parameters, *slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=p.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=LEARNING_RATE,
                beta1=BETA_1,
                beta2=BETA_2,
                epsilon=EPSILON,
                grad=g,
            )
        powers[0].assign(powers[0] * BETA_1)
        powers[1].assign(powers[1] * BETA_2)
        return loss

    step = tf.function(eager_step, jit_compile=mode == "xla")

    def epoch() -> None:
        for _ in range(problem.steps):
            loss = step()
        loss.numpy()

    return Training(lambda: float(step()), epoch)


def infer(problem: Problem, batch: int, mode: str) -> Work:
    weights = [[tf.constant(a) for a in arrays] for arrays in problem.weights()]
    x = tf.constant(problem.data(batch)[0])
    side = _Functions(training=False)

    def eager_logits(x: Any) -> Any:
        return nets.run(side, problem.layers, x, iter(weights))

    logits = tf.function(eager_logits, jit_compile=mode == "xla")

    def call() -> Array:
        return np.asarray(logits(x))

    return Work(call, call)
