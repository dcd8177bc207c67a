"""Matrix products timed in C++ on one thread, as a share of the FMA peak measured beside them."""

from __future__ import annotations

import statistics

import fastnn
from fastnn import _core
from fastnn.bench.harness import print_machine

PROBLEMS = ((1024, 1024, 1024), (128, 512, 512), (64, 64, 64))


def main() -> None:
    fastnn.set_num_threads(1)
    print_machine()
    print(f"{'m x n x k':>16}  {'dtype':<8} {'GFLOP/s':>8} {'peak':>8}  share")
    for dtype in ("float32", "float64"):
        for m, n, k in PROBLEMS:
            flops = 2.0 * m * n * k
            repeats = max(20, int(4e9 / flops))
            shares, rates, peaks = [], [], []
            for _ in range(5):  # in turn, so that a change of clock hits both
                peak = _core.measure_peak(dtype, 0.05)
                rate = (
                    1e-9
                    * flops
                    / statistics.median(_core.time_gemm(m, n, k, dtype, repeats=repeats))
                )
                rates.append(rate)
                peaks.append(peak)
                shares.append(rate / peak)
            print(
                f"{f'{m} x {n} x {k}':>16}  {dtype:<8} {statistics.median(rates):8.1f} "
                f"{statistics.median(peaks):8.1f}  {statistics.median(shares):.0%}"
            )


if __name__ == "__main__":
    main()
