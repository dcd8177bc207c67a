"""What training costs in memory: the arena of a convolutional net, and the process over many steps and models.

python benchmarks/memory.py [--steps N] [--models N]
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import _core, layers
from fastnn.bench.harness import print_machine

BATCH = 64


def vgg_like() -> tuple[Any, int]:
    """A VGG-like net for CIFAR images, and the bytes of one tensor per block output."""
    blocks: list[Any] = []
    elements = 0
    for width, size in ((64, 32), (128, 16), (256, 8)):
        for _ in range(2):  # convolution, batch normalisation and relu count as one
            blocks += [
                layers.Conv2D(width, 3, padding="same", use_bias=False),
                layers.BatchNormalization(),
                layers.Activation("relu"),
            ]
            elements += size * size * width
        blocks.append(layers.MaxPooling2D())
        elements += size * size * width // 4
    net = [layers.Input((32, 32, 3)), *blocks, layers.Flatten(), layers.Dense(10)]
    return fastnn.Sequential(net), 4 * BATCH * (elements + 10)


def compiled(model: Any) -> Any:
    loss = fastnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(fastnn.optimizers.Adam(1e-3), loss)
    return model


def resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def arena() -> None:
    model, outputs = vgg_like()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, 32, 32, 3)).astype(np.float32)
    y = rng.integers(0, 10, BATCH)
    compiled(model).train_on_batch(x, y)
    program = model._train_program.run_for((x, y, None)).program
    used = program.arena_bytes + _core.scratch_bytes()
    print(
        f"VGG-like net, batch {BATCH}: arena {program.arena_bytes / 1e6:.1f} MB + working memory "
        f"{_core.scratch_bytes() / 1e6:.1f} MB = {used / (2 * outputs):.1%} of two tensors per block "
        f"output ({2 * outputs / 1e6:.1f} MB); every value by itself {program.value_bytes / 1e6:.0f} MB"
    )


def small() -> Any:
    return compiled(
        fastnn.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Conv2D(8, 3, activation="relu"),
                layers.BatchNormalization(),
                layers.Flatten(),
                layers.Dropout(0.2),
                layers.Dense(10),
            ]
        )
    )


def growth(steps: int, models: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((320, 8, 8, 1)).astype(np.float32)
    y = rng.integers(0, 10, 320)
    model = small()

    def many_steps(count: int) -> None:
        model.fit(x, y, batch_size=16, epochs=count // 40, verbose=0)
        for i in range(count // 2):
            model.train_on_batch(x[: 1 + i % 16], y[: 1 + i % 16])

    def many_models(count: int) -> None:
        for _ in range(count):
            one = small()
            one.fit(x[:64], y[:64], batch_size=16, verbose=0)
            one.predict(x[:64], verbose=0)

    for name, body, count in (("steps", many_steps, steps), ("models", many_models, models)):
        body(count // 2)  # what is kept once, and the slack of the allocator
        before = resident()
        rounds = []
        for _ in range(2):
            body(count // 2)
            rounds.append(f"{(resident() - before) / 1e6:+.2f}")
        print(f"resident memory over {count} {name}, in halves: {' and '.join(rounds)} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--models", type=int, default=1_000)
    options = parser.parse_args()
    print_machine()
    growth(options.steps, options.models)
    arena()


if __name__ == "__main__":
    main()
