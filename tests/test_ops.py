"""Every row of the table of ops through the same checks: value, gradient, dtype, layout, placeholders, threads."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import fastnn
import reference
from cases import CASES, Case
from fastnn import ops
from numerics import assert_close, numeric_gradient, relative_error

BY_ID = {case.id: case for case in CASES}
DTYPES = ("float32", "float64")
# A numeric gradient costs 4 calls per element.
GRADCHECK_ELEMENTS = 1200


def make_inputs(case: Case, dtype: str = "float64") -> list[np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    made = [np.asarray(make(rng)) for make in case.inputs]
    return [x.astype(dtype) if x.dtype.kind == "f" else x for x in made]


def call(case: Case, inputs):
    op = getattr(ops, case.op)
    return op(list(inputs), **case.kwargs) if case.listed else op(*inputs, **case.kwargs)


def outputs(case: Case, inputs) -> list:
    result = call(case, inputs)
    return list(result) if isinstance(result, list | tuple) else [result]


def twin(case: Case, inputs) -> list[np.ndarray]:
    f = getattr(reference, case.op)
    result = f(list(inputs), **case.kwargs) if case.listed else f(*inputs, **case.kwargs)
    return [np.asarray(y) for y in (result if isinstance(result, list | tuple) else [result])]


def wrt(case: Case) -> list[int]:
    if case.grad is not None:
        return list(case.grad)
    return [i for i, x in enumerate(make_inputs(case)) if x.dtype.kind == "f"]


def seeds_for(case: Case, ys: list[np.ndarray]) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.standard_normal(y.shape) for y in ys]


def gradients(case: Case, inputs, seeds) -> list[np.ndarray]:
    tensors = [fastnn.Tensor(x) for x in inputs]
    sources = [tensors[i] for i in wrt(case)]
    with fastnn.GradientTape() as tape:
        tape.watch(sources)
        ys = float_outputs(case, outputs(case, tensors))
    found = tape.gradient(
        ys,
        sources,
        [s.astype(y.dtype) for s, y in zip(seeds, ys, strict=True)],
        unconnected_gradients="zero",
    )
    return [np.asarray(g) for g in found]


def float_outputs(case: Case, ys: list) -> list:
    """The outputs that carry a gradient."""
    return [
        y
        for i, y in enumerate(ys)
        if y.dtype.kind == "f" and (case.grad_outputs is None or i in case.grad_outputs)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case_id", BY_ID)
def test_value_is_the_twins(case_id, dtype):
    case = BY_ID[case_id]
    inputs = make_inputs(case, dtype)
    before = [x.copy() for x in inputs]
    expected = twin(case, [x.astype("float64") if x.dtype.kind == "f" else x for x in inputs])
    actual = outputs(case, inputs)
    assert len(actual) == len(expected)
    for y, e in zip(actual, expected, strict=True):
        if y.dtype.kind == "f" and any(x.dtype.kind == "f" for x in inputs):
            assert y.dtype == dtype
        assert_close(y, e, c=case.c, depth=case.depth)
    for x, b in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, b, err_msg="an input was written")


@pytest.mark.parametrize("case_id", [i for i, c in BY_ID.items() if wrt(c)])
def test_gradient_is_the_differences(case_id):
    case = BY_ID[case_id]
    inputs = make_inputs(case)
    ys = float_outputs(case, [np.asarray(y) for y in outputs(case, inputs)])
    seeds = seeds_for(case, ys)
    analytic = gradients(case, inputs, seeds)

    def loss(xs) -> float:
        return float(
            sum(
                np.vdot(s, y)
                for s, y in zip(
                    seeds,
                    float_outputs(case, [np.asarray(y) for y in outputs(case, xs)]),
                    strict=True,
                )
            )
        )

    if sum(inputs[i].size for i in wrt(case)) > GRADCHECK_ELEMENTS:
        # One random direction: <J v, s> against <v, J^T s>.
        rng = np.random.default_rng(11)
        directions = {i: rng.standard_normal(inputs[i].shape) for i in wrt(case)}
        base = [x.copy() for x in inputs]

        def along(t):
            return loss(
                [x + t[0] * directions[i] if i in directions else x for i, x in enumerate(base)]
            )

        numeric = numeric_gradient(along, [np.zeros(1)], [0])[0]
        exact = np.array(
            [sum(np.vdot(g, directions[i]) for g, i in zip(analytic, wrt(case), strict=True))]
        )
        assert relative_error(exact, numeric) < 1e-7
        return
    numeric = numeric_gradient(loss, inputs, wrt(case))
    for i, a, n in zip(wrt(case), analytic, numeric, strict=True):
        assert a.shape == inputs[i].shape
        assert relative_error(a, n) < 1e-7, f"gradient of input {i}"


@pytest.mark.parametrize("case_id", [i for i, c in BY_ID.items() if wrt(c)])
def test_every_element_of_a_gradient_is_written(case_id):
    case = BY_ID[case_id]
    inputs = make_inputs(case)
    ys = float_outputs(case, [np.asarray(y) for y in outputs(case, inputs)])
    seeds = seeds_for(case, ys)
    expected = gradients(case, inputs, seeds)
    tensors = [fastnn.Tensor(x) for x in inputs]
    sources = [tensors[i] for i in wrt(case)]
    places = [fastnn.Tensor(np.full(s.shape, np.nan)) for s in sources]
    with fastnn.GradientTape() as tape:
        tape.watch(sources)
        ys = float_outputs(case, outputs(case, tensors))
    found = tape._tape.gradient(ys, sources, seeds, places)
    for g, e, place in zip(found, expected, places, strict=True):
        if g is not None:
            np.testing.assert_array_equal(np.asarray(place), e)


@pytest.mark.parametrize("case_id", [i for i, c in BY_ID.items() if wrt(c)])
def test_float32_gradient_is_the_float64_one(case_id):
    case = BY_ID[case_id]
    inputs32 = make_inputs(case, "float32")
    inputs64 = [x.astype("float64") if x.dtype.kind == "f" else x for x in inputs32]
    seeds = [
        s.astype("float32") for s in seeds_for(case, float_outputs(case, twin(case, inputs64)))
    ]
    single = gradients(case, inputs32, seeds)
    double = gradients(case, inputs64, [s.astype("float64") for s in seeds])
    for s, d in zip(single, double, strict=True):
        assert s.dtype == np.float32
        # Four times the forward's c, as a gradient is two or three such products; 16 where forward only selects.
        assert_close(s, d, c=4 * case.c or 16, depth=max(case.depth, 16), what="float32 gradient")


@pytest.mark.parametrize("case_id", [i for i, c in BY_ID.items() if c.linear])
def test_linear_ops_pass_the_adjoint_identity(case_id):
    case = BY_ID[case_id]
    inputs = make_inputs(case)
    first = wrt(case)[0]
    others = list(inputs)
    if case.op == "dense" or "conv" in case.op:  # affine otherwise
        others[1:] = [np.zeros_like(x) if x.ndim == 1 else x for x in others[1:]]
    y = np.asarray(call(case, others))
    s = np.random.default_rng(3).standard_normal(y.shape)
    g = gradients(case, others, [s])[wrt(case).index(first)]
    left, right = np.vdot(y, s), np.vdot(others[first], g)
    size = np.linalg.norm(y) * np.linalg.norm(s) + np.linalg.norm(others[first]) * np.linalg.norm(g)
    assert abs(left - right) <= 1e-13 * max(size, 1.0)


def _strided(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype) if x.ndim else x
    if x.ndim:
        wide[..., ::2] = x
        return wide[..., ::2]
    return x


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": _strided,
    "negative strides": lambda x: np.flip(np.flip(x).copy()),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case_id", BY_ID)
def test_any_layout_gives_the_same_bits(case_id, layout):
    case = BY_ID[case_id]
    inputs = make_inputs(case, "float32")
    plain = outputs(case, inputs)
    for y, z in zip(plain, outputs(case, [LAYOUTS[layout](x) for x in inputs]), strict=True):
        np.testing.assert_array_equal(np.asarray(y), np.asarray(z))


@pytest.mark.parametrize("case_id", BY_ID)
def test_gradients_add_up_when_an_input_is_used_twice(case_id):
    case = BY_ID[case_id]
    sources = wrt(case)
    if not sources:
        return
    inputs = make_inputs(case)
    ys = float_outputs(case, [np.asarray(y) for y in outputs(case, inputs)])
    seeds = seeds_for(case, ys)
    once = gradients(case, inputs, seeds)
    tensors = [fastnn.Tensor(x) for x in inputs]
    with fastnn.GradientTape() as tape:
        tape.watch([tensors[i] for i in sources])
        first = float_outputs(case, outputs(case, tensors))
        second = float_outputs(case, outputs(case, tensors))
    twice = tape.gradient(
        first + second,
        [tensors[i] for i in sources],
        [*seeds, *seeds],
        unconnected_gradients="zero",
    )
    for a, b in zip(once, twice, strict=True):
        assert_close(
            np.asarray(b),
            2 * a,
            c=max(case.c, 1),
            depth=max(case.depth, 4),
            what="accumulated gradient",
        )


@pytest.mark.parametrize("unknown_batch", [False, True])
@pytest.mark.parametrize("case_id", BY_ID)
def test_placeholders_record_what_eager_runs(case_id, unknown_batch):
    case = BY_ID[case_id]
    inputs = make_inputs(case)
    with fastnn.Graph(tracing=False) as eager:
        real = outputs(case, [fastnn.Tensor(x) for x in inputs])
    graph = fastnn.Graph()
    shapes = [x.shape for x in inputs]
    if unknown_batch:
        if case.op == "reshape" or not all(shapes) or len({s[0] for s in shapes}) == 0:
            return
        shapes = [(None, *s[1:]) if i == 0 else s for i, s in enumerate(shapes)]
    symbolic = outputs(
        case, [graph.placeholder(s, x.dtype.name) for s, x in zip(shapes, inputs, strict=True)]
    )
    assert [n[0] for n in graph.nodes] == [n[0] for n in eager.nodes]
    for s, r in zip(symbolic, real, strict=True):
        assert s.dtype == r.dtype
        assert len(s.shape) == len(r.shape)
        assert all(a is None or a == b for a, b in zip(s.shape, r.shape, strict=True))
        if not unknown_batch:
            assert None not in s.shape


@pytest.mark.parametrize("case_id", BY_ID)
def test_any_number_of_threads_gives_the_same_bits(case_id):
    case = BY_ID[case_id]
    inputs = make_inputs(case, "float32")
    before = fastnn.num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            ys = [np.asarray(y).copy() for y in outputs(case, inputs)]
            gs = (
                gradients(case, inputs, seeds_for(case, float_outputs(case, ys)))
                if wrt(case)
                else []
            )
            found.append([a.tobytes() for a in ys + gs])
    finally:
        fastnn.set_num_threads(before)
    assert found[0] == found[1] == found[2]
