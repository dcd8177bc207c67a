"""Networks in plain NumPy: what `fastnn demo` and `fastnn bench` compare with.

Written as a careful NumPy user writes it: convolutions as one BLAS product over gathered patches
(im2col), everything else vectorised, results written into buffers that are kept from step to step,
all parameters in one flat vector that Adam updates in place, float32 throughout. Layouts, defaults
and formulas are fastnn's (and Keras's), so the same weights give the same loss and gradients.

A layer has `weights` and, in the same order, `gradients`; `forward` keeps what `backward` needs.
`backward` takes the gradient with respect to the layer's output, fills `gradients` and returns the
gradient with respect to its input. What they return belongs to the layer and is overwritten by the
next call; `backward` may overwrite the gradient that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

__all__ = [
    "Adam",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "Layer",
    "MaxPooling2D",
    "Network",
    "ReLU",
    "Residual",
    "demo_network",
    "softmax_crossentropy",
]

Array: TypeAlias = npt.NDArray[Any]


class Layer:
    """A layer without weights; the others add theirs."""

    def __init__(self, *weights: Array) -> None:
        self.weights = list(weights)
        self.gradients = [np.zeros_like(w) for w in weights]
        self._buffers: dict[str, Array] = {}

    def forward(self, x: Array, training: bool) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        raise NotImplementedError

    def leaves(self) -> list[Layer]:
        """The layers with weights: itself."""
        return [self]

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Memory that is kept from call to call as long as its shape stays; zero when it is new."""
        kept = self._buffers.get(name)
        if kept is None or kept.shape != shape or kept.dtype != dtype:
            kept = self._buffers[name] = np.zeros(shape, dtype)
        return kept

    def _sum_rows(self, rows: Array, out: Array) -> None:
        """The sum over the first axis. A product with ones is several times as fast as `np.sum`."""
        ones = self._buffers.get("ones")
        if ones is None or len(ones) != len(rows) or ones.dtype != rows.dtype:
            ones = self._buffers["ones"] = np.ones(len(rows), rows.dtype)
        np.dot(ones, rows, out=out)


def _span(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Along one axis: outputs, padding in front, and the size with padding that the windows cover."""
    if padding == "valid":
        return (size - kernel) // stride + 1, 0, size
    outputs = -(-size // stride)
    covered = max((outputs - 1) * stride + kernel, size)
    return outputs, (covered - size) // 2, covered


def _windows(padded: Array, kh: int, kw: int, stride: int, oh: int, ow: int) -> Array:
    """View (N, OH, OW, kh, kw * C) of the pixels under each window, in runs of kw neighbours."""
    n, _, _, c = padded.shape
    image, row, pixel, number = padded.strides
    return as_strided(
        padded,
        (n, oh, ow, kh, kw * c),
        (image, stride * row, stride * pixel, row, number),
        writeable=False,
    )


class _Linear(Layer):
    """A layer whose backward has two parts. The first one of a network saves the second: nobody asks for the
    gradient of the data."""

    is_first = False

    def weight_gradients(self, dy: Array) -> None:
        """Fills `gradients`."""
        raise NotImplementedError

    def input_gradient(self, dy: Array) -> Array:
        """The gradient with respect to x."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        self.weight_gradients(dy)
        return dy[:0] if self.is_first else self.input_gradient(dy)


class Conv2D(_Linear):
    """Convolution of any stride with "same" or "valid" padding.

    x (N, H, W, C), kernel (kh, kw, C, F), bias (F) -> (N, OH, OW, F).
    """

    def __init__(
        self,
        kernel: Array,
        bias: Array | None = None,
        strides: int = 1,
        padding: str = "same",
    ) -> None:
        super().__init__(kernel, *(() if bias is None else (bias,)))
        self.strides, self.padding = strides, padding

    def forward(self, x: Array, training: bool) -> Array:
        kernel, *bias = self.weights
        kh, kw, _, f = kernel.shape
        self.x_shape = n, h, w, _ = x.shape
        oh, top, height = _span(h, kh, self.strides, self.padding)
        ow, left, width = _span(w, kw, self.strides, self.padding)
        self.patches = self._gather(
            "x", x, (kh, kw), self.strides, (oh, ow), (top, left), (height, width)
        )
        y = self._buffer("y", (n, oh, ow, f), x.dtype)
        rows = y.reshape(-1, f)
        np.dot(self.patches, kernel.reshape(-1, f), out=rows)
        if bias:
            rows += bias[0]
        return y

    def _gather(
        self,
        name: str,
        x: Array,
        size: tuple[int, int],
        stride: int,
        outputs: tuple[int, int],
        before: tuple[int, int],
        covered: tuple[int, int],
    ) -> Array:
        """im2col: the matrix (N * OH * OW, kh * kw * C) of the pixels under each window."""
        (kh, kw), (oh, ow), (top, left) = size, outputs, before
        n, h, w, c = x.shape
        if covered != (h, w):
            padded = self._buffer(f"padded {name}", (n, *covered, c), x.dtype)
            padded[:, top : top + h, left : left + w] = x
            x = padded
        elif (kh, kw, stride) == (1, 1, 1):
            return x.reshape(-1, c)
        if c >= 4:
            patches = self._buffer(f"patches {name}", (n, oh, ow, kh, kw * c), x.dtype)
            np.copyto(patches, _windows(x, kh, kw, stride, oh, ow))
            return patches.reshape(n * oh * ow, -1)
        # Runs of so few numbers are slow to copy: whole rows of the image instead, one matrix row per tap.
        columns = self._buffer(f"patches {name}", (kh, kw, c, n, oh, ow), x.dtype)
        for i in range(kh):
            for j in range(kw):
                taps = x[:, i : i + stride * oh : stride, j : j + stride * ow : stride]
                np.copyto(columns[i, j], taps.transpose(3, 0, 1, 2))
        return columns.reshape(kh * kw * c, -1).T

    def weight_gradients(self, dy: Array) -> None:
        dkernel, *dbias = self.gradients
        f = dy.shape[-1]
        rows = dy.reshape(-1, f)
        np.dot(self.patches.T, rows, out=dkernel.reshape(-1, f))
        if dbias:
            self._sum_rows(rows, dbias[0])

    def input_gradient(self, dy: Array) -> Array:
        return self._dx_by_convolution(dy) if self.strides == 1 else self._dx_by_scattering(dy)

    def _dx_by_convolution(self, dy: Array) -> Array:
        """dy convolved with the flipped kernel: gathering copies, where scattering would add."""
        kernel = self.weights[0]
        kh, kw, c, f = kernel.shape
        _, h, w, _ = self.x_shape
        top, left = _span(h, kh, 1, self.padding)[1], _span(w, kw, 1, self.padding)[1]
        before, covered = (kh - 1 - top, kw - 1 - left), (h + kh - 1, w + kw - 1)
        patches = self._gather("dy", dy, (kh, kw), 1, (h, w), before, covered)
        flipped = self._buffer("flipped", (kh, kw, f, c), dy.dtype)
        np.copyto(flipped, kernel[::-1, ::-1].transpose(0, 1, 3, 2))
        dx = self._buffer("dx", self.x_shape, dy.dtype)
        np.dot(patches, flipped.reshape(-1, c), out=dx.reshape(-1, c))
        return dx

    def _dx_by_scattering(self, dy: Array) -> Array:
        """col2im: each tap's gradients are added where the tap had read."""
        kernel, stride = self.weights[0], self.strides
        kh, kw, c, f = kernel.shape
        n, h, w, _ = self.x_shape
        _, oh, ow, _ = dy.shape
        _, top, height = _span(h, kh, stride, self.padding)
        _, left, width = _span(w, kw, stride, self.padding)
        dpatches = self._buffer("dpatches", (n, oh, ow, kh, kw, c), dy.dtype)
        np.dot(dy.reshape(-1, f), kernel.reshape(-1, f).T, out=dpatches.reshape(-1, kh * kw * c))
        dpadded = self._buffer("dpadded", (n, height, width, c), dy.dtype)
        dpadded[...] = 0
        for i in range(kh):
            for j in range(kw):
                taps = dpadded[:, i : i + stride * oh : stride, j : j + stride * ow : stride]
                taps += dpatches[:, :, :, i, j]
        return dpadded[:, top : top + h, left : left + w]


class DepthwiseConv2D(_Linear):
    """Each channel convolved with its own kernel, stride 1, "same" padding: a sum of shifted products.

    x (N, H, W, C), kernel (kh, kw, C) -> (N, H, W, C).
    """

    def forward(self, x: Array, training: bool) -> Array:
        (kernel,) = self.weights
        kh, kw, _ = kernel.shape
        self.shape = n, h, w, c = x.shape
        self.padded = self._buffer("padded", (n, h + kh - 1, w + kw - 1, c), x.dtype)
        top, left = (kh - 1) // 2, (kw - 1) // 2
        self.padded[:, top : top + h, left : left + w] = x
        y, product = (self._buffer(name, x.shape, x.dtype) for name in ("y", "product"))
        y[...] = 0
        for i in range(kh):
            for j in range(kw):
                y += np.multiply(self.padded[:, i : i + h, j : j + w], kernel[i, j], out=product)
        return y

    def weight_gradients(self, dy: Array) -> None:
        kh, kw, _ = self.weights[0].shape
        _, h, w, _ = self.shape
        (dkernel,) = self.gradients
        for i in range(kh):
            for j in range(kw):
                np.einsum(
                    "nhwc,nhwc->c", self.padded[:, i : i + h, j : j + w], dy, out=dkernel[i, j]
                )

    def input_gradient(self, dy: Array) -> Array:
        (kernel,) = self.weights
        kh, kw, _ = kernel.shape
        _, h, w, _ = self.shape
        dpadded = self._buffer("dpadded", self.padded.shape, dy.dtype)
        product = self._buffer("product", dy.shape, dy.dtype)
        dpadded[...] = 0
        for i in range(kh):
            for j in range(kw):
                taps = dpadded[:, i : i + h, j : j + w]
                taps += np.multiply(dy, kernel[i, j], out=product)
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
        rows = x.reshape(-1, x.shape[-1])
        y = self._buffer("y", rows.shape, x.dtype)
        if not training:
            scale = gamma / np.sqrt(self.moving_variance + self.epsilon)
            np.multiply(rows, scale, out=y)
            y += beta - self.moving_mean * scale
            return y.reshape(x.shape)
        mean, variance = np.empty_like(gamma), np.empty_like(gamma)
        self._sum_rows(rows, mean)
        mean /= len(rows)
        self.centred = np.subtract(rows, mean, out=self._buffer("centred", rows.shape, x.dtype))
        np.einsum("nc,nc->c", self.centred, self.centred, out=variance)
        variance /= len(rows)
        self.rstd = 1 / np.sqrt(variance + self.epsilon)
        self.moving_mean += (1 - self.momentum) * (mean - self.moving_mean)
        self.moving_variance += (1 - self.momentum) * (variance - self.moving_variance)
        np.multiply(self.centred, gamma * self.rstd, out=y)
        y += beta
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Array:
        gamma, _ = self.weights
        dgamma, dbeta = self.gradients
        rows = dy.reshape(self.centred.shape)
        np.einsum("nc,nc->c", rows, self.centred, out=dgamma)
        dgamma *= self.rstd
        self._sum_rows(rows, dbeta)
        scale = gamma * self.rstd
        dx = np.multiply(rows, scale, out=self._buffer("dx", rows.shape, dy.dtype))
        self.centred *= scale * self.rstd * dgamma / len(rows)
        dx -= self.centred
        dx -= scale * dbeta / len(rows)
        return dx.reshape(dy.shape)


class ReLU(Layer):
    """max(x, 0), derivative 0 at 0. In place: it overwrites x, and dy.

    So it stands behind a layer whose backward does not read its own output: any but a pooling.
    """

    def forward(self, x: Array, training: bool) -> Array:
        self.y = np.maximum(x, 0, out=x)
        return self.y

    def backward(self, dy: Array) -> Array:
        positive = np.greater(self.y, 0, out=self._buffer("positive", self.y.shape, np.bool_))
        return np.multiply(dy, positive, out=dy)


class MaxPooling2D(Layer):
    """The largest of each p x p square; of equal ones the first gets the gradient.

    x (N, H, W, C) -> (N, H // p, W // p, C).
    """

    def __init__(self, pool_size: int = 2) -> None:
        super().__init__()
        self.pool_size = pool_size

    def _corners(self, x: Array) -> list[Array]:
        p, (_, h, w, _) = self.pool_size, x.shape
        return [x[:, i : h // p * p : p, j : w // p * p : p] for i in range(p) for j in range(p)]

    def forward(self, x: Array, training: bool) -> Array:
        first, second, *others = self._corners(x)
        self.x, self.y = x, self._buffer("y", first.shape, x.dtype)
        np.maximum(first, second, out=self.y)
        for corner in others:
            np.maximum(self.y, corner, out=self.y)
        return self.y

    def backward(self, dy: Array) -> Array:
        dx = self._buffer("dx", self.x.shape, dy.dtype)
        here, waiting = (self._buffer(name, dy.shape, np.bool_) for name in ("here", "waiting"))
        waiting[...] = True  # for the position of the maximum
        for x, to in zip(self._corners(self.x), self._corners(dx), strict=True):
            np.equal(x, self.y, out=here)
            here &= waiting
            np.multiply(dy, here, out=to)
            waiting ^= here
        return dx


class GlobalAveragePooling2D(Layer):
    """The mean of each channel over the image. x (N, H, W, C) -> (N, C)."""

    def forward(self, x: Array, training: bool) -> Array:
        self.shape = n, h, w, c = x.shape
        return np.mean(x.reshape(n, h * w, c), axis=1, out=self._buffer("y", (n, c), x.dtype))

    def backward(self, dy: Array) -> Array:
        n, h, w, c = self.shape
        dx = self._buffer("dx", self.shape, dy.dtype)
        dx[...] = (dy / (h * w)).reshape(n, 1, 1, c)
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
        return np.multiply(x, self.mask, out=self._buffer("y", x.shape, x.dtype))

    def backward(self, dy: Array) -> Array:
        return np.multiply(dy, self.mask, out=self._buffer("dx", dy.shape, dy.dtype))


class Dense(_Linear):
    """y = x @ kernel + bias. x (N, K), kernel (K, M) -> (N, M)."""

    def forward(self, x: Array, training: bool) -> Array:
        kernel, bias = self.weights
        self.x = x
        y = np.dot(x, kernel, out=self._buffer("y", (len(x), kernel.shape[1]), x.dtype))
        y += bias
        return y

    def weight_gradients(self, dy: Array) -> None:
        dkernel, dbias = self.gradients
        np.dot(self.x.T, dy, out=dkernel)
        self._sum_rows(dy, dbias)

    def input_gradient(self, dy: Array) -> Array:
        kernel, _ = self.weights
        return np.dot(dy, kernel.T, out=self._buffer("dx", self.x.shape, dy.dtype))


class Residual(Layer):
    """x -> body(x) + shortcut(x), with no shortcut body(x) + x. Both are layers in a row, the body without ReLU at its
    ends (it would overwrite what the other reads).

    Reference: He, Zhang, Ren, Sun (2015), arXiv:1512.03385.
    """

    def __init__(self, body: Sequence[Layer], shortcut: Sequence[Layer] = ()) -> None:
        super().__init__()
        self.body, self.shortcut = list(body), list(shortcut)

    def leaves(self) -> list[Layer]:
        return [leaf for layer in (*self.body, *self.shortcut) for leaf in layer.leaves()]

    def forward(self, x: Array, training: bool) -> Array:
        short = x
        for layer in self.shortcut:
            short = layer.forward(short, training)
        for layer in self.body:
            x = layer.forward(x, training)
        x += short
        return x

    def backward(self, dy: Array) -> Array:
        dshort = dx = dy
        for layer in reversed(self.shortcut):
            dshort = layer.backward(dshort)
        for layer in reversed(self.body):
            dx = layer.backward(dx)
        dx += dshort
        return dx


def softmax_crossentropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """The mean of -log softmax(logits)[label], and its gradient (softmax - one_hot) / N."""
    shifted = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = np.add.reduce(exponentials, axis=1, keepdims=True)
    rows = np.arange(len(labels))
    losses = np.log(sums[:, 0]) - shifted[rows, labels]
    loss = float(np.add.reduce(losses)) / len(labels)
    sums *= len(labels)
    exponentials /= sums
    exponentials[rows, labels] -= 1 / len(labels)
    return loss, exponentials


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
        alpha = learning_rate * math.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        step = self.buffer
        self.m += np.multiply(1 - self.beta_1, np.subtract(g, self.m, out=step), out=step)
        np.multiply(g, g, out=step)
        self.v += np.multiply(1 - self.beta_2, np.subtract(step, self.v, out=step), out=step)
        np.sqrt(self.v, out=step)
        step += self.epsilon
        np.divide(self.m, step, out=step)
        theta -= np.multiply(alpha, step, out=step)


class Network:
    """Layers in a row under softmax cross-entropy, trained with Adam.

    All weights and all gradients become views of two flat vectors, `theta` and `gradient`.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        if isinstance(self.layers[0], _Linear):
            self.layers[0].is_first = True
        leaves = [leaf for layer in self.layers for leaf in layer.leaves()]
        self.theta = np.concatenate([w.ravel() for leaf in leaves for w in leaf.weights])
        self.gradient = np.zeros_like(self.theta)
        start = 0
        for leaf in leaves:
            for i, w in enumerate(leaf.weights):
                part = slice(start, start + w.size)
                leaf.weights[i] = self.theta[part].reshape(w.shape)
                leaf.gradients[i] = self.gradient[part].reshape(w.shape)
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

    def train_step(self, x: Array, labels: Array, learning_rate: float) -> float:
        """One step of Adam on one batch; returns the loss before it."""
        loss = self.loss_and_gradient(x, labels)
        self.optimizer.update(self.theta, self.gradient, learning_rate)
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
            total += len(rows) * self.train_step(x[rows], labels[rows], learning_rate)
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
            Conv2D(kernel, bias),
            BatchNormalization(gamma, beta, mean, variance, momentum),
            ReLU(),
            MaxPooling2D(),
        ]
    layers += [Flatten(), Dropout(rate, np.random.default_rng(seed)), Dense(*weights[12:])]
    return Network(layers)
