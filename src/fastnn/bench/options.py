"""What to run, as the command line says it; unknown names are refused with a list of those that exist."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
        return Effort(1.0, 3, 9) if self.quick else Effort()

    def wants(self, problem: str) -> bool:
        """Whether `--only` leaves the problem in."""
        return not self.only or any(part.lower() in problem.lower() for part in self.only)

    def sides(self, modes: Mapping[str, Sequence[str]]) -> dict[str, Side]:
        """Processes for fastnn and the peers, in the modes that make sense."""
        return {
            f"{library} {mode}".strip(): Side(library, mode, self.threads, self.limit)
            for library in ("fastnn", *self.peers)
            for mode in modes.get(library, ())
        }


def known(kind: str, names: Iterable[str], existing: Sequence[str]) -> tuple[str, ...]:
    """The names, if all of them exist."""
    names = tuple(names)
    for name in names:
        if name not in existing:
            raise ValueError(f"{kind}: expected some of {', '.join(existing)}, got {name!r}")
    return names


def installed(peers: Iterable[str]) -> tuple[list[str], list[str]]:
    """The peers that can be imported, and those that cannot."""
    there, missing = [], []
    for peer in peers:
        (missing if importlib.util.find_spec(peer) is None else there).append(peer)
    return there, missing
