"""The numeric tests again under every other instruction set that this CPU has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn import _core

HERE = Path(__file__).parent
NUMERIC = (
    "test_ops.py",
    "test_exact.py",
    "test_accuracy.py",
    "test_loss_ops.py",
    "test_winograd.py",
)


@pytest.mark.parametrize("isa", [isa for isa in _core.supported_isas if isa != _core.isa])
def test_numeric_tests_pass_under(isa):
    if (
        "FASTNN_ISA" in os.environ
    ):  # the run inside this test, or a run somebody forced: one instruction set is meant
        assert _core.isa == os.environ["FASTNN_ISA"]
        return
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            *(str(HERE / f) for f in NUMERIC),
        ],
        env={**os.environ, "FASTNN_ISA": isa},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
