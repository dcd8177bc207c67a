"""Recorded: a function of tensors, recorded once per signature of its arguments and replayed without Python."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from fastnn import _core
from fastnn._core import Graph, Program, Tensor
from fastnn._structure import leaves, rebuild

_eager = False
_local = (
    threading.local()
)  # .hooks: what the recording under way wants done before each of its runs


def run_eagerly(eager: bool) -> None:
    """Whether recorded steps run eagerly, op by op: slower, with the same results, for debugging."""
    global _eager
    _eager = bool(eager)


def runs_eagerly() -> bool:
    return _eager


def is_recording() -> bool:
    """Whether a step is being recorded on this thread."""
    return getattr(_local, "hooks", None) is not None


def before_each_run(hook: Callable[[], object]) -> None:
    """While a step is recorded: have `hook` called before each of its runs, for what is an input and not a constant
    of it (the learning rate)."""
    if is_recording():
        _local.hooks.append(hook)


@dataclass(frozen=True)
class Run:
    """A program, what to do before it runs, and the form of its results."""

    program: Program
    hooks: Sequence[Callable[[], object]]
    results: Any

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        self.prepare()
        return rebuild(self.results, iter(self.program.run(tensors)))

    def prepare(self) -> None:
        for hook in self.hooks:
            hook()


class Recorded:
    """Programs of one function, by the shapes and dtypes of its arguments.

    Args:
        function: takes structures of tensors and returns one; made of ops. What Python does besides happens while
            recording only.
        version: what the function depends on besides its arguments, as something to compare; a change drops the
            programs. It is asked only when `_core.changes()` has moved.
        rare: whether a signature seen for the first time runs eagerly, so that sizes that never come back are not
            compiled.
        limit: how many programs are kept, those used last.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        version: Callable[[], Hashable] = lambda: None,
        *,
        rare: bool = False,
        limit: int = 16,
    ) -> None:
        self._function = function
        # Convolutions are recorded with the algorithm that was chosen then.
        self._version_of = lambda: (version(), _core.conv_algorithm())
        self._rare = rare
        self._limit = limit
        self._programs: OrderedDict[Hashable, Run] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._changes = -1
        self._version: Hashable = None

    def __call__(self, *args: Any) -> Any:
        if _eager or is_recording():
            return self._function(*args)
        tensors, signature = _core.collect(args)
        run = self._find(args, tensors, signature)
        return self._function(*args) if run is None else run(tensors)

    def run_for(self, args: tuple[Any, ...]) -> Run:
        """What runs for arguments of these shapes, recorded if it is not yet."""
        run = self._find(args, *_core.collect(args), record=True)
        assert run is not None
        return run

    def _find(
        self, args: Any, tensors: list[Tensor], key: bytes, record: bool = False
    ) -> Run | None:
        """What runs for these arguments; None to run eagerly."""
        changes = _core.changes()
        if changes != self._changes:
            version = self._version_of()
            if version != self._version:
                self._programs.clear()
                self._seen.clear()
            self._version, self._changes = version, changes
        found = self._programs.get(key)
        if found is not None:
            self._programs.move_to_end(key)
            return found
        if self._rare and not record and key not in self._seen:
            self._seen[key] = None
            if len(self._seen) > 4 * self._limit:
                self._seen.popitem(last=False)
            return None
        found = self._record(args, tensors)
        # Recording may have set attributes itself (a layer that is built, a metric that is resolved).
        self._version, self._changes = self._version_of(), _core.changes()
        self._programs[key] = found
        if len(self._programs) > self._limit:
            self._programs.popitem(last=False)
        return found

    def _record(self, args: Any, tensors: list[Tensor]) -> Run:
        graph = Graph()
        feeds = [graph.placeholder(tuple(t.shape), t.dtype) for t in tensors]
        unfilled = iter(feeds)
        filled = iter([None if leaf is None else next(unfilled) for leaf in leaves(args)])
        hooks: list[Callable[[], object]] = []
        _local.hooks = hooks
        try:
            with graph:
                results = self._function(*rebuild(tuple(args), filled))
        finally:
            _local.hooks = None
        results = () if results is None else results
        fetches = [leaf if isinstance(leaf, Tensor) else Tensor(leaf) for leaf in leaves(results)]
        # Only the form is kept: the placeholders would keep the graph.
        form = rebuild(results, iter([None] * len(fetches)))
        return Run(Program(graph, feeds, fetches), hooks, form)
