"""The tape: what it records, whom it watches, what it refuses; and gradients that are known by hand."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, Tensor, Variable, ops


def test_one_step_and_a_thousand_on_the_lessons_parabola():
    w = Variable(0.0)
    for step in range(1001):
        with GradientTape() as tape:
            loss = w * w - 10 * w + 25
        w.assign(w - 0.01 * tape.gradient(loss, w))
        if step == 0:
            assert float(w) == pytest.approx(0.1, abs=5e-8)
    assert float(w) == pytest.approx(4.9999886, abs=5e-7)


def test_a_perceptron_written_by_hand():
    # z = -9, sigmoid 1.2339458e-4 (course)
    x, w, b = Tensor([[-2.0, 2.0]]), Variable([[3.0], [-2.0]]), Variable([1.0])
    with GradientTape() as tape:
        a = ops.sigmoid(x @ w + b)
    assert float(a) == pytest.approx(1.2339458e-4, abs=5e-8)
    dw, db = tape.gradient(a, [w, b])
    slope = 1.2339458e-4 * (1 - 1.2339458e-4)
    np.testing.assert_allclose(np.asarray(dw), [[-2 * slope], [2 * slope]], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(db), [slope], rtol=1e-5)


def test_two_layers_backpropagated_by_hand():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    w1, w2 = Variable(rng.standard_normal((3, 4))), Variable(rng.standard_normal((4, 2)))
    with GradientTape() as tape:
        z1 = ops.matmul(x, w1)
        a1 = ops.tanh(z1)
        a2 = a1 @ w2
        cost = 0.5 * ops.square(a2 - y)
    dw1, dw2 = tape.gradient(cost, (w1, w2))
    dz2 = np.asarray(a2) - y
    dz1 = (dz2 @ np.asarray(w2).T) * (1 - np.asarray(a1) ** 2)
    np.testing.assert_allclose(np.asarray(dw2), np.asarray(a1).T @ dz2, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(dw1), x.T @ dz1, rtol=1e-12)


def test_structures_of_sources_come_back_in_kind():
    a, b = Variable([1.0, 2.0]), Variable([3.0, 4.0])
    with GradientTape() as tape:
        y = a * b
    gradient = tape.gradient(y, {"first": [a], "second": (b,)})
    np.testing.assert_array_equal(np.asarray(gradient["first"][0]), [3, 4])
    np.testing.assert_array_equal(np.asarray(gradient["second"][0]), [1, 2])


def test_targets_in_structures_and_their_seeds():
    a, b = Variable([1.0, 2.0]), Variable([3.0])
    with GradientTape(persistent=True) as tape:
        y = {"a": a * a, "rest": [b * 2.0, (a + b,)]}
    da, db = tape.gradient(y, [a, b])
    np.testing.assert_array_equal(np.asarray(da), [3, 5])
    np.testing.assert_array_equal(np.asarray(db), [4])
    seeds = {"rest": [np.float32([10]), None], "a": [0.5, 1.0]}
    da, db = tape.gradient(y, [a, b], seeds)
    np.testing.assert_array_equal(np.asarray(da), [2, 5])
    np.testing.assert_array_equal(np.asarray(db), [22])
    for wrong in ([None], {"rest": [None]}):
        with pytest.raises(ValueError, match="output_gradients: expected 2, one per target, got 1"):
            tape.gradient(y, a, wrong)


def test_the_gradient_of_a_non_scalar_is_that_of_its_sum():
    x = Tensor(np.random.default_rng(0).standard_normal((3, 4)))
    with GradientTape(persistent=True) as tape:
        tape.watch({"x": [x]})
        y = ops.exp(x) * x
        total = ops.sum(y)
    of_all, of_sum = tape.gradient(y, x), tape.gradient(total, x)
    assert np.asarray(of_all).tobytes() == np.asarray(of_sum).tobytes()


def test_watching_can_be_left_to_the_user():
    a, b = Variable(2.0), Variable(3.0)
    with GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(a)
        y = a * b
    da, db = tape.gradient(y, [a, b])
    assert float(da) == 3
    assert db is None


def test_arrays_have_no_place_on_a_tape():
    array, w = np.ones(2, np.float32), Variable([1.0, 2.0])
    with GradientTape(persistent=True) as tape:
        with pytest.raises(TypeError, match="watch: expected tensors or variables, got a ndarray"):
            tape.watch(array)
        y = w * array
    with pytest.raises(TypeError, match=r"sources: expected tensors .* ndarray"):
        tape.gradient(y, [w, array])
    with pytest.raises(TypeError, match=r"target: expected tensors .* float"):
        tape.gradient(float(ops.sum(y)), w)


def test_a_recorded_function_on_a_tape_is_differentiated():
    calls = []

    @fastnn.function
    def square(x):
        calls.append(1)
        return x * x

    x = Tensor([3.0])
    square(x)
    for _ in range(2):
        with GradientTape() as tape:
            tape.watch(x)
            y = square(x) * 2.0
        assert float(tape.gradient(y, x)) == 12
    graph = fastnn.Graph()
    placeholder = graph.placeholder((1,))
    with graph:
        assert square(placeholder).is_placeholder
    square(x)
    assert len(calls) == 4  # recorded once; op by op on tapes and graphs


def test_what_does_not_depend_is_none_or_zero():
    a, b = Variable([1.0, 2.0]), Variable([3.0])
    with GradientTape(persistent=True) as tape:
        y = a * 2.0
    assert tape.gradient(y, b) is None
    np.testing.assert_array_equal(
        np.asarray(tape.gradient(y, b, unconnected_gradients="zero")), [0]
    )


def test_constants_are_watched_on_request_only():
    x = Tensor([2.0])
    with GradientTape(persistent=True) as tape:
        y = x * x
    assert tape.gradient(y, x) is None
    with GradientTape() as tape:
        tape.watch(x)
        y = x * x
    assert float(tape.gradient(y, x)) == 4


def test_variables_that_are_not_trainable_are_not_watched():
    v = Variable([2.0], trainable=False)
    with GradientTape() as tape:
        y = v * v
    assert tape.gradient(y, v) is None


def test_a_used_tape_refuses_unless_persistent():
    w = Variable(3.0)
    with GradientTape() as tape:
        y = w * w
    tape.gradient(y, w)
    with pytest.raises(RuntimeError, match="persistent"):
        tape.gradient(y, w)
    with GradientTape(persistent=True) as tape:
        y = w * w
        z = y * w
    assert float(tape.gradient(y, w)) == 6
    assert float(tape.gradient(z, w)) == 27


def test_gradient_inside_the_with_ends_the_recording():
    w = Variable(3.0)
    with GradientTape() as tape:
        y = w * w
        g = tape.gradient(y, w)
        w.assign(w - g)
    assert float(w) == -3


def test_a_value_assigned_since_is_noticed():
    w = Variable(3.0)
    with GradientTape() as tape:
        y = w * w
    w.assign(1.0)
    with pytest.raises(RuntimeError, match="overwritten"):
        tape.gradient(y, w)


def test_a_value_assigned_since_that_no_gradient_reads_is_no_matter():
    w = Variable([3.0])
    with GradientTape() as tape:
        y = w + 1.0
    w.assign([1.0])
    assert float(tape.gradient(y, w)) == 1


def test_stop_gradient_is_a_constant():
    w = Variable(3.0)
    with GradientTape() as tape:
        y = w * ops.stop_gradient(w)
    assert float(tape.gradient(y, w)) == 3


def test_the_same_tensor_twice_in_one_op():
    x = Variable([1.0, 2.0])
    with GradientTape() as tape:
        y = ops.matmul(ops.reshape(x, (1, 2)), ops.reshape(x, (2, 1)))
    np.testing.assert_array_equal(np.asarray(tape.gradient(y, x)), [2, 4])


def test_a_seed_is_not_written_by_accumulation():
    x = Variable([1.0, 2.0])
    seed = np.ones((2, 1), np.float32)
    with GradientTape() as tape:
        y = ops.reshape(x, (2, 1))
        z = x * 3.0
    g = tape.gradient([y, z], x, [seed, None])
    np.testing.assert_array_equal(np.asarray(g), [4, 4])
    np.testing.assert_array_equal(seed, 1)


def test_gradients_with_respect_to_values_on_the_way():
    x = Variable([1.0, 2.0])
    with GradientTape() as tape:
        y = ops.reshape(x * 2.0, (2, 1))
        z = y * y
    dy, dx = tape.gradient(z, [y, x])
    np.testing.assert_array_equal(np.asarray(dy), [[4], [8]])
    np.testing.assert_array_equal(np.asarray(dx), [8, 16])


def test_nested_tapes_see_the_same_ops():
    w = Variable(3.0)
    with GradientTape() as outer, GradientTape() as inner:
        y = w * w
    assert float(inner.gradient(y, w)) == float(outer.gradient(y, w)) == 6


def test_gradients_of_gradients_are_refused_by_name():
    w = Variable(3.0)
    with GradientTape() as outer:
        with GradientTape() as inner:
            y = w * w
        g = inner.gradient(y, w)
    with pytest.raises(RuntimeError, match="gradients of gradients"):
        outer.gradient(g, w)


def test_seeds_of_another_shape_are_refused():
    w = Variable([1.0, 2.0])
    with GradientTape() as tape:
        y = w * w
    with pytest.raises(ValueError, match=r"output_gradients: expected shape \(2,\)"):
        tape.gradient(y, w, np.ones(3, np.float32))


def test_integers_cannot_be_watched():
    with GradientTape() as tape, pytest.raises(TypeError, match="int64"):
        tape.watch(Tensor([1, 2]))


def test_the_tape_pins_numpy_inputs_without_copying_and_lets_go():
    class Array(np.ndarray):
        pass

    x = np.ones((4, 3), np.float32).view(Array)
    gone = weakref.ref(x)
    w = Variable(np.ones((3, 2), np.float32))
    with GradientTape() as tape:
        y = ops.matmul(x, w)
    x[0, 0] = 5  # the tape reads the caller's memory
    g = np.asarray(tape.gradient(y, w)).copy()
    np.testing.assert_array_equal(g[0], [8, 8])
    del x, tape, y
    gc.collect()
    assert gone() is None


def test_a_tape_dropped_by_another_thread_while_it_records():
    box = [GradientTape()]
    box[0].__enter__()
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    for _ in range(100):
        assert float(ops.square(3.0)) == 9


def test_a_traced_step_appends_its_backward_to_the_same_graph():
    w = Variable(np.ones((3, 2), np.float32))
    graph = fastnn.Graph()
    x = graph.placeholder((None, 3))
    with graph, GradientTape() as tape:
        y = ops.square(ops.relu(ops.dense(x, w)))
        penalty = w * w
        gradient = tape.gradient([y, penalty], w)
    assert gradient.is_placeholder
    assert gradient.shape == (3, 2)
    names = [name for name, _, _ in graph.nodes]
    assert names[:4] == ["dense", "relu", "square", "multiply"]
    assert "dense_backward" in names
    assert np.asarray(w).tolist() == [[1, 1]] * 3


def test_dropped_graphs_are_freed():
    graph = fastnn.Graph()
    x = graph.placeholder((None, 3))
    y = ops.relu(x)
    gone = weakref.ref(graph)
    del graph, x, y
    gc.collect()
    assert gone() is None


def test_placeholders_of_two_graphs_do_not_mix():
    a, b = fastnn.Graph(), fastnn.Graph()
    with pytest.raises(ValueError, match="two different graphs"):
        ops.add(a.placeholder((2,)), b.placeholder((2,)))


def test_reading_a_placeholder_says_why_not():
    x = fastnn.Graph().placeholder((None, 3))
    for read in (lambda: np.asarray(x), lambda: float(x), lambda: bool(x), x.numpy):
        with pytest.raises(RuntimeError, match="placeholder"):
            read()


@pytest.mark.parametrize("take", [ops.take, ops.take_along_axis])
def test_indices_changed_since_are_judged_anew(take):
    x, indices = Tensor(np.ones(3)), np.array([0, 1])
    with GradientTape() as tape:
        tape.watch(x)
        y = take(x, indices, axis=0)
    indices[0] = 2**40
    with pytest.raises(IndexError, match="out of bounds"):
        tape.gradient(y, x)


def test_what_an_op_keeps_for_its_backward_carries_no_gradient():
    x = Tensor(np.ones((4, 3)))
    with fastnn.Graph(tracing=False) as graph, GradientTape(persistent=True) as tape:
        tape.watch(x)
        ops.batch_normalization_training(x)
        ops.layer_normalization(x)
        ops.categorical_crossentropy(np.eye(3)[[0, 1, 2, 0]], x)
    kept = [y for _, _, outputs in graph.nodes for y in outputs[1:]]
    assert len(kept) == 7
    assert tape.gradient(kept, x) is None


def test_targets_and_weights_carry_no_gradient():
    rng = np.random.default_rng(0)
    t, z, w = (Tensor(rng.uniform(0.1, 1, s)) for s in ((4, 3), (4, 3), (4,)))
    for loss in (ops.categorical_crossentropy, ops.binary_crossentropy, ops.mean_squared_error):
        with GradientTape() as tape:
            tape.watch([t, z, w])
            value = loss(t, z, sample_weight=w)
        dt, dz, dw = tape.gradient(value, [t, z, w])
        assert dt is None
        assert dw is None
        assert np.isfinite(np.asarray(dz)).all()


def test_a_gradient_is_not_written_to_memory_that_is_read_only():
    x, place = Tensor(np.ones(3)), np.zeros(3)
    place.flags.writeable = False
    with GradientTape() as tape:
        tape.watch(x)
        y = ops.exp(x)
    with pytest.raises(ValueError, match="read-only"):
        tape._tape.gradient([y], [x], [], [place])
    np.testing.assert_array_equal(place, 0)
