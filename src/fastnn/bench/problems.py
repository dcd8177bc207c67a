"""The networks that are trained and asked: each with its batch, in the order of the tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn.bench import nets
from fastnn.bench.nets import Array

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Problem:
    """A network, the shape of one row of its input, and how it is trained."""

    layers: tuple[nets.Layer, ...]
    shape: tuple[int, ...]
    batch: int
    classes: int
    steps: int  # of one call of a side: an epoch of so many batches

    @property
    def is_convnet(self) -> bool:
        return len(self.shape) == 3

    @property
    def is_plain(self) -> bool:
        """Whether scikit-learn has the same net: dense layers, and one output for each class."""
        return not self.is_convnet and self.classes > 2

    def weights(self) -> list[list[Array]]:
        return nets.initial_weights(self.layers, self.shape)

    def data(self, batch: int) -> tuple[Array, Array]:
        """Rows of normal numbers and their labels."""
        rng = np.random.default_rng(1)
        x = rng.standard_normal((batch, *self.shape), np.float32)
        return x, rng.integers(0, self.classes, batch)


PROBLEMS = {
    "MLP 4-16-3": Problem(nets.mlp(16, 3), (4,), 32, 3, 200),
    "MLP 32-128-128-2": Problem(nets.mlp(128, 128, 2), (32,), 64, 2, 200),
    "MLP 784-512-512-10": Problem(nets.mlp(512, 512, 10), (784,), 128, 10, 50),
    "LeNet-5": Problem(nets.lenet5(), (28, 28, 1), 64, 10, 50),
    "MNIST convnet": Problem(nets.mnist_convnet(), (28, 28, 1), 128, 10, 10),
    "VGG-like": Problem(nets.vgg_like(), (32, 32, 3), 64, 10, 2),
    "ResNet-20": Problem(nets.resnet(), (32, 32, 3), 64, 10, 4),
}
