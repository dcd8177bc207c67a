"""Optimizer steps in place, for loops of one's own: variable and slots are NumPy arrays or Variables.

An array that cannot be updated in place (read-only, not contiguous, of another dtype) is an error,
never a silent copy.
"""

from __future__ import annotations

from typing import Any

from fastnn import _core
from fastnn._typing import ArrayLike

__all__ = ["adam_update", "momentum_update", "rmsprop_update", "sgd_update"]

MOMENTUM_FORMS: dict[str, _core.MomentumForm] = {
    name: getattr(_core.MomentumForm, name) for name in ("keras", "torch", "lesson")
}
EPSILON_PLACEMENTS = ("keras", "lesson")


def find_momentum_form(name: str) -> _core.MomentumForm:
    if name not in MOMENTUM_FORMS:
        raise ValueError(
            f"form: expected one of {', '.join(map(repr, MOMENTUM_FORMS))}, got {name!r}"
        )
    return MOMENTUM_FORMS[name]


def epsilon_is_lessons(placement: str) -> bool:
    if placement not in EPSILON_PLACEMENTS:
        raise ValueError(f"epsilon_placement: expected 'keras' or 'lesson', got {placement!r}")
    return placement == "lesson"


def sgd_update(
    w: Any, g: ArrayLike, learning_rate: ArrayLike = 0.01, *, weight_decay: float = 0.0
) -> None:
    """w -= learning_rate * g, in place.

    Args:
        w: writable contiguous float array, or Variable.
        g: the gradient, of w's shape.
        learning_rate: float or 0-d tensor.
        weight_decay: w shrinks by learning_rate * weight_decay of itself first.
    Example:
        >>> import numpy as np, fastnn
        >>> w = np.array([1.0, 2.0])
        >>> fastnn.ops.sgd_update(w, np.array([2.0, -2.0]), learning_rate=0.5)
        >>> w
        array([0., 3.])
    """
    _core.sgd_update(
        [w], [], [g], learning_rate, 0, 0.0, MOMENTUM_FORMS["keras"], False, weight_decay
    )


def momentum_update(
    w: Any,
    g: ArrayLike,
    v: Any,
    learning_rate: ArrayLike = 0.01,
    momentum: float = 0.9,
    nesterov: bool = False,
    form: str = "keras",
    *,
    weight_decay: float = 0.0,
) -> None:
    """A step with momentum; w and the velocity v (zeros at first) change in place.

    Args:
        form: `"keras"`: v = momentum v - rate g, w += v. `"torch"`: v = momentum v + g, w -= rate
            v.
            `"lesson"`: v = momentum v + (1 - momentum) g, w -= rate v.
        nesterov: look ahead: the step is momentum v + (g's share) instead of v.
    Raises: TypeError or ValueError for an array that cannot be updated in place.
    Example:
        >>> import numpy as np, fastnn
        >>> w, v = np.array([1.0]), np.zeros(1)
        >>> for _ in range(2):
        ...     fastnn.ops.momentum_update(w, np.array([1.0]), v, learning_rate=0.1)
        >>> w.round(6)
        array([0.71])
    """
    if momentum == 0:
        raise ValueError(
            "momentum: expected a number other than 0; without momentum there is sgd_update"
        )
    _core.sgd_update(
        [w], [v], [g], learning_rate, 0, momentum, find_momentum_form(form), nesterov, weight_decay
    )


def rmsprop_update(
    w: Any,
    g: ArrayLike,
    s: Any,
    learning_rate: ArrayLike = 0.001,
    rho: float = 0.9,
    epsilon: float = 1e-7,
    *,
    epsilon_placement: str = "keras",
    weight_decay: float = 0.0,
) -> None:
    """s = rho s + (1 - rho) g^2, w -= learning_rate g / sqrt(s + epsilon); w and s change in place.

    Hinton (2012), lecture 6e of Neural Networks for Machine Learning.

    Args:
        epsilon_placement: `"keras"`: sqrt(s + epsilon); `"lesson"`: sqrt(s) + epsilon.
    Example:
        >>> import numpy as np, fastnn
        >>> w, s = np.array([1.0]), np.zeros(1)
        >>> fastnn.ops.rmsprop_update(w, np.array([5.0]), s, learning_rate=0.1)
        >>> w.round(4)
        array([0.6838])
    """
    inside = not epsilon_is_lessons(epsilon_placement)
    _core.rmsprop_update(
        [w], [s], [g], learning_rate, 0, rho, 0.0, epsilon, False, inside, weight_decay
    )


def adam_update(
    w: Any,
    g: ArrayLike,
    m: Any,
    v: Any,
    step: int,
    learning_rate: ArrayLike = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    *,
    epsilon_placement: str = "keras",
    weight_decay: float = 0.0,
) -> None:
    """One step of Adam; w, m and v change in place. Kingma & Ba (2015), arXiv:1412.6980.

    Args:
        m, v: running means of g and g^2, zeros at first.
        step: int, 1 for the first update.
        epsilon_placement: `"keras"`: the corrections are in the rate, sqrt(v) + epsilon;
            `"lesson"`:
            sqrt(v / (1 - beta_2^step)) + epsilon.
        weight_decay: above 0 it is AdamW, Loshchilov & Hutter (2019), arXiv:1711.05101.
    Raises: ValueError for step < 1; TypeError or ValueError for an array that cannot be updated in
        place.
    Example:
        >>> import numpy as np, fastnn
        >>> w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
        >>> fastnn.ops.adam_update(w, np.array([3.0]), m, v, step=1, learning_rate=0.1)
        >>> w.round(6)
        array([0.9])
    """
    if step < 1:
        raise ValueError(f"step: expected 1 for the first update, got {step}")
    lessons = epsilon_is_lessons(epsilon_placement)
    _core.adam_update(
        [w],
        [m, v],
        [g],
        learning_rate,
        step - 1,
        beta_1,
        beta_2,
        epsilon,
        False,
        lessons,
        weight_decay,
    )
