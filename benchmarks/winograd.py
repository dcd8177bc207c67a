"""3 x 3 convolutions on one thread: Winograd's against the direct sum, in time and in accuracy."""

from __future__ import annotations

import statistics

import numpy as np

import fastnn
from fastnn import _core, config, ops
from fastnn.bench.harness import print_machine, verify

# name: images, height = width, channels, filters, padding
PROBLEMS = {
    "16 ch, 32 x 32": (128, 32, 16, 16, "same"),
    "32 ch, 16 x 16": (128, 16, 32, 32, "same"),
    "64 ch, 8 x 8": (128, 8, 64, 64, "same"),
    "64 ch, 32 x 32": (64, 32, 64, 64, "same"),
    "32-64 ch, 13 x 13, valid": (128, 13, 32, 64, "valid"),
    "64-128 ch, 16 x 16": (64, 16, 64, 128, "same"),
    "128 ch, 16 x 16": (64, 16, 128, 128, "same"),
    "256 ch, 8 x 8": (64, 8, 256, 256, "same"),
    "64 ch, 32 x 32, 1 image": (1, 32, 64, 64, "same"),
    "256 ch, 8 x 8, 1 image": (1, 8, 256, 256, "same"),
}
PASSES = {"y": "forward", "dx": "input_gradient", "dkernel": "kernel_gradient"}


def make(n: int, size: int, channels: int, filters: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((n, size, size, channels)), 0)
    kernel = rng.standard_normal((3, 3, channels, filters)) * np.sqrt(2 / (9 * channels))
    return x.astype("f4"), kernel.astype("f4")


def all_passes(
    algorithm: str, x: np.ndarray, kernel: np.ndarray, padding: str = "same"
) -> list[np.ndarray]:
    config.conv_algorithm(algorithm)
    y = np.asarray(ops.conv2d(x, kernel, padding=padding))
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("f4").astype(y.dtype)
    gradients = ops.conv2d_backward(dy, x, kernel, padding=padding)[:2]
    return [y, *(np.asarray(g) for g in gradients)]


def seconds(algorithm: str, x: np.ndarray, kernel: np.ndarray, padding: str, what: str) -> float:
    config.conv_algorithm(algorithm)
    return min(_core.time_conv2d(x.shape, kernel.shape, PASSES[what], padding=padding, repeats=3))


def print_times() -> None:
    print(
        "GFLOP/s count the multiplications of the definition, those with padding too: a direct sum of\n"
        "small images, which skips these, may pass the peak.\n"
    )
    print(f"{'':<24}{'':>8} {'direct':>17} {'Winograd':>26} {'ratio':>6}")
    for name, (n, size, channels, filters, padding) in PROBLEMS.items():
        x, kernel = make(n, size, channels, filters)
        verify(name, {a: all_passes(a, x, kernel, padding) for a in ("direct", "winograd")}, 1e-4)
        outputs = size if padding == "same" else size - 2
        flops = 2 * 9 * n * outputs**2 * channels * filters
        for what in PASSES:
            times: dict[str, list[float]] = {"direct": [], "winograd": []}
            ratios, peaks = [], []
            for _ in range(15):  # in turn, so that a slow moment of the machine hits all of them
                peaks.append(_core.measure_peak("float32", 0.01))
                for algorithm, values in times.items():
                    values.append(seconds(algorithm, x, kernel, padding, what))
                ratios.append(times["winograd"][-1] / times["direct"][-1])
            direct, winograd = (statistics.median(values) for values in times.values())
            rate = 1e-9 * flops / winograd
            print(
                f"{name:<24}{what:>8} {1e3 * direct:8.3f} ms ({1e-9 * flops / direct / max(peaks):4.0%}) "
                f"{1e3 * winograd:8.3f} ms {rate:5.0f} ({rate / max(peaks):4.0%}) "
                f"{statistics.median(ratios):6.2f}",
                flush=True,
            )


def print_errors() -> None:
    print("\nroot mean square and largest error over the result's root mean square, float32")
    for channels, size in ((16, 16), (64, 16), (256, 8), (512, 8)):
        x, kernel = make(8, size, channels, channels)
        exact = all_passes("direct", x.astype("f8"), kernel.astype("f8"))
        for algorithm in ("direct", "winograd"):
            columns = []
            for a, e in zip(all_passes(algorithm, x, kernel), exact, strict=True):
                error = (a - e) / np.sqrt(np.mean(e**2))
                columns.append(f"{np.sqrt(np.mean(error**2)):.1e} {np.abs(error).max():.1e}")
            print(f"{channels:4} channels  {algorithm:<9} {'   '.join(columns)}")


def main() -> None:
    fastnn.set_num_threads(1)
    print_machine()
    print_times()
    print_errors()


if __name__ == "__main__":
    main()
