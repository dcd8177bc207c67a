"""`fastnn demo`: a convolutional network learns real handwritten digits.

The same network in plain NumPy (numpy_twin.py) runs beside it for comparison. No test image is
trained on, and no epoch is picked by its test accuracy.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

import fastnn
from fastnn import _core, datasets, layers, numpy_twin
from fastnn.callbacks import Callback

__all__ = ["build_model", "main", "plot", "train"]

EPOCHS = 30
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
DROPOUT = 0.25
MOMENTUM = 0.9  # Keras's 0.99 averages over more steps than a short training has
NUMPY_EPOCHS = 3

Array = npt.NDArray[Any]
Data = tuple[tuple[Array, Array], tuple[Array, Array]]


def build_model(rate: float = DROPOUT) -> fastnn.Sequential:
    """(conv 3x3, batch norm, relu, max pool) twice, dropout, dense softmax: 21,770 parameters."""
    model = fastnn.Sequential([layers.Input((8, 8, 1))])
    for filters in (32, 64):
        model.add(layers.Conv2D(filters, 3, padding="same"))
        model.add(layers.BatchNormalization(momentum=MOMENTUM))
        model.add(layers.ReLU())
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(rate))
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(
        optimizer=fastnn.optimizers.Adam(LEARNING_RATE),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


class _Epochs(Callback):
    """Lowers the learning rate along half a cosine, times training alone, shows a bar."""

    def __init__(self, epochs: int, progress: bool) -> None:
        super().__init__()
        self.epochs = epochs
        self.seconds: list[float] = []
        self.bar = tqdm(total=epochs, unit="epoch", disable=not progress)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rate = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        self.model.optimizer.learning_rate = rate
        self.start = time.perf_counter()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.start)  # what follows is validation

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.bar.update()
        self.bar.set_postfix({k: f"{v:.4f}" for k, v in (logs or {}).items()})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.close()


@dataclass(frozen=True)
class Run:
    """What one training gave."""

    model: fastnn.Sequential
    history: dict[str, list[float]]
    seconds: list[float]  # per epoch, validation not counted
    predicted: Array  # labels of the test images
    accuracy: float  # on the test images


def train(data: Data, epochs: int = EPOCHS, seed: int = 0, progress: bool = False) -> Run:
    """Train the demo's network from a seed.

    Args:
        data: `((x_train, y_train), (x_test, y_test))`, images `(n, 8, 8, 1)` in [0, 1].
        epochs: int. Passes over the training images. Default `30`.
        seed: int. Of the weights, the order of the batches and dropout. Default `0`.
        progress: bool. Whether to show a progress bar. Default `False`.
    """
    fastnn.random.set_seed(seed)
    (x, y), (x_test, y_test) = data
    model = build_model()
    epochs_done = _Epochs(epochs, progress)
    history = model.fit(
        x,
        y,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        verbose=0,
        validation_data=(x_test, y_test),
        callbacks=[epochs_done],
    )
    predicted = np.argmax(model.predict(x_test, verbose=0), axis=-1)
    accuracy = float(np.mean(predicted == y_test))
    return Run(model, history.history, epochs_done.seconds, predicted, accuracy)


def time_numpy(run: Run, data: Data) -> tuple[list[float], bool]:
    """Seconds per epoch of the same network in plain NumPy, and whether it gives the same answers.

    It starts from the trained weights, which makes no difference to the time.
    """
    (x, y), (x_test, _) = data
    network = numpy_twin.demo_network(run.model.get_weights(), DROPOUT, momentum=MOMENTUM)
    agrees = bool(np.array_equal(np.argmax(network.logits(x_test), axis=-1), run.predicted))
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(1 + NUMPY_EPOCHS):
        start = time.perf_counter()
        network.train_epoch(x, y, BATCH_SIZE, LEARNING_RATE, rng)
        seconds.append(time.perf_counter() - start)
    return seconds[1:], agrees


def plot(run: Run, labels: Array, path: Path) -> None:
    """Draw the learning curves and the confusion matrix of the test images into a file."""
    figure_class = _figure_class()
    figure = figure_class(figsize=(13, 4.2), layout="constrained")
    loss, accuracy, confusion = figure.subplots(1, 3)
    epochs = np.arange(1, len(run.history["loss"]) + 1)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        axes.plot(epochs, run.history[name], label="training")
        axes.plot(epochs, run.history[f"val_{name}"], label="test")
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.grid(alpha=0.3)
        axes.legend()
    loss.set_yscale("log")
    accuracy.set_ylim(0.9, 1.002)

    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, run.predicted), 1)
    confusion.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if row == column else "firebrick"
            confusion.text(column, row, str(count), ha="center", va="center", color=color)
    confusion.set_xticks(range(10))
    confusion.set_yticks(range(10))
    confusion.set_xlabel("predicted")
    confusion.set_ylabel("digit")
    confusion.set_title(f"test images: {run.accuracy:.2%} right")
    figure.savefig(path, dpi=120)


def _figure_class() -> Any:
    """matplotlib's Figure, without pyplot and its global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "the picture needs matplotlib, which is not installed: pip install 'fastnn[demo]', "
            "or leave it out with --no-plot"
        ) from error
    return Figure


def main(epochs: int = EPOCHS, seed: int = 0, output: Path | None = None) -> None:
    """Train, compare with NumPy, print, and draw into `output` unless that is `None`."""
    if output is not None:
        _figure_class()  # a missing package is better reported before the training than after
    data = datasets.load_digits()
    (x, _), (x_test, y_test) = data
    print(f"Handwritten digits, 8x8 pixels: {len(x)} to train on, {len(x_test)} to test with.\n")
    build_model().summary()

    run = train(data, epochs, seed, progress=True)
    wrong = int(np.sum(run.predicted != y_test))
    print(f"\nTest accuracy: {run.accuracy:.2%} ({wrong} of {len(y_test)} wrong)")

    numpy_seconds, agrees = time_numpy(run, data)
    ours = float(np.median(run.seconds[1:] or run.seconds))
    theirs = float(np.median(numpy_seconds))
    print(
        f"\nTime per epoch ({len(x)} images in batches of {BATCH_SIZE}, training only, median):\n"
        f"  fastnn       {ours:.4f} s  ({_core.isa}, {fastnn.num_threads()} threads; "
        f"{len(run.seconds)} epochs)\n"
        f"  plain NumPy  {theirs:.4f} s  (NumPy {np.__version__}, fastnn/numpy_twin.py; "
        f"{len(numpy_seconds)} epochs after one of warm-up)\n"
        f"  ratio        {theirs / ours:.1f}\n"
        f"With the trained weights the NumPy network gives "
        f"{'the same answers' if agrees else 'OTHER ANSWERS'} on the test images."
    )
    if output is not None:
        plot(run, y_test, output)
        print(f"\nLearning curves and confusion matrix: {output}")
