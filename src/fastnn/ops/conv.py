"""Convolution, channels last."""

from __future__ import annotations

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike
from fastnn.ops._vjp import vjp

__all__ = ["conv2d", "conv2d_backward"]


def conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """y[n, i, j, f] = Σ x[n, i·s + r·d − p, j·s + q·d − p, c] · kernel[r, q, c, f] + bias[f].

    The sum runs over r, q and c; s are the strides, d the dilation, p the padding in front.

    Args:
        strides: int or two, along height and width. Default `1`.
        padding: `"valid"`, or `"same"` for ceil(size / stride) outputs, an odd pixel of padding
            below and to the right. Pixels outside the image are skipped. Default `"valid"`.
        dilation_rate: int or two, the distance of neighbouring kernel elements. Default `1`.
        groups: the filters are split into this many groups, each of which reads its own channels.
            Default `1`.
    Shapes:
        x (N, H, W, C), kernel (kh, kw, C / groups, F), bias (F,) -> y (N, OH, OW, F).
    Dtype: float32 or float64, the same in all; y has it too.
    Raises: ValueError for shapes that do not fit, a kernel larger than its input with `"valid"`,
        strides or dilations under 1, both over 1, groups that do not divide; TypeError for mixed
        dtypes.
    Notes: Keras's argument names and padding rule. PyTorch is channels first, its kernels are
        (F, C / groups, kh, kw).
    Example:
        >>> import fastnn, numpy as np
        >>> x = np.arange(9, dtype="f4").reshape(1, 3, 3, 1)
        >>> fastnn.ops.conv2d(x, np.ones((2, 2, 1, 1), "f4")).numpy().squeeze()
        array([[ 8., 12.],
               [20., 24.]], dtype=float32)
    """
    return _core.conv2d(x, kernel, bias, strides, padding, dilation_rate, groups)


def conv2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients (dx, dkernel, dbias) of conv2d for the upstream gradient dy.

    dbias is `None` without a bias. Arguments as `conv2d`.

    Example:
        >>> import fastnn, numpy as np
        >>> x = np.arange(9, dtype="f4").reshape(1, 3, 3, 1)
        >>> dy, kernel = np.ones((1, 2, 2, 1), "f4"), np.ones((2, 2, 1, 1), "f4")
        >>> dx, dkernel, _ = fastnn.ops.conv2d_backward(dy, x, kernel)
        >>> dkernel.numpy().squeeze()
        array([[ 8., 12.],
               [20., 24.]], dtype=float32)
    """

    def f(x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None = None) -> Tensor:
        return conv2d(x, kernel, bias, strides, padding, dilation_rate, groups)

    _, pullback = vjp(f, *((x, kernel) if bias is None else (x, kernel, bias)))
    dx, dkernel, *dbias = pullback(dy)
    return dx, dkernel, dbias[0] if dbias else None
