"""Batch and layer normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike
from fastnn.tape import GradientTape

__all__ = [
    "batch_normalization",
    "batch_normalization_backward",
    "batch_normalization_training",
    "layer_normalization",
    "layer_normalization_backward",
]


def batch_normalization_training(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> tuple[Tensor, Tensor, Tensor]:
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta with the statistics of this batch.

    Mean and biased variance run over all axes but `axis`, the channels. They are returned for
    moving averages and are constants to a tape; the gradient of y takes their dependence on x into
    account. Ioffe, Szegedy (2015), arXiv:1502.03167.

    Shapes:
        x (..., C), gamma (C,), beta (C,) -> y (..., C), mean (C,), variance (C,). No gamma is 1, no
        beta is 0.
    Raises: ValueError for an empty batch or shapes that do not fit, TypeError for mixed dtypes.
    Example:
        >>> import fastnn, numpy as np
        >>> x = np.array([[1.0], [3.0]])
        >>> y, mean, variance = fastnn.ops.batch_normalization_training(x, epsilon=0.0)
        >>> y.numpy().ravel(), mean.numpy(), variance.numpy()
        (array([-1.,  1.]), array([2.]), array([1.]))
    """
    y, mean, variance = _core.batch_normalization_training(x, gamma, beta, axis, epsilon)
    return y, mean, variance


def batch_normalization(
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> Tensor:
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta with given statistics: inference.

    Shapes:
        x (..., C), mean, variance, gamma, beta (C,) -> y (..., C), where C is the size of `axis`.
    Raises: ValueError for shapes that do not fit, TypeError for mixed dtypes.
    """
    return _core.batch_normalization(x, mean, variance, gamma, beta, axis, epsilon)


def layer_normalization(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-3,
) -> Tensor:
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta with the statistics of each row.

    A row is what the last axes span: `axis` is -1, or a tuple of all axes from some axis on.
    Ba, Kiros, Hinton (2016), arXiv:1607.06450.

    Shapes:
        x (..., *S), gamma and beta of the shape S of the normalised axes -> y (..., *S).
    Raises: ValueError for axes that are not the last and shapes that do not fit, TypeError for
    mixed dtypes.
    """
    return _core.layer_normalization(x, gamma, beta, axis, epsilon)


def batch_normalization_backward(
    dy: ArrayLike,
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(dx, dgamma, dbeta) of `batch_normalization_training`; None for a parameter not given."""
    return _backward(
        lambda x, g, b: batch_normalization_training(x, g, b, axis, epsilon)[0], dy, x, gamma, beta
    )


def layer_normalization_backward(
    dy: ArrayLike,
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-3,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(dx, dgamma, dbeta) of `layer_normalization`; None for a parameter not given."""
    return _backward(
        lambda x, g, b: layer_normalization(x, g, b, axis, epsilon), dy, x, gamma, beta
    )


def _backward(
    f: Callable[[Tensor, Tensor | None, Tensor | None], Tensor],
    dy: ArrayLike,
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    source = _core.Tensor(x)
    parameters = [None if p is None else _core.Tensor(p) for p in (gamma, beta)]
    with GradientTape() as tape:
        tape.watch([source, *(p for p in parameters if p is not None)])
        y = f(source, *parameters)
    found = iter(tape.gradient(y, [source, *(p for p in parameters if p is not None)], dy))
    return next(found), *(None if p is None else next(found) for p in parameters)
