"""Pooling of rows and images, channels last."""

from __future__ import annotations

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike
from fastnn.ops._vjp import vjp

__all__ = [
    "average_pool1d",
    "average_pool2d",
    "average_pool2d_backward",
    "global_average_pool1d",
    "global_average_pool2d",
    "global_max_pool1d",
    "global_max_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_pool2d_backward",
]


def max_pool2d(
    x: ArrayLike,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: str = "valid",
) -> Tensor:
    """The largest value of each window, per channel.

    A NaN wins; of equals the first gets the gradient.

    Args:
        pool_size: int or two, height and width of the window. Default `2`.
        strides: int or two. Default `None`: `pool_size`.
        padding: `"valid"`, or `"same"` for ceil(size / stride) outputs, whose windows end at the
            image. Default `"valid"`.
    Shapes:
        x (N, H, W, C) -> y (N, OH, OW, C).
    Dtype: float32 or float64; y has it too.
    Raises: ValueError for another rank, sizes or strides under 1, a window larger than its input
        with `"valid"`.
    Example:
        >>> import fastnn, numpy as np
        >>> fastnn.ops.max_pool2d(np.arange(16, dtype="f4").reshape(1, 4, 4, 1)).numpy().squeeze()
        array([[ 5.,  7.],
               [13., 15.]], dtype=float32)
    """
    return _core.max_pool2d(x, pool_size, strides, padding)


def average_pool2d(
    x: ArrayLike,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: str = "valid",
) -> Tensor:
    """The average of each window, per channel, over its pixels inside the image.

    Arguments as `max_pool2d`.

    Notes: as Keras and TensorFlow; PyTorch counts padding unless `count_include_pad=False`.
    Example:
        >>> import fastnn, numpy as np
        >>> x = np.arange(16, dtype="f4").reshape(1, 4, 4, 1)
        >>> fastnn.ops.average_pool2d(x).numpy().squeeze()
        array([[ 2.5,  4.5],
               [10.5, 12.5]], dtype=float32)
    """
    return _core.average_pool2d(x, pool_size, strides, padding)


def max_pool1d(
    x: ArrayLike,
    pool_size: int | tuple[int] = 2,
    strides: int | tuple[int] | None = None,
    padding: str = "valid",
) -> Tensor:
    """The largest value of each window along a row, per channel.

    Arguments and errors as `max_pool2d`, along the one axis.

    Shapes:
        x (N, L, C) -> y (N, OL, C).
    Example:
        >>> import fastnn, numpy as np
        >>> fastnn.ops.max_pool1d(np.arange(6, dtype="f4").reshape(1, 6, 1)).numpy().squeeze()
        array([1., 3., 5.], dtype=float32)
    """
    return _core.max_pool1d(x, pool_size, strides, padding)


def average_pool1d(
    x: ArrayLike,
    pool_size: int | tuple[int] = 2,
    strides: int | tuple[int] | None = None,
    padding: str = "valid",
) -> Tensor:
    """The average of each window along a row, per channel, over its pixels inside the row.

    Arguments and errors as `max_pool2d`, along the one axis.

    Shapes:
        x (N, L, C) -> y (N, OL, C).
    """
    return _core.average_pool1d(x, pool_size, strides, padding)


def global_max_pool1d(x: ArrayLike, keepdims: bool = False) -> Tensor:
    """The largest value of each row, per channel.

    Shapes:
        x (N, L, C) -> y (N, C), or (N, 1, C) with `keepdims`.
    Raises: ValueError for another rank and for rows without a pixel.
    """
    return _core.global_max_pool1d(x, keepdims)


def global_average_pool1d(x: ArrayLike, keepdims: bool = False) -> Tensor:
    """The average of each row, per channel.

    Shapes:
        x (N, L, C) -> y (N, C), or (N, 1, C) with `keepdims`.
    Raises: ValueError for another rank and for rows without a pixel.
    """
    return _core.global_average_pool1d(x, keepdims)


def global_max_pool2d(x: ArrayLike, keepdims: bool = False) -> Tensor:
    """The largest value of each image, per channel.

    Shapes:
        x (N, H, W, C) -> y (N, C), or (N, 1, 1, C) with `keepdims`.
    Raises: ValueError for another rank and for images without a pixel.
    """
    return _core.global_max_pool2d(x, keepdims)


def global_average_pool2d(x: ArrayLike, keepdims: bool = False) -> Tensor:
    """The average of each image, per channel.

    Shapes:
        x (N, H, W, C) -> y (N, C), or (N, 1, 1, C) with `keepdims`.
    Raises: ValueError for another rank and for images without a pixel.
    """
    return _core.global_average_pool2d(x, keepdims)


def max_pool2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: str = "valid",
) -> Tensor:
    """The gradient dx of max_pool2d for the upstream gradient dy.

    Example:
        >>> import fastnn, numpy as np
        >>> x = np.array([[1.0, 4.0], [3.0, 2.0]], "f4").reshape(1, 2, 2, 1)
        >>> fastnn.ops.max_pool2d_backward(np.ones((1, 1, 1, 1), "f4"), x).numpy().squeeze()
        array([[0., 1.],
               [0., 0.]], dtype=float32)
    """
    dx: Tensor = vjp(lambda t: max_pool2d(t, pool_size, strides, padding), x)[1](dy)[0]
    return dx


def average_pool2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: str = "valid",
) -> Tensor:
    """The gradient dx of average_pool2d for the upstream gradient dy.

    Example:
        >>> import fastnn, numpy as np
        >>> dy, x = np.ones((1, 1, 1, 1), "f4"), np.zeros((1, 2, 2, 1), "f4")
        >>> fastnn.ops.average_pool2d_backward(dy, x).numpy().squeeze()
        array([[0.25, 0.25],
               [0.25, 0.25]], dtype=float32)
    """
    dx: Tensor = vjp(lambda t: average_pool2d(t, pool_size, strides, padding), x)[1](dy)[0]
    return dx
