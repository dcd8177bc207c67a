"""What `Model.profile` tells: where the time of a step goes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastnn._core import Program, Tensor


@dataclass(frozen=True)
class ProfileRow:
    """One node of a compiled step.

    Attributes:
        layer: name of the layer, or "loss", "gradient", "metrics", "optimizer"; empty for what stands between them.
        phase: "forward", "backward" or "update".
        op: what is computed, with the activation that is part of it.
        output_shape: shape of what comes out, or of what is written.
        seconds: median of the runs.
        share: of the seconds of all rows.
        flops: multiplications and additions, 0 for ops whose time goes into moving memory.
        bytes: read and written.
        algorithm: how, where there is a choice.
    """

    layer: str
    phase: str
    op: str
    output_shape: tuple[int, ...]
    seconds: float
    share: float
    flops: float
    bytes: int
    algorithm: str

    @property
    def gflops_per_second(self) -> float:
        return 1e-9 * self.flops / self.seconds if self.seconds else 0.0

    @property
    def gbytes_per_second(self) -> float:
        return 1e-9 * self.bytes / self.seconds if self.seconds else 0.0

    @property
    def rate(self) -> str:
        """GFLOP/s of a product, GB/s of anything else."""
        if self.flops:
            return f"{self.gflops_per_second:.3g} GFLOP/s"
        return f"{self.gbytes_per_second:.3g} GB/s"


@dataclass(frozen=True)
class Profile:
    """The rows of a step in the order of its nodes; `print(profile)` shows a table, iterating gives the rows.

    Attributes:
        title: what was measured.
        rows: a tuple of ProfileRow.
        arena_bytes: memory of all values of the step together; they share it where they are not needed at once.
        value_bytes: memory if each value had its own.
    """

    title: str
    rows: tuple[ProfileRow, ...]
    arena_bytes: int
    value_bytes: int

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    def seconds_of(self, phase: str) -> float:
        """Of the rows of a phase: "forward", "backward" or "update"."""
        return sum(row.seconds for row in self.rows if row.phase == phase)

    def __iter__(self) -> Iterator[ProfileRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        header = ("Phase", "Layer", "Op", "Output Shape", "Time", "Share", "Rate", "Algorithm")
        table = [
            (
                row.phase,
                row.layer,
                row.op,
                str(row.output_shape),
                _time(row.seconds),
                f"{row.share:.1%}",
                row.rate,
                row.algorithm,
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(header, *table, strict=True)]
        numbers = (4, 5, 6)  # stand on the right

        def line(cells: Sequence[str]) -> str:
            placed = (
                cell.rjust(width) if i in numbers else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return " " + "  ".join(placed).rstrip()

        width = sum(widths) + 2 * len(widths)
        phases = [p for p in ("forward", "backward", "update") if self.seconds_of(p)]
        total = self.seconds or math.inf
        parts = (
            f"{p} {_time(self.seconds_of(p))} ({self.seconds_of(p) / total:.0%})" for p in phases
        )
        lines = [
            self.title,
            "_" * width,
            line(header),
            "=" * width,
            *map(line, table),
            "=" * width,
            f"Total {_time(self.seconds)}: {', '.join(parts)}",
            f"Arena {_size(self.arena_bytes)} for {_size(self.value_bytes)} of values",
            "_" * width,
        ]
        return "\n".join(lines)


def measure(title: str, program: Program, feeds: Sequence[Tensor], repeats: int) -> Profile:
    times = program.profile(feeds, repeats)
    total = sum(time[5] for time in times) or math.inf
    rows = tuple(
        ProfileRow(
            layer=scope,
            phase=_phase(scope, backward),
            op=op,
            output_shape=shape,
            seconds=seconds,
            share=seconds / total,
            flops=flops,
            bytes=moved,
            algorithm=algorithm,
        )
        for scope, backward, op, algorithm, shape, seconds, flops, moved in times
    )
    return Profile(title, rows, program.arena_bytes, program.value_bytes)


def _phase(scope: str, backward: bool) -> str:
    if scope in ("metrics", "optimizer"):
        return "update"
    return "backward" if backward else "forward"


def _time(seconds: float) -> str:
    for scale, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * scale < 1000:
            return f"{seconds * scale:.1f} {unit}"
    return f"{seconds:.2f} s"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GB"
