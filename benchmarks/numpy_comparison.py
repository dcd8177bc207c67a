"""fastnn against plain NumPy written well: the layers of fastnn.numpy_twin, then a training step.

Both sides start from the same arrays and must agree before they are timed. NumPy has the threads of
its BLAS; fastnn has its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastnn
from fastnn import demo, numpy_twin, ops
from harness import compare, print_machine

# Both sides round in float32, in sums of up to 32 * 16 * 16 products.
TOLERANCE = 1e-4


def forward_backward(
    layer: numpy_twin.Layer, op: Callable[..., fastnn.Tensor], x: np.ndarray
) -> dict[str, Callable[[], object]]:
    """One layer forward and backward on both sides: y, dx and the gradients of the weights."""
    dy = np.random.default_rng(1).standard_normal(layer.forward(x, True).shape).astype("f4")
    sources = [fastnn.Tensor(a) for a in (x, *layer.weights)]

    def ours() -> list[fastnn.Tensor]:
        with fastnn.GradientTape() as tape:
            tape.watch(sources)
            y = op(*sources)
        return [y, *tape.gradient(y, sources, dy)]

    def theirs() -> list[np.ndarray]:
        y = layer.forward(x, True)
        return [y, layer.backward(dy), *layer.gradients]

    return {"fastnn": ours, "NumPy": theirs}


def layers(rng: np.random.Generator) -> None:
    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype("f4")

    for rows, inputs, units in ((32, 64, 64), (128, 512, 512)):
        dense = numpy_twin.Dense(normal(inputs, units), normal(units))
        compare(
            f"dense {rows} x {inputs} -> {units}",
            forward_backward(dense, ops.dense, normal(rows, inputs)),
            tolerance=TOLERANCE,
        )
    for n, size, channels, filters in ((32, 8, 32, 64), (32, 16, 64, 64)):
        convolution = numpy_twin.Conv2D(normal(3, 3, channels, filters), normal(filters))
        compare(
            f"conv 3x3, {n} x {size}^2 x {channels} -> {filters}",
            forward_backward(
                convolution,
                lambda x, kernel, bias: ops.conv2d(x, kernel, bias, padding="same"),
                normal(n, size, size, channels),
            ),
            tolerance=TOLERANCE,
        )
    image = normal(32, 16, 16, 64)
    channel = np.ones(64, "f4")
    compare(
        "batch norm 32 x 16^2 x 64",
        forward_backward(
            numpy_twin.BatchNormalization(channel, 0 * channel, 0 * channel, channel),
            lambda x, gamma, beta: ops.batch_normalization_training(x, gamma, beta)[0],
            image,
        ),
        tolerance=TOLERANCE,
    )
    compare(
        "relu 32 x 16^2 x 64",
        forward_backward(numpy_twin.ReLU(), ops.relu, image),
        tolerance=0,
    )
    compare(
        "max pool 2x2, 32 x 16^2 x 64",
        forward_backward(numpy_twin.MaxPooling2D(), ops.max_pool2d, image),
        tolerance=0,
    )


def demo_steps(rng: np.random.Generator) -> None:
    """One training step of the demo's network, without dropout so that both sides do the same."""
    x = rng.uniform(0, 1, (demo.BATCH_SIZE, 8, 8, 1)).astype("f4")
    labels = rng.integers(0, 10, demo.BATCH_SIZE)
    model = demo.build_model(rate=0.0)
    network = numpy_twin.demo_network(model.get_weights(), 0.0, momentum=demo.MOMENTUM)

    def theirs() -> float:
        loss = network.loss_and_gradient(x, labels)
        network.optimizer.update(network.theta, network.gradient, demo.LEARNING_RATE)
        return loss

    compare(
        "demo's training step, batch 32",
        {"fastnn": lambda: model.train_on_batch(x, labels)[0], "NumPy": theirs},
        tolerance=TOLERANCE,
    )


def main() -> None:
    print_machine()
    rng = np.random.default_rng(0)
    layers(rng)
    demo_steps(rng)


if __name__ == "__main__":
    main()
