"""Matrix products as a share of the FMA peak, beside NumPy's OpenBLAS, with the targets of each.

Ours are timed in C++ and NumPy's from Python (`np.matmul(a, b, out=c)`, about 0.5 us a call), in turn,
both with --threads threads; the peak is measured beside each product.

python benchmarks/gemm.py [--threads 2] [--dtype float32] [E1 E2 ...]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--dtype", choices=("float32", "float64"), help="both if not given")
parser.add_argument("names", nargs="*", help="these rows only")
arguments = parser.parse_args()
os.environ["OPENBLAS_NUM_THREADS"] = str(arguments.threads)  # read once, when NumPy is imported

import numpy as np  # noqa: E402

import fastnn  # noqa: E402
from fastnn import _core  # noqa: E402
from fastnn.bench.harness import print_machine, verify  # noqa: E402

ROUNDS = 9
SHORTEST = 4e-3  # seconds that a side runs in a round
SPIN = 0.1  # OpenBLAS's threads spin for a while after its last product
WAKING = 0.02  # a CPU of a virtual machine that slept is late for the first products


@dataclass(frozen=True)
class Product:
    """C (m, n) of A (m, k) and B (k, n); a transposed operand is stored as (k, m) or (n, k)."""

    name: str
    m: int
    n: int
    k: int
    transpose_a: bool = False
    transpose_b: bool = False
    target: float | None = None  # share of one thread's peak


def passes(name: str, batch: int, inputs: int, outputs: int, **targets: float) -> list[Product]:
    """The three products of a dense layer."""
    return [
        Product(f"{name} y", batch, outputs, inputs, target=targets.get("y")),
        Product(f"{name} dx", batch, inputs, outputs, transpose_b=True, target=targets.get("dx")),
        Product(f"{name} dw", inputs, outputs, batch, transpose_a=True, target=targets.get("dw")),
    ]


PRODUCTS = [
    Product("1024", 1024, 1024, 1024, target=0.88),
    Product("64", 64, 64, 64, target=0.60),
    *passes("E1", 200, 30, 100),  # scikit-learn's MLPClassifier
    *passes("E2", 64, 64, 64),  # a PPO policy
    *passes("E3", 256, 108, 128),  # Adult
    *passes("E4", 128, 784, 512),  # Keras's MNIST MLP, as the next two
    *passes("E5", 128, 512, 512, y=0.80, dw=0.75),
    *passes("E6", 128, 512, 10),
    *passes("E7", 64, 9216, 128),  # after a convnet
    *passes("E8", 256, 845, 1024),  # wide and deep
    *passes("E9", 2048, 256, 256),  # neural collaborative filtering
    *passes("E10", 256, 1024, 1024),
    *passes("E11", 128, 1760, 1760),  # DeepBench
    *passes("E12", 512, 640, 128),  # an autoencoder of MLPerf Tiny
    *passes("row", 1, 1024, 1024),  # inference of one row
]


def row(product: Product, dtype: str, threads: int) -> None:
    p = product
    rng = np.random.default_rng(0)
    a = rng.standard_normal((p.k, p.m) if p.transpose_a else (p.m, p.k)).astype(dtype)
    b = rng.standard_normal((p.n, p.k) if p.transpose_b else (p.k, p.n)).astype(dtype)
    a_view, b_view = (a.T if p.transpose_a else a), (b.T if p.transpose_b else b)
    mine = _core.matmul(a, b, p.transpose_a, p.transpose_b)
    tolerance = 16 * p.k**0.5 * float(np.finfo(dtype).eps)
    verify(p.name, {"NumPy": a_view @ b_view, "fastnn": mine}, tolerance)
    a[:], b[:] = 0, 0  # as in time_gemm
    c = np.empty((p.m, p.n), dtype)
    flops = 2.0 * p.m * p.n * p.k

    def ours(with_threads: int, repeats: int) -> float:
        fastnn.set_num_threads(with_threads)
        waking = int(WAKING / SHORTEST * repeats) if with_threads > 1 else 0
        times = _core.time_gemm(
            p.m, p.n, p.k, dtype, p.transpose_a, p.transpose_b, waking + repeats
        )
        return statistics.median(times[waking:])

    def numpy(repeats: int) -> float:
        waking = int(WAKING / SHORTEST * repeats) if threads > 1 else 0
        times = []
        for _ in range(waking + repeats):
            start = time.perf_counter()
            np.matmul(a_view, b_view, out=c)
            times.append(time.perf_counter() - start)
        return statistics.median(times[waking:])

    repeats = max(3, int(SHORTEST / ours(1, 3)))
    seconds: dict[str, list[float]] = {"one": [], "ours": [], "numpy": []}
    peaks = []
    for _ in range(ROUNDS):
        peaks.append(_core.measure_peak(dtype, 2e-3))
        seconds["one"].append(ours(1, repeats))
        if threads > 1:
            seconds["ours"].append(ours(threads, repeats))
        seconds["numpy"].append(numpy(repeats))
        if threads > 1:
            time.sleep(SPIN)
    one, peak = statistics.median(seconds["one"]), statistics.median(peaks)
    best = statistics.median(seconds["ours"]) if threads > 1 else one
    theirs = statistics.median(seconds["numpy"])
    share = 1e-9 * flops / one / peak
    verdict = "" if p.target is None else f"  target {p.target:.0%}"
    if p.target is not None and share < p.target:
        verdict += " MISSED"
    scaling = f"{one / best:7.2f}x" if threads > 1 else f"{'':8}"
    shape = f"{p.m} x {p.n} x {p.k}"
    print(
        f"{p.name:<8} {shape:>18}  {dtype} {1e6 * one:9.1f} us {share:6.1%} {scaling} "
        f"{theirs / best:9.2f}x{verdict}",
        flush=True,
    )


def main() -> None:
    fastnn.set_num_threads(arguments.threads)
    print_machine()
    known = {word for p in PRODUCTS for word in (p.name, p.name.split()[0])}
    if unknown := set(arguments.names) - known:
        raise SystemExit(f"unknown rows {sorted(unknown)}; expected some of {sorted(known)}")
    threads = f"{arguments.threads} threads" if arguments.threads > 1 else ""
    print(
        f"{'product':<8} {'m x n x k':>18}  {'dtype':<7} {'1 thread':>12} {'peak':>6} {threads:>9} "
        f"{'NumPy / us':>9}"
    )
    for dtype in [arguments.dtype] if arguments.dtype else ["float32", "float64"]:
        for p in PRODUCTS:
            if not arguments.names or {p.name, p.name.split()[0]} & set(arguments.names):
                row(p, dtype, arguments.threads)


if __name__ == "__main__":
    main()
