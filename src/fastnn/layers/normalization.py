"""Normalization over a batch and over the features of a sample."""

from __future__ import annotations

from typing import Any, Unpack

from fastnn import constraints, initializers, ops, regularizers
from fastnn._core import Tensor, moving_average
from fastnn.layers.arguments import known_channels, real
from fastnn.layers.base import Layer, LayerOptions


class BatchNormalization(Layer):
    """Normalize each channel: y = gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    In training with the mean and (biased) variance of the batch, which also move the averages
    moving = momentum * moving + (1 - momentum) * batch; otherwise, and when frozen, with the averages.

    Args:
        axis: int, the axis of the channels. Default `-1`.
        momentum: float in [0, 1). Default `0.99`.
        epsilon: float > 0 added to the variance. Default `1e-3`.
        center, scale: bool, whether there is a beta, a gamma. Default `True`.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: Default `"zeros"`,
            `"ones"`, `"zeros"`, `"ones"`.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: Default `None`.
    Shapes:
        x (..., C, ...) -> y the same; gamma, beta, moving_mean, moving_variance (C,).
    Notes: PyTorch's momentum is the other share, 0.1 by default, its epsilon 1e-5, and its moving variance unbiased.
        One value per channel has variance 0: y is beta.
    Reference: Ioffe, Szegedy (2015), arXiv:1502.03167.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.axis = axis
        self.momentum = real(self, "momentum", momentum, low=0, high=1)
        self.epsilon = real(self, "epsilon", epsilon, low=0)
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    def build(self, input_shape: Any) -> None:
        shape = (known_channels(self, input_shape, self.axis),)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                name="gamma",
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                name="beta",
            )
        self.moving_mean = self.add_weight(
            shape, self.moving_mean_initializer, trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            shape, self.moving_variance_initializer, trainable=False, name="moving_variance"
        )

    def call(self, x: Any, training: bool = False) -> Tensor:
        if not training or not self.trainable:
            return ops.batch_normalization(
                x,
                self.moving_mean,
                self.moving_variance,
                self.gamma,
                self.beta,
                self.axis,
                self.epsilon,
            )
        y, mean, variance = ops.batch_normalization_training(
            x, self.gamma, self.beta, self.axis, self.epsilon
        )
        self.add_effect(lambda: moving_average(self.moving_mean, mean, self.momentum))
        self.add_effect(lambda: moving_average(self.moving_variance, variance, self.momentum))
        return y


class LayerNormalization(Layer):
    """Normalize each sample over its last axis.

    y = gamma * (x - mean) / sqrt(var + epsilon) + beta      (biased variance)

    Args:
        axis: int, the axis to normalize over. Default `-1`.
        epsilon: float > 0 added to the variance. Default `1e-3`.
        center, scale: bool, whether there is a beta, a gamma. Default `True`.
        beta_initializer, gamma_initializer: Default `"zeros"`, `"ones"`.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: Default `None`.
    Shapes:
        x (..., C) -> y (..., C); gamma, beta (C,).
    Raises: ValueError if `x.shape[-1]` differs from the built C.
    Notes: Keras uses epsilon=1e-3; PyTorch uses 1e-5 and `normalized_shape`.
    Reference: Ba, Kiros, Hinton (2016), arXiv:1607.06450.
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.axis = axis
        self.epsilon = real(self, "epsilon", epsilon, low=0)
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    def build(self, input_shape: Any) -> None:
        shape = (known_channels(self, input_shape, self.axis),)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                name="gamma",
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                name="beta",
            )

    def call(self, x: Any) -> Tensor:
        return ops.layer_normalization(
            x, self.gamma, self.beta, axis=self.axis, epsilon=self.epsilon
        )
