"""GradientTape: the gradient of anything written in fastnn.ops."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from fastnn import _core
from fastnn._core import Tensor, Variable
from fastnn._structure import is_nested, leaves, rebuild


class GradientTape:
    """Records ops on trainable variables and watched tensors, and differentiates them.

    Args:
        persistent: bool. Whether `gradient` may be called more than once. Default `False`.
        watch_accessed_variables: bool. Whether every trainable variable that is read is watched. Default `True`.

    Example:
        >>> import fastnn
        >>> w = fastnn.Variable(3.0)
        >>> with fastnn.GradientTape() as tape:
        ...     loss = w * w - 10 * w + 25
        >>> float(tape.gradient(loss, w))
        -4.0
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self._tape = _core.Tape(persistent, watch_accessed_variables)

    def __enter__(self) -> GradientTape:
        self._tape.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tape.stop()

    def __del__(self) -> None:
        # Dropped while it records (an iterator that was not finished): its thread would go on filling it.
        if hasattr(self, "_tape"):
            self._tape.stop()

    def watch(self, tensor: Any) -> None:
        """Watch a tensor, or each tensor of a list or dict: gradients with respect to it are wanted."""
        for leaf in _tensors("watch", tensor):
            self._tape.watch(leaf)

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: str = "none",
    ) -> Any:
        """The gradient of the sum of `target` with respect to each source, in the structure of `sources`.

        Ends the recording. A source that the target does not depend on gets `None`, or zeros with
        `unconnected_gradients="zero"`.

        Args:
            target: Tensor, or a list, tuple or dict of them.
            sources: Tensor, Variable, or a list, tuple or dict of them, nested as you like.
            output_gradients: what to weigh the elements of the target with, in its structure and shapes; `None`, also
                for a part of it: ones. Default `None`.
            unconnected_gradients: `"none"` or `"zero"`.
        Raises:
            TypeError: for a target or source that is no tensor (an array has no place on a tape).
            RuntimeError: on a second call when the tape is not persistent, or when a value that the gradient needs
                has been assigned since.
        """
        if unconnected_gradients not in ("none", "zero"):
            raise ValueError(
                f"unconnected_gradients: expected 'none' or 'zero', got {unconnected_gradients!r}"
            )
        targets = _tensors("target", target)
        seeds = list(_seeds(target, output_gradients))
        wanted = _tensors("sources", sources)
        found = self._tape.gradient(targets, wanted, seeds)
        if unconnected_gradients == "zero":
            found = [
                _core.fill_like(s, 0.0) if g is None else g
                for s, g in zip(wanted, found, strict=True)
            ]
        return rebuild(sources, iter(found))


def _tensors(argument: str, structure: Any) -> list[Tensor | Variable]:
    found = list(leaves(structure))
    for leaf in found:
        if not isinstance(leaf, Tensor | Variable):
            raise TypeError(
                f"{argument}: expected tensors or variables, got a {type(leaf).__name__}; a tape knows values as the "
                "fastnn.Tensor that ops were given or returned"
            )
    return found


def _seeds(target: Any, seed: Any) -> Iterator[Any]:
    """One seed per leaf of the target, None for ones."""
    if not is_nested(target):
        yield seed
        return
    parts = list(target.values()) if isinstance(target, dict) else list(target)
    if seed is None:
        seed = [None] * len(parts)
    elif isinstance(target, dict) and isinstance(seed, dict):
        seed = [seed.get(key) for key in target]
    if len(seed) != len(parts):
        raise ValueError(
            f"output_gradients: expected {len(parts)}, one per target, got {len(seed)}"
        )
    for part, value in zip(parts, seed, strict=True):
        yield from _seeds(part, value)
