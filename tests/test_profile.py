"""Model.profile: what it says, and that the model is as before."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import layers
from fastnn.training.profile import Profile

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 12, 12, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 50)


def make_model():
    fastnn.random.set_seed(4)
    model = fastnn.Sequential(
        [
            layers.Input((12, 12, 2)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(3, "softmax", name="head"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_training_step_has_three_phases_and_every_layer():
    profile = make_model().profile(X, Y, batch_size=20)
    assert isinstance(profile, Profile) and len(profile) == len(profile.rows)
    phases = [row.phase for row in profile]
    assert phases == sorted(phases, key=["forward", "backward", "update"].index)
    named = {(row.phase, row.layer) for row in profile}
    for layer in ("conv", "norm", "pool", "drop", "head"):
        assert {("forward", layer), ("backward", layer)} <= named
    assert {("forward", "loss"), ("update", "metrics"), ("update", "optimizer")} <= named
    assert all(row.layer for row in profile)
    assert all(row.seconds > 0 for row in profile)
    assert sum(row.share for row in profile) == pytest.approx(1)
    seconds = [profile.seconds_of(phase) for phase in ("forward", "backward", "update")]
    assert sum(seconds) == pytest.approx(profile.seconds)
    assert 0 < profile.arena_bytes < profile.value_bytes


def test_what_fusion_has_made_of_a_layer_keeps_its_name():
    model = fastnn.Sequential(
        [
            layers.Input((32, 32, 2)),
            layers.Conv2D(32, 3, padding="same", name="conv"),  # of 1 MB: it takes norm's moments
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(8, "relu", name="hidden"),
            layers.Dense(3, name="head"),
        ]
    )
    model.compile("sgd", "mse")
    profile = model.profile(np.ones((8, 32, 32, 2)), np.ones((8, 3)), batch_size=8)
    assert any("moments" in row.op for row in profile)
    backward = [(row.layer, row.op) for row in profile if row.phase == "backward"]
    assert {layer for layer, _ in backward} == {"conv", "norm", "pool", "hidden", "head", "loss"}
    norm = "batch_normalization_training+relu_backward"
    for row in (("conv", "conv2d_backward"), ("norm", norm), ("hidden", "dense_backward")):
        assert backward.count(row) == 1
    assert ("head", "dense_backward") in backward


def test_rows_count_operations_and_bytes():
    rows = make_model().profile(X, Y, batch_size=20).rows
    conv = next(row for row in rows if row.op.startswith("conv2d"))
    assert conv.output_shape == (20, 10, 10, 4) and conv.algorithm
    assert conv.flops == 2 * 20 * 10 * 10 * 4 * 3 * 3 * 2
    kernel, bias = 3 * 3 * 2 * 4, 4
    assert conv.bytes == 4 * (20 * 12 * 12 * 2 + kernel + bias + 20 * 10 * 10 * 4)
    assert conv.gflops_per_second == pytest.approx(1e-9 * conv.flops / conv.seconds)
    assert conv.rate.endswith("GFLOP/s")
    back = next(row for row in rows if row.op.startswith("conv2d") and row.phase == "backward")
    assert back.flops == conv.flops  # of the kernel's gradient: nobody wants that of the input
    dense = [row for row in rows if row.op.startswith("dense")]
    assert [row.flops for row in dense] == [2 * 20 * 100 * 3, 2 * 2 * 20 * 100 * 3]
    pool = next(row for row in rows if row.op.startswith("max_pool2d"))
    assert pool.flops == 0 and pool.rate.endswith("GB/s")


def test_a_product_counts_its_depth():
    class Gram(layers.Layer):
        def call(self, x):
            return fastnn.ops.matmul(x, x, transpose_x1=True)

    model = fastnn.Sequential([layers.Input((5, 7)), Gram()])
    (row,) = model.profile(RNG.standard_normal((4, 5, 7)))
    assert (row.op, row.flops) == ("matmul", 2 * 4 * 7 * 7 * 5)


def test_without_targets_it_is_the_step_of_predict():
    profile = make_model().profile(X)
    assert {row.phase for row in profile} == {"forward"}
    assert profile.rows[0].layer == "conv"
    assert profile.rows[0].output_shape[0] == 32
    assert make_model().profile(X[:5]).rows[0].output_shape[0] == 5


def test_it_prints_as_a_table():
    profile = make_model().profile(X, Y, batch_size=20)
    lines = str(profile).splitlines()
    assert "training step on 20 rows" in lines[0]
    assert lines[2].split() == [
        "Phase",
        "Layer",
        "Op",
        "Output",
        "Shape",
        "Time",
        "Share",
        "Rate",
        "Algorithm",
    ]
    assert len(lines) == len(profile) + 8
    assert "conv2d+relu" in lines[4] and "(20, 10, 10, 4)" in lines[4] and "GFLOP/s" in lines[4]
    assert lines[-3].startswith("Total ") and "backward" in lines[-3]
    assert lines[-2].startswith("Arena ")


def test_the_model_is_as_before():
    found = []
    for profiled in (False, True):
        model = make_model()
        logs = [model.fit(X, Y, verbose=0).history]
        state = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
        logs.append(model.test_on_batch(X, Y))
        sums = [np.array(v) for metric in model.metrics for v in metric.variables]
        if profiled:
            model.profile(X, Y)
            model.profile(X)
        after = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
        assert [a.tobytes() for a in after] == [b.tobytes() for b in state]
        kept = [np.array(v) for metric in model.metrics for v in metric.variables]
        assert [a.tobytes() for a in kept] == [b.tobytes() for b in sums]
        logs.append(model.fit(X, Y, verbose=0).history)
        logs += [w.tobytes() for w in model.get_weights()]
        found.append(logs)
    assert found[0] == found[1]


def test_an_error_in_a_profiled_step_changes_nothing():
    model = make_model()
    model.train_on_batch(X[:32], Y[:32])
    program = model._train_program.run_for((X[:32], Y[:32], None)).program
    before = [v.numpy().tobytes() for v in (*model.variables, *model.optimizer.variables)]
    with pytest.raises(ValueError, match="label 3"):
        program.profile([X[:32], np.full(32, 3)])
    assert [v.numpy().tobytes() for v in (*model.variables, *model.optimizer.variables)] == before


def test_what_cannot_be_profiled_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="0 samples"):
        model.profile(X[:0])
    with pytest.raises(ValueError, match="labels"):
        model.profile(X, Y + 3)
    with pytest.raises(ValueError, match="repeats"):
        model.profile(X, repeats=0)
    with pytest.raises(RuntimeError, match=r"profile: model .* call compile"):
        fastnn.Sequential([layers.Flatten(), layers.Dense(1)]).profile(X, Y)
    model.run_eagerly = True
    with pytest.raises(RuntimeError, match="eagerly"):
        model.profile(X)


def test_a_dump_names_variables_feeds_and_layers():
    model = make_model()
    text = model._train_program.run_for((X[:8], Y[:8], None)).program.dump()
    first = text.splitlines()[1]
    assert "conv2d+relu(feed0(8, 12, 12, 2), kernel(3, 3, 2, 4), bias(4,))  # conv" in first
    assert "adam_update(kernel(3, 3, 2, 4)" in text
