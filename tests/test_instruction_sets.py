"""The numeric tests again under every other instruction set that this CPU has.

A build with the CMake option FASTNN_TEST_ISA has one more, avx2x16: the kernels of AVX-512 in pairs of
AVX2 registers.
"""

from __future__ import annotations

import json
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
# Every row of the table of ops, both dtypes: a checksum of its values and of its gradients.
CHECKSUMS = """
import json, sys, zlib
import numpy as np
sys.path.insert(0, "tests")
import test_ops as t

found = {}
for case in t.CASES:
    for dtype in t.DTYPES:
        inputs = t.make_inputs(case, dtype)
        arrays = [np.asarray(y) for y in t.outputs(case, inputs)]
        if t.wrt(case):
            arrays += t.gradients(case, inputs, t.seeds_for(case, t.float_outputs(case, arrays)))
        found[f"{case.id} {dtype}"] = [zlib.crc32(np.ascontiguousarray(a)) for a in arrays]
print(json.dumps(found))
"""


def run(isa: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "FASTNN_ISA": isa},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.mark.parametrize("isa", [isa for isa in _core.supported_isas if isa != _core.isa])
def test_numeric_tests_pass_under(isa):
    if (
        "FASTNN_ISA" in os.environ
    ):  # the run inside this test, or a run somebody forced: one instruction set is meant
        assert _core.isa == os.environ["FASTNN_ISA"]
        return
    files = [str(HERE / file) for file in NUMERIC]
    run(isa, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files)


def test_vectors_of_one_width_give_the_same_bits():
    widths = [isa for isa in ("avx512", "avx2x16") if isa in _core.supported_isas]
    first, *others = [json.loads(run(isa, "-c", CHECKSUMS)) for isa in widths] or [{}]
    for other in others:
        differing = [row for row in first if first[row] != other[row]]
        assert first.keys() == other.keys()
        assert not differing
