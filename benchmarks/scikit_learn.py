"""An epoch of a multilayer perceptron on the digits against scikit-learn's MLPClassifier.

Hidden layers (128, 128), batches of 64, Adam at 0.001, rows shuffled every epoch, float32 here and float64 there (its
default; it also takes float32, which is timed as well). Both must learn the digits before anything is timed.

python benchmarks/scikit_learn.py
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import fastnn
from fastnn import layers
from fastnn.bench.harness import alternate, print_machine

EPOCHS = 5  # a call of a side


def ours() -> Any:
    model = fastnn.Sequential(
        [
            layers.Input((64,)),
            layers.Dense(128, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.compile(
        fastnn.optimizers.Adam(1e-3), fastnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def theirs() -> MLPClassifier:
    return MLPClassifier(
        (128, 128), batch_size=64, alpha=0.0, max_iter=EPOCHS, tol=0.0, n_iter_no_change=10**6
    )


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_machine()
    digits = load_digits()
    x, y = digits.data.astype(np.float32) / 16, digits.target
    wide = x.astype(np.float64)
    model = ours()

    model.fit(x, y, batch_size=64, epochs=20, verbose=0)
    learnt = {
        "fastnn": float(np.mean(np.argmax(model.predict(x, verbose=0), axis=1) == y)),
        "scikit-learn": float(theirs().set_params(max_iter=20).fit(wide, y).score(wide, y)),
    }
    for side, share in learnt.items():
        if share < 0.97:
            raise SystemExit(f"{side} has not learnt the digits: {share:.3f} of the training rows")

    timings = alternate(
        {
            "fastnn": lambda: model.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0),
            "scikit-learn": lambda: theirs().fit(wide, y),
            "scikit-learn, float32": lambda: theirs().fit(x, y),
        },
        repeats=9,
        shortest=0.1,
    )
    for side, timing in timings.items():
        print(f"{side:<24} {1e3 * timing.median / EPOCHS:8.2f} ms an epoch")
    best = min(timing.median for side, timing in timings.items() if side != "fastnn")
    print(f"best of scikit-learn / fastnn {best / timings['fastnn'].median:.1f}x")


if __name__ == "__main__":
    main()
