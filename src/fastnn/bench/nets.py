"""Networks as plain data: every side builds its own model from them, with the same first weights.

A layer's `apply(side, x, weights)` calls the side's method of that kind with the next weights, so a
side is a class with one method per kind of layer, whatever its tensors are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Conv2D:
    """As fastnn's, without an activation. Weights: kernel (kh, kw, C, F) and perhaps bias (F)."""

    filters: int
    kernel: int = 3
    strides: int = 1
    padding: str = "same"
    use_bias: bool = True

    def apply(self, side: Any, x: Any, weights: Iterator[Any]) -> Any:
        return side.conv2d(x, self, *next(weights))


@dataclass(frozen=True)
class BatchNormalization:
    """Keras's defaults. Weights: gamma, beta, moving mean, moving variance, all (C)."""

    momentum: float = 0.99
    epsilon: float = 1e-3

    def apply(self, side: Any, x: Any, weights: Iterator[Any]) -> Any:
        return side.batch_normalization(x, self, *next(weights))


@dataclass(frozen=True)
class ReLU:
    def apply(self, side: Any, x: Any, weights: Iterator[Any]) -> Any:
        return side.relu(x)


@dataclass(frozen=True)
class MaxPooling2D:
    """2 x 2; an odd row or column at the end is left out."""

    def apply(self, side: Any, x: Any, weights: Iterator[Any]) -> Any:
        return side.max_pooling(x)


@dataclass(frozen=True)
class GlobalAveragePooling2D:
    def apply(self, side: Any, x: Any, weights: Iterator[Any]) -> Any:
        return side.global_average_pooling(x)


@dataclass(frozen=True)
class Flatten:
    """(N, H, W, C) -> (N, H * W * C), channels last."""

    def apply(self, side: Any, x: Any, weights: Iterator[Any]) -> Any:
        return side.flatten(x)


@dataclass(frozen=True)
class Dense:
    """Weights: kernel (K, units), bias (units)."""

    units: int

    def apply(self, side: Any, x: Any, weights: Iterator[Any]) -> Any:
        return side.dense(x, *next(weights))


@dataclass(frozen=True)
class Residual:
    """body(x) + shortcut(x); an empty shortcut is x itself."""

    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()

    def apply(self, side: Any, x: Any, weights: Iterator[Any]) -> Any:
        return side.residual(x, self, weights)


Layer: TypeAlias = (
    Conv2D
    | BatchNormalization
    | ReLU
    | MaxPooling2D
    | GlobalAveragePooling2D
    | Flatten
    | Dense
    | Residual
)


def run(side: Any, layers: Sequence[Layer], x: Any, weights: Iterator[Any]) -> Any:
    """The layers in a row."""
    for layer in layers:
        x = layer.apply(side, x, weights)
    return x


class _Initial:
    """A side whose tensors are shapes of one row; draws the weights (Glorot's uniform) as it goes."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.weights: list[list[Array]] = []

    def _uniform(self, low: float, high: float, *shape: int) -> Array:
        return self.rng.uniform(low, high, shape).astype(np.float32)

    def _kernel(self, *shape: int) -> Array:
        taps = int(np.prod(shape[:-2]))
        limit = float(np.sqrt(6 / (taps * (shape[-2] + shape[-1]))))
        return self._uniform(-limit, limit, *shape)

    def visit(self, layers: Sequence[Layer], shape: tuple[int, ...]) -> tuple[int, ...]:
        for layer in layers:
            shape = self._shape_after(layer, shape)
        return shape

    def _shape_after(self, layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
        match layer:
            case Conv2D(filters, kernel, strides, padding, use_bias):
                bias = [self._uniform(-0.1, 0.1, filters)] if use_bias else []
                self.weights.append([self._kernel(kernel, kernel, shape[-1], filters), *bias])
                lost = kernel - 1 if padding == "valid" else 0
                return *(-(-(size - lost) // strides) for size in shape[:-1]), filters
            case BatchNormalization():
                c = shape[-1]
                ranges = ((0.8, 1.2), (-0.1, 0.1), (-0.1, 0.1), (0.5, 1.5))
                self.weights.append([self._uniform(*ends, c) for ends in ranges])
                return shape
            case Dense(units):
                self.weights.append([self._kernel(*shape, units), self._uniform(-0.1, 0.1, units)])
                return (units,)
            case MaxPooling2D():
                return shape[0] // 2, shape[1] // 2, shape[2]
            case GlobalAveragePooling2D():
                return shape[-1:]
            case Flatten():
                return (int(np.prod(shape)),)
            case Residual(body, shortcut):
                after = self.visit(body, shape)
                self.visit(shortcut, shape)
                return after
            case _:
                return shape


def initial_weights(layers: Sequence[Layer], shape: tuple[int, ...]) -> list[list[Array]]:
    """The weights of each layer that has any, in the order in which `run` asks for them."""
    initial = _Initial(np.random.default_rng(0))
    initial.visit(layers, shape)
    return initial.weights


def mlp(*units: int) -> tuple[Layer, ...]:
    """Dense layers with relu between them."""
    hidden = [part for n in units[:-1] for part in (Dense(n), ReLU())]
    return (*hidden, Dense(units[-1]))


def lenet5() -> tuple[Layer, ...]:
    """LeCun, Bottou, Bengio, Haffner (1998), with relu and max pooling."""
    return (
        Conv2D(6, 5),
        ReLU(),
        MaxPooling2D(),
        Conv2D(16, 5, padding="valid"),
        ReLU(),
        MaxPooling2D(),
        Flatten(),
        *mlp(120, 84, 10),
    )


def mnist_convnet() -> tuple[Layer, ...]:
    """Keras's example mnist_convnet, without its dropout (every library draws other masks)."""
    blocks = [
        part
        for filters in (32, 64)
        for part in (Conv2D(filters, padding="valid"), ReLU(), MaxPooling2D())
    ]
    return (*blocks, Flatten(), Dense(10))


def _conv_norm(filters: int, kernel: int = 3, strides: int = 1) -> tuple[Layer, ...]:
    return Conv2D(filters, kernel, strides, use_bias=False), BatchNormalization()


def vgg_like(widths: Sequence[int] = (64, 128, 256)) -> tuple[Layer, ...]:
    """Twice (convolution, batch normalization, relu) and max pooling for each width; then dense."""
    blocks: list[Layer] = []
    for width in widths:
        blocks += [*_conv_norm(width), ReLU(), *_conv_norm(width), ReLU(), MaxPooling2D()]
    return (*blocks, Flatten(), Dense(10))


def resnet(blocks: int = 3, widths: Sequence[int] = (16, 32, 64)) -> tuple[Layer, ...]:
    """ResNet for CIFAR: with 3 blocks of each width, ResNet-20. He, Zhang, Ren, Sun (2015), arXiv:1512.03385.

    Where the width doubles, the shortcut is a 1 x 1 convolution of stride 2 with batch normalization.
    """
    layers: list[Layer] = [*_conv_norm(widths[0]), ReLU()]
    for width in widths:
        for block in range(blocks):
            strides = 2 if block == 0 and width != widths[0] else 1
            body = (*_conv_norm(width, 3, strides), ReLU(), *_conv_norm(width))
            shortcut = _conv_norm(width, 1, strides) if strides > 1 else ()
            layers += [Residual(body, shortcut), ReLU()]
    return (*layers, GlobalAveragePooling2D(), Dense(10))
