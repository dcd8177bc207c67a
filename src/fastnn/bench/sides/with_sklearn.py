"""scikit-learn: MLPClassifier, for nets of dense layers and more than two classes (it has one output for two)."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from fastnn.bench.nets import Dense
from fastnn.bench.problems import LEARNING_RATE, Problem
from fastnn.bench.sides import Training


def train(problem: Problem, batch: int, mode: str) -> Training:
    x, y = problem.data(batch)
    units = [layer.units for layer in problem.layers if isinstance(layer, Dense)]
    model: Any = MLPClassifier(
        units[:-1],
        batch_size=batch,
        learning_rate_init=LEARNING_RATE,
        alpha=0.0,
        epsilon=1e-7,
        shuffle=False,
    )
    model.partial_fit(x, y, classes=np.arange(problem.classes))  # makes its arrays, in float32
    for kernel, bias, (first_kernel, first_bias) in zip(
        model.coefs_, model.intercepts_, problem.weights(), strict=True
    ):
        kernel[...], bias[...] = first_kernel, first_bias
    del model._optimizer  # with the moments of that step
    many_x, many_y = np.tile(x, (problem.steps, 1)), np.tile(y, problem.steps)

    def step() -> float:
        return float(model.partial_fit(x, y).loss_)

    return Training(step, lambda: model.partial_fit(many_x, many_y))
