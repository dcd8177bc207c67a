"""GradientTape: the gradient of anything written in fastnn.ops."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from fastnn import _core
from fastnn._structure import leaves, rebuild


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
        for leaf in leaves(tensor):
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
            target: Tensor or list of Tensors.
            sources: Tensor, Variable, or a list, tuple or dict of them, nested as you like.
            output_gradients: what to weigh the elements of the target with, in its shape. Default: ones.
            unconnected_gradients: `"none"` or `"zero"`.
        Raises:
            RuntimeError: on a second call when the tape is not persistent, or when a value that the gradient needs
                has been assigned since.
        """
        if unconnected_gradients not in ("none", "zero"):
            raise ValueError(
                f"unconnected_gradients: expected 'none' or 'zero', got {unconnected_gradients!r}"
            )
        targets = list(leaves(target))
        seeds: list[Any] = []
        if output_gradients is not None:
            seeds = (
                list(output_gradients) if isinstance(target, list | tuple) else [output_gradients]
            )
            if len(seeds) != len(targets):
                raise ValueError(
                    f"output_gradients: expected {len(targets)}, one per target, got {len(seeds)}"
                )
        wanted = list(leaves(sources))
        found = self._tape.gradient(targets, wanted, seeds)
        if unconnected_gradients == "zero":
            found = [
                _core.fill_like(s, 0.0) if g is None else g
                for s, g in zip(wanted, found, strict=True)
            ]
        return rebuild(sources, iter(found))
