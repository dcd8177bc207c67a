"""What it costs to have a library: memory of a training step, time to import, bytes on the disk."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from fastnn.bench.harness import Timing
from fastnn.bench.options import MODES, Options, fitting
from fastnn.bench.problems import PROBLEMS
from fastnn.bench.processes import NoResult, Row, Side
from fastnn.bench.report import Comparison, Table, duration, megabytes

TRAINING = {k: v for k, v in MODES.items() if k not in ("fastnn", "sklearn")} | {"fastnn": ("fit",)}


def memory(options: Options) -> Iterator[Row]:
    """Peak of a training step above what the process held when the network was built, each in a fresh process."""
    asked = {
        f"{name}, batch {problem.batch}": (name, problem.batch)
        for name, problem in PROBLEMS.items()
        if problem.is_convnet and options.wants(name)
    }
    if not asked:
        return
    table = Comparison("Peak memory of a training step", list(asked), options.libraries(TRAINING))
    for label, request in asked.items():
        rows = []
        for library, mode in options.modes(fitting(TRAINING, PROBLEMS[request[0]])):
            side = Side(library, mode, options.threads, options.limit)
            try:
                row = Row("memory", label, library, mode, size=side.ask("memory", *request))
            except NoResult as error:
                row = Row("memory", label, library, mode, failure=str(error))
            side.close()
            rows.append(row)
        table.add(label, rows)
        yield from rows
    table.close()


def footprint(options: Options) -> Iterator[Row]:
    """Importing each library in a fresh process, and its files; `--only` takes the libraries' names here."""
    libraries = [name for name in ("fastnn", *options.peers) if options.wants(name)]
    if not libraries:
        return
    columns = ("", "import", "installed", "with what it needs")
    table = Table("Import and installed size", columns, {"": 10, "import": 13, "installed": 9})
    repeats = 3 if options.quick else 9
    seconds: dict[str, list[float]] = {library: [] for library in libraries}
    for _ in range(repeats):
        for library in libraries:
            seconds[library].append(_import_seconds(library))
    for library in libraries:
        timing = Timing.of(seconds[library])
        own, everything = installed_size(library)
        table.add(
            [
                library,
                f"{duration(timing.median)} ±{timing.spread:.0%}",
                megabytes(own),
                megabytes(everything),
            ]
        )
        yield Row("footprint", "import", library, "", timing)
        yield Row("footprint", "installed", library, "", size=own)
        yield Row("footprint", "installed with what it needs", library, "", size=everything)


def _import_seconds(module: str) -> float:
    code = (
        f"import time; start = time.perf_counter(); import {module}; "
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def installed_size(module: str) -> tuple[int, int]:
    """Bytes of a package's files, and of these with those of all packages that it requires."""
    owners = metadata.packages_distributions().get(module)
    if owners is None:  # a source tree on the path
        own = _bytes_under(module)
        required = {"numpy", "tqdm", "safetensors"} if module == "fastnn" else set()
        return own, own + sum(_bytes_of(name) for name in _with_required(required))
    own = _bytes_of(owners[0])
    return own, sum(_bytes_of(name) for name in _with_required({owners[0]}))


def _bytes_under(module: str) -> int:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    files = Path(spec.origin).parent.rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc")


def _bytes_of(distribution: str) -> int:
    files = (Path(str(f.locate())) for f in metadata.files(distribution) or ())
    return sum(f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc")


def _with_required(names: set[str]) -> set[str]:
    """The distributions and all that they require, extras left out, as far as they are installed."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        plain = (r for r in required if "extra ==" not in r)
        needed = {_normal_name(re.split(r"[^A-Za-z0-9._-]", r, maxsplit=1)[0]) for r in plain}
        waiting |= needed - {_normal_name(f) for f in found}
    return {_normal_name(name) for name in found}


def _normal_name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
