"""What `compile` was given: loss, metrics and their sums, resolved as Keras does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastnn import losses, metrics, ops
from fastnn._core import Tensor, Variable
from fastnn._structure import by_name, flatten, map_structure, names_of
from fastnn.layers.context import current_context

NOT_FINITE = "the loss is not finite"


class CompiledLoss:
    """The losses of the outputs, their weights, and their means over the samples seen.

    Args:
        loss: one for every output, or a list or dict by output; None for an output that has none.
        loss_weights: a factor, or a list or dict of them by output.
        output_names: of the model, if it knows them; otherwise they are found at the first batch.
    """

    def __init__(
        self, loss: Any, loss_weights: Any = None, output_names: Sequence[str] | None = None
    ) -> None:
        self.function = map_structure(lambda leaf: None if leaf is None else losses.get(leaf), loss)
        self._loss_weights = loss_weights
        self.mean = metrics.Mean("loss")
        self._means: list[metrics.Mean | None] = []
        self.metrics = [
            self.mean
        ]  # the means: of the loss, and of each output's if there are several
        self.names: list[str] | None = None
        # Whether a step whose loss is not finite is refused: an input of recorded steps.
        self._guarded = Variable(False, trainable=False, name="guarded")
        if output_names is not None:
            self.bind(output_names)

    def bind(self, names: Sequence[str]) -> list[Any]:
        """Assign losses and weights to the outputs of these names. The loss of each."""
        if self.names is None or len(self.names) != len(names):
            functions = by_name("loss", self.function, names, partial=True)
            partial = isinstance(self._loss_weights, dict) or len(names) == 1
            weights = by_name("loss_weights", self._loss_weights, names, partial=partial)
            self._weights = [1.0 if weight is None else float(weight) for weight in weights]
            several = len(names) > 1
            self._means = [
                metrics.Mean(f"{name}_loss") if several and function is not None else None
                for name, function in zip(names, functions, strict=True)
            ]
            self.metrics = [self.mean, *(mean for mean in self._means if mean is not None)]
            self._functions = functions
            self.names = list(names)
        return self._functions

    def __call__(self, y: Any, y_pred: Any, sample_weight: Any, added: Sequence[Any]) -> Tensor:
        """The loss of the batch plus what layers added: penalties and `add_loss`."""
        outputs = flatten(y_pred)
        names = self.names
        if names is None or len(names) != len(outputs):
            names = names_of(y_pred, "output")
        functions = self.bind(names)
        targets = by_name("y", y, names, partial=isinstance(y, dict))
        weights = by_name("sample_weight", sample_weight, names, partial=True)
        values: list[Any] = []
        terms = []
        for i, function in enumerate(functions):
            values.append(None)
            if function is None:
                continue
            if targets[i] is None:
                which = "" if len(names) == 1 else f" of output '{names[i]}'"
                raise ValueError(f"y: expected targets for the loss{which}, got None")
            values[i] = function(targets[i], outputs[i], sample_weight=weights[i])
            weight = self._weights[i]
            terms.append(values[i] if weight == 1.0 else ops.multiply(values[i], weight))
        terms += added
        if not terms:
            raise ValueError(
                "loss: expected compile(loss=...) or a layer that adds one, got neither"
            )
        context = current_context()
        if context is not None:
            context.output_losses = values
        total: Tensor = terms[0]
        for term in terms[1:]:
            total = ops.add(total, term)
        return total

    @contextmanager
    def guard(self, on: bool) -> Iterator[None]:
        """Whether steps in the `with` block are refused where their loss is not finite."""
        before = bool(self._guarded)
        self._guarded.assign(on)
        try:
            yield
        finally:
            self._guarded.assign(before)

    def refuse_what_is_not_finite(self, loss: Tensor) -> None:
        """FloatingPointError(NOT_FINITE) before the step writes anything, where the guard is on."""
        ops.check_finite(ops.where(self._guarded, loss, 0.0), NOT_FINITE)

    def update_means(self, loss: Tensor, values: Sequence[Any], rows: Any) -> None:
        """Count a batch of that many rows, so that a short last one counts by its size."""
        self.mean.update_state(loss, rows)
        for mean, value in zip(self._means, values, strict=True):
            if mean is not None:
                mean.update_state(value, rows)


class CompiledMetrics:
    """The metrics; strings are resolved at the first batch, as "accuracy" depends on the shapes of y and ŷ."""

    def __init__(
        self, loss: Any, unweighted: Any, weighted: Any, output_names: Sequence[str] | None = None
    ) -> None:
        self._loss = loss
        self._asked = (("metrics", unweighted), ("weighted_metrics", weighted))
        self._names = output_names
        if output_names is not None:
            self._by_output(output_names)  # complains now
        self._resolved: list[tuple[Any, int, bool]] | None = None
        self.metrics: list[Any] = []

    def update(self, y: Any, y_pred: Any, sample_weight: Any) -> None:
        outputs = flatten(y_pred)
        names = self._names
        if names is None or len(names) != len(outputs):
            names = names_of(y_pred, "output")
        targets = by_name("y", y, names, partial=isinstance(y, dict))
        weights = by_name("sample_weight", sample_weight, names, partial=True)
        if self._resolved is None:
            self._resolved = self._resolve(names, targets, outputs)
            self.metrics = [metric for metric, _, _ in self._resolved]
        for metric, i, weighted in self._resolved:
            if targets[i] is None:
                continue
            if weighted and weights[i] is not None:
                metric.update_state(targets[i], outputs[i], weights[i])
            else:
                metric.update_state(targets[i], outputs[i])

    def _by_output(self, names: Sequence[str]) -> list[tuple[Any, int, bool]]:
        """(identifier, number of the output, whether weighted) for all that were asked for, in order of outputs."""
        found = []
        for argument, value in self._asked:
            if len(names) == 1 and not isinstance(value, dict):
                of_output = [value]
            else:
                of_output = by_name(argument, value, names, partial=not isinstance(value, list))
            for i, asked in enumerate(of_output):
                listed = asked if isinstance(asked, list | tuple) else [asked]
                found += [(m, i, argument == "weighted_metrics") for m in listed if m is not None]
        return found

    def _resolve(
        self, names: Sequence[str], targets: Sequence[Any], outputs: Sequence[Any]
    ) -> list[tuple[Any, int, bool]]:
        loss_of = by_name("loss", self._loss, names, partial=True)
        resolved = []
        for identifier, i, weighted in self._by_output(names):
            y = targets[i]
            y_shape = outputs[i].shape if y is None else y.shape
            metric = metrics.resolve(identifier, loss_of[i], y_shape, outputs[i].shape)
            if isinstance(identifier, str):
                metric.name = identifier  # reported under the name that was asked for
            if len(names) > 1:
                metric.name = f"{names[i]}_{metric.name}"
            resolved.append((metric, i, weighted))
        return resolved


def warn_without_effect(argument: str, value: Any) -> None:
    if argument not in _warned:
        _warned.add(argument)
        warnings.warn(f"{argument}={value!r} has no effect in fastnn", UserWarning, stacklevel=3)


_warned: set[str] = set()
