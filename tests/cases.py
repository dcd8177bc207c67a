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
    inputs: tuple[
        Maker, ...
    ]  # floating inputs are made in float64 and cast to the dtype under test
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
        shapes = ",".join(
            str(m(np.random.default_rng(0)).shape).replace(" ", "") for m in self.inputs
        )
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
        for m, k, n in (
            (0, 3, 2),
            (1, 1, 1),
            (7, 13, 10),
            (8, 16, 16),
            (9, 17, 33),
            (13, 300, 31),
            (25, 5, 1),
        )
    ],
    Case("dense", (normal(2, 3, 5), normal(5, 4)), depth=15, linear=True),
    Case("dense", (normal(5), normal(5, 4), normal(4)), depth=15),
    *[
        Case(
            "matmul",
            (normal(*a), normal(*b)),
            {"transpose_x1": ta, "transpose_x2": tb},
            depth=64,
            linear=True,
        )
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
            ((1, 2, 3), (0, 3, 4), False, False),
            ((0, 1, 3, 2), (4, 3), True, True),
        )
    ],
    # ---- shape
    Case("reshape", (normal(4, 6),), {"newshape": (3, -1)}, c=0, linear=True),
    Case("reshape", (normal(2, 3, 4),), {"newshape": (24,)}, c=0, linear=True),
    Case("copy", (normal(3, 5),), c=0, linear=True),
    *[
        Case("transpose", (normal(*shape),), {"axes": axes}, c=0, linear=True)
        for shape, axes in (
            ((), None),
            ((7,), None),
            ((5, 7), None),
            ((33, 67), (1, 0)),
            ((2, 3, 5), (1, 2, 0)),
            ((2, 7, 9, 3), (0, 3, 1, 2)),
            ((2, 3, 7, 9), (0, -2, -1, 1)),
            ((0, 3, 2), (2, 0, 1)),
            ((2, 1, 3, 1), (3, 2, 1, 0)),
        )
    ],
    Case("transpose", (integers(0, 9, 3, 4),), {"axes": None}, c=0),
    Case("transpose", (booleans(3, 4),), {"axes": None}, c=0),
    Case("swapaxes", (normal(2, 3, 4),), {"axis1": 0, "axis2": -1}, c=0, linear=True),
    Case("moveaxis", (normal(2, 3, 4),), {"source": 0, "destination": -1}, c=0, linear=True),
    Case(
        "moveaxis", (normal(2, 3, 4),), {"source": (0, 2), "destination": (1, 0)}, c=0, linear=True
    ),
    Case("expand_dims", (normal(3, 4),), {"axis": 1}, c=0, linear=True),
    Case("expand_dims", (normal(3, 4),), {"axis": (0, -1)}, c=0, linear=True),
    Case("squeeze", (normal(3, 1, 4, 1),), {"axis": (1, -1)}, c=0, linear=True),
    Case("squeeze", (normal(3, 1, 4),), {"axis": None}, c=0, linear=True),
    *[
        Case("broadcast_to", (normal(*a),), {"shape": b}, c=0, depth=64, linear=True)
        for a, b in (
            ((), (3,)),
            ((7,), (5, 7)),
            ((5, 1), (5, 7)),
            ((2, 1, 3), (2, 4, 3)),
            ((1,), (0,)),
        )
    ],
    *[
        Case(
            "concatenate",
            tuple(normal(*a) for a in shapes),
            {"axis": axis},
            c=0,
            linear=len(shapes) == 1,
            listed=True,
        )
        for shapes, axis in (
            (((3,),), 0),
            (((3,), (0,), (5,)), 0),
            (((2, 3), (2, 1)), -1),
            (((2, 3, 4), (2, 5, 4), (2, 1, 4)), 1),
        )
    ],
    Case("stack", (normal(3, 4), normal(3, 4)), {"axis": 0}, c=0, listed=True),
    Case("stack", (normal(3, 4), normal(3, 4), normal(3, 4)), {"axis": -1}, c=0, listed=True),
    Case("split", (normal(5, 6),), {"indices_or_sections": 3, "axis": 1}, c=0),
    Case("split", (normal(5, 7, 2),), {"indices_or_sections": (1, 4), "axis": -2}, c=0),
    Case("unstack", (normal(5, 3),), {"axis": 1}, c=0),
    Case("pad", (normal(3, 4),), {"pad_width": 1}, c=0, linear=True),
    Case(
        "pad",
        (normal(2, 3, 4),),
        {"pad_width": ((0, 1), (2, 0), (0, 0)), "constant_values": 0.5},
        c=0,
    ),
    Case("flip", (normal(3, 4),), {"axis": None}, c=0, linear=True),
    Case("flip", (normal(3, 4, 2),), {"axis": (1,)}, c=0, linear=True),
    Case("tile", (normal(3, 4),), {"repeats": (2, 3)}, c=0, linear=True),
    Case(
        "tile",
        (
            normal(
                3,
            ),
        ),
        {"repeats": (2, 1)},
        c=0,
        linear=True,
    ),
    Case("flip", (normal(0, 3),), {"axis": 1}, c=0, linear=True),
    # ---- indexing
    *[
        Case(
            "take",
            (normal(*shape), integers(-shape[axis], shape[axis], *index)),
            {"axis": axis},
            c=0,
            linear=True,
        )
        for shape, index, axis in (
            ((7,), (), 0),
            ((7, 3), (5,), 0),
            ((7, 130), (2, 9), 0),
            ((4, 7, 3), (5,), 1),
            ((4, 7), (3, 2), -1),
            ((7, 3), (0,), 0),
        )
    ],
    Case("take", (normal(3, 4), integers(-12, 12, 5)), {"axis": None}, c=0, linear=True),
    *[
        Case(
            "take_along_axis",
            (normal(*shape), integers(-low, low, *index)),
            {"axis": axis},
            c=0,
            linear=True,
        )
        for shape, index, axis, low in (
            ((5, 7), (5, 1), -1, 7),
            ((5, 7), (9, 7), 0, 5),
            ((2, 5, 3), (2, 4, 3), 1, 5),
        )
    ],
    Case("one_hot", (integers(-1, 5, 7),), {"num_classes": 4}, c=0),
    Case("one_hot", (integers(0, 4, 2, 3),), {"num_classes": 4, "axis": 1}, c=0),
    Case("top_k", (distinct(5, 9),), {"k": 3}, c=0, grad=()),
    Case("top_k", (integers(0, 3, 9),), {"k": 9}, c=0),
    Case("in_top_k", (integers(0, 6, 20), distinct(20, 6)), {"k": 2}, c=0, grad=()),
    # ---- comparison
    *[
        Case(op, (integers(0, 3, *a), integers(0, 3, *b)), c=0)
        for op in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
        for a, b in (((), ()), ((0,), (0,)), ((17,), (17,)), ((5, 1), (1, 7)), ((3, 4), ()))
    ],
    *[
        Case(op, (normal(17), normal(17)), c=0, grad=())
        for op in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
    ],
    *[
        Case(op, (booleans(5, 1), booleans(7)), c=0)
        for op in ("logical_and", "logical_or", "logical_xor")
    ],
    Case("logical_not", (integers(0, 2, 9),), c=0),
    *[
        Case(op, (normal(9),), c=0, grad=())
        for op in ("isnan", "isinf", "isfinite", "floor", "ceil", "round")
    ],
    *[
        Case("where", (booleans(*a), normal(*b), normal(*c)), c=0)
        for a, b, c in (
            ((), (), ()),
            ((17,), (17,), (17,)),
            ((5, 1), (7,), ()),
            ((3, 4), (2, 1, 4), (3, 1)),
            ((0,), (0,), (1,)),
        )
    ],
    # ---- reduce
    *[
        Case(
            op,
            (make(*shape),),
            {"axis": axis, "keepdims": keepdims},
            c=c,
            depth=256,
            linear=op in ("sum", "mean"),
        )
        for op, make, c in (
            ("sum", normal, 4),
            ("mean", normal, 4),
            ("max", distinct, 0),
            ("min", distinct, 0),
            ("prod", lambda *s: uniform(0.8, 1.25, *s), 4),
            ("var", normal, 4),
            ("std", normal, 4),
            ("logsumexp", normal, 4),
        )
        for shape, axis, keepdims in (
            ((1, 3), 1, False),
            ((1, 1), None, False)
            if op != "std"
            else ((2,), None, False),  # the gradient of std is NaN at variance 0
            ((17,), None, True),
            ((67,), 0, False),
            ((5, 7), 0, False),
            ((5, 33), -1, True),
            ((2, 9, 3), 1, False),
            ((3, 5, 2, 4), (0, 2), False),
            ((3, 5, 2, 4), (-1, 1), True),
            ((2, 3, 4), (0, 1, 2), False),
            ((0, 3), 1, False),
        )
    ],
    *[
        Case(op, (normal(*shape),), {"axis": axis, "keepdims": keepdims}, c=0, grad=())
        for op in ("argmax", "argmin", "all", "any")
        for shape, axis, keepdims in (
            ((17,), None, False),
            ((5, 33), -1, True),
            ((2, 9, 3), 1, False),
            ((0, 3), 1, False),
        )
    ],
    *[
        Case(op, (integers(0, 9, 3, 5),), {"axis": axis}, c=0)
        for op in ("sum", "prod", "max", "min", "argmax", "argmin", "all", "any")
        for axis in (None, 0, 1)
    ],
    Case("sum", (booleans(3, 5),), {"axis": 0}, c=0),
    Case("sum", (normal(70000, 3),), {"axis": 0}, depth=70000, linear=True),
    Case("max", (normal(70000, 3),), {"axis": 0}, c=0, grad=()),
    # ---- conv
    *[
        Case(
            "conv2d",
            (normal(*x), normal(*kernel), normal(kernel[3])),
            kwargs,
            depth=depth,
            linear=True,
        )
        for x, kernel, depth, kwargs in (
            ((2, 5, 6, 3), (1, 1, 3, 4), 60, {}),
            ((2, 7, 5, 1), (3, 3, 1, 8), 60, {}),
            ((1, 6, 7, 7), (3, 3, 7, 15), 60, {"padding": "same"}),
            ((3, 8, 8, 8), (3, 3, 8, 16), 200, {"padding": "same"}),
            ((2, 9, 4, 16), (3, 3, 16, 17), 200, {"padding": "same"}),
            ((2, 8, 9, 3), (5, 5, 3, 7), 100, {"padding": "same"}),
            ((1, 9, 8, 2), (7, 7, 2, 3), 100, {"padding": "same"}),
            ((1, 3, 2, 2), (7, 5, 2, 3), 60, {"padding": "same"}),
            ((2, 7, 8, 15), (2, 3, 15, 33), 200, {}),
            ((2, 7, 7, 3), (3, 3, 3, 8), 60, {"strides": 2, "padding": "same"}),
            ((2, 8, 9, 3), (3, 3, 3, 8), 60, {"strides": 2, "padding": "same"}),
            ((1, 8, 9, 33), (3, 2, 33, 4), 200, {"strides": (2, 3)}),
            ((2, 10, 7, 3), (1, 1, 3, 5), 60, {"strides": 3}),
            ((2, 10, 7, 3), (2, 2, 3, 5), 60, {"strides": 3, "padding": "same"}),
            ((2, 6, 9, 4), (5, 5, 4, 3), 100, {"strides": (1, 2), "padding": "same"}),
            ((2, 9, 8, 4), (3, 3, 4, 6), 60, {"dilation_rate": 2}),
            ((2, 5, 6, 4), (3, 2, 4, 6), 60, {"dilation_rate": (2, 3), "padding": "same"}),
            ((1, 3, 3, 2), (2, 2, 2, 2), 30, {"dilation_rate": 5, "padding": "same"}),
            ((2, 6, 5, 6), (3, 3, 3, 4), 60, {"groups": 2, "padding": "same"}),
            ((2, 7, 5, 8), (3, 3, 1, 8), 60, {"groups": 8, "strides": 2}),
            ((1, 5, 5, 3), (3, 3, 1, 6), 60, {"groups": 3, "padding": "same"}),
            ((2, 8, 7, 1), (5, 5, 1, 6), 100, {"padding": "same"}),
            ((1, 9, 7, 6), (5, 5, 6, 16), 400, {}),
            ((1, 6, 5, 13), (3, 3, 13, 2), 200, {"strides": 2, "padding": "same"}),
            ((1, 5, 7, 17), (3, 3, 17, 17), 200, {"padding": "same"}),
            ((2, 6, 5, 5), (3, 3, 1, 5), 60, {"groups": 5, "padding": "same"}),
            ((1, 6, 5, 4), (3, 3, 1, 8), 60, {"groups": 4, "dilation_rate": 2}),
            ((1, 5, 6, 12), (3, 2, 4, 9), 60, {"groups": 3, "strides": 2, "padding": "same"}),
            ((40, 4, 4, 3), (3, 3, 3, 5), 700, {"padding": "same"}),
            ((5, 33, 31, 2), (3, 3, 2, 3), 5200, {"padding": "same"}),
            ((0, 5, 5, 3), (3, 3, 3, 4), 30, {}),
        )
    ],
    Case("conv2d", (normal(2, 6, 5, 3), normal(3, 3, 3, 4)), depth=60, linear=True),
    Case(
        "conv2d",
        (normal(2, 0, 5, 3), normal(3, 3, 3, 4)),
        {"padding": "same"},
        depth=30,
        linear=True,
    ),
    *[
        Case(
            "conv1d",
            (normal(*x), normal(*kernel), normal(kernel[2])),
            kwargs,
            depth=depth,
            linear=True,
        )
        for x, kernel, depth, kwargs in (
            ((2, 7, 3), (1, 3, 4), 30, {}),
            ((3, 9, 1), (3, 1, 8), 30, {"padding": "same"}),
            ((2, 8, 7), (4, 7, 15), 60, {"padding": "same"}),
            ((2, 33, 16), (3, 16, 17), 100, {"padding": "causal"}),
            ((1, 67, 2), (7, 2, 3), 100, {"padding": "causal", "strides": 2}),
            ((2, 10, 3), (3, 3, 5), 60, {"padding": "causal", "dilation_rate": 4}),
            ((2, 10, 3), (2, 3, 5), 60, {"strides": 3}),
            ((2, 11, 4), (5, 4, 1), 60, {"strides": (2,), "padding": "same"}),
            ((1, 12, 4), (3, 4, 6), 60, {"dilation_rate": 3}),
            ((2, 9, 6), (3, 3, 4), 60, {"groups": 2, "padding": "same"}),
            ((2, 13, 8), (3, 1, 8), 60, {"groups": 8, "strides": 2}),
            ((2, 5, 33), (3, 33, 31), 200, {"padding": "same"}),
            ((1, 2, 2), (5, 2, 2), 30, {"padding": "causal"}),
            ((70, 5, 3), (3, 3, 5), 700, {"padding": "same"}),
            ((0, 5, 3), (3, 3, 4), 30, {}),
        )
    ],
    Case("conv1d", (normal(2, 6, 3), normal(3, 3, 4)), depth=30, linear=True),
    Case(
        "conv1d", (normal(2, 0, 3), normal(3, 3, 4)), {"padding": "causal"}, depth=30, linear=True
    ),
    *[
        Case(
            "conv2d_transpose",
            (normal(*x), normal(*kernel), normal(kernel[2])),
            kwargs,
            depth=depth,
            linear=True,
        )
        for x, kernel, depth, kwargs in (
            ((2, 5, 4, 3), (1, 1, 4, 3), 60, {}),
            ((2, 5, 4, 1), (3, 3, 8, 1), 60, {}),
            ((1, 6, 7, 7), (3, 3, 15, 7), 200, {"padding": "same"}),
            ((2, 9, 4, 16), (3, 3, 17, 16), 200, {"padding": "same"}),
            ((1, 7, 8, 17), (3, 3, 16, 17), 200, {}),
            ((2, 4, 3, 8), (2, 2, 3, 8), 60, {"strides": 2}),
            ((2, 4, 3, 8), (3, 3, 1, 8), 100, {"strides": 2, "padding": "same"}),
            ((1, 3, 5, 4), (5, 4, 6, 4), 100, {"strides": (2, 3), "padding": "same"}),
            ((2, 3, 4, 5), (2, 3, 4, 5), 60, {"strides": (4, 5)}),
            ((2, 3, 4, 5), (2, 1, 4, 5), 60, {"strides": 3, "padding": "same"}),
            ((2, 3, 4, 2), (3, 3, 4, 2), 60, {"strides": 2, "output_padding": 0}),
            ((2, 3, 4, 2), (3, 3, 4, 2), 60, {"strides": (2, 3), "output_padding": (1, 2)}),
            (
                (2, 3, 4, 2),
                (3, 5, 4, 2),
                60,
                {"strides": (3, 2), "padding": "same", "output_padding": (2, 0)},
            ),
            (
                (2, 3, 4, 2),
                (4, 2, 4, 2),
                60,
                {"strides": (2, 3), "padding": "same", "output_padding": (0, 1)},
            ),
            ((2, 4, 5, 3), (3, 2, 4, 3), 60, {"dilation_rate": (2, 3)}),
            ((2, 4, 5, 3), (3, 3, 4, 3), 60, {"dilation_rate": 2, "padding": "same"}),
            ((1, 5, 4, 33), (3, 2, 31, 33), 300, {"padding": "same"}),
            ((1, 1, 1, 2), (4, 3, 3, 2), 60, {"strides": 5, "output_padding": 4}),
            ((40, 3, 3, 3), (3, 3, 2, 3), 1300, {"strides": 2, "padding": "same"}),
            ((0, 3, 3, 3), (3, 3, 2, 3), 30, {"strides": 2}),
        )
    ],
    Case(
        "conv2d_transpose",
        (normal(2, 3, 4, 3), normal(3, 3, 5, 3)),
        {"strides": 2},
        depth=60,
        linear=True,
    ),
    *[
        Case(
            "conv1d_transpose",
            (normal(*x), normal(*kernel), normal(kernel[1])),
            kwargs,
            depth=depth,
            linear=True,
        )
        for x, kernel, depth, kwargs in (
            ((2, 7, 3), (3, 4, 3), 60, {}),
            ((2, 9, 16), (4, 17, 16), 100, {"strides": 2, "padding": "same"}),
            ((1, 8, 3), (3, 4, 3), 60, {"strides": 2}),
            ((2, 5, 2), (2, 3, 2), 60, {"strides": 4}),
            ((2, 5, 2), (3, 3, 2), 60, {"strides": (3,), "padding": "same", "output_padding": 1}),
            ((2, 5, 2), (3, 1, 2), 60, {"dilation_rate": 2, "padding": "same"}),
        )
    ],
    *[
        Case(
            op,
            (normal(*x), normal(*kernel), normal(x[-1] * kernel[-1])),
            kwargs,
            depth=60,
            linear=True,
        )
        for op, x, kernel, kwargs in (
            ("depthwise_conv2d", (2, 6, 5, 5), (3, 3, 5, 1), {"padding": "same"}),
            ("depthwise_conv2d", (2, 7, 8, 3), (3, 2, 3, 2), {"strides": 2}),
            ("depthwise_conv2d", (1, 7, 6, 17), (3, 3, 17, 1), {"strides": 2, "padding": "same"}),
            ("depthwise_conv2d", (1, 8, 7, 2), (3, 3, 2, 9), {"dilation_rate": 2}),
            ("depthwise_conv2d", (2, 4, 5, 1), (3, 3, 1, 4), {}),
            ("depthwise_conv1d", (2, 9, 5), (3, 5, 1), {"padding": "same"}),
            ("depthwise_conv1d", (2, 9, 16), (4, 16, 2), {"strides": 3}),
            ("depthwise_conv1d", (1, 9, 3), (3, 3, 3), {"dilation_rate": 2}),
        )
    ],
    *[
        Case(
            op,
            (normal(*x), normal(*kernel), normal(*(1,) * (len(x) - 2), between, 4), normal(4)),
            kwargs,
            c=8,
            depth=60,
            linear=True,
        )
        for op, x, kernel, between, kwargs in (
            ("separable_conv2d", (2, 6, 5, 5), (3, 3, 5, 1), 5, {"padding": "same"}),
            ("separable_conv2d", (1, 7, 8, 3), (3, 2, 3, 2), 6, {"strides": 2}),
            ("separable_conv1d", (2, 9, 5), (3, 5, 2), 10, {"dilation_rate": 2}),
        )
    ],
    # ---- pool
    *[
        Case(op, (make(*x),), kwargs, c=c, depth=9, linear=linear)
        for op, make, c, linear in (
            ("max_pool1d", distinct, 0, False),
            ("average_pool1d", normal, 4, True),
        )
        for x, kwargs in (
            ((2, 6, 1), {}),
            ((1, 7, 3), {"padding": "same"}),
            ((2, 9, 17), {"pool_size": 3, "strides": 2}),
            ((1, 8, 16), {"pool_size": (4,), "strides": (1,), "padding": "same"}),
            ((2, 7, 2), {"pool_size": 2, "strides": 3}),
            ((1, 300, 2), {"pool_size": 270, "strides": 7}),
            ((0, 4, 3), {}),
        )
    ],
    *[
        Case(op, (make(*x),), {"keepdims": keepdims}, c=c, depth=35, linear=linear)
        for op, make, c, linear in (
            ("global_max_pool1d", distinct, 0, False),
            ("global_average_pool1d", normal, 4, True),
        )
        for x, keepdims in (((2, 7, 3), False), ((3, 9, 17), True), ((1, 1, 8), False))
    ],
    *[
        Case(op, (make(*x),), kwargs, c=c, depth=depth, linear=linear)
        for op, make, c, depth, linear in (
            ("max_pool2d", distinct, 0, 9, False),
            ("average_pool2d", normal, 4, 9, True),
        )
        for x, kwargs in (
            ((2, 4, 6, 1), {}),
            ((1, 5, 7, 3), {}),
            ((1, 6, 7, 6), {}),
            *[((2, 4, 13, n), {}) for n in (2, 5, 6, 7, 8, 9)],
            ((1, 2, 71, 1), {}),
            ((2, 5, 7, 8), {"padding": "same"}),
            ((1, 6, 6, 15), {"pool_size": 3, "strides": 2, "padding": "same"}),
            ((2, 7, 6, 16), {"pool_size": 3, "strides": 1}),
            ((1, 5, 4, 17), {"pool_size": (2, 3), "strides": (1, 2), "padding": "same"}),
            ((2, 4, 4, 33), {"pool_size": 1}),
            ((1, 7, 7, 2), {"pool_size": 2, "strides": 3}),
            ((1, 18, 17, 1), {"pool_size": 17, "strides": 1}),
            ((1, 2, 3, 2), {"pool_size": 5, "strides": 4, "padding": "same"}),
            ((0, 4, 4, 3), {}),
        )
    ],
    *[
        Case(op, (make(*x),), {"keepdims": keepdims}, c=c, depth=35, linear=linear)
        for op, make, c, linear in (
            ("global_max_pool2d", distinct, 0, False),
            ("global_average_pool2d", normal, 4, True),
        )
        for x, keepdims in (
            ((2, 5, 7, 3), False),
            ((3, 4, 4, 17), True),
            ((1, 1, 1, 8), False),
            ((0, 2, 2, 3), False),
        )
    ],
    # ---- norm
    *[
        Case(
            "batch_normalization_training",
            (normal(*s, c), normal(c), normal(c)),
            c=8,
            depth=64,
            grad_outputs=(0,),
        )
        for s, c in (
            ((5,), 1),
            ((6,), 3),
            ((9,), 7),
            ((4, 3), 8),
            ((7,), 15),
            ((2, 3, 2), 16),
            ((5,), 17),
            ((3,), 33),
        )
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
        Case(
            "batch_normalization",
            (normal(*s), normal(c), uniform(0.2, 2, c), *extra),
            {"axis": axis},
            c=16,
            depth=16,
        )
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
    Case(
        "layer_normalization",
        (normal(2, 3, 5), normal(3, 5), normal(3, 5)),
        {"axis": (-2, -1)},
        c=16,
        depth=15,
    ),
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
        Case(
            "categorical_crossentropy",
            (probabilities(*s, n), make(*s, n)),
            {"from_logits": logits, **kwargs},
            c=8,
            depth=16,
            grad=(1,),
        )
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
        Case(
            "sparse_categorical_crossentropy",
            (integers(0, n, *labels), make(*s, n)),
            {"from_logits": logits, **kwargs},
            c=8,
            depth=16,
            grad=(1,),
        )
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
        Case(
            "binary_crossentropy",
            (uniform(0, 1, *a), make(*b)),
            {"from_logits": logits, **kwargs},
            c=8,
            depth=16,
            grad=(1,),
        )
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
        Case(
            "weighted_mean", (normal(*s),), kwargs, c=4, depth=64, linear="normalizer" not in kwargs
        )
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
    *[
        Case(
            "dropout",
            (normal(*shape),),
            {"rate": rate, "seed": 7, "stream": 3, "step": 11},
            c=1,
            linear=True,
        )
        for shape, rate in (
            ((0,), 0.5),
            ((1,), 0.5),
            ((17,), 0.3),
            ((5, 67), 0.2),
            ((3, 7, 31), 0.0),
            ((2, 257), 0.9),
        )
    ],
]
