"""The optimizers whose update is one fused kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastnn import _core
from fastnn._core import Tensor, Variable
from fastnn.ops.optimizer import epsilon_is_lessons, find_momentum_form
from fastnn.optimizers.optimizer import FusedOptimizer

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


def _checked_decays(epsilon: float, **decays: float) -> None:
    for argument, decay in decays.items():
        if not 0 <= decay < 1:
            raise ValueError(f"{argument}: expected 0 <= {argument} < 1, got {decay}")
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon: expected a finite number >= 0, got {epsilon}")


class SGD(FusedOptimizer):
    """Gradient descent, with momentum if asked for.

    Args:
        learning_rate: float or schedule.
        momentum: float in [0, 1).
        nesterov: look ahead by the momentum. Sutskever et al. (2013), ICML.
        momentum_form: `"keras"`: v = momentum v - rate g, w += v. `"torch"`: v = momentum v + g, w
            -= rate v.
            `"lesson"`: v = momentum v + (1 - momentum) g, w -= rate v.
    """

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "SGD",
        *,
        momentum_form: str = "keras",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: expected 0 <= momentum < 1, got {momentum}")
        self.momentum, self.nesterov, self.momentum_form = momentum, nesterov, momentum_form
        self._form = find_momentum_form(momentum_form)
        self.slot_names = ("momentum",) if momentum else ()

    def fused_update(
        self, variables: list[Variable], slots: list[Variable], gradients: list[Tensor]
    ) -> None:
        _core.sgd_update(
            variables, slots, gradients, self._rate, self.iterations,
            self.momentum, self._form, self.nesterov, self.weight_decay or 0.0,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "momentum_form": self.momentum_form,
        }


class RMSprop(FusedOptimizer):
    """Steps divided by the root of a running mean of squared gradients. Hinton (2012), lecture 6e.

    Args:
        learning_rate: float or schedule.
        rho: float, the decay of the mean of squares.
        momentum: float.
        epsilon: float.
        centered: bool. Divide by the variance instead of the mean square.
        epsilon_placement: `"keras"`: sqrt(s + epsilon); `"lesson"`: sqrt(s) + epsilon.
    """

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "rmsprop",
        *,
        epsilon_placement: str = "keras",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        _checked_decays(epsilon, rho=rho, momentum=momentum)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered
        self.epsilon_placement = epsilon_placement
        self._inside = not epsilon_is_lessons(epsilon_placement)
        self.slot_names = (
            "velocity",
            *(("average_gradient",) if centered else ()),
            *(("momentum",) if momentum else ()),
        )

    def fused_update(
        self, variables: list[Variable], slots: list[Variable], gradients: list[Tensor]
    ) -> None:
        _core.rmsprop_update(
            variables, slots, gradients, self._rate, self.iterations,
            self.rho, self.momentum, self.epsilon, self.centered, self._inside, self.weight_decay or
            0.0,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
            "epsilon_placement": self.epsilon_placement,
        }


class Adam(FusedOptimizer):
    """Running means of the gradient and its square, both corrected for their start.

    Kingma & Ba (2015), arXiv:1412.6980.

    Args:
        learning_rate: float or schedule.
        beta_1, beta_2: float, the decays of the two means.
        epsilon: float.
        amsgrad: bool. Divide by the largest mean square so far. Reddi et al. (2018).
        epsilon_placement: `"keras"`: beside the uncorrected root; `"lesson"`: beside the corrected
            one.
    """

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "adam",
        *,
        epsilon_placement: str = "keras",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        _checked_decays(epsilon, beta_1=beta_1, beta_2=beta_2)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad
        self.epsilon_placement = epsilon_placement
        self._lessons = epsilon_is_lessons(epsilon_placement)
        self.slot_names = ("momentum", "velocity", *(("velocity_hat",) if amsgrad else ()))

    def fused_update(
        self, variables: list[Variable], slots: list[Variable], gradients: list[Tensor]
    ) -> None:
        _core.adam_update(
            variables, slots, gradients, self._rate, self.iterations,
            self.beta_1, self.beta_2, self.epsilon, self.amsgrad, self._lessons, self.weight_decay
            or 0.0,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
            "epsilon_placement": self.epsilon_placement,
        }


class AdamW(Adam):
    """Adam with weight decay beside the gradient. Loshchilov & Hutter (2019), arXiv:1711.05101."""

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "adamw",
        *,
        epsilon_placement: str = "keras",
    ) -> None:
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay,
            clipnorm, clipvalue, global_clipnorm, name, epsilon_placement=epsilon_placement,
        )  # fmt: skip
