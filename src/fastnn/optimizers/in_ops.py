"""Optimizers written in ops, as a user would write one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn import ops
from fastnn._core import Tensor, Variable
from fastnn.optimizers.optimizer import Optimizer

__all__ = ["Adadelta", "Adagrad", "Adamax", "Lion", "Nadam"]


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of squared gradients. Duchi et al. (2011), JMLR 12."""

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "adagrad",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        total = self.add_slot(variable, "accumulator", self.initial_accumulator_value)
        total.assign(total + ops.square(gradient))
        variable.assign(variable - learning_rate * gradient / ops.sqrt(total + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
        }


class Adadelta(Optimizer):
    """Steps in the units of the variable, from running means of squares.

    Zeiler (2012), arXiv:1212.5701.
    """

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "adadelta",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.rho, self.epsilon = rho, epsilon

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        squares = self.add_slot(variable, "accumulated_grad")
        changes = self.add_slot(variable, "accumulated_delta_var")
        squares.assign(self.rho * squares + (1 - self.rho) * ops.square(gradient))
        ratio = ops.sqrt(changes + self.epsilon) / ops.sqrt(squares + self.epsilon)
        change = ratio * gradient
        changes.assign(self.rho * changes + (1 - self.rho) * ops.square(change))
        variable.assign(variable - learning_rate * change)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the mean square.

    Kingma & Ba (2015), arXiv:1412.6980.
    """

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "adamax",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        m = self.add_slot(variable, "momentum")
        u = self.add_slot(variable, "norm")
        m.assign(m + (gradient - m) * (1 - self.beta_1))
        u.assign(ops.maximum(self.beta_2 * u, ops.abs(gradient)))
        correction = ops.cast(1.0 - self.power(self.beta_1), variable.dtype)
        variable.assign(variable - learning_rate / correction * m / (u + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


class Nadam(Optimizer):
    """Adam with Nesterov's momentum. Dozat (2016), ICLR workshop."""

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "nadam",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        m = self.add_slot(variable, "momentum")
        v = self.add_slot(variable, "velocity")
        product = self.add_slot(variable, "u_product", 1.0, shape=())
        now = self.beta_1 * (1.0 - 0.5 * self.power(0.96))
        following = self.beta_1 * (1.0 - 0.5 * self.power(0.96, later=2))
        product.assign(ops.cast(product * now, variable.dtype))
        m.assign(m + (gradient - m) * (1 - self.beta_1))
        v.assign(v + (ops.square(gradient) - v) * (1 - self.beta_2))
        of_m = ops.cast(following / (1.0 - product * following), variable.dtype)
        of_gradient = ops.cast((1.0 - now) / (1.0 - product), variable.dtype)
        of_v = ops.cast(1.0 / (1.0 - self.power(self.beta_2)), variable.dtype)
        step = of_m * m + of_gradient * gradient
        variable.assign(variable - learning_rate * step / (ops.sqrt(of_v * v) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


class Lion(Optimizer):
    """The sign of an interpolated momentum. Chen et al. (2023), arXiv:2302.06675."""

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = "lion",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        m = self.add_slot(variable, "momentum")
        direction = ops.sign(self.beta_1 * m + (1 - self.beta_1) * gradient)
        variable.assign(variable - learning_rate * direction)
        m.assign(self.beta_2 * m + (1 - self.beta_2) * gradient)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}
