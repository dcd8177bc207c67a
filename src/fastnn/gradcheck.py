"""Gradient checking: the tape's gradient against two-sided differences over all weights, theta."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import ops
from fastnn._core import Tensor, Variable
from fastnn.tape import GradientTape
from fastnn.training.compiled import CompiledLoss

__all__ = ["Component", "GradientCheck", "check_gradients", "numeric_gradient"]

Array = npt.NDArray[Any]

_FINE = 1e-7
_WORRY = 1e-3


def numeric_gradient(
    f: Callable[[Any], Any], theta: npt.ArrayLike, epsilon: float = 1e-5
) -> Array | float:
    """(f(theta + epsilon) - f(theta - epsilon)) / (2 * epsilon), component by component.

    Args:
        f: function of an array (or float) in the shape of theta that returns a number.
        theta: where; taken in float64.
        epsilon: float > 0. Default `1e-5`.
    Returns: array in theta's shape; a float for a number.
    Example:
        >>> round(numeric_gradient(lambda t: t**3, 1.0, epsilon=0.01), 8)
        3.0001
    """
    _check_epsilon(epsilon)
    point = np.array(theta, np.float64)
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):

        def at(step: float, index: tuple[int, ...] = index) -> float:
            moved = point.copy()
            moved[index] += step
            return float(f(moved if moved.ndim else float(moved)))

        gradient[index] = (at(epsilon) - at(-epsilon)) / (2 * epsilon)
    return gradient if gradient.ndim else float(gradient)


@dataclass(frozen=True)
class Component:
    """One component of theta: where it stands, and its two derivatives."""

    variable: str
    layer: str
    kind: str  # "kernel", "bias", ...: the last part of the variable's name
    index: tuple[int, ...]
    analytic: float
    numeric: float

    @property
    def difference(self) -> float:
        return abs(self.analytic - self.numeric)


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradients` found. True unless the verdict is "worry".

    Attributes:
        ratio: |approx - grad| / (|approx| + |grad|) over the checked components, 0 for two zero
            vectors.
        verdict: "ok" up to 1e-7, "look" (at the components) up to 1e-3, "worry" above.
        by_variable: the same ratio for each variable alone: all trouble in one bias says where the
            bug is.
        worst: the components that differ most, the worst first.
        kinks: components with a kink of the function within epsilon, where the two one-sided
            differences disagree and there is no derivative to compare with. They are left out of
            the ratio.
        checked, size: how many components were compared, and how many theta has.
        epsilon: the step.
    """

    ratio: float
    by_variable: dict[str, float]
    worst: list[Component]
    kinks: list[Component]
    checked: int
    size: int
    epsilon: float
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        # Written so that NaN is a worry.
        fine = "ok" if self.ratio <= _FINE else "look" if self.ratio <= _WORRY else "worry"
        object.__setattr__(self, "verdict", fine)

    def __bool__(self) -> bool:
        return self.verdict != "worry"

    def __str__(self) -> str:
        meaning = {"ok": "fine", "look": "look at the components", "worry": "the gradient is wrong"}
        lines = [
            f"gradient check: {self.verdict} ({meaning[self.verdict]}), ratio {self.ratio:.2e}; "
            f"{self.checked} of {self.size} components, epsilon {self.epsilon:g}, "
            f"kinks left out: {len(self.kinks)}"
        ]
        if self.verdict != "ok":
            lines += [f"  {name:<40} ratio {ratio:.2e}" for name, ratio in self.by_variable.items()]
            lines.append(f"  {'variable':<28} {'index':<16} {'analytic':>14} {'numeric':>14}")
        shown = self.worst if self.verdict != "ok" else []
        lines += [_row(c) for c in shown] + [f"{_row(c)}  kink" for c in self.kinks[:10]]
        return "\n".join(lines)


def _row(c: Component) -> str:
    return f"  {c.variable:<28} {c.index!s:<16} {c.analytic:>14.6e} {c.numeric:>14.6e}"


def check_gradients(
    model_or_fn: Any,
    x: Any = None,
    y: Any = None,
    loss: Any = None,
    epsilon: float = 1e-5,
    sample: int | None = None,
    seed: int = 0,
    *,
    variables: Sequence[Variable] | None = None,
    training: bool = False,
) -> GradientCheck:
    """Compare the tape's gradient of the cost J(theta) with two-sided differences.

    theta is the trainable variables in order, as one vector. For a model, J is the loss of
    `model(x)` against y plus the model's penalties; for a function, what it returns (its sum).

    Args:
        model_or_fn: a model, or a function of the variables, `fn(*variables)`, or of nothing,
            `fn()`.
        x: the model's input or inputs; floating arrays are taken in float64.
        y: the targets, handed to the loss.
        loss: a Loss, its name, or a function of (y_true, y_pred). Default: the one the model was
            compiled with.
        epsilon: the step of the differences. Default `1e-5`.
        sample: check that many random components of each variable only. Default `None`: all.
        seed: of the sample. Default `0`.
        variables: of a function: what to differentiate with respect to; arrays are made into
            variables. Of a model: a part of theta. Default: the model's trainable variables.
        training: whether the model runs in training mode: batch statistics then, and dropout with
            one mask that stays the same. Default `False`: moving averages and no dropout.
    Returns: GradientCheck; print it, or take its `ratio`, `verdict`, `worst`.
    Raises: ValueError for variables that are not float64: in float32 differences are mostly
        rounding. Build the model with `dtype="float64"` and copy the weights with `set_weights`.
        The weights are afterwards what they were.
    Example:
        >>> import fastnn
        >>> w = fastnn.Variable([1.0, -2.0], dtype="float64", name="w")
        >>> check_gradients(lambda: fastnn.ops.sum(w * w * w), variables=[w]).verdict
        'ok'
    """
    _check_epsilon(epsilon)
    if sample is not None and sample < 1:
        raise ValueError(f"check_gradients: expected sample >= 1, got {sample!r}")
    is_model = hasattr(model_or_fn, "trainable_variables")
    if is_model:
        cost = _model_cost(model_or_fn, x, y, loss, training)
        theta = list(model_or_fn.trainable_variables if variables is None else variables)
        if variables is None and not theta:  # not built yet
            cost()
            theta = list(model_or_fn.trainable_variables)
    else:
        if not callable(model_or_fn):
            raise TypeError(f"check_gradients: expected a model or a function, got {model_or_fn!r}")
        if x is not None or y is not None or loss is not None:
            raise TypeError(
                "check_gradients: x, y and loss go with a model; a function takes variables"
            )
        theta = [_variable(v, i) for i, v in enumerate(variables or ())]
        cost = _function_cost(model_or_fn, theta)
    if not theta:
        raise ValueError("check_gradients: expected at least one trainable variable, got none")
    for v in theta:
        if v.dtype != np.float64:
            raise ValueError(
                f"check_gradients: expected float64 variables, got {v.name!r} of {v.dtype}; "
                "differences in float32 are mostly rounding: build the model with dtype='float64' "
                "and copy the weights with set_weights"
            )
    names = _layer_names(model_or_fn) if is_model else {}
    others = [v for v in getattr(model_or_fn, "variables", ()) if all(v is not t for t in theta)]
    return _check(cost, theta, others, names, epsilon, sample, seed)


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < np.inf:
        raise ValueError(f"check_gradients: expected a finite epsilon > 0, got {epsilon!r}")


def _variable(value: Any, i: int) -> Variable:
    if isinstance(value, Variable):
        return value
    return Variable(np.array(value, np.float64), name=f"theta_{i}", dtype="float64")


def _double(value: Any) -> Any:
    """Floating arrays in float64; everything else as it is."""
    if isinstance(value, dict):
        return {key: _double(v) for key, v in value.items()}
    if isinstance(value, tuple) or (
        isinstance(value, list) and any(isinstance(v, np.ndarray | Tensor) for v in value)
    ):
        return type(value)(_double(v) for v in value)
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _model_cost(model: Any, x: Any, y: Any, loss: Any, training: bool) -> Callable[[], Tensor]:
    chosen = getattr(model, "loss", None) if loss is None else loss
    if chosen is None:
        raise ValueError("check_gradients: expected loss, a Loss, a name or a function, got None")
    compiled = getattr(model, "_compiled_loss", None)
    if loss is not None or compiled is None:
        compiled = CompiledLoss(chosen, output_names=getattr(model, "output_names", None))
    x, y = _double(x), _double(y)
    return lambda: compiled(y, model(x, training=training), None, model.losses)


def _function_cost(fn: Callable[..., Any], theta: list[Variable]) -> Callable[[], Tensor]:
    try:
        inspect.signature(fn).bind(*theta)
    except TypeError:
        return lambda: ops.sum(fn())
    return lambda: ops.sum(fn(*theta))


def _layer_names(model: Any) -> dict[int, str]:
    """The layer that each variable belongs to, by the variable's id."""
    found: dict[int, str] = {}
    for layer in _layers(model):
        for v in getattr(layer, "trainable_variables", ()):
            found[id(v)] = layer.name
    return found


def _layers(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)  # the innermost one names the variable


def _ratio(analytic: Array, numeric: Array) -> float:
    size = np.linalg.norm(analytic) + np.linalg.norm(numeric)
    return 0.0 if size == 0 else float(np.linalg.norm(analytic - numeric) / size)


def _check(
    cost: Callable[[], Tensor],
    theta: list[Variable],
    others: list[Variable],
    layers: dict[int, str],
    epsilon: float,
    sample: int | None,
    seed: int,
) -> GradientCheck:
    # What a run in training mode writes (moving averages, steps of random generators) is put back
    # before each evaluation, so that all of them see the same masks.
    kept = [(v, np.array(v)) for v in others]

    def evaluate() -> Tensor:
        for v, value in kept:
            v.assign(value)
        return cost()

    weights = [np.array(v) for v in theta]
    rng = np.random.default_rng(seed)
    found: list[tuple[Component, bool]] = []
    try:
        with GradientTape() as tape:
            tape.watch(theta)
            value = evaluate()
        gradients = tape.gradient(value, theta, unconnected_gradients="zero")
        base = float(value)
        for v, weight, gradient in zip(theta, weights, gradients, strict=True):
            analytic = np.asarray(gradient)
            layer, kind = _place(v, layers)
            for flat in _chosen(weight.size, sample, rng):
                index = tuple(int(i) for i in np.unravel_index(flat, weight.shape))

                def at(
                    step: float, v: Variable = v, weight: Array = weight, index: Any = index
                ) -> float:
                    moved = weight.copy()
                    moved[index] += step
                    v.assign(moved)
                    return float(evaluate())

                exact = float(analytic[index])
                numeric, kink = _differentiate(at, base, exact, epsilon)
                name = f"{layer}/{kind}" if layer else v.name
                found.append((Component(name, layer, kind, index, exact, numeric), kink))
            v.assign(weight)
    finally:
        for v, weight in zip(theta, weights, strict=True):
            v.assign(weight)
        for v, value_ in kept:
            v.assign(value_)
    smooth = [c for c, kink in found if not kink]
    groups: dict[str, list[Component]] = {}
    for c in smooth:
        groups.setdefault(c.variable, []).append(c)
    return GradientCheck(
        ratio=_ratio_of(smooth),
        by_variable={name: _ratio_of(group) for name, group in groups.items()},
        worst=sorted(smooth, key=lambda c: -np.nan_to_num(c.difference, nan=np.inf))[:10],
        kinks=[c for c, kink in found if kink],
        checked=len(smooth),
        size=sum(w.size for w in weights),
        epsilon=epsilon,
    )


def _ratio_of(components: list[Component]) -> float:
    return _ratio(
        np.array([c.analytic for c in components]), np.array([c.numeric for c in components])
    )


def _place(v: Variable, layers: dict[int, str]) -> tuple[str, str]:
    path, _, kind = v.name.rpartition("/")
    return layers.get(id(v), path), kind


def _chosen(size: int, sample: int | None, rng: np.random.Generator) -> Array:
    if sample is None or sample >= size:
        return np.arange(size)
    return np.sort(rng.choice(size, sample, replace=False))


def _differentiate(
    at: Callable[[float], float], base: float, exact: float, epsilon: float
) -> tuple[float, bool]:
    """The two-sided difference, and whether there is a kink within epsilon.

    The gap between the one-sided differences is f'' * h for a smooth function, so halving h halves
    it. A kink at distance d < h adds jump * (1 - d/h), which halving h (from epsilon, and from
    epsilon/2) does not halve, whatever d is. A wrong gradient makes no kink: to be excused, the
    analytic value must lie by the one-sided ones.
    """
    up, down = at(epsilon), at(-epsilon)
    numeric = (up - down) / (2 * epsilon)
    gap = (up - 2 * base + down) / epsilon
    rounding = 32 * np.finfo(np.float64).eps * max(abs(base), abs(up), abs(down)) / epsilon
    # Below this a gap is rounding, or what the difference's own error of order epsilon^2 hides.
    slack = 16 * rounding + epsilon**2 * (abs(exact) + abs(numeric) + abs(gap / epsilon))
    visible = abs(gap) > 1e-3 * (abs(exact) + abs(numeric))
    wrong = abs(exact - numeric) > 1e-8 * (abs(exact) + abs(numeric))
    if abs(gap) <= slack or not (visible or wrong) or abs(exact - numeric) > 1.5 * abs(gap):
        return numeric, False
    half, quarter = ((at(h) - 2 * base + at(-h)) / h for h in (epsilon / 2, epsilon / 4))
    return numeric, bool(abs(gap - 2 * half) > slack or abs(half - 2 * quarter) > slack)
