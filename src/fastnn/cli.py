"""The `fastnn` command."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastnn
from fastnn import _core, demo


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive int, got {text}")
    return value


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastnn", description="Neural networks on the CPU, trained from NumPy arrays."
    )
    parser.add_argument("--version", action="version", version=f"fastnn {fastnn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser(
        "demo",
        help="train a convolutional network on handwritten digits",
        description="Train a convolutional network on scikit-learn's 1797 handwritten digits and "
        "compare its speed with the same network in plain NumPy.",
    )
    train.add_argument("--epochs", type=_positive, default=demo.EPOCHS, metavar="N")
    train.add_argument("--seed", type=int, default=0, metavar="S")
    train.add_argument(
        "--output",
        type=Path,
        default=Path("fastnn_demo.png"),
        metavar="FILE",
        help="picture of the learning curves and the confusion matrix (default: %(default)s)",
    )
    train.add_argument("--no-plot", action="store_true", help="draw no picture")

    bench = commands.add_parser(
        "bench",
        help="compare the speed with plain NumPy and the libraries that are installed",
        description="Time fastnn beside plain NumPy, PyTorch, JAX, TensorFlow and scikit-learn, each "
        "where it is installed, with the same weights, data and threads, after checking that they agree.",
    )
    bench.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help="ops, models, inference, growth, memory, footprint (default: all)",
    )
    bench.add_argument(
        "--quick", action="store_true", help="NumPy alone and fewer repeats: under a minute"
    )
    bench.add_argument(
        "--threads", type=_positive, metavar="N", help="of every side (default: as fastnn has)"
    )
    bench.add_argument(
        "--peers",
        type=_names,
        metavar="A,B",
        help="of numpy, torch, jax, tensorflow, sklearn (default: all; with --quick numpy)",
    )
    bench.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="problems whose names hold one of these",
    )
    bench.add_argument(
        "--limit",
        type=_positive,
        default=60,
        metavar="S",
        help="seconds a side may take to get ready (default: %(default)s)",
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    bench.add_argument("--chart", type=Path, metavar="FILE", help="draw the ratios into a picture")

    commands.add_parser("info", help="what fastnn found on this machine")
    return parser


def info() -> None:
    """Print version, instruction sets, threads and the peak that kernels are held against."""
    peaks = [f"{_core.measure_peak(dtype):.1f} {dtype}" for dtype in ("float32", "float64")]
    rows = {
        "fastnn": fastnn.__version__,
        "instruction set": f"{_core.isa} (this CPU: {', '.join(_core.supported_isas)})",
        "threads": fastnn.num_threads(),
        "FMA peak": f"{', '.join(peaks)} (GFLOP/s, one thread)",
        "NumPy": np.__version__,
        "Python": f"{platform.python_version()}, {platform.platform()}",
    }
    for name, value in rows.items():
        print(f"{name:<16} {value}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "info":
        info()
        return 0
    try:
        if options.command == "bench":
            from fastnn import bench  # with its processes and tables: for this command only

            arguments_of_bench = {k: v for k, v in vars(options).items() if k != "command"}
            bench.main(**arguments_of_bench)
        else:
            demo.main(options.epochs, options.seed, None if options.no_plot else options.output)
    except ImportError as error:  # an extra is missing; the message names it
        _parser().exit(1, f"fastnn {options.command}: {error}\n")
    except ValueError as error:  # a name that does not exist
        if options.command != "bench":
            raise
        _parser().error(str(error))
    return 0
