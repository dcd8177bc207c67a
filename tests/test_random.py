"""Random numbers: the generator's own test vectors, distributions, reproducibility, dropout."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import fastnn
import reference
from fastnn import _core, ops

N = 400_000


@pytest.mark.parametrize(
    ("first", "seed", "stream", "step", "expected"),
    [  # the vectors published with Random123: counter and key zero, all ones, digits of pi
        (0, 0, 0, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            4 * (2**40 - 1), 2**64 - 1, 2**32 - 1, 2**64 - 1,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            4 * (0xD3 << 32 | 0x243F6A88), 0x299F31D0A4093822, 0x85A308, 0x0370734413198A2E,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)  # fmt: skip
def test_philox_gives_the_published_words(first, seed, stream, step, expected):
    assert _core.random_bits(4, first, seed, stream, step).tolist() == expected


def test_philox_blocks_are_the_reference():
    words = _core.random_bits(1003, 0, 2**40 + 5, 2**31 + 9, 2**35 + 1)
    np.testing.assert_array_equal(
        words, reference.random_words(1003, 2**40 + 5, 2**31 + 9, 2**35 + 1)
    )


def test_philox_words_do_not_depend_on_where_a_call_begins():
    first, key = 4 * (2**32 - 70), (2**40 + 5, 2**31 + 9, 2**35 + 1)  # the count of blocks carries
    one_by_one = [_core.random_bits(4, first + 4 * i, *key) for i in range(251)]
    words = _core.random_bits(1003, first, *key)
    np.testing.assert_array_equal(words, np.concatenate(one_by_one)[:1003])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("draw", "distribution"),
    [
        (lambda d: ops.random_uniform((N,), -1.0, 3.0, d, seed=1), stats.uniform(-1, 4)),
        (lambda d: ops.random_normal((N,), 2.0, 0.5, d, seed=2), stats.norm(2, 0.5)),
        (
            lambda d: ops.random_truncated_normal((N,), 1.0, 3.0, d, seed=3),
            stats.truncnorm(-2, 2, 1, 3),
        ),
    ],
)
def test_distribution(draw, distribution, dtype):
    x = np.asarray(draw(dtype))
    assert x.dtype == dtype
    low, high = distribution.support()
    assert np.all(x >= low)
    assert np.all(x <= high)
    assert stats.kstest(x.astype(float), distribution.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 5 / np.sqrt(N)


def test_uniform_does_not_reach_its_upper_end():
    x = np.asarray(ops.random_uniform((N,), 1.0, 1.0 + 2**-20, "float32", seed=1))
    assert x.max() < np.float32(1 + 2**-20)


def test_normal_numbers_against_double_precision_formulas():
    u = np.asarray(ops.random_uniform((256,), 0.0, 1.0, "float64", seed=5))
    z = np.asarray(ops.random_normal((256,), 0.0, 1.0, "float64", seed=5))
    radius, angle = np.sqrt(-2 * np.log(1 - u[:128])), 2 * np.pi * u[128:]
    np.testing.assert_allclose(
        z, np.concatenate([radius * np.cos(angle), radius * np.sin(angle)]), rtol=0, atol=1e-14
    )
    t = np.asarray(ops.random_truncated_normal((256,), 0.0, 1.0, "float64", seed=5))
    np.testing.assert_allclose(t, stats.truncnorm(-2, 2).ppf(u), rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 40_001])
@pytest.mark.parametrize("name", ["random_uniform", "random_normal", "random_truncated_normal"])
def test_an_element_depends_only_on_its_place(name, n):
    draw = getattr(ops, name)
    long = np.asarray(draw((50_000,), seed=4, stream=2, step=9))
    np.testing.assert_array_equal(np.asarray(draw((n,), seed=4, stream=2, step=9)), long[:n])
    for other in ({"seed": 5}, {"stream": 3}, {"step": 10}):
        changed = np.asarray(draw((1000,), **{"seed": 4, "stream": 2, "step": 9, **other}))
        assert np.mean(changed == long[:1000]) < 0.01


def test_bad_parameters():
    for call in (
        lambda: ops.dropout(np.ones(3), 1.0),
        lambda: ops.dropout(np.ones(3), -0.1),
        lambda: ops.dropout(np.ones(3), float("nan")),
        lambda: ops.random_uniform((3,), 2.0, 1.0),
        lambda: ops.random_normal((3,), 0.0, -1.0),
        lambda: ops.random_normal((-3,)),
        lambda: ops.dropout(np.ones(3), 0.5, step=[1, 2]),
    ):
        with pytest.raises(ValueError):
            call()
    for call in (
        lambda: ops.dropout([1, 2], 0.5),
        lambda: ops.dropout(np.ones(3), 0.5, step=0.5),
        lambda: ops.random_normal((3,), dtype="int32"),
        lambda: fastnn.random.set_seed("a"),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.95])
def test_dropout_keeps_the_expected_value(rate):
    x = np.random.default_rng(0).uniform(1, 2, N).astype("float32")
    y = np.asarray(ops.dropout(x, rate, seed=3))
    kept = y != 0
    assert abs(kept.mean() - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / N)
    np.testing.assert_array_equal(y[kept], (x * np.float32(1 / (1 - rate)))[kept])
    np.testing.assert_allclose(y.mean(), x.mean(), rtol=6 * np.sqrt(rate / (1 - rate) / N) + 1e-6)


def test_dropout_has_one_mask_forward_and_backward_and_a_new_one_each_step():
    generator = fastnn.random.SeedGenerator(1)
    x = fastnn.Variable(np.ones(1000, "float32"))
    masks = []
    for _ in range(2):
        with fastnn.GradientTape() as tape:
            y = ops.dropout(
                x, 0.4, seed=generator.seed, stream=generator.stream, step=generator.step
            )
        generator.step.assign_add(1)  # before backward: the mask is that of the forward pass
        np.testing.assert_array_equal(np.asarray(tape.gradient(y, x)), np.asarray(y))
        masks.append(np.asarray(y))
    assert not np.array_equal(*masks)


def test_dropout_records_what_it_runs():
    step = fastnn.Variable(np.int64(3), trainable=False)
    with fastnn.Graph(tracing=False) as eager:
        ops.dropout(np.ones((2, 3)), 0.5, step=step)
    graph = fastnn.Graph()
    with graph:
        ops.dropout(graph.placeholder((None, 3)), 0.5, step=step)
    assert [n[0] for n in eager.nodes] == [n[0] for n in graph.nodes]


def test_set_seed_reproduces_everything():
    def draw():
        fastnn.random.set_seed(12)
        generator = fastnn.random.SeedGenerator()
        return [
            fastnn.random.uniform((5,)),
            fastnn.random.normal((5,)),
            fastnn.random.truncated_normal((5,)),
            fastnn.random.permutation(9),
            fastnn.random.shuffle(np.arange(7)),
            fastnn.initializers.GlorotUniform()((3, 4)),
            fastnn.random.normal((4,), seed=generator),
            fastnn.random.normal((4,), seed=generator),
        ]

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = draw(), draw()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[-1], first[-2])


def test_generators_have_streams_of_their_own():
    a, b = fastnn.random.SeedGenerator(5), fastnn.random.SeedGenerator(5)
    assert a.seed == b.seed == 5
    assert a.stream != b.stream
    assert not a.step.trainable
    assert a.step.dtype == np.int64


def test_permutations():
    p = fastnn.random.permutation(1000, seed=3)
    np.testing.assert_array_equal(np.sort(p), np.arange(1000))
    assert not np.array_equal(p, fastnn.random.permutation(1000, seed=3, step=1))
    places = np.array([fastnn.random.permutation(4, seed=8, step=s)[0] for s in range(4000)])
    assert stats.chisquare(np.bincount(places)).pvalue > 1e-3
    assert fastnn.random.permutation(0).shape == (0,)
