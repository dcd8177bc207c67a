"""What importing and installing fastnn does, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastnn
from fastnn import _core, cli

ROOT = Path(__file__).parent.parent


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_version_is_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fastnn.__version__ == project["version"]


def test_type_information_is_shipped():
    package = Path(fastnn.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "_core.pyi").exists()


def test_the_extension_is_small():
    assert Path(_core.__file__).stat().st_size <= 5e6


IMPORT_TIME = """
import time, numpy
start = time.thread_time()
import fastnn
print(time.thread_time() - start)
"""


def test_import_takes_40_ms_over_numpy(tmp_path):
    # With the bytecode that an installed package has: the first run writes it. Processor time of the
    # importing thread (NumPy's BLAS threads spin beside it), and the least of several runs, as whatever
    # else the machine does only adds.
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    seconds = [float(run(IMPORT_TIME, **bytecode).stdout) for _ in range(9)]
    assert min(seconds) <= 0.040, seconds


STATE = """
import ctypes, os, signal, subprocess, sys
import numpy as np

libm = ctypes.CDLL("libm.so.6")


def state():
    environment = ctypes.create_string_buffer(64)  # fenv_t: MXCSR is its last word
    assert libm.fegetenv(environment) == 0
    status = open("/proc/self/status").read()
    return {
        "MXCSR": int.from_bytes(environment.raw[28:32], "little") & ~0x3F,  # but the sticky flags
        "denormals": float(np.float32(1e-40) * np.float32(1)),
        "errstate": np.geterr(),
        "SIGINT": signal.getsignal(signal.SIGINT),
        "affinity": os.sched_getaffinity(0),
        "environ": dict(os.environ),
        "C environment": subprocess.check_output(["env"]),
        "threads": next(line for line in status.splitlines() if line.startswith("Threads")),
        "print options": np.get_printoptions(),
        "recursion": sys.getrecursionlimit(),
    }


before = state()
import fastnn
after = state()
assert before == after, (before, after)
# And so do kernels, whose arithmetic flushes denormals to zero, on one thread and on more.
threads = before.pop("threads")
fastnn.ops.matmul(np.ones((512, 512), "f4"), np.ones((512, 512), "f4"))
after = state()
after.pop("threads")
assert before == after, (before, after)
print("unchanged")
"""


def test_importing_changes_nothing_outside():
    done = run(STATE)
    assert done.stdout == "unchanged\n", done.stderr


def test_import_loads_no_optional_package():
    done = run(
        "import sys, fastnn\n"
        "optional = {'matplotlib', 'safetensors', 'scipy', 'sklearn', 'tqdm'}\n"
        "print(sorted(optional & set(sys.modules)))"
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("isa", sorted({"mmx", "avx2", "avx512"} - set(_core.supported_isas)))
def test_an_instruction_set_that_the_cpu_lacks_is_refused(isa):
    done = run("import fastnn", FASTNN_ISA=isa)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "FASTNN_ISA: expected one that this CPU has (baseline" in last
    assert f"'{isa}'" in last


@pytest.mark.parametrize("isa", _core.supported_isas)
def test_an_instruction_set_can_be_forced(isa):
    assert run("from fastnn import _core; print(_core.isa)", FASTNN_ISA=isa).stdout == f"{isa}\n"


def test_info_says_what_was_found(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    for part in (fastnn.__version__, _core.isa, "GFLOP/s", "threads", "NumPy"):
        assert part in printed


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "fastnn", "--version"], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"fastnn {fastnn.__version__}\n", done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["train"], ["demo", "--epochs", "0"], ["demo", "--seed", "x"]]
)
def test_a_wrong_command_line_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: fastnn" in capsys.readouterr().err
