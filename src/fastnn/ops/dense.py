"""Matrix products."""

from __future__ import annotations

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike

__all__ = ["dense", "matmul"]


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


def matmul(
    x1: ArrayLike, x2: ArrayLike, transpose_x1: bool = False, transpose_x2: bool = False
) -> Tensor:
    """The matrix product over the last two axes; leading axes broadcast. Vectors multiply as in NumPy.

    Shapes:
        x1 (..., M, K), x2 (..., K, N) -> (..., M, N). `transpose_x1`: x1 is (..., K, M); `transpose_x2`: x2 is
        (..., N, K).
    Raises: ValueError when the inner dimensions differ.
    """
    return _core.matmul(x1, x2, transpose_x1, transpose_x2)
