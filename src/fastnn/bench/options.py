"""What to run, as the command line says it; unknown names are refused with a list of those that exist."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fastnn.bench.problems import Problem
from fastnn.bench.processes import Effort, Side

# Library: its modes, the first being what `fit` is to fastnn, and the package that it is.
MODES: Mapping[str, Sequence[str]] = {
    "fastnn": ("fit", "train_on_batch"),
    "numpy": ("",),
    "torch": ("eager", "channels_last", "compile"),
    "jax": ("jit", "loop"),
    "tensorflow": ("graph", "xla"),
    "sklearn": ("partial_fit",),
}
PEERS = tuple(MODES)[1:]


def fitting(modes: Mapping[str, Sequence[str]], problem: Problem) -> dict[str, Sequence[str]]:
    """The modes that make sense for a network."""
    chosen = dict(modes)
    if problem.is_convnet:  # in a loop XLA computes convolutions many times slower
        chosen["jax"] = ("jit",)
    if not problem.is_plain:
        chosen["sklearn"] = ()
    return chosen


@dataclass(frozen=True)
class Options:
    """How much to measure, with whom."""

    peers: tuple[str, ...]
    threads: int
    quick: bool = False
    only: tuple[str, ...] = ()
    limit: float = 60.0  # seconds that a side may take to get ready

    @property
    def effort(self) -> Effort:
        """How long to look at a training step."""
        return Effort(0.5, 2, 9) if self.quick else Effort()

    def wants(self, problem: str) -> bool:
        """Whether `--only` leaves the problem in."""
        return not self.only or any(part.lower() in problem.lower() for part in self.only)

    def modes(self, modes: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
        """fastnn and the peers, each with its modes."""
        libraries = ("fastnn", *self.peers)
        return [(library, mode) for library in libraries for mode in modes.get(library, ())]

    def libraries(self, modes: Mapping[str, Sequence[str]]) -> list[str]:
        """fastnn and the peers, as far as they take part."""
        return list(dict.fromkeys(library for library, _ in self.modes(modes)))

    def sides(self, modes: Mapping[str, Sequence[str]]) -> list[Side]:
        """Their processes."""
        return [Side(*side, self.threads, self.limit) for side in self.modes(modes)]


def known(kind: str, names: Iterable[str], existing: Sequence[str]) -> tuple[str, ...]:
    """The names, if all of them exist."""
    names = tuple(names)
    for name in names:
        if name not in existing:
            raise ValueError(f"{kind}: expected some of {', '.join(existing)}, got {name!r}")
    return names


def installed(peers: Sequence[str]) -> tuple[list[str], list[str]]:
    """The peers that can be imported, and those that cannot."""
    there = [peer for peer in peers if importlib.util.find_spec(peer) is not None]
    return there, [peer for peer in peers if peer not in there]
