"""`fastnn bench`: its NumPy networks are fastnn's, and the command measures and reports what it says."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

import fastnn
from fastnn import bench, cli, config, losses
from fastnn.bench import harness, nets, options, processes, report
from fastnn.bench.operations import OPERATIONS, PASSES, Convolution, DenseLayer
from fastnn.bench.problems import PROBLEMS, Problem
from fastnn.bench.sides import with_fastnn, with_numpy
from numerics import relative_error

# Each network of the bench with fewer and smaller layers, on smaller images.
SMALL = {
    "MLP": Problem(nets.mlp(7, 5, 3), (6,), 8, 3, 1),
    "LeNet-5": Problem(nets.lenet5(), (16, 16, 1), 4, 10, 1),
    "MNIST convnet": Problem(nets.mnist_convnet(), (11, 11, 1), 4, 10, 1),
    "VGG-like": Problem(nets.vgg_like((4, 6, 8)), (8, 8, 3), 4, 10, 1),
    "ResNet": Problem(nets.resnet(2, (4, 8)), (8, 8, 3), 4, 10, 1),
}


@pytest.fixture
def float64(monkeypatch):
    """Both sides in double precision."""
    config.set_floatx("float64")
    weights, data = Problem.weights, Problem.data
    monkeypatch.setattr(
        Problem, "weights", lambda self: [[a.astype("f8") for a in w] for w in weights(self)]
    )
    monkeypatch.setattr(
        Problem, "data", lambda self, n: (data(self, n)[0].astype("f8"), data(self, n)[1])
    )
    yield
    config.set_floatx("float32")


@pytest.mark.parametrize("name", SMALL)
def test_the_numpy_network_has_fastnns_loss_gradient_and_steps(name, float64):
    problem = SMALL[name]
    x, y = problem.data(problem.batch)
    model, network = with_fastnn.build(problem), with_numpy.build(problem)
    with fastnn.GradientTape() as tape:
        loss = losses.SparseCategoricalCrossentropy(from_logits=True)(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert network.loss_and_gradient(x, y) == pytest.approx(float(loss), rel=1e-12)
    # The two walk the shortcuts of residual blocks in another order.
    flat = np.sort(np.concatenate([np.ravel(g) for g in gradients]))
    assert relative_error(flat, np.sort(network.gradient)) < 1e-10

    sides = [side.train(problem, problem.batch, "fit") for side in (with_fastnn, with_numpy)]
    ours, theirs = ([side.step() for _ in range(5)] for side in sides)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert ours[-1] < ours[0]


@pytest.mark.parametrize("name", SMALL)
def test_the_numpy_network_predicts_the_same(name):
    ours, theirs = (side.infer(SMALL[name], 5, "").answer() for side in (with_fastnn, with_numpy))
    assert harness.disagreement(theirs, ours, 1e-5) is None


@pytest.mark.parametrize("what", PASSES)
@pytest.mark.parametrize(
    "operation",
    [
        Convolution((2, 9, 9, 1), 3, 3),
        Convolution((2, 8, 8, 3), 5, 3, 2, "same"),
        Convolution((2, 9, 9, 6), 5, 5, 1, "same"),
        Convolution((2, 11, 11, 2), 4, 7, 2, "same"),
        Convolution((2, 8, 8, 4), 5, 1, 2),
        Convolution((2, 7, 7, 8), 5, 1),
        Convolution((2, 9, 9, 5), 4, 3),
        Convolution((2, 6, 6, 7), 7, 3, 1, "same", 7),
        DenseLayer(5, 7, 3),
    ],
    ids=str,
)
def test_numpys_operations_are_fastnns(operation, what):
    ours, theirs = (side.operate(operation, what, "") for side in (with_fastnn, with_numpy))
    assert harness.disagreement(theirs.answer(), ours.answer(), 1e-5) is None
    assert harness.disagreement(theirs.answer(), ours.answer(), 1e-5) is None  # from kept buffers


def test_operations_are_those_of_the_table():
    assert len(OPERATIONS) == 20 + 1 + 12
    inside = Convolution((1, 4, 4, 2), 3, 3, 1, "same")
    taps = 4 * 9 + 8 * 6 + 4 * 4  # of 4 whole windows, 8 at the sides, 4 in the corners
    assert inside.flops == 2 * taps * 2 * 3


def test_problems_are_the_seven_networks():
    parameters = {
        name: sum(w.size for layer in problem.weights() for w in layer[:2])
        for name, problem in PROBLEMS.items()
    }
    assert parameters == {
        "MLP 4-16-3": 131,
        "MLP 32-128-128-2": 20_994,
        "MLP 784-512-512-10": 669_706,
        "LeNet-5": 61_706,
        "MNIST convnet": 34_826,
        "VGG-like": 1_187_274,
        "ResNet-20": 272_474,
    }


def test_disagreement_says_by_how_much():
    assert harness.disagreement([1.0, 2.0], [1.0, 2.001], 1e-3) is None
    assert "5.0e-01 of the largest" in harness.disagreement([1.0, 3.0], [1.0, 2.0], 1e-3)
    assert "(2,), not (1,)" in harness.disagreement([1.0, 3.0], [1.0], 1e-3)
    assert harness.disagreement([np.nan], [1.0], 1e-3) is not None


def test_the_command_measures_and_writes(tmp_path, capsys):
    json_path, png = tmp_path / "figures.json", tmp_path / "chart.png"
    arguments = [
        "models",
        "inference",
        "footprint",
        "--quick",
        "--peers",
        "numpy",
        "--threads",
        "1",
    ]
    files = ["--json", str(json_path), "--chart", str(png)]
    assert cli.main(["bench", *arguments, "--only", "4-16", "numpy", *files]) == 0
    printed = capsys.readouterr().out
    for part in (
        "threads: 1",
        "### Training step",
        "MLP 4-16-3, batch 32",
        "fastnn",
        "numpy / fastnn",
    ):
        assert part in printed
    assert "LeNet" not in printed
    written = json.loads(json_path.read_text())
    assert written["versions"] == {"fastnn": fastnn.__version__, "numpy": np.__version__}
    assert {"cpu", "isa", "threads", "peak_gflops_per_thread"} <= set(written["machine"])
    assert written["machine"]["threads"] == 1
    found = {(r["section"], r["problem"], r["library"]): r for r in written["results"]}
    for library in ("fastnn", "numpy"):
        timing = found["models", "MLP 4-16-3, batch 32", library]["timing"]
        assert 0 < timing["low"] <= timing["median"] <= timing["high"] < 0.1
        assert found["inference", "MLP 4-16-3, batch 1", library]["failure"] is None
    assert found["footprint", "installed", "numpy"]["size"] > 1e6
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            ["speed"],
            "expected some of ops, models, inference, growth, memory, footprint, got 'speed'",
        ),
        (
            ["--peers", "numpy,caffe"],
            "expected some of numpy, torch, jax, tensorflow, sklearn, got",
        ),
        (["models", "--quick", "--only", "AlexNet"], "MLP 4-16-3"),
        (["--threads", "100000"], "the CPUs this process may use"),
        (["footprint", "--quick", "--only", "numpy", "--chart", "x.png"], "--chart: expected"),
    ],
)
def test_what_does_not_exist_is_refused_and_what_does_is_named(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", *arguments])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_a_missing_library_is_reported_and_left_out(monkeypatch, capsys):
    monkeypatch.setattr(
        options.importlib.util,
        "find_spec",
        lambda name: None if name == "torch" else find_spec(name),
    )
    bench.main(["footprint"], quick=True, peers=["numpy", "torch"])
    printed = capsys.readouterr().out
    assert "torch: not installed" in printed and "| torch" not in printed


def side(library="numpy", limit=30.0):
    return processes.Side(library, "", 1, limit)


def test_a_side_that_fails_hangs_or_dies_loses_its_own_column_only():
    good, wrong, slow, dead = side("fastnn"), side(), side(), side()
    slow.limit = 0.0
    dead._process.kill()
    dead._process.wait()
    name = "MLP 4-16-3"
    requests = [("infer", name, 2), ("infer", name, 3), ("infer", name, 2), ("infer", name, 2)]
    effort = processes.Effort(0.0, 2, 2)
    rows = processes.race("models", name, [good, wrong, slow, dead], requests, 1e-4, effort)
    assert rows[0].failure is None and rows[0].timing.median > 0
    assert [row.timing for row in rows[1:]] == [None] * 3
    assert "shape (3, 3), not (2, 3)" in rows[1].failure
    assert rows[2].failure == "no result in 0 s"
    assert rows[3].failure == "the process died"
    with pytest.raises(processes.NoResult, match="no result in 0 s"):
        slow.ask("turn")  # at once
    good.close()
    wrong.close()


def test_a_failure_of_the_library_is_passed_on():
    broken = side()
    with pytest.raises(processes.NoResult, match="KeyError: 'AlexNet'"):
        broken.ask("infer", "AlexNet", 1)


def test_tables_show_failures_and_compare_with_the_best_mode(capsys):
    def row(library, mode, seconds, **more):
        timing = None if seconds is None else harness.Timing.of([seconds, seconds])
        return processes.Row("models", "net", library, mode, timing, **more)

    rows = [
        row("fastnn", "fit", 1e-3),
        row("torch", "eager", 4e-3),
        row("torch", "compile", 2e-3),
        row("torch", "export", None, failure="died"),
        row("jax", "jit", None, failure="no result in 60 s"),
    ]
    table = report.Comparison("Title", ["net", "other"], ["fastnn", "torch", "jax"])
    table.add("net", rows)
    table.add("other", [rows[0], row("torch", "eager", 8e-3)])
    table.close()
    lines = capsys.readouterr().out.splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if "|" in line]
    assert cells[2] == [
        *("net", "1.00 ms ±0%", "2.00 ms ±0% compile, export: died", "no result in 60 s"),
        *("2.00x", "–", "2.00x"),
    ]
    assert cells[4][0] == "geometric mean" and cells[4][-3:] == ["4.00x", "–", "4.00x"]
    rate = replace(rows[0]).with_rate(2e9, 4e12)
    assert report.cell([rate]) == "2000 (50%)"


@pytest.mark.parametrize(
    "seconds, said",
    [(1.5, "1.50 s"), (0.0123, "12.3 ms"), (4.56e-6, "4.56 µs"), (1e-8, "0.0100 µs")],
)
def test_durations_have_three_digits(seconds, said):
    assert report.duration(seconds) == said
