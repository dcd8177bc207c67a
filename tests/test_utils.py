"""to_categorical, normalize, seeds."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import utils


def test_to_categorical():
    rows = utils.to_categorical([0, 3, 1])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.eye(4)[[0, 3, 1]])
    np.testing.assert_array_equal(
        utils.to_categorical(np.array([[1], [0]], "uint8"), 3), np.eye(3)[[1, 0]]
    )
    np.testing.assert_array_equal(
        utils.to_categorical([[0, 1], [2, 0]]), np.eye(3)[[[0, 1], [2, 0]]]
    )
    np.testing.assert_array_equal(
        utils.to_categorical([1.0, 0.0], dtype="float64"), np.eye(2)[[1, 0]]
    )
    assert utils.to_categorical(np.zeros(0, int), 3).shape == (0, 3)
    assert utils.to_categorical(2, 3).tolist() == [0, 0, 1]
    labels = np.array([2, 0, 1])
    np.testing.assert_array_equal(utils.to_categorical(labels).argmax(-1), labels)


@pytest.mark.parametrize(
    ("x", "classes", "message"),
    [
        ([0, 3], 3, r"0\.\.2, got 3 at \(1,\)"),
        ([0, -1], None, "got -1"),
        ([0.5], None, "got 0.5"),
        ([float("nan")], 3, "got nan"),
        ([float("inf")], None, "got inf"),
        ([], None, "num_classes"),
        ([0], 0, "num_classes"),
    ],
)
def test_to_categorical_of_bad_labels(x, classes, message):
    with pytest.raises(ValueError, match=message):
        utils.to_categorical(x, classes)


def test_to_categorical_of_strings():
    with pytest.raises(TypeError, match="integers"):
        utils.to_categorical(["a"])


def test_normalize():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(utils.normalize(x), [[0.6, 0.8], [0, 0]])
    np.testing.assert_array_equal(utils.normalize(x, axis=0), [[1, 1], [0, 0]])
    np.testing.assert_allclose(utils.normalize(x, order=1), [[3 / 7, 4 / 7], [0, 0]])
    np.testing.assert_array_equal(utils.normalize(x, order=np.inf), [[0.75, 1], [0, 0]])


def test_set_random_seed():
    draws = []
    for _ in range(2):
        utils.set_random_seed(3)
        draws.append(fastnn.initializers.get("glorot_uniform")((3, 4)))
    np.testing.assert_array_equal(*draws)
