"""Comparing numbers: tolerances from eps and the length of sums, and differences in place of derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def assert_close(actual, expected, *, c: float, depth: int = 1, what: str = "result") -> None:
    """|actual - expected| <= c * sqrt(depth) * eps(dtype of actual) * scale, everywhere.

    The scale is the largest expected magnitude (at least 1, so that a cancelled sum is not held to its own size).
    NaNs and infinities must stand in the same places. c = 0: equal.
    """
    actual = np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, (
        f"{what}: shape {actual.shape}, expected {expected.shape}"
    )
    if actual.size == 0:
        return
    if c == 0 or actual.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected.astype(actual.dtype), err_msg=what)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(
        actual[~finite], expected[~finite].astype(actual.dtype), err_msg=what
    )
    scale = max(1.0, float(np.max(np.abs(expected[finite]), initial=0.0)))
    tolerance = c * np.sqrt(depth) * np.finfo(actual.dtype).eps * scale
    error = np.where(finite, np.abs(actual.astype(np.float64) - np.where(finite, expected, 0)), 0.0)
    error = np.where(finite & ~np.isfinite(actual), np.inf, error)
    worst = np.unravel_index(np.argmax(error), error.shape)
    assert error[worst] <= tolerance, (
        f"{what}: error {error[worst]:.3g} at {tuple(map(int, worst))} (got {actual[worst]!r}, expected "
        f"{expected[worst]!r}); tolerance {tolerance:.3g} = {c} * sqrt({depth}) * eps * {scale:.3g}"
    )


def numeric_gradient(
    f: Callable[[Sequence[np.ndarray]], float], inputs: Sequence[np.ndarray], wrt: Sequence[int]
) -> list[np.ndarray]:
    """Central differences with one Richardson step, in float64; the error is about h^4 + eps/h, 1e-11 at h = 1e-3."""
    h = 1e-3
    gradients = []
    for i in wrt:
        x = inputs[i]
        gradient = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            kept = x[index]

            def at(step: float, x=x, index=index, kept=kept) -> float:
                x[index] = kept + step
                value = f(inputs)
                x[index] = kept
                return value

            coarse = (at(h) - at(-h)) / (2 * h)
            fine = (at(h / 2) - at(-h / 2)) / h
            gradient[index] = (4 * fine - coarse) / 3
        gradients.append(gradient)
    return gradients


def relative_error(analytic: np.ndarray, numeric: np.ndarray) -> float:
    """The ratio of the lessons: |a - n| / (|a| + |n|), 0 for two zero vectors."""
    total = np.linalg.norm(analytic) + np.linalg.norm(numeric)
    return 0.0 if total == 0 else float(np.linalg.norm(analytic - numeric) / total)
