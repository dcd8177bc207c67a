"""Convolution of rows and images, channels last, and its transpose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike
from fastnn.ops._vjp import vjp

__all__ = [
    "conv1d",
    "conv1d_backward",
    "conv1d_transpose",
    "conv1d_transpose_backward",
    "conv2d",
    "conv2d_backward",
    "conv2d_transpose",
    "conv2d_transpose_backward",
    "depthwise_conv1d",
    "depthwise_conv2d",
    "separable_conv1d",
    "separable_conv2d",
]


def conv1d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int] = 1,
    padding: str = "valid",
    dilation_rate: int | tuple[int] = 1,
    groups: int = 1,
) -> Tensor:
    """y[n, i, f] = Σ x[n, i·s + r·d − p, c] · kernel[r, c, f] + bias[f].

    The sum runs over r and c; s is the stride, d the dilation, p the padding in front.

    Args:
        padding: `"valid"`, `"same"` or `"causal"`: ceil(size / stride) outputs, of which none reads what comes after
            its place. Default `"valid"`.
        strides, dilation_rate, groups: as `conv2d`, along the one axis.
    Shapes:
        x (N, L, C), kernel (k, C / groups, F), bias (F,) -> y (N, OL, F).
    Dtype: float32 or float64, the same in all; y has it too.
    Raises: as `conv2d`.
    Example:
        >>> import fastnn, numpy as np
        >>> x = np.arange(5, dtype="f4").reshape(1, 5, 1)
        >>> fastnn.ops.conv1d(x, np.ones((2, 1, 1), "f4"), padding="causal").numpy().squeeze()
        array([0., 1., 3., 5., 7.], dtype=float32)
    """
    return _core.conv1d(x, kernel, bias, strides, padding, dilation_rate, groups)


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

    f = partial(
        conv2d, strides=strides, padding=padding, dilation_rate=dilation_rate, groups=groups
    )
    return _gradients(f, dy, x, kernel, bias)


def conv1d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int] = 1,
    padding: str = "valid",
    dilation_rate: int | tuple[int] = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients (dx, dkernel, dbias) of conv1d for the upstream gradient dy.

    dbias is `None` without a bias. Arguments as `conv1d`.
    """
    f = partial(
        conv1d, strides=strides, padding=padding, dilation_rate=dilation_rate, groups=groups
    )
    return _gradients(f, dy, x, kernel, bias)


def conv2d_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    output_padding: int | tuple[int, int] | None = None,
    dilation_rate: int | tuple[int, int] = 1,
) -> Tensor:
    """y[n, i·s + r·d − p, j·s + q·d − p, f] = Σ x[n, i, j, c] · kernel[r, q, f, c], + bias[f].

    The sum runs over c and over all i, r, j and q that lead to the pixel of y: the gradient that `conv2d` by this
    kernel, of an image of y's size, has for its input.

    Args:
        strides: int or two, along height and width; an image grows by them. Default `1`.
        padding: `"valid"` keeps every pixel, `"same"` leaves size · stride. Default `"valid"`.
        output_padding: int or two under the strides. Of the sizes that a convolution would take to x's, the one that
            is so much larger than the smallest, (size − 1) · stride + span with `"valid"` and (size − 1) · stride +
            span mod 2 with `"same"`, span = (k − 1) · d + 1. Default `None`: with `"valid"`
            (size − 1) · stride + max(span, stride), with `"same"` size · stride.
        dilation_rate: int or two, the distance of neighbouring kernel elements. Default `1`.
    Shapes:
        x (N, H, W, C), kernel (kh, kw, F, C), bias (F,) -> y (N, OH, OW, F).
    Dtype: float32 or float64, the same in all; y has it too.
    Raises: ValueError for shapes that do not fit, strides or dilations under 1, both over 1, an `output_padding` that
        is not under the strides; TypeError for mixed dtypes.
    Notes: Keras's sizes. With an odd kernel, strides and `"same"`, PyTorch crops the other side.
    Reference: Zeiler et al., "Deconvolutional networks", 2010; Dumoulin and Visin, "A guide to convolution arithmetic
        for deep learning", 2016.
    Example:
        >>> import fastnn, numpy as np
        >>> x = np.array([[1, 2], [3, 4]], "f4").reshape(1, 2, 2, 1)
        >>> fastnn.ops.conv2d_transpose(x, np.ones((2, 3, 1, 1), "f4"), strides=2).numpy().squeeze()
        array([[1., 1., 3., 2., 2.],
               [1., 1., 3., 2., 2.],
               [3., 3., 7., 4., 4.],
               [3., 3., 7., 4., 4.]], dtype=float32)
    """
    return _core.conv2d_transpose(x, kernel, bias, strides, padding, output_padding, dilation_rate)


def conv2d_transpose_backward(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    output_padding: int | tuple[int, int] | None = None,
    dilation_rate: int | tuple[int, int] = 1,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients (dx, dkernel, dbias) of conv2d_transpose for the upstream gradient dy.

    dx is `conv2d` of dy. dbias is `None` without a bias. Arguments as `conv2d_transpose`.
    """
    f = partial(
        conv2d_transpose,
        strides=strides,
        padding=padding,
        output_padding=output_padding,
        dilation_rate=dilation_rate,
    )
    return _gradients(f, dy, x, kernel, bias)


def conv1d_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int] = 1,
    padding: str = "valid",
    output_padding: int | tuple[int] | None = None,
    dilation_rate: int | tuple[int] = 1,
) -> Tensor:
    """y[n, i·s + r·d − p, f] = Σ x[n, i, c] · kernel[r, f, c], + bias[f].

    Arguments, sizes and errors as `conv2d_transpose`, along the one axis.

    Shapes:
        x (N, L, C), kernel (k, F, C), bias (F,) -> y (N, OL, F).
    Example:
        >>> import fastnn, numpy as np
        >>> x = np.array([1, 2, 3], "f4").reshape(1, 3, 1)
        >>> fastnn.ops.conv1d_transpose(x, np.ones((3, 1, 1), "f4"), strides=2).numpy().squeeze()
        array([1., 1., 3., 2., 5., 3., 3.], dtype=float32)
    """
    return _core.conv1d_transpose(x, kernel, bias, strides, padding, output_padding, dilation_rate)


def conv1d_transpose_backward(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int] = 1,
    padding: str = "valid",
    output_padding: int | tuple[int] | None = None,
    dilation_rate: int | tuple[int] = 1,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients (dx, dkernel, dbias) of conv1d_transpose for the upstream gradient dy.

    dx is `conv1d` of dy. dbias is `None` without a bias. Arguments as `conv1d_transpose`.
    """
    f = partial(
        conv1d_transpose,
        strides=strides,
        padding=padding,
        output_padding=output_padding,
        dilation_rate=dilation_rate,
    )
    return _gradients(f, dy, x, kernel, bias)


def depthwise_conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation_rate: int | tuple[int, int] = 1,
) -> Tensor:
    """y[n, i, j, c·M + m] = Σ x[n, i·s + r·d − p, j·s + q·d − p, c] · kernel[r, q, c, m] + bias.

    The sum runs over r and q: each of the M filters of a channel reads this channel alone. `conv2d` with
    `groups=C` and the same numbers as a kernel of shape (kh, kw, 1, C·M). Arguments and errors as `conv2d`.

    Shapes:
        x (N, H, W, C), kernel (kh, kw, C, M), bias (C·M,) -> y (N, OH, OW, C·M).
    Example:
        >>> import fastnn, numpy as np
        >>> x = np.arange(8, dtype="f4").reshape(1, 2, 2, 2)
        >>> kernel = np.ones((2, 2, 2, 1), "f4")
        >>> fastnn.ops.depthwise_conv2d(x, kernel).numpy().squeeze()
        array([12., 16.], dtype=float32)
    """
    return _core.depthwise_conv2d(x, kernel, bias, strides, padding, dilation_rate)


def depthwise_conv1d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int] = 1,
    padding: str = "valid",
    dilation_rate: int | tuple[int] = 1,
) -> Tensor:
    """y[n, i, c·M + m] = Σ x[n, i·s + r·d − p, c] · kernel[r, c, m] + bias, summed over r.

    Arguments and errors as `conv2d`, along the one axis.

    Shapes:
        x (N, L, C), kernel (k, C, M), bias (C·M,) -> y (N, OL, C·M).
    """
    return _core.depthwise_conv1d(x, kernel, bias, strides, padding, dilation_rate)


def separable_conv2d(
    x: ArrayLike,
    depthwise_kernel: ArrayLike,
    pointwise_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation_rate: int | tuple[int, int] = 1,
) -> Tensor:
    """`depthwise_conv2d` without a bias, then a 1 x 1 `conv2d` that mixes the channels.

    Arguments and errors as theirs.

    Shapes:
        x (N, H, W, C), depthwise kernel (kh, kw, C, M), pointwise kernel (1, 1, C·M, F), bias (F,) -> y
        (N, OH, OW, F).
    Reference: Chollet, "Xception: deep learning with depthwise separable convolutions", 2017.
    """
    y = depthwise_conv2d(x, depthwise_kernel, None, strides, padding, dilation_rate)
    return conv2d(y, pointwise_kernel, bias)


def separable_conv1d(
    x: ArrayLike,
    depthwise_kernel: ArrayLike,
    pointwise_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: int | tuple[int] = 1,
    padding: str = "valid",
    dilation_rate: int | tuple[int] = 1,
) -> Tensor:
    """`depthwise_conv1d` without a bias, then a `conv1d` of size 1 that mixes the channels.

    Arguments and errors as theirs.

    Shapes:
        x (N, L, C), depthwise kernel (k, C, M), pointwise kernel (1, C·M, F), bias (F,) -> y (N, OL, F).
    """
    y = depthwise_conv1d(x, depthwise_kernel, None, strides, padding, dilation_rate)
    return conv1d(y, pointwise_kernel, bias)


def _gradients(
    f: Callable[..., Tensor],
    dy: ArrayLike,
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    _, pullback = vjp(f, *((x, kernel) if bias is None else (x, kernel, bias)))
    dx, dkernel, *dbias = pullback(dy)
    return dx, dkernel, dbias[0] if dbias else None
