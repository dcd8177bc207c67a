"""What every optimizer shares: rate, step count, clipping, weight decay, and slots that belong to their variable."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fastnn import _core, ops
from fastnn._changes import Noted
from fastnn._core import Tensor, Variable
from fastnn.optimizers import schedules
from fastnn.recorded import before_each_run
from fastnn.tape import GradientTape

__all__ = ["FusedOptimizer", "Optimizer"]


class Optimizer(Noted):
    """Base class.

    A subclass writes `update_step` in ops, one call per variable, and asks for state with
    `add_slot`.

    Args:
        learning_rate: float >= 0, or an object called with the number of updates made, from 0 on.
        weight_decay: float or None. Each variable shrinks by learning_rate * weight_decay of itself
            before its update.
        clipnorm: float or None. Each gradient longer than this is scaled down to it.
        clipvalue: float or None. Each element of a gradient is clipped to [-clipvalue, clipvalue].
        global_clipnorm: float or None. All gradients are scaled down together if they are longer
            than this together.
        name: str or None.

    Attributes:
        iterations: non-trainable int64 Variable, the number of updates made.

    Example:
        >>> import fastnn
        >>> class Signs(fastnn.optimizers.Optimizer):
        ...     def update_step(self, gradient, variable, learning_rate):
        ...         variable.assign(variable - learning_rate * fastnn.ops.sign(gradient))
        >>> w = fastnn.Variable([1.0, 2.0])
        >>> Signs(0.5).apply([[3.0, -4.0]], [w])
        >>> w.numpy()
        array([0.5, 2.5], dtype=float32)
    """

    _unnoted = frozenset({"learning_rate"})  # an input of recorded steps, see prepare_step

    def __init__(
        self,
        learning_rate: float | Callable[[int], float],
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        given = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        for argument, value in {**given, "weight_decay": weight_decay}.items():
            if value is not None and not (_is_number(value) and 0 <= value < math.inf):
                raise ValueError(
                    f"{argument}: expected a finite number >= 0 or None, got {value!r}"
                )
        if sum(value is not None for value in given.values()) > 1:
            raise ValueError("expected at most one of clipnorm, clipvalue and global_clipnorm")
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.iterations = Variable(np.int64(0), trainable=False, name="iterations")
        self._rate = Variable(np.float64(0), trainable=False, name="learning_rate")
        self.learning_rate = learning_rate
        self._built: list[Variable] = []
        self._slots: dict[tuple[int, str], Variable] = {}

    @property
    def learning_rate(self) -> float:
        """The rate of the next update.

        Set a float or a schedule; a float reads back as it was set.
        """
        if callable(self._learning_rate):
            return _checked_rate(self._learning_rate(int(self.iterations)))
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float | Callable[[int], float]) -> None:
        followed_schedule = (
            self.__dict__.get("_learning_rate") is not None and self.follows_schedule
        )
        self._learning_rate = value if callable(value) else _checked_rate(value)
        self.prepare_step()
        if followed_schedule != self.follows_schedule:
            self._note()  # whether recorded steps ask for the rate before each run

    @property
    def follows_schedule(self) -> bool:
        """Whether the rate changes from step to step by itself."""
        return callable(self._learning_rate)

    def prepare_step(self) -> None:
        """Put the rate of the next update where the update reads it.

        A recorded step has this done before each run, if the rate follows a schedule.
        """
        self._rate.numpy(writable=True)[...] = self.learning_rate

    @property
    def variables(self) -> list[Variable]:
        """All state: the step count, the rate, the slots."""
        return [self.iterations, self._rate, *self._slots.values()]

    def build(self, variables: Iterable[Variable]) -> None:
        """Make the slots of these variables; what exists stays."""
        self._built = list(variables)

    def add_slot(
        self,
        variable: Variable,
        name: str,
        initial: float = 0.0,
        shape: Sequence[int] | None = None,
    ) -> Variable:
        """The state called `name` of this optimizer for `variable`, made at the first call."""
        key = (variable.value.id, name)
        if key not in self._slots:
            value = np.full(
                variable.shape if shape is None else tuple(shape), initial, variable.dtype
            )
            self._slots[key] = Variable(value, trainable=False, name=f"{variable.name}_{name}")
        return self._slots[key]

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        """Update one variable in ops; `learning_rate` is a 0-d tensor of the variable's dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define update_step")

    def power(self, beta: float, later: int = 1) -> Tensor:
        """beta ** (updates made + later), a 0-d float64 tensor: the t-th update sees beta ** t."""
        return ops.power(np.float64(beta), ops.cast(self.iterations, "float64") + float(later))

    def apply(self, gradients: Iterable[Any], variables: Iterable[Variable] | None = None) -> None:
        """One update: `gradients` in the order of `variables` (those of `build` if left out).

        A gradient of None leaves its variable alone, with a warning.

        Raises: ValueError for lists of different lengths, no gradient at all, or a gradient of
            another shape.
        """
        grads, targets = list(gradients), list(self._built if variables is None else variables)
        if len(grads) != len(targets):
            raise ValueError(
                f"gradients: expected {len(targets)}, one per variable, got {len(grads)}"
            )
        missing = [v.name for g, v in zip(grads, targets, strict=True) if g is None]
        if missing:
            if len(missing) == len(grads):
                raise ValueError(f"gradients: expected one at least, got None for all of {missing}")
            warnings.warn(f"Gradients do not exist for variables {missing}", stacklevel=2)
            targets = [v for g, v in zip(grads, targets, strict=True) if g is not None]
            grads = [g for g in grads if g is not None]
        tensors = []
        for g, v in zip(grads, targets, strict=True):
            tensor = ops.cast(g, v.dtype)
            if tensor.shape != v.shape:
                raise ValueError(
                    f"gradients: expected shape {v.shape} for '{v.name}', got {tensor.shape}"
                )
            tensors.append(tensor)
        linked = len(targets) == len(self._built)
        if not linked or any(a is not b for a, b in zip(targets, self._built, strict=True)):
            self.build(targets)
        self.prepare_step()
        if self.follows_schedule:
            before_each_run(self.prepare_step)
        self._update(self._clipped(tensors), targets)
        self.iterations.assign_add(1)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> None:
        """One update from pairs (gradient, variable)."""
        pairs = list(grads_and_vars)
        self.apply([g for g, _ in pairs], [v for _, v in pairs])

    def minimize(self, loss: Callable[[], Any], variables: Iterable[Variable]) -> None:
        """One update that lowers loss(), a function of the variables."""
        if not callable(loss):
            raise TypeError(f"loss: expected a function of no arguments, got {type(loss).__name__}")
        targets = list(variables)
        with GradientTape() as tape:
            value = loss()
        self.apply(tape.gradient(value, targets), targets)

    def _update(self, gradients: list[Tensor], variables: list[Variable]) -> None:
        for gradient, variable in zip(gradients, variables, strict=True):
            rate = ops.cast(self._rate, variable.dtype)
            if self.weight_decay:
                variable.assign(variable - variable * (rate * self.weight_decay))
            self.update_step(gradient, variable, rate)

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        if self.clipvalue is not None:
            return [ops.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        if self.clipnorm is not None:
            return [_scaled(g, ops.sum(ops.square(g)), self.clipnorm) for g in gradients]
        if self.global_clipnorm is not None:
            total: Any = 0.0
            for g in gradients:
                total = ops.sum(ops.square(g)) + total
            return [_scaled(g, total, self.global_clipnorm) for g in gradients]
        return gradients

    def get_config(self) -> dict[str, Any]:
        rate = self._learning_rate
        return {
            "name": self.name,
            "learning_rate": {"class_name": type(rate).__name__, "config": rate.get_config()}
            if isinstance(rate, schedules.LearningRateSchedule)
            else rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        config = dict(config)
        rate = config.get("learning_rate")
        if isinstance(rate, dict):
            schedule = getattr(schedules, rate["class_name"])
            config["learning_rate"] = schedule.from_config(rate["config"])
        return cls(**config)


class FusedOptimizer(Optimizer):
    """An optimizer whose update is one kernel over all variables of a dtype; each of its slots is one flat vector."""

    slot_names: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups: list[
            tuple[list[int], list[Variable]]
        ] = []  # (indices of variables, flat slots)
        self._unlinked: dict[
            int, list[np.ndarray]
        ] = {}  # slots of variables that are not in the list now

    @property
    def variables(self) -> list[Variable]:
        return [self.iterations, self._rate, *(slot for _, slots in self._groups for slot in slots)]

    def build(self, variables: Iterable[Variable]) -> None:
        """Link the flat slots to this list of variables; no variable loses what its slots hold."""
        new = list(variables)
        kept = {**self._unlinked}
        for indices, slots in self._groups:
            members = [self._built[i] for i in indices]
            offsets, _ = _layout(members)
            for variable, begin in zip(members, offsets, strict=True):
                kept[variable.value.id] = [
                    np.asarray(slot)[begin : begin + variable.size].copy() for slot in slots
                ]
        groups = []
        for dtype in dict.fromkeys(v.dtype for v in new):
            indices = [i for i, v in enumerate(new) if v.dtype == dtype]
            members = [new[i] for i in indices]
            offsets, size = _layout(members)
            flat = [np.zeros(size, dtype) for _ in self.slot_names]
            for variable, begin in zip(members, offsets, strict=True):
                for vector, values in zip(flat, kept.pop(variable.value.id, ()), strict=False):
                    vector[begin : begin + variable.size] = values
            slots = [
                Variable(vector, trainable=False, name=f"{self.name}_{slot}")
                for vector, slot in zip(flat, self.slot_names, strict=True)
            ]
            groups.append((indices, slots))
        self._built, self._groups, self._unlinked = new, groups, kept

    def _update(self, gradients: list[Tensor], variables: list[Variable]) -> None:
        for indices, slots in self._groups:
            self.fused_update(
                [variables[i] for i in indices], slots, [gradients[i] for i in indices]
            )

    def fused_update(
        self, variables: list[Variable], slots: list[Variable], gradients: list[Tensor]
    ) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define fused_update")


def _layout(variables: list[Variable]) -> tuple[list[int], int]:
    layout: tuple[list[int], int] = _core.segment_layout(
        [v.size for v in variables], variables[0].dtype
    )
    return layout


def _scaled(gradient: Tensor, square: Tensor, limit: float) -> Tensor:
    return gradient * ops.cast(limit / ops.maximum(ops.sqrt(square), limit), gradient.dtype)


_NUMBERS = (int, float, np.number)


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def _checked_rate(value: Any) -> float:
    if isinstance(value, np.ndarray | Tensor | Variable) and np.ndim(np.asarray(value)) == 0:
        value = np.asarray(value).item()
    if not _is_number(value):
        raise TypeError(f"learning_rate: expected a number or a schedule, got {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"learning_rate: expected a finite number >= 0, got {value}")
    return float(value)
