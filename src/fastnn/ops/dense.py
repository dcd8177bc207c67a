"""Matrix products."""

from __future__ import annotations

import numpy as np

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike
from fastnn.ops._vjp import vjp

__all__ = ["dense", "dense_backward", "dot", "matmul"]


def dense(x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None = None) -> Tensor:
    """y = x @ kernel + bias.

    Shapes:
        x (..., K), kernel (K, N), bias (N,) -> y (..., N).
    Dtype: float32 or float64, the same in all; y has it too.
    Raises: ValueError for shapes that do not fit, TypeError for mixed dtypes.
    Example:
        >>> import fastnn, numpy as np
        >>> fastnn.ops.dense(np.ones((1, 2), "f4"), np.ones((2, 1), "f4"), np.ones(1, "f4")).numpy()
        array([[3.]], dtype=float32)
    """
    return _core.dense(x, kernel, bias)


def dense_backward(
    dy: ArrayLike, x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients (dx, dkernel, dbias) of dense for the upstream gradient dy; dbias is `None` without a bias.

    Example:
        >>> import fastnn, numpy as np
        >>> x, kernel = np.array([[1.0, 2.0]], "f4"), np.array([[3.0], [4.0]], "f4")
        >>> dx, dkernel, dbias = fastnn.ops.dense_backward(np.ones((1, 1), "f4"), x, kernel, np.zeros(1, "f4"))
        >>> dx.numpy(), dkernel.numpy().ravel(), dbias.numpy()
        (array([[3., 4.]], dtype=float32), array([1., 2.], dtype=float32), array([1.], dtype=float32))
    """
    _, pullback = vjp(dense, *((x, kernel) if bias is None else (x, kernel, bias)))
    dx, dkernel, *dbias = pullback(dy)
    return dx, dkernel, dbias[0] if dbias else None


def matmul(
    x1: ArrayLike, x2: ArrayLike, transpose_x1: bool = False, transpose_x2: bool = False
) -> Tensor:
    """The matrix product over the last two axes; leading axes broadcast. Vectors multiply as in NumPy.

    Shapes:
        x1 (..., M, K), x2 (..., K, N) -> (..., M, N). `transpose_x1`: x1 is (..., K, M); `transpose_x2`: x2 is
        (..., N, K).
    Raises: ValueError when the inner dimensions differ.
    """
    rank1, rank2 = _rank(x1), _rank(x2)
    if rank1 != 1 and rank2 != 1:
        return _core.matmul(x1, x2, transpose_x1, transpose_x2)
    if rank1 == 1:
        x1, transpose_x1 = _core.expand_dims(x1, 0), False
    if rank2 == 1:
        x2, transpose_x2 = _core.expand_dims(x2, 1), False
    added = [axis for axis, rank in ((-2, rank1), (-1, rank2)) if rank == 1]
    return _core.squeeze(_core.matmul(x1, x2, transpose_x1, transpose_x2), added)


def dot(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """The sum of products over the last axis of x1 and the last but one of x2 (its only one if it is a vector).

    Scalars multiply. x2 has at most two dimensions.
    """
    rank1, rank2 = _rank(x1), _rank(x2)
    if rank1 == 0 or rank2 == 0:
        return _core.multiply(x1, x2)
    if rank2 <= 2:
        return matmul(x1, x2)
    raise ValueError(
        f"dot: expected x2 of at most 2 dimensions, got {rank2}; see fastnn.ops.matmul"
    )


def _rank(x: ArrayLike) -> int:
    return x.ndim if isinstance(x, _core.Tensor | _core.Variable) else np.ndim(x)
