"""What `compile` was given: loss, metrics and their sums, resolved as Keras does."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from fastnn import losses, metrics, ops
from fastnn._core import Tensor


class CompiledLoss:
    """The loss, its weight, and its mean over the samples seen."""

    def __init__(self, loss: Any, loss_weights: Any = None) -> None:
        self.function = None if loss is None else losses.get(loss)
        weights = loss_weights if isinstance(loss_weights, list | tuple) else [loss_weights]
        if len(weights) != 1:
            raise ValueError(f"loss_weights: expected one weight, got {loss_weights!r}")
        self.weight = 1.0 if weights[0] is None else float(weights[0])
        self.mean = metrics.Mean("loss")

    def __call__(self, y: Any, y_pred: Tensor, sample_weight: Any, added: Sequence[Any]) -> Tensor:
        """The loss of the batch plus what layers added: penalties and `add_loss`."""
        terms = list(added)
        if self.function is not None:
            if y is None:
                raise ValueError("y: expected targets for the loss, got None")
            loss = self.function(y, y_pred, sample_weight=sample_weight)
            terms.insert(0, loss if self.weight == 1.0 else ops.multiply(loss, self.weight))
        if not terms:
            raise ValueError(
                "loss: expected compile(loss=...) or a layer that adds one, got neither"
            )
        total: Tensor = terms[0]
        for term in terms[1:]:
            total = ops.add(total, term)
        return total


class CompiledMetrics:
    """The metrics; strings are resolved at the first batch, as "accuracy" depends on the shapes of y and ŷ."""

    def __init__(self, loss: Any, unweighted: Any, weighted: Any) -> None:
        self._loss = loss
        self._asked = [(m, False) for m in _as_list("metrics", unweighted)]
        self._asked += [(m, True) for m in _as_list("weighted_metrics", weighted)]
        self._resolved: list[tuple[Any, bool]] | None = None

    @property
    def metrics(self) -> list[Any]:
        return [metric for metric, _ in self._resolved or []]

    def update(self, y: Any, y_pred: Tensor, sample_weight: Any) -> None:
        if self._resolved is None:
            self._resolved = [(self._resolve(m, y, y_pred), weighted) for m, weighted in self._asked]
        for metric, weighted in self._resolved:
            if weighted and sample_weight is not None:
                metric.update_state(y, y_pred, sample_weight)
            else:
                metric.update_state(y, y_pred)

    def _resolve(self, identifier: Any, y: Any, y_pred: Tensor) -> Any:
        metric = metrics.resolve(identifier, self._loss, y.shape, y_pred.shape)
        if isinstance(identifier, str):
            metric.name = identifier  # reported under the name that was asked for
        return metric


def warn_without_effect(argument: str, value: Any) -> None:
    if argument not in _warned:
        _warned.add(argument)
        warnings.warn(f"{argument}={value!r} has no effect in fastnn", UserWarning, stacklevel=3)


_warned: set[str] = set()


def _as_list(argument: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, dict):
        raise TypeError(f"{argument}: expected a list for a model of one output, got a dict")
    return list(value) if isinstance(value, list | tuple) else [value]
