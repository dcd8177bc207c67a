"""Convolutions timed in C++ on one thread, as a share of the FMA peak measured beside them.

The figure counts the multiply-adds of a direct convolution inside the image, so an algorithm with
fewer of them may pass 100 %.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

import fastnn
from fastnn import _core, ops
from fastnn.bench.harness import print_machine
from fastnn.bench.operations import CONVOLUTIONS, PASSES, Convolution

PROBLEMS = {
    **CONVOLUTIONS,
    "depthwise 64 stride 2": Convolution((8, 56, 56, 64), 64, 3, 2, "same", 64),
    "to RGB": Convolution((16, 32, 32, 64), 3, 3, 1, "same"),
}
QUICK = ("A1", "A3", "A4", "B1", "C1", "C4", "depthwise 512", "to RGB")


def columns(x: np.ndarray, problem: Convolution) -> np.ndarray:
    """(N, OH, OW, kh, kw, C): the pixels under each window, 0 outside the image."""
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # the pixel -1 is a zero
    h, w = problem.taps(x.shape[1]), problem.taps(x.shape[2])
    return padded[:, h[:, None, :, None], w[None, :, None, :]]


def verify(name: str, problem: Convolution) -> None:
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
