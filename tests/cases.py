"""THE table: one row per op, or per way of calling one. test_ops.py runs every row through the same checks.

Adding an op means one row here and a float64 NumPy twin of the same name in reference.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Maker = Callable[[np.random.Generator], np.ndarray]


def normal(*shape: int, scale: float = 1.0) -> Maker:
    return lambda rng: scale * rng.standard_normal(shape)


def away(*shape: int, gap: float = 0.1) -> Maker:
    """Normal numbers at least `gap` away from 0, where many derivatives have a kink."""

    def make(rng: np.random.Generator) -> np.ndarray:
        x = rng.standard_normal(shape)
        return np.where(x < 0, x - gap, x + gap)

    return make


def uniform(low: float, high: float, *shape: int) -> Maker:
    return lambda rng: rng.uniform(low, high, shape)


def distinct(*shape: int) -> Maker:
    """Numbers at least 0.1 apart, so that a maximum does not change hands within a difference step."""
    return lambda rng: 0.1 * rng.permutation(np.prod(shape, dtype=int)).reshape(shape).astype(float)


def integers(low: int, high: int, *shape: int) -> Maker:
    return lambda rng: rng.integers(low, high, shape)


def booleans(*shape: int) -> Maker:
    return lambda rng: rng.integers(0, 2, shape).astype(bool)


def probabilities(*shape: int) -> Maker:
    """Rows that sum to one, no entry under about 0.01."""

    def make(rng: np.random.Generator) -> np.ndarray:
        x = rng.uniform(0.1, 1.0, shape)
        return x / x.sum(axis=-1, keepdims=True)

    return make


@dataclass(frozen=True)
class Case:
    op: str  # the name in fastnn.ops and in reference.py
    inputs: tuple[Maker, ...]  # floating inputs are made in float64 and cast to the dtype under test
    kwargs: dict[str, Any] = field(default_factory=dict)
    # Tolerance c * sqrt(depth) * eps * scale (design: numbers policy): depth is the length of the longest sum behind
    # one result; c counts the roundings of one term. 0 means equal to the last bit.
    c: float = 4.0
    depth: int = 1
    # Which inputs have a gradient; the others are labels, indices, masks.
    grad: tuple[int, ...] | None = None  # None: every floating input
    grad_outputs: tuple[int, ...] | None = None  # which floating outputs carry one; None: all
    linear: bool = False  # in its first gradient input: the adjoint identity must hold to 1e-13
    listed: bool = False  # the op takes its inputs as one list
    name: str = ""

    @property
    def id(self) -> str:
        shapes = ",".join(str(m(np.random.default_rng(0)).shape).replace(" ", "") for m in self.inputs)
        args = ",".join(f"{k}={v}" for k, v in self.kwargs.items())
        return f"{self.op}-{self.name or shapes}" + (f"-{args}" if args else "")


# Zero, one, primes, and one vector of each instruction set and type (4, 8, 16 lanes) more or less an element.
SIZES = (0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 67)


def elementwise(op: str, make: Callable[..., Maker] = normal, **options: Any) -> list[Case]:
    return [Case(op, (make(n),), **options) for n in SIZES] + [Case(op, (make(5, 7),), **options)]


CASES: list[Case] = [
    # ---- elementwise
    *elementwise("negative", c=0),
    *elementwise("abs", away, c=0),
    *elementwise("sign", away, c=0),
    *elementwise("square"),
    *elementwise("sqrt", lambda *s: uniform(0.1, 4, *s)),
    *elementwise("exp"),
    *elementwise("expm1"),
    *elementwise("log", lambda *s: uniform(0.1, 4, *s)),
    *elementwise("log1p", lambda *s: uniform(-0.5, 4, *s)),
    *elementwise("erf"),
    *elementwise("sigmoid"),
    *elementwise("tanh"),
    *elementwise("relu", away, c=0),
    *elementwise("leaky_relu", away, kwargs={"negative_slope": 0.1}),
    *elementwise("elu", away, kwargs={"alpha": 1.3}),
    *elementwise("selu", away),
    *elementwise("gelu", c=8),
    *elementwise("silu", c=8),
    *elementwise("mish", c=8),
    *elementwise("softplus"),
    *elementwise("softsign", away),
    *elementwise("hard_sigmoid"),
    *elementwise("clip", distinct, kwargs={"x_min": 0.25, "x_max": 1.05}, c=1),
    *[
        Case(op, (makers[0](*a), makers[1](*b)), c=c)
        for op, makers, c in (
            ("add", (normal, normal), 4),
            ("subtract", (normal, normal), 4),
            ("multiply", (normal, normal), 4),
            ("divide", (normal, away), 8),
            ("power", (lambda *s: uniform(0.2, 3, *s), normal), 8),
            ("maximum", (normal, normal), 0),
            ("minimum", (normal, normal), 0),
        )
        for a, b in (
            ((), ()),
            ((0,), (0,)),
            ((17,), (17,)),
            ((5, 7), (5, 7)),
            ((5, 7), (7,)),
            ((5, 1), (1, 7)),
            ((2, 3, 4), (3, 1)),
            ((), (33,)),
            ((3, 1, 5), (2, 1)),
        )
    ],
    # ---- dense
    *[
        Case("dense", (normal(m, k), normal(k, n), normal(n)), depth=k + m + n, linear=True)
        for m, k, n in ((0, 3, 2), (1, 1, 1), (7, 13, 10), (8, 16, 16), (9, 17, 33), (13, 300, 31), (25, 5, 1))
    ],
    Case("dense", (normal(2, 3, 5), normal(5, 4)), depth=15, linear=True),
    Case("dense", (normal(5), normal(5, 4), normal(4)), depth=15),
    *[
        Case("matmul", (normal(*a), normal(*b)), {"transpose_x1": ta, "transpose_x2": tb}, depth=64, linear=True)
        for a, b, ta, tb in (
            ((3, 4), (4, 5), False, False),
            ((4, 3), (4, 5), True, False),
            ((3, 4), (5, 4), False, True),
            ((4, 3), (5, 4), True, True),
            ((2, 7, 17), (2, 17, 33), False, False),
            ((2, 1, 7, 5), (3, 5, 4), False, False),
            ((6, 5, 4), (5, 9), True, False),
            ((5, 4), (3, 6, 4), False, True),
            ((2, 0, 3), (3, 4), False, False),
        )
    ],
    # ---- shape
    Case("reshape", (normal(4, 6),), {"newshape": (3, -1)}, c=0, linear=True),
    Case("reshape", (normal(2, 3, 4),), {"newshape": (24,)}, c=0, linear=True),
    Case("copy", (normal(3, 5),), c=0, linear=True),
    # ---- indexing
    # ---- reduce
    # ---- conv
    # ---- pool
    # ---- norm
    *[
        Case("batch_normalization_training", (normal(*s, c), normal(c), normal(c)), c=8, depth=64, grad_outputs=(0,))
        for s, c in (((5,), 1), ((6,), 3), ((9,), 7), ((4, 3), 8), ((7,), 15), ((2, 3, 2), 16), ((5,), 17), ((3,), 33))
    ],
    *[
        Case(
            "batch_normalization_training",
            tuple(makers),
            kwargs,
            c=8,
            depth=300,
            grad_outputs=(0,),
            name=name,
        )
        for name, makers, kwargs in (
            ("no gamma, no beta", [normal(7, 5)], {}),
            ("gamma only", [normal(7, 5), normal(5)], {}),
            ("one value", [normal(1, 5), normal(5), normal(5)], {}),
            ("middle axis", [normal(3, 4, 5), normal(4), normal(4)], {"axis": 1}),
            ("first axis", [normal(3, 17), normal(3), normal(3)], {"axis": 0, "epsilon": 1e-5}),
            ("channels first", [normal(2, 3, 5, 7), normal(3), normal(3)], {"axis": -3}),
            ("vector", [normal(9), normal(9), normal(9)], {}),
            ("many rows", [normal(3001, 67), normal(67), normal(67)], {}),
            ("long runs", [normal(2, 2, 20011), normal(2), normal(2)], {"axis": 1}),
            ("one channel", [normal(40009, 1), normal(1), normal(1)], {}),
        )
    ],
    *[
        Case("batch_normalization", (normal(*s), normal(c), uniform(0.2, 2, c), *extra), {"axis": axis}, c=16, depth=16)
        for s, c, axis, extra in (
            ((0, 3), 3, -1, ()),
            ((5, 17), 17, -1, (normal(17), normal(17))),
            ((5, 17), 17, -1, (normal(17),)),
            ((3, 4, 5), 4, 1, (normal(4), normal(4))),
            ((2, 3, 3, 8), 8, 3, ()),
            ((6, 1), 1, 1, (normal(1), normal(1))),
        )
    ],
    *[
        Case("layer_normalization", (normal(5, n), normal(n), normal(n)), c=16, depth=n)
        for n in (2, 3, 7, 8, 15, 16, 17, 33, 300)
    ],
    Case("layer_normalization", (normal(2, 3, 5),), c=16, depth=5),
    Case("layer_normalization", (normal(2, 3, 5), normal(5)), c=16, depth=5),
    Case("layer_normalization", (normal(2, 3, 5), normal(3, 5), normal(3, 5)), {"axis": (-2, -1)}, c=16, depth=15),
    Case("layer_normalization", (normal(4, 6),), {"axis": (0, 1), "epsilon": 1e-5}, c=16, depth=24),
    Case("layer_normalization", (normal(0, 6), normal(6), normal(6)), c=16),
    Case("layer_normalization", (normal(3000, 33), normal(33), normal(33)), c=16, depth=3000),
    # ---- softmax
    *[
        Case(op, (normal(*s, scale=3.0),), {"axis": axis}, c=8, depth=16)
        for op in ("softmax", "log_softmax")
        for s, axis in (
            *[((4, n), -1) for n in (1, 3, 7, 8, 15, 16, 17, 33, 100)],
            *[((3, 5, n), 1) for n in (2, 7, 16, 33)],
            ((4, 130), 0),
            ((6,), 0),
            ((0, 3), -1),
            ((3, 2, 4, 5), -3),
            ((1, 1), -1),
        )
    ],
    # ---- loss
    *[
        Case("categorical_crossentropy", (probabilities(*s, n), make(*s, n)), {"from_logits": logits, **kwargs}, c=8,
             depth=16, grad=(1,))
        for logits, make in ((True, normal), (False, lambda *s: uniform(0.3, 1.0, *s)))
        for s, n, kwargs in (
            *[((5,), n, {}) for n in (1, 2, 3, 7, 8, 15, 16, 17, 33)],
            ((), 4, {}),
            ((2, 3), 10, {"reduction": "none"}),
            ((4,), 10, {"reduction": "sum", "label_smoothing": 0.1}),
            ((4,), 3, {"sample_weight": np.array([0.5, 0.0, 2.0, 1.0]), "normalizer": 7.0}),
            ((2, 3), 5, {"sample_weight": np.array([0.5, 2.0])}),
            ((2,), 5, {"sample_weight": np.array([[0.5], [2.0]]), "reduction": "none"}),
            ((1,), 1, {}),
            ((3000,), 10, {}),
        )
    ],
    *[
        Case("sparse_categorical_crossentropy", (integers(0, n, *labels), make(*s, n)),
             {"from_logits": logits, **kwargs}, c=8, depth=16, grad=(1,))
        for logits, make in ((True, normal), (False, lambda *s: uniform(0.1, 1.0, *s)))
        for labels, s, n, kwargs in (
            *[((5,), (5,), n, {}) for n in (2, 3, 7, 8, 10, 16, 17, 33)],
            ((5, 1), (5,), 4, {"reduction": "none"}),
            ((2, 3), (2, 3), 5, {"reduction": "sum"}),
            ((2, 3, 1), (2, 3), 5, {"sample_weight": np.linspace(0, 1, 6).reshape(2, 3)}),
            ((3,), (3,), 1, {"normalizer": 5}),
            ((3000,), (3000,), 10, {"sample_weight": np.linspace(0, 1, 3000)}),
        )
    ],
    *[
        Case("binary_crossentropy", (uniform(0, 1, *a), make(*b)), {"from_logits": logits, **kwargs}, c=8, depth=16,
             grad=(1,))
        for logits, make in ((True, normal), (False, lambda *s: uniform(0.05, 0.95, *s)))
        for a, b, kwargs in (
            *[((n, 1), (n, 1), {}) for n in (1, 7, 16, 17, 33)],
            *[((3, n), (3, n), {}) for n in (3, 8, 17)],
            ((5,), (5,), {"label_smoothing": 0.2}),
            ((5,), (5, 1), {"reduction": "none"}),
            ((5, 1), (5,), {"sample_weight": np.linspace(0, 1, 5)}),
            ((2, 3), (2, 3, 1), {"reduction": "sum"}),
        )
    ],
    *[
        Case(op, (make(*a), make(*b)), kwargs, c=8, depth=16, grad=(1,))
        for op, make in (("mean_squared_error", normal), ("mean_absolute_error", distinct))
        for a, b, kwargs in (
            *[((n, 1), (n, 1), {}) for n in (1, 7, 16, 33)],
            ((3, 17), (3, 17), {"sample_weight": np.array([1.0, 0.0, 3.0])}),
            ((6,), (6,), {}),
            ((5,), (5, 1), {"reduction": "none"}),
            ((2, 3, 4), (2, 3, 4), {"reduction": "sum"}),
        )
    ],
    *[
        Case("weighted_mean", (normal(*s),), kwargs, c=4, depth=64, linear="normalizer" not in kwargs)
        for s, kwargs in (
            ((), {}),
            ((7,), {}),
            ((7,), {"reduction": "sum"}),
            ((7,), {"reduction": "none"}),
            ((3, 4), {"sample_weight": np.array([1.0, 2.0, 0.5]), "reduction": "none"}),
            ((3, 4), {"sample_weight": np.arange(12.0).reshape(3, 4), "normalizer": 3}),
            ((9000,), {"sample_weight": np.linspace(0, 1, 9000)}),
        )
    ],
    # ---- random
]
