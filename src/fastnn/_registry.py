"""Finding an object by its name, its configuration or itself: what every `get` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def lookup(kind: str, identifier: Any, by_name: Mapping[str, Callable[..., Any]]) -> Any:
    """What `identifier` names: a key of `by_name`, `{"class_name": key, "config": {...}}`, a class,
    or a callable.
    """
    if isinstance(identifier, str):
        return _entry(kind, identifier, by_name)()
    if isinstance(identifier, Mapping):
        if "class_name" not in identifier:
            raise ValueError(
                f"{kind}: expected a dict with 'class_name' and 'config', got the keys "
                f"{sorted(identifier)}"
            )
        return _entry(kind, identifier["class_name"], by_name)(**identifier.get("config", {}))
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier):
        return identifier
    raise TypeError(
        f"{kind}: expected a name, an object, a callable or a config dict, got {identifier!r}"
    )


def _entry(kind: str, name: str, by_name: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if name in by_name:
        return by_name[name]
    import difflib  # for this error only

    folded = {key.lower(): key for key in by_name}
    near = [
        folded[key] for key in difflib.get_close_matches(str(name).lower(), folded, n=4, cutoff=0.5)
    ]
    hint = (
        f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"known: {', '.join(sorted(by_name))}"
    )
    raise ValueError(f"{kind}: unknown name {name!r}; {hint}")
