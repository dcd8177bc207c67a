"""Convolutions timed in C++ on one thread, as a share of the FMA peak measured beside them.

The figure counts the multiply-adds of a direct convolution inside the image, so an algorithm with
fewer of them may pass 100 %.
"""

from __future__ import annotations

import argparse
import statistics
from typing import NamedTuple

import numpy as np

import fastnn
from fastnn import _core, ops
from fastnn.bench.harness import print_machine


class Problem(NamedTuple):
    """Images, kernel and how it slides; groups for depthwise."""

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
    def options(self) -> dict[str, int | str]:
        return {"strides": self.stride, "padding": self.padding, "groups": self.groups}

    def taps(self, size: int) -> np.ndarray:
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
        n, h, w, _ = self.images
        inside = (self.taps(h) >= 0).sum() * (self.taps(w) >= 0).sum()
        return 2.0 * n * inside * self.kernel_shape[2] * self.filters


PROBLEMS = {
    "A1 MNIST first": Problem((64, 28, 28, 1), 32, 3),
    "A2 MNIST second": Problem((64, 26, 26, 32), 64, 3),
    "A3 LeNet-5 first": Problem((64, 28, 28, 1), 6, 5, 1, "same"),
    "A4 LeNet-5 second": Problem((64, 14, 14, 6), 16, 5),
    "B1 CIFAR stem": Problem((64, 32, 32, 3), 64, 3, 1, "same"),
    "B2 VGG 64": Problem((64, 32, 32, 64), 64, 3, 1, "same"),
    "B3 VGG 64-128": Problem((64, 16, 16, 64), 128, 3, 1, "same"),
    "B4 VGG 128": Problem((64, 16, 16, 128), 128, 3, 1, "same"),
    "B5 VGG 256": Problem((64, 8, 8, 256), 256, 3, 1, "same"),
    "B6 VGG 512": Problem((64, 4, 4, 512), 512, 3, 1, "same"),
    "C1 ResNet-20 16": Problem((128, 32, 32, 16), 16, 3, 1, "same"),
    "C2 ResNet-20 32": Problem((128, 16, 16, 32), 32, 3, 1, "same"),
    "C3 ResNet-20 64": Problem((128, 8, 8, 64), 64, 3, 1, "same"),
    "C4 ResNet-18 down": Problem((64, 32, 32, 64), 128, 3, 2, "same"),
    "C5 projection": Problem((64, 32, 32, 64), 128, 1, 2),
    "D1 ResNet-50 res2": Problem((8, 56, 56, 64), 64, 3, 1, "same"),
    "D2 ResNet-50 res4": Problem((8, 14, 14, 256), 256, 3, 1, "same"),
    "D3 ResNet-50 1x1": Problem((8, 14, 14, 256), 1024, 1),
    "D4 GoogLeNet 5x5": Problem((16, 28, 28, 192), 32, 5, 1, "same"),
    "D5 ResNet-50 stem": Problem((8, 224, 224, 3), 64, 7, 2, "same"),
    "depthwise 512": Problem((32, 14, 14, 512), 512, 3, 1, "same", 512),
    "depthwise 64 stride 2": Problem((8, 56, 56, 64), 64, 3, 2, "same", 64),
    "to RGB": Problem((16, 32, 32, 64), 3, 3, 1, "same"),
}
QUICK = ("A1", "A3", "A4", "B1", "C1", "C4", "depthwise 512", "to RGB")
PASSES = ("forward", "input_gradient", "kernel_gradient")


def columns(x: np.ndarray, problem: Problem) -> np.ndarray:
    """(N, OH, OW, kh, kw, C): the pixels under each window, 0 outside the image."""
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # the pixel -1 is a zero
    h, w = problem.taps(x.shape[1]), problem.taps(x.shape[2])
    return padded[:, h[:, None, :, None], w[None, :, None, :]]


def verify(name: str, problem: Problem) -> None:
    """Compares one image's three passes with NumPy in float64."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, *problem.images[1:]))
    kernel = rng.standard_normal(problem.kernel_shape)
    groups = problem.groups
    split = columns(x, problem)
    split = split.reshape(*split.shape[:5], groups, -1)
    k = kernel.reshape(*kernel.shape[:3], groups, -1)
    y = np.einsum("nijrqgc,rqcgf->nijgf", split, k, optimize=True)
    dy = rng.standard_normal(y.shape)
    dkernel = np.einsum("nijrqgc,nijgf->rqcgf", split, dy, optimize=True).reshape(kernel.shape)
    dsplit = np.einsum("nijgf,rqcgf->nijrqgc", dy, k, optimize=True)
    dx = np.zeros((1, x.shape[1] + 1, x.shape[2] + 1, x.shape[3]))
    h, w = problem.taps(x.shape[1]), problem.taps(x.shape[2])
    np.add.at(
        dx,
        (0, h[:, None, :, None], w[None, :, None, :]),
        dsplit.reshape(*dsplit.shape[1:5], -1),
    )
    expected = (y.reshape(*y.shape[:3], -1), dx[:, :-1, :-1], dkernel)

    single = [a.astype(np.float32) for a in (x, kernel, dy.reshape(expected[0].shape))]
    dx32, dkernel32, _ = ops.conv2d_backward(single[2], *single[:2], **problem.options)
    actual = (ops.conv2d(*single[:2], **problem.options), dx32, dkernel32)
    for pass_, ours, theirs in zip(PASSES, actual, expected, strict=True):
        error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
        if error > 1e-4:
            raise AssertionError(f"{name}, {pass_}: {error:.1e} from NumPy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("names", nargs="*", help="problems whose names hold one of these")
    options = parser.parse_args()
    fastnn.set_num_threads(options.threads)
    print_machine()
    print(f"{'':<22} {'MFLOP':>7}" + "".join(f" {pass_:>24}" for pass_ in PASSES))
    for name, problem in PROBLEMS.items():
        if options.names and not any(part in name for part in options.names):
            continue
        if options.quick and not name.startswith(QUICK):
            continue
        verify(name, problem)
        row = f"{name:<22} {1e-6 * problem.flops:7.1f}"
        for pass_ in PASSES:
            repeats = int(min(50, max(3, 2e9 / problem.flops)))
            times, shares = [], []
            for _ in range(3):  # in turn, so that a change of clock hits both
                peak = options.threads * _core.measure_peak("float32", 0.02)
                time = statistics.median(
                    _core.time_conv2d(
                        problem.images,
                        problem.kernel_shape,
                        pass_,
                        problem.stride,
                        problem.padding,
                        problem.groups,
                        repeats=repeats,
                    )
                )
                times.append(time)
                shares.append(1e-9 * problem.flops / time / peak)
            share = statistics.median(shares)
            row += f" {1e6 * statistics.median(times):12.0f} us {share:>8.0%}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
