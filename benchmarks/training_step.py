"""A training step (forward, loss, backward, Adam) against PyTorch in each of its modes.

PyTorch runs eager, channels_last and torch.compile (Adam fused and compiled with the step where it can be), with the
same weights, batch and number of threads; the losses of the first steps must agree before anything is timed. fastnn is
timed as `fit` runs it (many batches a call) and as `train_on_batch`.

python benchmarks/training_step.py [--no-compile] [--threads N] [name ...]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import fastnn
from fastnn import layers
from harness import alternate, print_machine, verify

STEPS = 200  # batches per call of a side: what a step costs inside a loop over batches


def mlp(*sizes: int) -> tuple[Callable[[], Any], Callable[[], Any], tuple[int, ...]]:
    def ours() -> Any:
        hidden = [layers.Dense(n, activation="relu") for n in sizes[1:-1]]
        return fastnn.Sequential([layers.Input((sizes[0],)), *hidden, layers.Dense(sizes[-1])])

    def theirs() -> Any:
        parts: list[Any] = []
        for i, (a, b) in enumerate(itertools.pairwise(sizes)):
            parts += [torch.nn.Linear(a, b)] + ([torch.nn.ReLU()] if i + 2 < len(sizes) else [])
        return torch.nn.Sequential(*parts)

    return ours, theirs, (sizes[0],)


def lenet() -> tuple[Callable[[], Any], Callable[[], Any], tuple[int, ...]]:
    def ours() -> Any:
        return fastnn.Sequential(
            [
                layers.Input((28, 28, 1)),
                layers.Conv2D(6, 5, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(16, 5, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(120, activation="relu"),
                layers.Dense(84, activation="relu"),
                layers.Dense(10),
            ]
        )

    class Flatten(torch.nn.Module):  # rows, columns, channels: fastnn's order
        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    def theirs() -> Any:
        n = torch.nn
        return n.Sequential(
            n.Conv2d(1, 6, 5, padding=2), n.ReLU(), n.MaxPool2d(2),
            n.Conv2d(6, 16, 5), n.ReLU(), n.MaxPool2d(2),
            Flatten(), n.Linear(400, 120), n.ReLU(), n.Linear(120, 84), n.ReLU(), n.Linear(84, 10),
        )  # fmt: skip

    return ours, theirs, (28, 28, 1)


PROBLEMS = {
    "MLP 4-16-3, batch 32": (mlp(4, 16, 3), 32, 3),
    "MLP 32-128-128-2, batch 64": (mlp(32, 128, 128, 2), 64, 2),
    "MLP 784-512-512-10, batch 128": (mlp(784, 512, 512, 10), 128, 10),
    "LeNet-5, batch 64": (lenet(), 64, 10),
}


def copy_weights(model: Any, module: Any) -> None:
    weights = model.get_weights()
    with torch.no_grad():
        for parameter, w in zip(module.parameters(), weights, strict=True):
            if w.ndim == 4:
                w = w.transpose(3, 2, 0, 1)
            elif w.ndim == 2:
                w = w.T
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(w)))


def torch_step(module: Any, x: Any, y: Any, compiled: bool) -> Callable[[], float]:
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, eps=1e-7, fused=not compiled)
    criterion = torch.nn.CrossEntropyLoss()

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(module(x), y)
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        forward = torch.compile(lambda: criterion(module(x), y))
        update = torch.compile(optimizer.step)

        def step() -> Any:  # the whole step in as few compiled pieces as PyTorch takes
            optimizer.zero_grad(set_to_none=True)
            loss = forward()
            loss.backward()
            update()
            return loss

    return lambda: float(step().detach())


def losses_of_first_steps(step: Callable[[], float]) -> np.ndarray:
    return np.array([step() for _ in range(3)])


def run(name: str, compile_torch: bool) -> None:
    (ours, theirs, shape), batch, classes = PROBLEMS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *shape)).astype(np.float32)
    y = rng.integers(0, classes, batch)
    loss = fastnn.losses.SparseCategoricalCrossentropy(from_logits=True)

    model = ours()
    model.compile(fastnn.optimizers.Adam(1e-3), loss)
    start = model.get_weights()
    module_x = torch.from_numpy(x if len(shape) == 1 else x.transpose(0, 3, 1, 2).copy())
    modes: dict[str, Callable[[], float]] = {}
    variants = [("torch eager", False, False), ("torch channels_last", True, False)]
    if compile_torch:
        variants.append(("torch.compile", len(shape) > 1, True))
    for mode, channels_last, compiled in variants:
        module = theirs()
        copy_weights(model, module)
        side_x = module_x
        if channels_last and len(shape) > 1:
            module = module.to(memory_format=torch.channels_last)
            side_x = module_x.contiguous(memory_format=torch.channels_last)
        modes[mode] = torch_step(module, side_x, torch.from_numpy(y), compiled)

    first = {"fastnn": losses_of_first_steps(lambda: model.train_on_batch(x, y))}
    first |= {mode: losses_of_first_steps(step) for mode, step in modes.items()}
    # Adam's first steps are rate * sign(gradient): a gradient that rounds to another sign shows in the fourth digit.
    verify(name, first, 1e-3)
    model.set_weights(start)

    many_x, many_y = np.tile(x, (STEPS, *[1] * len(shape))), np.tile(y, STEPS)

    def repeated(step: Callable[[], float]) -> Callable[[], None]:
        def side() -> None:
            for _ in range(STEPS):
                step()

        return side

    sides = {
        "fastnn fit": lambda: model.fit(many_x, many_y, batch_size=batch, verbose=0),
        "fastnn train_on_batch": repeated(lambda: model.train_on_batch(x, y)),
        **{mode: repeated(step) for mode, step in modes.items()},
    }
    timings = alternate(sides, repeats=15)
    best = min(timings[mode].median for mode in modes)
    row = "  ".join(f"{side} {1e6 * t.median / STEPS:9.1f} us" for side, t in timings.items())
    print(
        f"{name:<30} {row}  best torch / fit {best / timings['fastnn fit'].median:6.1f}x",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--threads", type=int, default=fastnn.num_threads())
    parser.add_argument("names", nargs="*", help="problems whose names hold one of these")
    options = parser.parse_args()
    fastnn.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    print_machine()
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads\n")
    for name in PROBLEMS:
        if not options.names or any(part in name for part in options.names):
            run(name, not options.no_compile)


if __name__ == "__main__":
    main()
