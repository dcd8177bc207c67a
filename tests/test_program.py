"""Programs: the recorded step, compiled, against the same step run eagerly; to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, Variable, _core, ops


class Net:
    """Two layers with a penalty, a value used twice and a plain descent step."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.w1 = Variable(rng.standard_normal((20, 64)).astype(np.float32))
        self.b1 = Variable(np.zeros(64, np.float32))
        self.w2 = Variable(rng.standard_normal((64, 3)).astype(np.float32))
        self.variables = [self.w1, self.b1, self.w2]

    def step(self, x, y):
        with GradientTape() as tape:
            h = ops.tanh(ops.dense(x, self.w1, self.b1))
            z = ops.matmul(h, self.w2)
            loss = ops.square(z - y)
            penalty = 0.1 * ops.square(self.w1)
            gradients = tape.gradient([loss, penalty, h], self.variables)
        for v, g in zip(self.variables, gradients, strict=True):
            v.assign_add(-0.001 * g)
        return loss, ops.reshape(h, (-1,))

    def weights(self) -> list[np.ndarray]:
        return [np.array(v) for v in self.variables]


def compiled(net: Net, rows: int) -> _core.Program:
    graph = fastnn.Graph()
    x, y = graph.placeholder((rows, 20)), graph.placeholder((rows, 3))
    with graph:
        fetches = net.step(x, y)
    return _core.Program(graph, [x, y], list(fetches))


def batch(rows: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((rows, n)).astype(np.float32) for n in (20, 3)]


@pytest.mark.parametrize("rows", [1, 7, 32])
def test_a_program_gives_the_bits_of_the_eager_step(rows):
    eager, replayed = Net(), Net()
    program = compiled(replayed, rows)
    for a, b in zip(eager.weights(), replayed.weights(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg="tracing ran an effect")
    for _ in range(3):
        expected = [np.asarray(t) for t in eager.step(*batch(rows))]
        actual = [np.asarray(t) for t in program.run(batch(rows))]
        for e, a in zip(expected, actual, strict=True):
            np.testing.assert_array_equal(a, e)
    for a, b in zip(eager.weights(), replayed.weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_arena_is_smaller_than_the_values():
    program = compiled(Net(), 32)
    assert 0 < program.arena_bytes < 0.7 * program.value_bytes


def test_results_are_memory_of_their_own():
    program = compiled(Net(), 4)
    first = np.asarray(program.run(batch(4))[0])
    kept = first.copy()
    program.run(batch(4))
    np.testing.assert_array_equal(first, kept)


def test_nodes_that_nothing_needs_are_dropped():
    graph = fastnn.Graph()
    x = graph.placeholder((4,))
    y = ops.exp(x)
    ops.log(ops.sqrt(x))
    assert _core.Program(graph, [x], [y]).steps == 1


def test_feeds_and_views_of_feeds_can_be_fetched():
    graph = fastnn.Graph()
    x = graph.placeholder((2, 3))
    program = _core.Program(graph, [x], [x, ops.reshape(x, (6,))])
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    a, b = program.run([data])
    np.testing.assert_array_equal(np.asarray(a), data)
    np.testing.assert_array_equal(np.asarray(b), data.ravel())


def test_variables_are_read_anew_at_every_run():
    v = Variable([1.0, 2.0])
    graph = fastnn.Graph()
    x = graph.placeholder((2,))
    with graph:
        y = x * v
    program = _core.Program(graph, [x], [y])
    v.assign([3.0, 4.0])
    np.testing.assert_array_equal(np.asarray(program.run([[1.0, 1.0]])[0]), [3, 4])
    v.numpy(writable=True)[0] = 7
    np.testing.assert_array_equal(np.asarray(program.run([[1.0, 1.0]])[0]), [7, 4])


def test_a_read_before_a_write_stays_before_it():
    v = Variable([1.0])
    graph = fastnn.Graph()
    x = graph.placeholder((1,))
    with graph:
        before = x + v
        v.assign_add(x)
        after = x + v
    program = _core.Program(graph, [x], [before, after])
    before, after = program.run([[10.0]])
    assert (float(before), float(after)) == (11, 21)


def test_feeds_of_another_shape_or_number_are_refused():
    program = compiled(Net(), 4)
    x, y = batch(4)
    with pytest.raises(ValueError, match=r"feed 0 of shape \(4, 20\)"):
        program.run([x[:3], y])
    with pytest.raises(ValueError, match="expected 2 feeds"):
        program.run([x])
    with pytest.raises(ValueError, match="float64"):
        program.run([x.astype(np.float64), y])


def test_what_is_not_fed_is_named():
    graph = fastnn.Graph()
    x, z = graph.placeholder((2,)), graph.placeholder((2,))
    with pytest.raises(ValueError, match="not among the feeds"):
        _core.Program(graph, [x], [x + z])
    with pytest.raises(ValueError, match="known shape"):
        _core.Program(graph, [graph.placeholder((None,))], [x])


def test_rows_are_there_in_every_source_and_stay_what_they_were_judged():
    net = Net()
    program = compiled(net, 4)
    x, y = batch(12)
    for order in (None, np.arange(12)):
        with pytest.raises((ValueError, IndexError), match=r"do not fit|row 8 of 8"):
            program.run_rows([x, y[:8]], order, 0, 3, 1.0)
    with pytest.raises(IndexError, match="row 12 of 12"):
        program.run_rows([x, y], np.arange(1, 13), 0, 3, 1.0)
    before = net.weights()
    assert program.run_rows([x, y], None, 1, 3, 1e9) == 3
    found = net.weights()
    for variable, w in zip(net.variables, before, strict=True):
        variable.assign(w)
    assert program.run_rows([x, y], np.arange(12), 1, 3, 1e9) == 3
    for a, b in zip(found, net.weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_error_after_a_write_leaves_every_variable_as_it_was():
    v = Variable([1.0])
    graph = fastnn.Graph()
    x = graph.placeholder((1,))
    with graph:
        v.assign_add(x)
        y = ops.log(x)
        ops.check_finite(y, "the logarithm is not finite")
    program = _core.Program(graph, [x], [y])
    with pytest.raises(FloatingPointError, match="the logarithm is not finite"):
        program.run([[0.0]])
    assert float(v) == 1
    program.run([[2.0]])
    assert float(v) == 3


def test_a_view_of_a_variable_is_read_as_it_is_after_a_write():
    v = Variable([1.0, 2.0])
    graph = fastnn.Graph()
    x = graph.placeholder((2,))
    with graph:
        view = ops.reshape(v, (2, 1))
        v.assign_add(x)
        after = view + 1.0
    program = _core.Program(graph, [x], [after])
    np.testing.assert_array_equal(np.asarray(program.run([[10.0, 10.0]])[0]), [[12], [13]])


def names(program: _core.Program) -> list[str]:
    return [line.split(" = ")[1].split("(")[0] for line in program.dump().splitlines()[1:]]


def test_an_activation_is_part_of_the_layer_that_makes_its_input():
    w = Variable(np.ones((3, 3, 2, 4), np.float32))
    graph = fastnn.Graph()
    x = graph.placeholder((2, 6, 6, 2))
    with graph:
        y = ops.tanh(ops.conv2d(x, w))
    assert names(_core.Program(graph, [x], [y])) == ["conv2d+tanh"]


def test_an_activation_goes_into_any_convolution_and_its_derivative_into_the_gradient():
    rng = np.random.default_rng(0)
    kernel = Variable(rng.standard_normal((3, 4, 4)).astype(np.float32))
    bias = Variable(rng.standard_normal(4).astype(np.float32))

    def step(x):
        with GradientTape() as tape:
            y = ops.tanh(ops.conv1d(x, kernel, bias, padding="causal"))
            z = ops.tanh(ops.conv1d_transpose(y, kernel, bias, padding="same"))
            z = ops.tanh(ops.depthwise_conv1d(z, kernel, strides=2))
        return [z, *tape.gradient(z, [kernel, bias])]

    graph = fastnn.Graph()
    x = graph.placeholder((5, 9, 4))
    with graph:
        program = _core.Program(graph, [x], step(x))
    found = [n for n in names(program) if "conv" in n]
    assert found[:3] == ["conv1d+tanh", "conv1d_transpose+tanh", "depthwise_conv1d+tanh"]
    # Derivatives: the last one on its own, as fetches begin there; that of strides leaves no whole rows to finish.
    assert [n for n in names(program) if n.startswith("tanh")] == ["tanh_backward"] * 2
    values = rng.standard_normal((5, 9, 4)).astype(np.float32)
    for e, a in zip(step(fastnn.Tensor(values)), program.run([values]), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(e))


def test_an_activation_whose_input_is_wanted_stays_a_step():
    w = Variable(np.ones((3, 4), np.float32))
    graph = fastnn.Graph()
    x = graph.placeholder((2, 3))
    with graph:
        z = ops.dense(x, w)
        y = ops.relu(z)
    assert names(_core.Program(graph, [x], [z, y])) == ["dense", "relu"]


def relu_before_pool(pool, x, w):
    with GradientTape() as tape:
        y = pool(ops.relu(ops.conv2d(x, w)))
        return y, tape.gradient(y, [w])[0]


@pytest.mark.parametrize("strides", [1, 2])
def test_relu_moves_behind_max_pooling(strides):
    def pool(x):
        return ops.max_pool2d(x, 2, strides=strides)

    rng = np.random.default_rng(0)
    w = Variable(rng.standard_normal((3, 3, 2, 4)).astype(np.float32))
    graph = fastnn.Graph()
    x = graph.placeholder((2, 8, 8, 2))
    with graph:
        fetches = relu_before_pool(pool, x, w)
    program = _core.Program(graph, [x], list(fetches))
    assert [n for n in names(program) if "relu" in n] == ["max_pool2d+relu", "relu_backward"]
    values = rng.standard_normal((2, 8, 8, 2)).astype(np.float32)
    values[0, 1, 1, 0] = np.nan
    for e, a in zip(relu_before_pool(pool, values, w), program.run([values]), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(e))


def test_the_derivative_of_an_activation_is_part_of_what_makes_its_gradient():
    rng = np.random.default_rng(0)
    first, second = (Variable(rng.standard_normal(s).astype(np.float32)) for s in [(3, 8), (8, 2)])

    def step(x):
        with GradientTape() as tape:
            y = ops.dense(ops.reshape(ops.tanh(ops.dense(x, first)), (-1, 8)), second)
        return tape.gradient(y, [first, second])

    graph = fastnn.Graph()
    x = graph.placeholder((2, 2, 3))
    with graph:
        fetches = step(x)
    program = _core.Program(graph, [x], list(fetches))
    assert not any("tanh_backward" in name for name in names(program))
    values = rng.standard_normal((2, 2, 3)).astype(np.float32)
    for e, a in zip(step(values), program.run([values]), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(e))


def check_against_eager(make, *values):
    """make() gives a step with variables of its own; the program of one gives the bits of the other."""
    expected = make()(*map(fastnn.Tensor, values))
    graph = fastnn.Graph()
    feeds = [graph.placeholder(v.shape, v.dtype) for v in values]
    with graph:
        fetches = make()(*feeds)
    program = _core.Program(graph, feeds, list(fetches))
    for e, a in zip(expected, program.run(values), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(e))
    return program


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [5, 32, 33, 100])  # a row in each lane up to 32
@pytest.mark.parametrize("sparse", [True, False])
def test_a_loss_and_its_gradient_are_one_step(sparse, classes, weighted):
    rng = np.random.default_rng(0)
    w = Variable(rng.standard_normal((3, classes)).astype(np.float32))
    if sparse:
        name, options = "sparse_categorical_crossentropy", {}
        y = rng.integers(0, classes, 9)
    else:
        name, options = "categorical_crossentropy", {"label_smoothing": 0.1}
        y = rng.dirichlet(np.ones(classes), 9).astype(np.float32)

    def step(x, y, weight):
        with GradientTape() as tape:
            loss = getattr(ops, name)(
                y,
                ops.dense(x, w),
                from_logits=True,
                sample_weight=weight if weighted else None,
                **options,
            )
        return loss, tape.gradient(loss, w)

    values = [
        rng.standard_normal((9, 3)).astype(np.float32),
        y,
        rng.random(9).astype(np.float32),
    ]
    program = check_against_eager(lambda: step, *values)
    assert [n for n in names(program) if "crossentropy" in n] == [f"{name}+gradient"]
    assert "fill_like" not in names(program)


@pytest.mark.parametrize("shape", [(), (5,), (1, 1), (0, 3), (37, 41, 53), (300, 1001)])
def test_a_norm_reads_its_values_once(shape):
    def step(x):
        with GradientTape() as tape:
            tape.watch(x)
            total = ops.sum(ops.square(x), keepdims=True)
        return [
            total,
            ops.sum(ops.square(x), axis=tuple(range(len(shape)))),
            tape.gradient(total, x),
        ]

    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    program = check_against_eager(lambda: step, x)
    found = names(program)
    assert found.count("square+sum") == 2
    assert not {"square", "sum"} & set(found)


def test_what_a_norm_cannot_take_in_stays_a_step():
    def step(x):
        wanted = ops.square(x)
        return [ops.sum(wanted), wanted, ops.sum(ops.square(x), axis=0), ops.max(ops.square(x))]

    x = np.random.default_rng(0).standard_normal((7, 9)).astype(np.float32)
    found = names(check_against_eager(lambda: step, x))
    assert sorted(found) == ["max", "square", "square", "square", "sum", "sum"]


# Where a chunk of moments ends in the middle of a Winograd tile, of a row of pixels and of an image; several groups of
# filters; few channels (vectors along rows, folded taps); depthwise; pixels by stride and by dilation; an activation.
@pytest.mark.parametrize(
    ("x", "kernel", "arguments"),
    [
        ((7, 31, 29, 16), (3, 3, 16, 48), {"padding": "same"}),
        ((9, 13, 13, 64), (3, 3, 64, 320), {"activation": True}),
        ((5, 41, 37, 3), (3, 3, 3, 40), {}),
        ((9, 64, 61, 1), (5, 5, 1, 8), {"padding": "same", "activation": True}),
        ((3, 64, 64, 24), (3, 3, 1, 24), {"padding": "same", "groups": 24}),
        ((6, 65, 33, 8), (5, 3, 8, 96), {"strides": 2}),
        ((3, 47, 47, 20), (3, 3, 10, 72), {"dilation_rate": 3, "groups": 2}),
        ((4, 33, 35, 30), (1, 1, 30, 65), {}),
        ((9, 517, 30), (3, 30, 65), {"padding": "causal"}),
    ],
)
def test_the_moments_for_a_batch_normalisation_are_taken_by_the_convolution(x, kernel, arguments):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(s).astype(np.float32) for s in (x, kernel)]
    arguments = dict(arguments)
    activation = arguments.pop("activation", False)

    def step(x, kernel):
        conv = ops.conv1d if len(x.shape) == 3 else ops.conv2d
        z = conv(x, kernel, **arguments)
        if activation:
            z = ops.tanh(z)
        return ops.batch_normalization_training(z, np.ones(z.shape[-1], np.float32))

    program = check_against_eager(lambda: step, *values)
    assert "moments" in names(program)[0]


def test_channels_that_are_last_but_for_axes_of_one_element_have_moments_of_their_own():
    values = np.random.default_rng(0).standard_normal((64, 4500, 2)).astype(np.float32)

    def step(x):
        z = ops.conv1d(x, np.ones((1, 2, 1), np.float32))
        return ops.batch_normalization_training(z, axis=1)

    assert not any("moments" in name for name in names(check_against_eager(lambda: step, values)))


def test_the_moments_are_those_of_the_values_that_the_gradient_reads():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 34, 34, 16)).astype(np.float32)
    kernels = [rng.standard_normal(s).astype(np.float32) for s in ((3, 3, 16, 64), (3, 3, 64, 8))]

    def step(x, first, second):
        with GradientTape() as tape:
            tape.watch([x, first, second])
            z = ops.conv2d(x, first)
            y = ops.relu(ops.batch_normalization_training(z, np.ones(64, np.float32))[0])
            loss = ops.square(ops.conv2d(y, second)) + ops.mean(z)
        return tape.gradient(loss, [x, first, second])

    program = check_against_eager(lambda: step, x, *kernels)
    assert any("moments" in name for name in names(program))


@pytest.mark.parametrize("sources", ["relu", "both"])
def test_the_gradient_of_what_is_pooled_knows_relu_has_made_the_zeros(sources):
    def step(x):
        with GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = ops.relu(x + 0.5)
            pooled = ops.max_pool2d(y, 2)
        wanted = {"relu": [[y]], "both": [[y], [x]]}[sources]
        return [tape.gradient(pooled, s)[0] for s in wanted]

    x = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype(np.float32) - 1
    check_against_eager(lambda: step, x)


def test_a_derivative_is_not_multiplied_in_before_its_activation_has_run():
    def step(x):
        with GradientTape() as tape:
            tape.watch(x)
            pooled = ops.max_pool2d(x, 2)
        seed = tape.gradient(pooled, x)
        with GradientTape() as tape:
            tape.watch(x)
            y = ops.tanh(x)
        return [tape.gradient(y, x, output_gradients=seed)]

    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32)
    check_against_eager(lambda: step, x)


def test_a_derivative_reads_a_variable_as_it_is_when_its_turn_comes():
    def make():
        v = Variable(np.full((2, 4, 4, 3), -1, np.float32))

        def step(x):
            with GradientTape() as tape:
                tape.watch(x)
                pooled = ops.max_pool2d(x, 2)
            seed = tape.gradient(pooled, x)
            v.assign_add(x)
            with GradientTape() as tape:
                y = ops.gelu(v)
            return [tape.gradient(y, v, output_gradients=seed)]

        return step

    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32)
    check_against_eager(make, x)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_loss_with_its_gradient_reads_a_variable_as_it_is_when_its_turn_comes(scaled):
    def make():
        weights = Variable(np.ones(2, np.float32))

        def step(x, y):
            with GradientTape() as tape:
                tape.watch(x)
                loss = fastnn.losses.sparse_categorical_crossentropy(y, x, from_logits=True)
            weights.assign_add([1.0, 2.0])
            seed = weights * 0.5 if scaled else ops.reshape(weights, (2,))
            return [loss, tape.gradient(loss, x, output_gradients=seed)]

        return step

    x = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    check_against_eager(make, x, np.array([0, 3]))


def test_a_constant_gradient_that_another_is_added_to():
    def step(x):
        with GradientTape() as tape:
            tape.watch(x)
            y = x * 2.0
            joined = ops.concatenate([y, x])
        return [tape.gradient([joined, y], x)]

    for _ in range(5):
        check_against_eager(lambda: step, np.ones((3, 4), np.float32))


def test_a_gradient_has_one_number_of_rows():
    w = Variable(np.ones((3, 3, 2, 4), np.float32))
    graph = fastnn.Graph()
    x = graph.placeholder((None, 8, 8, 2))
    with graph, GradientTape() as tape:
        y = ops.conv2d(x, w)
    with graph:
        gradient = tape.gradient(y, w)
    with pytest.raises(ValueError, match="conv2d_backward goes with one number of rows"):
        _core.Program(graph, [x], [gradient], 16)


RESIDUALS = {  # of x and w, where x is added to or read beside its sum
    "beside itself": lambda x, w: x + ops.conv2d(x, w, padding="same"),
    "to the left": lambda x, w: ops.conv2d(x, w, padding="same") + x,
    "twice": lambda x, w: x + ops.conv2d(x, w, padding="same") + ops.conv2d(x, w, padding="same"),
    "with itself": lambda x, w: x + x,
    "subtracted": lambda x, w: x - ops.tanh(x),
    "of products": lambda x, w: x * x + ops.conv2d(x, w, padding="same") * x,
    "in relus": lambda x, w: ops.relu(ops.relu(x) + ops.conv2d(ops.relu(x), w, padding="same")),
    "broadcast": lambda x, w: x + ops.mean(ops.conv2d(x, w, padding="same"), axis=0, keepdims=True),
}


@pytest.mark.parametrize("name", RESIDUALS)
def test_the_gradients_of_a_sum_are_the_one_it_was_given(name):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 4, 6, 6, 3), dtype=np.float32)
    w = Variable(rng.standard_normal((3, 3, 3, 3)).astype(np.float32))

    def make():
        def step(x, dy):
            with GradientTape() as tape:
                tape.watch(x)
                y = ops.tanh(RESIDUALS[name](x, w))  # its gradient is nobody's but the sum's
            return [y, *(g for g in tape.gradient(y, [x, w], output_gradients=dy) if g is not None)]

        return step

    program = check_against_eager(make, x, dy)
    adds = name in ("twice", "broadcast")  # to an earlier gradient, or up
    assert ("add_backward" in program.dump()) == adds


def test_the_gradient_of_a_sum_can_be_fetched():
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)

    def make():
        def step(x):
            with GradientTape() as tape:
                tape.watch(x)
                a, b = ops.exp(x), ops.tanh(x)
                y = a + b
            return tape.gradient(y, [a, b, x], output_gradients=x * x)

        return step

    check_against_eager(make, x)


@pytest.mark.parametrize("view", [False, True])
def test_the_gradient_of_a_sum_is_what_a_variable_held_when_it_was_taken(view):
    def make():
        v = Variable(np.arange(6, dtype=np.float32).reshape(2, 3))

        def step(x):
            with GradientTape() as tape:
                tape.watch(x)
                a = ops.exp(x)
                y = ops.reshape(a + x, (3, 2)) if view else a + x
            g = tape.gradient(y, a, output_gradients=ops.reshape(v, (3, 2)) if view else v)
            v.assign_add(np.ones((2, 3), np.float32))
            return [g * 2.0, v * 1.0]

        return step

    check_against_eager(make, np.ones((2, 3), np.float32))


@pytest.mark.parametrize("activation", [ops.relu, ops.tanh, ops.sigmoid])
@pytest.mark.parametrize("added", [False, True])
def test_a_gradient_that_the_derivative_of_an_activation_reads_too_is_not_overwritten(
    activation, added
):
    def step(x):
        with GradientTape() as tape:
            tape.watch(x)
            r = activation(x * 1.5)
            y = ops.batch_normalization_training(r)[0]
            if added:
                y = y + x * 2.0
        return [tape.gradient(y, x, output_gradients=r)]

    x = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    check_against_eager(lambda: step, x)


def test_the_gradient_of_a_sum_over_open_rows_has_one_number_of_rows():
    graph = fastnn.Graph()
    x = graph.placeholder((None, 3))
    with graph:
        with GradientTape() as tape:
            tape.watch(x)
            twice = ops.concatenate([x, x], axis=0)
            y = x + ops.stop_gradient(twice)
        gradient = tape.gradient(y, x, output_gradients=ops.exp(twice)) * 2.0
    with pytest.raises(ValueError, match="add_backward goes with one number of rows"):
        _core.Program(graph, [x], [gradient], 1)
