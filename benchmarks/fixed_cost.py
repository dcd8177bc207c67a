"""What a call costs whatever the network: nets of one unit, where the kernels take next to nothing.

python benchmarks/fixed_cost.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn import layers
from fastnn.bench.harness import alternate, print_machine

STEPS = 10_000  # of one epoch inside fit
DEPTH = 20  # ops of the eager model


def net(depth: int = 1) -> fastnn.Sequential:
    model = fastnn.Sequential([layers.Input((1,)), *[layers.Dense(1) for _ in range(depth)]])
    model.compile(fastnn.optimizers.SGD(1e-3), "mse")
    return model


def main() -> None:
    print_machine()
    x = np.ones((1, 1), np.float32)
    many = np.ones((STEPS, 1), np.float32)
    model, deep, row = net(), net(DEPTH), fastnn.Tensor(x)

    @fastnn.function
    def step(x: Any) -> Any:
        return model(x)

    model.predict(x)
    program = model._predict_program.run_for((x,)).program
    kernels = sum(step[5] for step in program.profile([x], 1000))
    sides: dict[str, tuple[Callable[[], Any], float, float, float]] = {  # call, calls, less, target
        "train_on_batch of a 1x1 net": (lambda: model.train_on_batch(x, x), 1, 0, 5),
        "a step inside fit": (
            lambda: model.fit(many, many, batch_size=1, verbose=0), STEPS, 0, 1.5,
        ),
        "predict of one row, above its kernels": (lambda: model.predict(x), 1, kernels, 8),
        "a @function of one op": (lambda: step(x), 1, 0, 5),
        "model(x) eagerly, per op": (lambda: deep(row), DEPTH, 0, 2),
    }  # fmt: skip
    # Long enough that what a side finds in cache is its own, not the net's before it.
    timings = alternate({name: call for name, (call, *_) in sides.items()}, shortest=1e-2)
    for name, (_, calls, less, target) in sides.items():
        t = timings[name]
        micros = 1e6 * (t.median / calls - less)
        spread = 1e6 * (t.high - t.low) / 2 / calls
        met = "met" if micros <= target else "MISSED"
        print(f"{name:<40} {micros:6.2f} us (+-{spread:.2f})   target {target:3.1f}   {met}")


if __name__ == "__main__":
    main()
