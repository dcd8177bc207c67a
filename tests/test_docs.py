"""The examples in docstrings and the Python in the README run, and show what they say."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn

README = Path(__file__).parent.parent / "README.md"
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.")
    if module.name not in ("fastnn.__main__", "fastnn._core")
    and not module.name.startswith("fastnn.bench.sides.")  # each needs its library
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0, report.getvalue()


def test_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        space: dict[str, object] = {}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, README.name, "exec"), space)
        if "evaluate" in block:
            assert np.mean(space["digits"] == space["y_test"]) > 0.9  # it did learn
