"""Single operations: 21 convolutions and 12 dense layers of well-known nets, forward and both gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastnn import _core
from fastnn.bench.nets import Array
from fastnn.bench.options import Options
from fastnn.bench.processes import Effort, Row, race
from fastnn.bench.report import Comparison

PASSES = ("forward", "input_gradient", "kernel_gradient")
MODES = {"fastnn": ("eager",), "numpy": ("",), "torch": ("eager", "channels_last")}
# Both sides round in float32, in sums of up to 65,000 products.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Convolution:
    """Images (N, H, W, C), filters, kernel and how it slides; groups for depthwise. No bias."""

    images: tuple[int, int, int, int]
    filters: int
    kernel: int
    stride: int = 1
    padding: str = "valid"
    groups: int = 1

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        return (self.kernel, self.kernel, self.images[3] // self.groups, self.filters)

    @property
    def options(self) -> dict[str, Any]:
        """What `ops.conv2d` calls them."""
        return {"strides": self.stride, "padding": self.padding, "groups": self.groups}

    def taps(self, size: int) -> Array:
        """(outputs, kernel): the pixel that each tap reads along an axis, -1 outside the image."""
        if self.padding == "same":
            out = -(-size // self.stride)
            before = max(0, self.kernel - size + (out - 1) * self.stride) // 2
        else:
            out, before = (size - self.kernel) // self.stride + 1, 0
        pixel = np.arange(out)[:, None] * self.stride + np.arange(self.kernel) - before
        return np.where((pixel >= 0) & (pixel < size), pixel, -1)

    @property
    def flops(self) -> float:
        """Of a direct convolution inside the image: an algorithm with fewer may pass the peak."""
        n, h, w, _ = self.images
        inside = float((self.taps(h) >= 0).sum() * (self.taps(w) >= 0).sum())
        return 2.0 * n * inside * self.kernel_shape[2] * self.filters

    def arrays(self) -> tuple[Array, Array, Array]:
        """x, kernel and the gradient of y."""
        n, h, w, _ = self.images
        y_shape = (n, len(self.taps(h)), len(self.taps(w)), self.filters)
        return _normal(self.images, self.kernel_shape, y_shape)


@dataclass(frozen=True)
class DenseLayer:
    """Rows (batch, inputs) through a kernel (inputs, units), with a bias of zeros."""

    batch: int
    inputs: int
    units: int

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * self.inputs * self.units

    def arrays(self) -> tuple[Array, Array, Array]:
        """x, kernel and the gradient of y."""
        return _normal(
            (self.batch, self.inputs), (self.inputs, self.units), (self.batch, self.units)
        )


Operation: TypeAlias = Convolution | DenseLayer


def _normal(*shapes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    x, kernel, dy = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return x, kernel, dy


CONVOLUTIONS = {
    "A1 MNIST first": Convolution((64, 28, 28, 1), 32, 3),
    "A2 MNIST second": Convolution((64, 26, 26, 32), 64, 3),
    "A3 LeNet-5 first": Convolution((64, 28, 28, 1), 6, 5, 1, "same"),
    "A4 LeNet-5 second": Convolution((64, 14, 14, 6), 16, 5),
    "B1 CIFAR stem": Convolution((64, 32, 32, 3), 64, 3, 1, "same"),
    "B2 VGG 64": Convolution((64, 32, 32, 64), 64, 3, 1, "same"),
    "B3 VGG 64-128": Convolution((64, 16, 16, 64), 128, 3, 1, "same"),
    "B4 VGG 128": Convolution((64, 16, 16, 128), 128, 3, 1, "same"),
    "B5 VGG 256": Convolution((64, 8, 8, 256), 256, 3, 1, "same"),
    "B6 VGG 512": Convolution((64, 4, 4, 512), 512, 3, 1, "same"),
    "C1 ResNet-20 16": Convolution((128, 32, 32, 16), 16, 3, 1, "same"),
    "C2 ResNet-20 32": Convolution((128, 16, 16, 32), 32, 3, 1, "same"),
    "C3 ResNet-20 64": Convolution((128, 8, 8, 64), 64, 3, 1, "same"),
    "C4 ResNet-18 down": Convolution((64, 32, 32, 64), 128, 3, 2, "same"),
    "C5 projection": Convolution((64, 32, 32, 64), 128, 1, 2),
    "D1 ResNet-50 res2": Convolution((8, 56, 56, 64), 64, 3, 1, "same"),
    "D2 ResNet-50 res4": Convolution((8, 14, 14, 256), 256, 3, 1, "same"),
    "D3 ResNet-50 1x1": Convolution((8, 14, 14, 256), 1024, 1),
    "D4 GoogLeNet 5x5": Convolution((16, 28, 28, 192), 32, 5, 1, "same"),
    "D5 ResNet-50 stem": Convolution((8, 224, 224, 3), 64, 7, 2, "same"),
    "depthwise 512": Convolution((32, 14, 14, 512), 512, 3, 1, "same", 512),
}
DENSE = {
    "E1 scikit-learn": DenseLayer(200, 30, 100),
    "E2 policy net": DenseLayer(64, 64, 64),
    "E3 census": DenseLayer(256, 108, 128),
    "E4 MNIST MLP first": DenseLayer(128, 784, 512),
    "E5 MNIST MLP second": DenseLayer(128, 512, 512),
    "E6 MNIST MLP last": DenseLayer(128, 512, 10),
    "E7 MNIST CNN": DenseLayer(64, 9216, 128),
    "E8 wide and deep": DenseLayer(256, 845, 1024),
    "E9 recommender": DenseLayer(2048, 256, 256),
    "E10 1024": DenseLayer(256, 1024, 1024),
    "E11 DeepBench": DenseLayer(128, 1760, 1760),
    "E12 autoencoder": DenseLayer(512, 640, 128),
}
OPERATIONS: dict[str, Operation] = {**CONVOLUTIONS, **DENSE}
QUICK = ("B2", "C1", "E5")


def operations(options: Options) -> Iterator[Row]:
    """Each pass of each operation, in GFLOP/s and as a share of the FMA peak measured beside it."""
    chosen = [
        name
        for name in OPERATIONS
        if options.wants(name) and (options.only or not options.quick or name.startswith(QUICK))
    ]
    if not chosen:
        return
    sides = options.sides(MODES)
    problems = {(name, what): f"{name}, {what}" for name in chosen for what in PASSES}
    table = Comparison(
        "Operations, GFLOP/s and share of the FMA peak", problems.values(), options.libraries(MODES)
    )
    effort = Effort(0.3, 3, 9) if options.quick else Effort(2.0, 5, 9)
    for (name, what), problem in problems.items():
        peak = options.threads * _core.measure_peak(duration=0.02)
        flops = OPERATIONS[name].flops
        rows = race(
            "ops", problem, sides, [("operate", name, what)] * len(sides), TOLERANCE, effort
        )
        rows = [row.with_rate(flops, 1e9 * peak) for row in rows]
        table.add(problem, rows)
        yield from rows
    table.close()
    for side in sides:
        side.close()
