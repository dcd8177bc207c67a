"""The memory-bound ops, forward and backward, as a share of the triad bandwidth measured beside them.

Each op is recorded as a program, the way a training step runs it: outputs have their place before
the clock starts, so no page is faulted in. A row counts the fewest bytes that the op can move (what
it must read and write of its tensors, each once per pass that needs all of it), so work that moves
more shows as a lower figure. The share is of triad, y = a x + z at 12 bytes an element, beyond L3;
inside L3 the ops that only copy and add are asked for twice the share.

Cycles are of one thread, at the clock that its FMA peak implies with two multiply-adds a cycle
(Zen 2 and later, Intel since Haswell; on SSE2 a product and a sum are two instructions, for two units each).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastnn
from fastnn import _core, ops
from fastnn.bench.harness import print_machine

LANES = {"baseline": 4, "avx2": 8, "avx512": 16}
SHARE = 0.75  # of triad beyond L3
INSIDE = 2 * SHARE  # of the same, inside L3
BEYOND_SHAPE, INSIDE_SHAPE = (128, 32, 32, 64), (16, 32, 32, 64)  # 34 MB and 4 MB


@dataclass(frozen=True)
class Row:
    """One op: what a program of it is recorded from, and what it must move."""

    name: str
    record: Callable[..., Any]  # of placeholders and, behind them, one for dy
    feeds: Sequence[np.ndarray]
    forward: float  # bytes
    backward: float = 0.0  # bytes; 0: there is none, or it is part of the forward pass
    elements: int = 0  # of the forward pass, where cycles count
    cycles: float | None = None  # target of either pass
    copies: bool = True  # moves memory and does little else


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def differentiated(f: Callable[..., Any]) -> Callable[..., Any]:
    """y = f(*x) and the gradients of x where dy, the last argument, comes back."""

    def record(*tensors: Any) -> list[Any]:
        *x, dy = tensors
        with fastnn.GradientTape() as tape:
            for t in x:
                tape.watch(t)
            y = f(*x)
        return [y, *(g for g in tape.gradient(y, x, output_gradients=dy) if g is not None)]

    return record


def op_rows(shape: tuple[int, ...]) -> list[Row]:
    n, channels = int(np.prod(shape)), shape[-1]
    s = 4.0 * n
    x, dy, vector = normal(*shape), normal(*shape), normal(channels)
    small = normal(shape[0], shape[1] // 2, shape[2] // 2, channels)
    flat = (n // 512, 512)
    gamma, beta = np.abs(vector) + 0.5, vector

    def batch_norm(x: Any) -> Any:
        return ops.batch_normalization_training(x, gamma, beta)[0]

    def inference(x: Any) -> Any:
        return ops.batch_normalization(x, vector, gamma, gamma, beta)

    rows = [
        Row("batch norm", differentiated(batch_norm), [x, dy], 3 * s, 5 * s),
        Row("batch norm + relu", differentiated(lambda x: ops.relu(batch_norm(x))), [x, dy], 3 * s, 5 * s),
        Row("batch norm, inference", inference, [x], 2 * s),
        Row("batch norm + relu, inference", lambda x: ops.relu(inference(x)), [x], 2 * s),
        Row("max pool 2x2", differentiated(lambda x: ops.max_pool2d(x, 2)), [x, small],
            1.3125 * s, 1.3125 * s),
        Row("average pool 2x2", differentiated(lambda x: ops.average_pool2d(x, 2)), [x, small],
            1.25 * s, 1.25 * s),
        Row("relu", differentiated(ops.relu), [x, dy], 2 * s, 3 * s),
        Row("leaky relu", differentiated(ops.leaky_relu), [x, dy], 2 * s, 3 * s),
        Row("add", ops.add, [x, dy], 3 * s),
        Row("multiply", differentiated(ops.multiply), [x, dy, x], 3 * s, 5 * s),
        Row("add (C,)", lambda x: ops.add(x, vector), [x], 2 * s),
        Row("sum over all", lambda x: ops.sum(x), [x], s),
        Row("sum over rows", lambda x: ops.sum(ops.reshape(x, flat), axis=0), [x], s),
        Row("sum over columns", lambda x: ops.sum(ops.reshape(x, flat), axis=1), [x], s),
        Row("sum to channels", lambda x: ops.sum(x, axis=(0, 1, 2)), [x], s),
        Row("global norm", lambda x: ops.sqrt(ops.sum(ops.square(x))), [x], s),
        Row("layer norm", differentiated(
            lambda x, g, b: ops.layer_normalization(x, g, b)),
            [x.reshape(flat), normal(512), normal(512), dy.reshape(flat)], 2 * s, 3 * s),
    ]  # fmt: skip
    computed = [
        ("exp", ops.exp, 1.6),
        ("log", lambda x: ops.log(x), None),
        ("tanh", ops.tanh, 3.0),
        ("sigmoid", ops.sigmoid, 3.0),
        ("erf", ops.erf, 3.0),
        ("gelu", ops.gelu, None),
        ("softplus", ops.softplus, None),
    ]
    for name, f, target in computed:
        data = np.abs(x) if name == "log" else x
        rows.append(
            Row(name, differentiated(f), [data, dy], 2 * s, 3 * s, n, cycles=target, copies=False)
        )
    rows.append(
        Row("dropout", differentiated(lambda x: ops.dropout(x, 0.5, seed=1)), [x, dy],
            2 * s, 2 * s, n, cycles=2.0, copies=False)
    )  # fmt: skip
    return rows


def loss_rows() -> list[Row]:
    def record(labels: Any, logits: Any) -> list[Any]:
        with fastnn.GradientTape() as tape:
            tape.watch(logits)
            loss = ops.mean(ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        return [loss, tape.gradient(loss, logits)]

    rows = []
    for batch, classes in ((256, 10), (128, 1000)):
        labels = np.arange(batch) % classes
        n = batch * classes
        rows.append(
            Row(f"softmax-CE + gradient {batch}x{classes}", record,
                [labels, normal(batch, classes)], 8.0 * n, elements=n, copies=False)
        )  # fmt: skip
    return rows


def optimizer_rows() -> list[Row]:
    rows = []
    for n in (1_000_000, 11_000_000):
        for name, make, bytes_ in (
            ("SGD", lambda: fastnn.optimizers.SGD(0.01), 12),
            ("momentum", lambda: fastnn.optimizers.SGD(0.01, momentum=0.9), 20),
            ("Adam", lambda: fastnn.optimizers.Adam(0.001), 28),
            ("AdamW", lambda: fastnn.optimizers.AdamW(0.001), 28),
            ("RMSprop", lambda: fastnn.optimizers.RMSprop(0.001), 20),
        ):
            variable, optimizer = fastnn.Variable(normal(n)), make()
            optimizer.build([variable])

            def record(g: Any, variable: Any = variable, optimizer: Any = optimizer) -> list[Any]:
                optimizer.apply([g], [variable])
                return []

            rows.append(Row(f"{name}, {n // 1_000_000}M", record, [normal(n)], float(bytes_ * n)))
    return rows


def seconds(row: Row, repeats: int) -> tuple[float, float]:
    """Of the forward and of the backward steps."""
    graph = fastnn.Graph()
    feeds = [graph.placeholder(a.shape, a.dtype) for a in row.feeds]
    with graph:
        fetches = row.record(*feeds)
    fetches = fetches if isinstance(fetches, list) else [fetches]
    program = _core.Program(graph, feeds, fetches)
    forward = backward = 0.0
    for _, _, name, _, _, time, _, _ in program.profile(list(row.feeds), repeats):
        if name.endswith("_backward"):
            backward += time
        else:
            forward += time
    return forward, backward


def triads(repeats: int = 3) -> tuple[float, float]:
    """GB/s beyond and inside L3."""
    far, near = ([_core.measure_triad(size) for _ in range(repeats)] for size in (256e6, 12e6))
    return statistics.median(far), statistics.median(near)


def clock() -> float:
    """GHz of one thread."""
    return max(_core.measure_peak() for _ in range(3)) / (4 * LANES[_core.isa])


def report(rows: Sequence[Row], what: str, inside: bool, threads: int, repeats: int) -> None:
    for row in rows:
        far, near = triads(1)
        ghz = clock() if row.elements else 0.0
        times = seconds(row, repeats)
        for direction, bytes_, time in zip(
            ("", " backward"), (row.forward, row.backward), times, strict=True
        ):
            if bytes_ == 0:
                continue
            rate = 1e-9 * bytes_ / time
            target = (INSIDE if row.copies else SHARE) if inside else SHARE
            wanted = f"{target:.0%}"
            met = rate >= target * far
            cycles = ""
            if row.elements and threads == 1:
                per_element = 1e9 * ghz * time / row.elements
                cycles = f"{per_element:5.2f}"
                if row.cycles:
                    cycles += f" (<= {row.cycles})"
                    met |= per_element <= row.cycles
            print(
                f"{row.name + direction:<36} {what:<7} {1e6 * time:9.1f} us {rate:6.1f} GB/s "
                f"{rate / far:5.0%} of triad ({wanted}) {rate / near:5.0%} of L3's  {cycles:<15}"
                f"{'' if met else '  MISS'}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, fastnn.num_threads()])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("names", nargs="*", help="only rows whose name contains one of these")
    args = parser.parse_args()

    def chosen(rows: Sequence[Row]) -> list[Row]:
        return [r for r in rows if not args.names or any(n in r.name for n in args.names)]

    for threads in dict.fromkeys(args.threads):
        fastnn.set_num_threads(threads)
        print_machine()
        far, near = triads()
        print(
            f"triad {far:.1f} GB/s beyond L3 (256 MB), {near:.1f} inside (12 MB); {clock():.2f} GHz"
        )
        for shape, what in ((BEYOND_SHAPE, "beyond"), (INSIDE_SHAPE, "inside")):
            report(chosen(op_rows(shape)), what, what == "inside", threads, args.repeats)
        report(chosen(loss_rows()), "inside", True, threads, 10 * args.repeats)
        for row in chosen(optimizer_rows()):
            inside = row.name.endswith(", 1M")
            report([row], "inside" if inside else "beyond", inside, threads, args.repeats)
        print()


if __name__ == "__main__":
    main()
