"""The graph of layer calls between the inputs and the outputs of a functional model.

It knows which layer is called on what, and no shape rule, kernel or gradient: those are found by running the calls
again, on arrays or on placeholders.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastnn._structure import by_name, flatten, holds_arrays, is_nested, map_structure, names_of
from fastnn.layers.base import Layer
from fastnn.layers.input import InputLayer
from fastnn.layers.symbolic import Call, SymbolicTensor


class FunctionalGraph:
    """The calls that lead from inputs to outputs.

    Args:
        inputs, outputs: symbolic tensors, or structures of them. An input may be any tensor, not only an `Input`:
            the graph is cut there.
    Raises: TypeError for what is no symbolic tensor; ValueError if an output needs an input that is not given, and
        for two layers of one name.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        for argument, given in (("inputs", inputs), ("outputs", outputs)):
            leaves = flatten(given)
            for leaf in leaves:
                if not isinstance(leaf, SymbolicTensor):
                    raise TypeError(
                        f"Model: {argument}: expected what fastnn.Input or a layer called on it gives, got {leaf!r}"
                    )
            if not leaves:
                raise ValueError(f"Model: {argument}: expected at least one tensor, got {given!r}")
        self.inputs, self.outputs = inputs, outputs
        self._keys = [x.key for x in flatten(inputs)]
        if len(set(self._keys)) < len(self._keys):
            raise ValueError("Model: inputs: expected different tensors, got one twice")
        self.input_names = _names(inputs)
        self.output_names = _names(outputs)
        self.layers, self.calls = self._in_order()
        names = Counter(layer.name for layer in self.layers)
        twice = [layer for layer in self.layers if names[layer.name] > 1]
        if twice:
            raise ValueError(
                f"Model: expected layers of different names, got {len(twice)} named {twice[0].name!r} "
                f"({', '.join(type(layer).__name__ for layer in twice)})"
            )

    def _sources(self, call: Call) -> list[Call]:
        return [x.call for x in call.inputs if self._is_inside(x)]

    def _is_inside(self, x: SymbolicTensor) -> bool:
        """Whether the call of x belongs to the graph: not if the graph is cut at x. Input layers are shown."""
        if isinstance(x.call.layer, InputLayer) and not x.call.args:
            if x.key not in self._keys:
                raise ValueError(
                    f"Model: the outputs need the input '{x.name}', which is not among the inputs {self.input_names}"
                )
            return True
        return x.key not in self._keys

    def _in_order(self) -> tuple[list[Layer], list[Call]]:
        """Layers and calls as Keras orders them, and weights with them: by distance from the outputs, the furthest
        first, then in the order in which a walk back from the outputs meets them."""
        met: dict[Layer, int] = {}
        finished: dict[Call, None] = {}
        for output in flatten(self.outputs):
            if not self._is_inside(output):
                continue
            # Depth first without recursion, as nets may be deeper than Python's stack. No call can come of itself.
            met.setdefault(output.call.layer, len(met))
            path = [(output.call, iter(self._sources(output.call)))]
            while path:
                call, sources = path[-1]
                source = next((s for s in sources if s not in finished), None)
                if source is not None:
                    met.setdefault(source.layer, len(met))
                    path.append((source, iter(self._sources(source))))
                    continue
                finished[call] = None
                path.pop()
        depth: dict[Call, int] = {}
        depth_of: dict[Layer, int] = {}
        for call in reversed(finished):
            depth[call] = max(depth.get(call, 0), depth_of.get(call.layer, 0))
            depth_of[call.layer] = depth[call]
            for source in self._sources(call):
                depth[source] = max(depth.get(source, 0), depth[call] + 1)
        for x in flatten(self.inputs):  # also those that no output needs
            if isinstance(x.call.layer, InputLayer) and not x.call.args:
                depth_of.setdefault(x.call.layer, 0)
                met.setdefault(x.call.layer, -1)
        layers = sorted(depth_of, key=lambda layer: (-depth_of[layer], met[layer]))
        calls = [call for call in finished if call.args or call.kwargs]
        # Stable: calls of one depth stay in the order of the walk.
        return layers, sorted(calls, key=lambda call: -depth[call])

    def arrange(self, values: Any) -> list[Any]:
        """What is given for the inputs, in order. ValueError if it is too much or too little."""
        if any(is_nested(x) for x in _items(self.inputs)):
            leaves = flatten(values)
            if len(leaves) == len(self._keys):
                return leaves
        if len(self._keys) == 1 and not isinstance(values, dict):
            rank = len(flatten(self.inputs)[0].shape)
            listed = holds_arrays(values) and len(values) == 1 and values[0].ndim == rank
            return [values[0] if listed else values]
        return by_name("inputs", values, self.input_names)

    def run(self, values: Any) -> Any:
        """The outputs for these inputs, by calling every layer again."""
        at = dict(zip(self._keys, self.arrange(values), strict=True))

        def value(leaf: Any) -> Any:
            return at[leaf.key] if isinstance(leaf, SymbolicTensor) else leaf

        for call in self.calls:
            args, kwargs = map_structure(value, (call.args, call.kwargs))
            for i, y in enumerate(flatten(call.layer(*args, **kwargs))):
                at.setdefault((call, i), y)  # where the graph is cut, what was given stays
        return map_structure(value, self.outputs)

    def connections(self) -> dict[Layer, list[str]]:
        """For each layer what it is called on: layer[number of its call][number of its output], as Keras writes it."""
        calls_of: dict[Layer, list[Call]] = {}
        for call in self.calls:
            calls_of.setdefault(call.layer, []).append(call)

        def label(x: SymbolicTensor) -> str:
            calls = calls_of.get(x.call.layer, [])
            return f"{x.name}[{calls.index(x.call) if x.call in calls else 0}][{x.index}]"

        return {
            layer: [label(x) for call in calls_of.get(layer, []) for x in call.inputs]
            for layer in self.layers
        }

    def is_chain(self) -> bool:
        """Whether it could be a Sequential: each layer called once, on the output of the one before."""
        single = all(len(labels) <= 1 for labels in self.connections().values())
        once = {call.inputs[0].key for call in self.calls}, {call.layer for call in self.calls}
        return single and all(len(different) == len(self.calls) for different in once)

    def output_shape(self, layer: Layer) -> Any:
        """Of the layer's first call here."""
        for call in self.calls:
            if call.layer is layer:
                return map_structure(lambda x: x.shape, call.outputs)
        return map_structure(lambda x: x.shape, layer.output)


def _items(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return list(structure.values())
    return list(structure) if is_nested(structure) else [structure]


def _names(tensors: Any) -> list[str]:
    """The keys of a dict, else the layers' names, numbered where one layer gives several."""
    if isinstance(tensors, dict):
        return names_of(tensors, "")
    seen: Counter[str] = Counter()
    names = []
    for x in flatten(tensors):
        names.append(f"{x.name}_{seen[x.name]}" if seen[x.name] else x.name)
        seen[x.name] += 1
    return names
