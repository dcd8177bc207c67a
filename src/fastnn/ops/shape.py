"""Functions that make, move or view elements without arithmetic."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import _core
from fastnn._core import Tensor
from fastnn._typing import ArrayLike, DTypeLike, ShapeLike

__all__ = [
    "arange",
    "broadcast_to",
    "concatenate",
    "convert_to_numpy",
    "convert_to_tensor",
    "copy",
    "expand_dims",
    "eye",
    "flip",
    "full",
    "moveaxis",
    "ones",
    "ones_like",
    "pad",
    "repeat",
    "reshape",
    "shape",
    "split",
    "squeeze",
    "stack",
    "stop_gradient",
    "swapaxes",
    "tile",
    "transpose",
    "unstack",
    "zeros",
    "zeros_like",
]


def _axis(axis: int, rank: int, op: str) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"{op}: expected axis in [{-rank}, {rank}), got {axis}")
    return axis % rank


def _tensor(x: ArrayLike) -> Tensor | _core.Variable:
    return x if isinstance(x, _core.Tensor | _core.Variable) else Tensor(x)


def convert_to_tensor(x: ArrayLike, dtype: DTypeLike | None = None) -> Tensor:
    """x as a Tensor; an array of a supported dtype is shared, not copied."""
    return Tensor(x, dtype)


def convert_to_numpy(x: ArrayLike) -> np.ndarray[Any, Any]:
    """x as an np.ndarray; a Tensor's memory is shared, a Variable's view is read-only."""
    return np.asarray(x)


def shape(x: ArrayLike) -> tuple[int | None, ...]:
    """The shape as a tuple; None where a placeholder's dimension is not known."""
    return tuple(x.shape if hasattr(x, "shape") else Tensor(x).shape)


def zeros(shape: ShapeLike, dtype: DTypeLike | None = None) -> Tensor:
    """Zeros; of floatx by default."""
    return full(shape, 0, dtype)


def ones(shape: ShapeLike, dtype: DTypeLike | None = None) -> Tensor:
    """Ones; of floatx by default."""
    return full(shape, 1, dtype)


def full(shape: ShapeLike, fill_value: ArrayLike, dtype: DTypeLike | None = None) -> Tensor:
    """`fill_value` in a new tensor; of floatx by default."""
    value: Any = fill_value
    return Tensor(np.full(shape, value, dtype or _core.floatx()))


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: DTypeLike | None = None
) -> Tensor:
    """start, start + step, ... before stop, as NumPy's; floats are of floatx by default."""
    values = np.arange(0, start, step) if stop is None else np.arange(start, stop, step)
    return Tensor(values, dtype or (_core.floatx() if values.dtype.kind == "f" else values.dtype))


def eye(n: int, m: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Tensor:
    """Ones on the k-th diagonal of an (n, m) matrix of zeros; of floatx by default."""
    return Tensor(np.eye(n, m, k, dtype=dtype or _core.floatx()))


def reshape(x: ArrayLike, newshape: ShapeLike) -> Tensor:
    """The same elements, in order, under another shape; one dimension may be -1. A view."""
    return _core.reshape(x, newshape)


def copy(x: ArrayLike) -> Tensor:
    """x in memory of its own."""
    return _core.copy(x)


def zeros_like(x: ArrayLike) -> Tensor:
    """Zeros in the shape and dtype of x."""
    return _core.fill_like(x, 0.0)


def ones_like(x: ArrayLike) -> Tensor:
    """Ones in the shape and dtype of x."""
    return _core.fill_like(x, 1.0)


def stop_gradient(x: ArrayLike) -> Tensor:
    """x, as a constant: no gradient flows back."""
    return _core.stop_gradient(x)


def expand_dims(x: ArrayLike, axis: int | Sequence[int]) -> Tensor:
    """x with dimensions of one element at the places `axis` of the result. A view."""
    return _core.expand_dims(x, axis)


def squeeze(x: ArrayLike, axis: int | Sequence[int] | None = None) -> Tensor:
    """x without the dimensions `axis`, which have one element; None: without all such. A view.

    Raises: ValueError if a dimension has more elements.
    """
    return _core.squeeze(x, axis)


def transpose(x: ArrayLike, axes: Sequence[int] | None = None) -> Tensor:
    """The dimensions of x in the order `axes`, reversed by default, in memory of its own.

    Raises: ValueError if `axes` is no permutation of x's dimensions.
    Example:
        >>> import fastnn, numpy as np
        >>> fastnn.ops.transpose(np.zeros((8, 3, 32, 32)), (0, 2, 3, 1)).shape
        (8, 32, 32, 3)
    """
    return _core.transpose(x, axes)


def swapaxes(x: ArrayLike, axis1: int, axis2: int) -> Tensor:
    """x with two dimensions exchanged."""
    x = _tensor(x)
    axes = list(range(x.ndim))
    first, second = _axis(axis1, x.ndim, "swapaxes"), _axis(axis2, x.ndim, "swapaxes")
    axes[first], axes[second] = second, first
    return _core.transpose(x, axes)


def moveaxis(x: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """x with the dimensions `source` at the places `destination`; the others keep their order."""
    x = _tensor(x)
    sources = [_axis(a, x.ndim, "moveaxis") for a in np.atleast_1d(source).tolist()]
    places = [_axis(a, x.ndim, "moveaxis") for a in np.atleast_1d(destination).tolist()]
    if (
        len(sources) != len(places)
        or len(set(sources)) != len(sources)
        or len(set(places)) != len(places)
    ):
        raise ValueError(
            "moveaxis: expected as many distinct axes in source as in destination, "
            f"got {source} and {destination}"
        )
    axes = [a for a in range(x.ndim) if a not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        axes.insert(place, axis)
    return _core.transpose(x, axes)


def broadcast_to(x: ArrayLike, shape: ShapeLike) -> Tensor:
    """x repeated along its dimensions of one element, and leading ones, up to `shape`."""
    return _core.broadcast_to(x, shape)


def concatenate(xs: Sequence[ArrayLike], axis: int = -1) -> Tensor:
    """The tensors one after the other along `axis`; mixed dtypes promote.

    Raises: ValueError if they differ in another axis.
    """
    return _core.concatenate(xs, axis)


def stack(xs: Sequence[ArrayLike], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension at `axis`."""
    if len(xs) == 0:
        raise ValueError("stack: expected at least one tensor")
    return _core.concatenate([_core.expand_dims(x, axis) for x in xs], axis)


# An axis of length 0 divides into any number of parts; more of them than this is a mistake, and would fill the memory.
_MOST_EMPTY_PARTS = 65536


def split(x: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """x cut along `axis`: into that many equal parts, or before each index.

    Raises: ValueError if the parts are not equal, or for a dimension that is not known.
    """
    x = _tensor(x)
    axis = _axis(axis, x.ndim, "split")
    if isinstance(indices_or_sections, int):
        n = x.shape[axis]
        if (
            n is None
            or not 1 <= indices_or_sections <= max(n, _MOST_EMPTY_PARTS)
            or n % indices_or_sections
        ):
            raise ValueError(
                f"split: expected a number of sections that divides axis {axis} of x, "
                f"of shape {x.shape}, "
                f"got {indices_or_sections}"
            )
        cuts = (
            list(range(0, n + 1, n // indices_or_sections))
            if n
            else [0] * (indices_or_sections + 1)
        )
        bounds: list[tuple[int | None, int | None]] = list(itertools.pairwise(cuts))
    else:
        indices = [operator.index(i) for i in indices_or_sections]
        bounds = list(itertools.pairwise([None, *indices, None]))
    whole = [slice(None)] * axis
    return [_core.slice(x, [*whole, slice(start, stop)]) for start, stop in bounds]


def unstack(x: ArrayLike, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The slices of x along `axis`, without that dimension; `num` where its length is not known."""
    x = _tensor(x)
    axis = _axis(axis, x.ndim, "unstack")
    n = x.shape[axis] if num is None else num
    if n is None or x.shape[axis] not in (None, n):
        raise ValueError(
            f"unstack: expected num to be {x.shape[axis]}, the length of axis {axis}, got {num}"
        )
    return [_core.slice(x, [*[slice(None)] * axis, i]) for i in range(n)]


def pad(x: ArrayLike, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Tensor:
    """x with `constant_values` around it.

    Args:
        pad_width: int, (before, after), or one such pair per dimension.
    Raises: ValueError for another mode or a negative width.
    """
    if mode != "constant":
        raise ValueError(f"pad: expected mode 'constant', got {mode!r}")
    widths = np.asarray(pad_width)
    if (
        widths.dtype.kind not in "iu"
        or widths.ndim > 2
        or (widths.ndim and widths.shape[-1] not in (1, 2))
    ):
        raise ValueError(
            f"pad: expected pad_width to be an int, a pair or pairs of ints, got {pad_width!r}"
        )
    pairs = np.broadcast_to(widths, (1 if widths.ndim < 2 else len(widths), 2)).tolist()
    return _core.pad(x, pairs, constant_values)


def flip(x: ArrayLike, axis: int | Sequence[int] | None = None) -> Tensor:
    """x in reverse order along `axis`, or along every dimension."""
    x = _tensor(x)
    chosen = (
        range(x.ndim)
        if axis is None
        else [_axis(a, x.ndim, "flip") for a in np.atleast_1d(axis).tolist()]
    )
    return _core.slice(x, [slice(None, None, -1 if d in chosen else 1) for d in range(x.ndim)])


def tile(x: ArrayLike, repeats: int | Sequence[int]) -> Tensor:
    """x set side by side `repeats` times per dimension, as NumPy's."""
    x = _tensor(x)
    counts = [repeats] if isinstance(repeats, int) else list(repeats)
    if any(not 0 <= operator.index(count) < 2**31 for count in counts):
        raise ValueError(f"tile: expected repeats >= 0 and < 2**31, got {repeats}")
    if len(counts) > x.ndim:
        x = _core.expand_dims(x, range(len(counts) - x.ndim))
    for axis, count in enumerate(reversed(counts), start=1):
        if count == 0:
            x = _core.slice(x, [*[slice(None)] * (x.ndim - axis), slice(0, 0)])
            continue
        # By doubling: as many nodes as the count has bits, not as many operands as its value.
        parts: list[Tensor | _core.Variable] = []
        power = x
        while count:
            if count & 1:
                parts.append(power)
            count >>= 1
            if count:
                power = _core.concatenate([power, power], -axis)
        x = parts[0] if len(parts) == 1 else _core.concatenate(parts, -axis)
    return _core.copy(x)


def repeat(x: ArrayLike, repeats: int, axis: int | None = None) -> Tensor:
    """Each element along `axis` (of the flattened x for None) `repeats` times in a row."""
    x = _core.reshape(x, -1) if axis is None else _tensor(x)
    axis = _axis(0 if axis is None else axis, x.ndim, "repeat")
    wide = list(x.shape)
    wide.insert(axis + 1, repeats)
    if None in wide:
        raise ValueError(f"repeat: expected x of a known shape, got {tuple(x.shape)}")
    merged = [*wide[:axis], wide[axis] * repeats, *wide[axis + 2 :]]
    return _core.reshape(_core.broadcast_to(_core.expand_dims(x, axis + 1), wide), merged)
