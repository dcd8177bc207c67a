"""PyTorch: eager with a fused Adam, the same with channels last, and torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fastnn.bench import nets
from fastnn.bench.nets import Array
from fastnn.bench.operations import Convolution, DenseLayer, Operation
from fastnn.bench.problems import LEARNING_RATE, Problem
from fastnn.bench.sides import Training, Work

torch.set_flush_denormal(True)  # as fastnn, JAX and TensorFlow do


class _Functions:
    """Channels first, whatever lies in memory."""

    def __init__(self, training: bool) -> None:
        self.training = training

    def conv2d(self, x: Any, spec: nets.Conv2D, kernel: Any, bias: Any = None) -> Any:
        padding: Any = 0
        if spec.padding == "same":
            size, s = x.shape[2], spec.strides
            total = max((-(-size // s) - 1) * s + spec.kernel - size, 0)
            padding = total // 2
            if (
                total % 2
            ):  # one more below and to the right, which PyTorch pads in a pass of its own
                x = functional.pad(x, (padding, padding + 1) * 2)
                padding = 0
        return functional.conv2d(x, kernel, bias, spec.strides, padding)

    def batch_normalization(
        self, x: Any, spec: nets.BatchNormalization, gamma: Any, beta: Any, mean: Any, variance: Any
    ) -> Any:
        return functional.batch_norm(
            x, mean, variance, gamma, beta, self.training, 1 - spec.momentum, spec.epsilon
        )

    def dense(self, x: Any, kernel: Any, bias: Any) -> Any:
        return functional.linear(x, kernel, bias)

    def relu(self, x: Any) -> Any:
        return functional.relu(x, inplace=True)

    def max_pooling(self, x: Any) -> Any:
        return functional.max_pool2d(x, 2)

    def global_average_pooling(self, x: Any) -> Any:
        return x.mean((2, 3))

    def flatten(self, x: Any) -> Any:
        return x.permute(0, 2, 3, 1).flatten(1)

    def residual(self, x: Any, spec: nets.Residual, weights: Iterator[Any]) -> Any:
        y = nets.run(self, spec.body, x, weights)
        return y + nets.run(self, spec.shortcut, x, weights)


def _tensor(array: Array, channels_last: bool) -> Any:
    """An array in PyTorch's order of axes: dense kernels (units, K); four axes are in it already."""
    if array.ndim != 4:
        return torch.from_numpy(np.ascontiguousarray(array.T))
    return torch.from_numpy(array).contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def _images(x: Array, channels_last: bool) -> Any:
    return _tensor(x.transpose(0, 3, 1, 2), channels_last) if x.ndim == 4 else torch.from_numpy(x)


def _weights(problem: Problem, channels_last: bool) -> list[list[Any]]:
    """As tensors; a moving average is one that needs no gradient."""
    layers = []
    for arrays in problem.weights():
        tensors = [
            _tensor(a.transpose(3, 2, 0, 1) if a.ndim == 4 else a, channels_last) for a in arrays
        ]
        for t in tensors[:2]:
            t.requires_grad_()
        layers.append(tensors)
    return layers


def train(problem: Problem, batch: int, mode: str) -> Training:
    channels_last = problem.is_convnet and mode != "eager"
    compiled = mode == "compile"
    weights = _weights(problem, channels_last)
    parameters = [t for tensors in weights for t in tensors if t.requires_grad]
    images, labels = problem.data(batch)
    x, y = _images(images, channels_last), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, eps=1e-7, fused=not compiled)
    side = _Functions(training=True)

    def loss_of_batch() -> Any:
        return functional.cross_entropy(nets.run(side, problem.layers, x, iter(weights)), y)

    forward = torch.compile(loss_of_batch) if compiled else loss_of_batch
    update = torch.compile(optimizer.step) if compiled else optimizer.step

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        update()
        return float(loss.detach())

    return Training(step, lambda: [step() for _ in range(problem.steps)])


def infer(problem: Problem, batch: int, mode: str) -> Work:
    channels_last = problem.is_convnet and mode != "eager"
    weights = [[t.detach() for t in tensors] for tensors in _weights(problem, channels_last)]
    x = _images(problem.data(batch)[0], channels_last)
    side = _Functions(training=False)

    def logits(x: Any) -> Any:
        return nets.run(side, problem.layers, x, iter(weights))

    forward = torch.compile(logits) if mode == "compile" else logits

    def call() -> Array:
        with torch.inference_mode():
            return np.asarray(forward(x))

    return Work(call, call)


def operate(operation: Operation, what: str, mode: str) -> Work:
    arrays = operation.arrays()
    if isinstance(operation, DenseLayer):
        return _dense(what, *arrays)
    return _convolution(operation, what, *arrays, mode == "channels_last")


def _dense(what: str, *arrays: Array) -> Work:
    x, kernel, dy = (torch.from_numpy(a) for a in arrays)
    weight = kernel.T.contiguous()  # (units, K), as nn.Linear keeps it
    bias = torch.zeros(len(weight))
    call: Callable[[], Any]
    if what == "forward":
        call = torch.inference_mode()(lambda: functional.linear(x, weight, bias))
    elif what == "input_gradient":
        call = torch.inference_mode()(lambda: dy @ weight)
    else:
        call = torch.inference_mode()(lambda: dy.T @ x)
    return Work(call, lambda: np.asarray(call().T if what == "kernel_gradient" else call()))


def _convolution(
    spec: Convolution, what: str, x: Array, kernel: Array, dy: Array, channels_last: bool
) -> Work:
    _, h, w, _ = spec.images
    rows = spec.taps(h)  # the images are square
    before, after = int((rows[0] < 0).sum()), int((rows[-1] < 0).sum())
    padding = before
    if before != after:  # PyTorch cannot; it gets its images with the zeros around them
        x = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
        padding = 0
    images, weight, upstream = (
        _tensor(a, channels_last)
        for a in (x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), dy.transpose(0, 3, 1, 2))
    )
    stride, groups = [spec.stride] * 2, spec.groups

    if what == "forward":

        def call() -> Any:
            return functional.conv2d(images, weight, None, stride, padding, 1, groups)
    else:
        mask = [what == "input_gradient", what == "kernel_gradient", False]

        def call() -> Any:
            gradients = torch.ops.aten.convolution_backward(
                upstream,
                images,
                weight,
                None,
                stride,
                [padding] * 2,
                [1, 1],
                False,
                [0, 0],
                groups,
                mask,
            )
            return gradients[mask.index(True)]

    def answer() -> Array:
        result = np.asarray(call())
        if what == "kernel_gradient":
            return result.transpose(2, 3, 1, 0)
        result = result.transpose(0, 2, 3, 1)
        if what == "input_gradient" and before != after:
            result = result[:, before : before + h, before : before + w]
        return result

    return Work(torch.inference_mode()(call), answer)
