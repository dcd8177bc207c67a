"""Threads: their number, fork, and callers side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastnn
from fastnn import ops


def big_product() -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 400)).astype(np.float32)
    return np.asarray(ops.matmul(x, x.T)).copy()


@pytest.mark.parametrize("bad", [0, -1, 10**6])
def test_a_number_of_threads_that_cannot_be_is_refused(bad):
    before = fastnn.num_threads()
    with pytest.raises(ValueError, match="positive"):
        fastnn.set_num_threads(bad)
    assert fastnn.num_threads() == before


def test_more_threads_than_cpus_give_the_same_bits():
    before = fastnn.num_threads()
    try:
        expected = big_product()
        for threads in (1, 2, 4, 16):
            fastnn.set_num_threads(threads)
            np.testing.assert_array_equal(big_product(), expected)
    finally:
        fastnn.set_num_threads(before)


def test_python_threads_side_by_side_give_the_same_bits():
    expected = big_product()
    wrong = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(big_product(), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_child_of_fork_computes_instead_of_hanging():
    expected = big_product()
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(big_product(), expected) else 1)
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        threading.Event().wait(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child hung")


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_default_number_obeys_the_environment():
    code = "import fastnn; print(fastnn.num_threads())"
    assert run(code, OMP_NUM_THREADS="1").stdout.strip() == "1"
    everything = str(len(os.sched_getaffinity(0)))
    for odd in ("0", "abc", "100000"):
        assert 1 <= int(run(code, OMP_NUM_THREADS=odd).stdout) <= int(everything)


def test_threads_that_record_on_one_graph():
    graph = fastnn.Graph()
    x = graph.placeholder((2,))
    ops_each = 3000

    def work() -> None:
        for _ in range(ops_each):
            ops.relu(x)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(graph.nodes) == 4 * ops_each


WATCH_WHILE_A_GRADIENT_RUNS = """
import threading
import numpy as np
import fastnn
from fastnn import _core, ops

x = fastnn.Tensor(np.ones(4))
for _ in range(20):
    tape = _core.Tape(False, False)
    tape.watch(x)
    tape.start()
    y = x
    for _ in range(300):
        y = ops.multiply(y, np.ones(4))
    done = []

    def watch():
        while not done:
            tape.watch(x)

    thread = threading.Thread(target=watch)
    thread.start()
    tape.gradient([y], [x])
    done.append(True)
    thread.join()
"""


def test_a_tape_that_lets_go_of_arrays_waits_for_nobody_who_waits_for_it():
    subprocess.run(
        [sys.executable, "-c", WATCH_WHILE_A_GRADIENT_RUNS],
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
