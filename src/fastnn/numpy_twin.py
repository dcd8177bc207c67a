"""The demo's network in plain NumPy: what `fastnn demo` and the benchmarks compare with.

Written as a careful NumPy user writes it: convolutions as one BLAS product over gathered patches
(im2col), everything else vectorised, all parameters in one flat vector that Adam updates in place,
float32 throughout. Layouts, defaults and formulas are fastnn's (and Keras's), so the same weights
give the same loss and gradients.

A layer has `weights` and, in the same order, `gradients`; `forward` keeps what `backward` needs.
`backward` takes the gradient with respect to the layer's output, fills `gradients` and returns the
gradient with respect to its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Adam",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "MaxPooling2D",
    "Network",
    "ReLU",
    "demo_network",
    "softmax_crossentropy",
]

Array: TypeAlias = npt.NDArray[Any]


class Layer:
    """A layer without weights; the others add theirs."""

    def __init__(self, *weights: Array) -> None:
        self.weights = list(weights)
        self.gradients = [np.zeros_like(w) for w in weights]

    def forward(self, x: Array, training: bool) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        raise NotImplementedError


class Conv2D(Layer):
    """Convolution with stride 1 and 'same' padding.

    x (N, H, W, C), kernel (kh, kw, C, F), bias (F) -> (N, H, W, F). The first layer of a network
    saves work with `input_gradient=False`: nobody asks for the gradient of the images.
    """

    def __init__(self, kernel: Array, bias: Array, *, input_gradient: bool = True) -> None:
        super().__init__(kernel, bias)
        self.input_gradient = input_gradient

    def forward(self, x: Array, training: bool) -> Array:
        kernel, bias = self.weights
        kh, kw, c, f = kernel.shape
        n, h, w, _ = x.shape
        padded = np.zeros((n, h + kh - 1, w + kw - 1, c), x.dtype)
        top, left = (kh - 1) // 2, (kw - 1) // 2
        padded[:, top : top + h, left : left + w] = x
        patches = np.empty((n, h, w, kh, kw, c), x.dtype)
        for i in range(kh):
            for j in range(kw):
                patches[:, :, :, i, j] = padded[:, i : i + h, j : j + w]
        self.patches = patches.reshape(n * h * w, kh * kw * c)
        y = self.patches @ kernel.reshape(-1, f)
        y += bias
        return y.reshape(n, h, w, f)

    def backward(self, dy: Array) -> Array:
        kernel, _ = self.weights
        dkernel, dbias = self.gradients
        kh, kw, c, f = kernel.shape
        n, h, w, _ = dy.shape
        rows = dy.reshape(-1, f)
        np.matmul(self.patches.T, rows, out=dkernel.reshape(-1, f))
        np.sum(rows, axis=0, out=dbias)
        if not self.input_gradient:
            return dy[:0]
        dpatches = (rows @ kernel.reshape(-1, f).T).reshape(n, h, w, kh, kw, c)
        dpadded = np.zeros((n, h + kh - 1, w + kw - 1, c), dy.dtype)
        for i in range(kh):
            for j in range(kw):
                dpadded[:, i : i + h, j : j + w] += dpatches[:, :, :, i, j]
        top, left = (kh - 1) // 2, (kw - 1) // 2
        return dpadded[:, top : top + h, left : left + w]


class BatchNormalization(Layer):
    """Normalize each channel (the last axis) over the batch, then scale and shift.

    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    Reference: Ioffe, Szegedy (2015), arXiv:1502.03167.
    """

    def __init__(
        self,
        gamma: Array,
        beta: Array,
        moving_mean: Array,
        moving_variance: Array,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
    ) -> None:
        super().__init__(gamma, beta)
        self.moving_mean, self.moving_variance = moving_mean.copy(), moving_variance.copy()
        self.momentum, self.epsilon = momentum, epsilon

    def forward(self, x: Array, training: bool) -> Array:
        gamma, beta = self.weights
        if not training:
            scale = gamma / np.sqrt(self.moving_variance + self.epsilon)
            return x * scale + (beta - self.moving_mean * scale)
        rows = x.reshape(-1, x.shape[-1])
        mean = rows.mean(axis=0)
        centred = rows - mean
        variance = np.square(centred).mean(axis=0)
        self.rstd = 1 / np.sqrt(variance + self.epsilon)
        self.normalized = np.multiply(centred, self.rstd, out=centred)
        self.moving_mean += (1 - self.momentum) * (mean - self.moving_mean)
        self.moving_variance += (1 - self.momentum) * (variance - self.moving_variance)
        y: Array = self.normalized * gamma
        y += beta
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        gamma, _ = self.weights
        dgamma, dbeta = self.gradients
        rows = dy.reshape(self.normalized.shape)
        np.einsum("nc,nc->c", rows, self.normalized, out=dgamma)
        np.sum(rows, axis=0, out=dbeta)
        dx: Array = self.normalized * (-dgamma / len(rows))
        dx += rows
        dx -= dbeta / len(rows)
        dx *= gamma * self.rstd
        return dx.reshape(dy.shape)


class ReLU(Layer):
    """max(x, 0), derivative 0 at 0."""

    def forward(self, x: Array, training: bool) -> Array:
        self.y = np.maximum(x, 0)
        return self.y

    def backward(self, dy: Array) -> Array:
        return dy * (self.y > 0)


class MaxPooling2D(Layer):
    """The largest of each p x p square; of equal ones the first gets the gradient.

    x (N, H, W, C) -> (N, H / p, W / p, C).
    """

    def __init__(self, pool_size: int = 2) -> None:
        super().__init__()
        self.pool_size = pool_size

    def _corners(self, x: Array) -> list[Array]:
        p = self.pool_size
        return [x[:, i::p, j::p] for i in range(p) for j in range(p)]

    def forward(self, x: Array, training: bool) -> Array:
        first, *others = self._corners(x)
        y = first.copy()
        for corner in others:
            np.maximum(y, corner, out=y)
        self.x, self.y = x, y
        return y

    def backward(self, dy: Array) -> Array:
        dx = np.empty_like(self.x)
        waiting = np.ones(self.y.shape, bool)  # for the position of the maximum
        for x, to in zip(self._corners(self.x), self._corners(dx), strict=True):
            here = waiting & (x == self.y)
            np.multiply(dy, here, out=to)
            waiting &= ~here
        return dx


class Flatten(Layer):
    """x (N, ...) -> (N, all the rest)."""

    def forward(self, x: Array, training: bool) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape)


class Dropout(Layer):
    """In training, each element is 0 with probability `rate`, else divided by 1 - rate."""

    def __init__(self, rate: float, rng: np.random.Generator) -> None:
        super().__init__()
        self.rate, self.rng = rate, rng

    def forward(self, x: Array, training: bool) -> Array:
        if not training or self.rate == 0:
            self.mask: Array = np.ones(1, x.dtype)
            return x
        keep = self.rng.random(x.shape, np.float32) >= self.rate
        self.mask = keep.astype(x.dtype) / x.dtype.type(1 - self.rate)
        return x * self.mask

    def backward(self, dy: Array) -> Array:
        return dy * self.mask


class Dense(Layer):
    """y = x @ kernel + bias. x (N, K), kernel (K, M) -> (N, M)."""

    def forward(self, x: Array, training: bool) -> Array:
        kernel, bias = self.weights
        self.x = x
        return x @ kernel + bias

    def backward(self, dy: Array) -> Array:
        kernel, _ = self.weights
        dkernel, dbias = self.gradients
        np.matmul(self.x.T, dy, out=dkernel)
        np.sum(dy, axis=0, out=dbias)
        return dy @ kernel.T


def softmax_crossentropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """The mean of -log softmax(logits)[label], and its gradient (softmax - one_hot) / N."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float(np.mean(np.log(sums[:, 0]) - shifted[rows, labels]))
    dlogits = exponentials / sums
    dlogits[rows, labels] -= 1
    dlogits /= len(labels)
    return loss, dlogits


class Adam:
    """Adam on one flat vector, in place, in Keras's form. Kingma, Ba (2014), arXiv:1412.6980."""

    def __init__(
        self,
        size: int,
        dtype: npt.DTypeLike = np.float32,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        self.m, self.v, self.buffer = (np.zeros(size, dtype) for _ in range(3))
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.t = 0

    def update(self, theta: Array, g: Array, learning_rate: float) -> None:
        self.t += 1
        alpha = learning_rate * np.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        step = self.buffer
        self.m += np.multiply(1 - self.beta_1, np.subtract(g, self.m, out=step), out=step)
        np.square(g, out=step)
        self.v += np.multiply(1 - self.beta_2, np.subtract(step, self.v, out=step), out=step)
        np.sqrt(self.v, out=step)
        step += self.epsilon
        np.divide(self.m, step, out=step)
        theta -= np.multiply(float(alpha), step, out=step)


class Network:
    """Layers in a row under softmax cross-entropy, trained with Adam.

    All weights and all gradients become views of two flat vectors, `theta` and `gradient`.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.theta = np.concatenate([w.ravel() for layer in self.layers for w in layer.weights])
        self.gradient = np.zeros_like(self.theta)
        start = 0
        for layer in self.layers:
            for i, w in enumerate(layer.weights):
                part = slice(start, start + w.size)
                layer.weights[i] = self.theta[part].reshape(w.shape)
                layer.gradients[i] = self.gradient[part].reshape(w.shape)
                start += w.size
        self.optimizer = Adam(self.theta.size, self.theta.dtype)

    def logits(self, x: Array, training: bool = False) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def loss_and_gradient(self, x: Array, labels: Array) -> float:
        """The loss of one batch in training mode; fills `gradient`."""
        loss, dy = softmax_crossentropy(self.logits(x, training=True), labels)
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return loss

    def train_epoch(
        self,
        x: Array,
        labels: Array,
        batch_size: int,
        learning_rate: float,
        rng: np.random.Generator,
    ) -> float:
        """One pass over shuffled batches; returns the mean loss."""
        order = rng.permutation(len(x))
        total = 0.0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            total += len(rows) * self.loss_and_gradient(x[rows], labels[rows])
            self.optimizer.update(self.theta, self.gradient, learning_rate)
        return total / len(x)


def demo_network(
    weights: Sequence[Array], rate: float, seed: int = 0, momentum: float = 0.99
) -> Network:
    """(conv 3x3, batch norm, relu, max pool) twice, flatten, dropout, dense.

    Args:
        weights: what `get_weights()` of the demo's model gives: per block kernel, bias, gamma,
            beta, moving mean and moving variance; then the dense kernel and bias.
        rate: the dropout rate.
        seed: of dropout's masks.
        momentum: of the moving averages of batch normalization.
    """
    layers: list[Layer] = []
    for block in (weights[:6], weights[6:12]):
        kernel, bias, gamma, beta, mean, variance = block
        layers += [
            Conv2D(kernel, bias, input_gradient=bool(layers)),
            BatchNormalization(gamma, beta, mean, variance, momentum),
            ReLU(),
            MaxPooling2D(),
        ]
    layers += [Flatten(), Dropout(rate, np.random.default_rng(seed)), Dense(*weights[12:])]
    return Network(layers)
