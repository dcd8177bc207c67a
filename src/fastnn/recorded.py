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


class _Local(threading.local):
    # What the recording under way wants done before each of its runs.
    hooks: list[Callable[[], object]] | None = None
    names_ops = False


_local = _Local()


def run_eagerly(eager: bool) -> None:
    """Whether recorded steps run eagerly, op by op: slower, with the same results, for debugging."""
    global _eager
    _eager = bool(eager)


def runs_eagerly() -> bool:
    return _eager


def is_recording() -> bool:
    """Whether a step is being recorded on this thread."""
    return _local.hooks is not None


def before_each_run(hook: Callable[[], object]) -> None:
    """While a step is recorded: have `hook` called before each of its runs, for what is an input and not a constant
    of it (the learning rate)."""
    if _local.hooks is not None:
        _local.hooks.append(hook)


def names_ops() -> bool:
    """Whether layers shall name the ops they record."""
    return is_recording() or _local.names_ops


class naming_ops:
    """Has layers name their ops in a `with` block that runs eagerly."""

    def __enter__(self) -> None:
        _local.names_ops = True

    def __exit__(self, *error: object) -> None:
        _local.names_ops = False


class scope:
    """Names the ops recorded in a `with` block, as profiles show them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._before = _core.set_scope(self._name)

    def __exit__(self, *error: object) -> None:
        _core.set_scope(self._before)


@dataclass(frozen=True)
class Run:
    """A program, what to do before it runs, what makes the results of its list of tensors (None: its only one, or no
    more than an empty tuple), and the Python functions that it calls."""

    program: Program
    hooks: list[Callable[[], object]]
    assemble: Callable[[list[Tensor]], Any] | None
    functions: Sequence[object]

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
        any_rows: whether one program shall serve any number of rows of the arguments, up to a capacity that grows by
            doubling. Where the function wants to know the number, each is compiled when it is seen a second time.
        limit: how many programs are kept, those used last.
        arenas: where the programs take their memory, shared with those of other functions. Default: its own.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        version: Callable[[], Hashable] = lambda: None,
        *,
        any_rows: bool = False,
        limit: int = 16,
        arenas: _core.Arenas | None = None,
    ) -> None:
        self._function = function
        # Convolutions are recorded with the algorithm that was chosen then.
        self._version_of: Callable[[], Hashable] = lambda: (version(), _core.conv_algorithm())
        self._any_rows = any_rows
        self._limit = limit
        self._arenas = _core.Arenas() if arenas is None else arenas
        self._programs = _core.Programs(limit)
        self._closed: set[bytes] = (
            set()
        )  # signatures, but for the rows, that the function does not take open
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._changes = -1
        self._version: Hashable = None

    def __len__(self) -> int:
        return len(self._programs)

    def __call__(self, *args: Any) -> Any:
        if _eager or is_recording():
            return self._function(*args)
        results = self._programs.run(args)
        if results is not NotImplemented:
            return results
        self._look()
        results = self._programs.run(args)
        if results is not NotImplemented:
            return results
        return self._first(args)

    def run_checked(self, args: tuple[Any, ...], before: Callable[[], object] | None = None) -> Any:
        """The results as arrays for arguments that `accept` was told of since anything changed, else NotImplemented.

        Args:
            before: called before the program runs, if it does.
        """
        if _eager or _local.hooks is not None:
            return NotImplemented
        return self._programs.run(args, before, True)

    def accept(self, given: tuple[Any, ...], args: tuple[Any, ...]) -> None:
        """Let `run_checked` take what was given: to check and convert it gave `args`, and would do so again."""
        if not _eager and not is_recording():
            self._programs.accept(given, args)

    def run_for(self, args: tuple[Any, ...]) -> Run:
        """What runs for arguments of these shapes, recorded if it is not yet."""
        self._look()
        run: Run | None = self._programs.find(args)
        if run is None:
            tensors, signature, _, _ = _core.collect(args)
            run = self._keep(signature, self._trace(args, tensors))
        return run

    def _look(self) -> None:
        """Drop the programs if what they depend on has changed."""
        changes = _core.changes()
        if changes == self._changes:
            return
        version = self._version_of()
        if version != self._version:
            self._programs.clear()
            self._closed.clear()
            self._seen.clear()
        self._set_version(version)

    def _set_version(self, version: Hashable) -> None:
        self._version, self._changes = version, _core.changes()
        self._programs.check()

    def _first(self, args: Any) -> Any:
        """The results for arguments that no program serves."""
        tensors, signature, for_any, rows = _core.collect(args)
        if self._any_rows:
            if rows > 0 and for_any not in self._closed:
                run = self._open(args, tensors, rows)
                if run is not None:
                    self._keep(for_any, run)
                    results = self._programs.run(args)
                    if results is not NotImplemented:
                        return results
                self._closed.add(for_any)
            if self._is_first(signature):
                return self._function(*args)
        self._keep(signature, self._trace(args, tensors))
        return self._programs.run(args)

    def _keep(self, signature: bytes, run: Run) -> Run:
        # Recording may have set attributes itself (a layer that is built, a metric that is resolved).
        self._set_version(self._version_of())
        self._programs.put(signature, run)
        return run

    def _is_first(self, signature: bytes) -> bool:
        if signature in self._seen:
            return False
        self._seen[signature] = None
        if len(self._seen) > 4 * self._limit:
            self._seen.popitem(last=False)
        return True

    def _open(self, args: Any, tensors: list[Tensor], rows: int) -> Run | None:
        """A program for any number of rows up to the next power of two; None where the function does not go with it,
        be it that it reads the number or that these arguments are wrong, which a run with them will tell."""
        try:
            return self._trace(args, tensors, 1 << (rows - 1).bit_length())
        except Exception:  # whatever the user's code raises on a batch of no known size: it is asked again with one
            return None

    def _trace(self, args: Any, tensors: list[Tensor], capacity: int = 0) -> Run:
        graph = Graph()
        first = (None,) if capacity else ()
        feeds = [graph.placeholder((*first, *t.shape[len(first) :]), t.dtype) for t in tensors]
        unfilled = iter(feeds)
        filled = iter([None if leaf is None else next(unfilled) for leaf in leaves(args)])
        hooks: list[Callable[[], object]] = []
        _local.hooks = hooks
        try:
            with graph:
                results = self._function(*rebuild(tuple(args), filled))
        finally:
            _local.hooks = None
        single = isinstance(results, Tensor)
        results = () if results is None else results
        fetches = [leaf if isinstance(leaf, Tensor) else Tensor(leaf) for leaf in leaves(results)]
        # Only the form is kept: the placeholders would keep the graph.
        form = rebuild(results, iter([None] * len(fetches)))
        assemble = None if single or form == () else lambda values: rebuild(form, iter(values))
        program = Program(graph, feeds, fetches, capacity, self._arenas)
        return Run(program, hooks, assemble, graph.functions)
