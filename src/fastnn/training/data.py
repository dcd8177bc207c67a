"""From what users pass as x, y and weights to batches: checked once, gathered and cast batch by batch."""

from __future__ import annotations

import copy
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastnn._structure import (
    by_name,
    flat_shapes,
    flatten,
    holds_arrays,
    is_nested,
    is_shape,
    map_shapes,
    map_structure,
    names_of,
    outline,
    rebuild,
)
from fastnn.random import SeedGenerator, permutation

BATCH_SIZE = 32  # where none is given


@dataclass
class Batch:
    """Rows of x, y and weights: arrays, or lists and dicts of arrays."""

    x: Any
    y: Any = None
    sample_weight: Any = None

    @property
    def rows(self) -> int:
        return count_rows(self.x)

    def parts(self) -> tuple[Any, Any, Any]:
        """The arguments of a step."""
        return self.x, self.y, self.sample_weight


class Ends(NamedTuple):
    """The names of a model's inputs and outputs; None where a model does not know them before it is called."""

    inputs: Sequence[str] | None = None
    outputs: Sequence[str] | None = None


def count_rows(x: Any) -> int:
    return len(flatten(x)[0])


def take_rows(structure: Any, rows: Any) -> Any:
    """The rows of every array. A view for a slice."""
    return map_structure(lambda array: None if array is None else array[rows], structure)


def labelled(structure: Any, argument: str) -> Iterator[tuple[str, Any]]:
    """The leaves, each with the expression that a user writes for it: x, x[0], x['image']."""
    if not is_nested(structure):
        yield argument, structure
        return
    items = structure.items() if isinstance(structure, dict) else enumerate(structure)
    for key, value in items:
        yield from labelled(value, f"{argument}[{key!r}]")


def as_arrays(
    value: Any, argument: str, names: Sequence[str] | None, rows: int | None = None
) -> Any:
    """The arrays that are given, in their structure; None stays.

    Args:
        names: of what they are for. If there is one, a list is one array, but for the list of that array; if there
            are several, or it is not known, a list of arrays is several.
        rows: how many samples there are, to tell a list of one vector from a list of one sample.
    """
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return as_array(value, argument)
    if isinstance(value, dict):
        items = {key: as_arrays(v, f"{argument}[{key!r}]", None) for key, v in value.items()}
        one = names is not None and len(names) == 1 and list(items) == list(names)
        return next(iter(items.values())) if one else items
    if isinstance(value, list | tuple):
        several = holds_arrays(value) if names is None else len(names) > 1
        if several:
            return [as_arrays(v, f"{argument}[{i}]", None) for i, v in enumerate(value)]
        if len(value) == 1 and holds_arrays(value):
            only = as_array(value[0], argument)
            if only.ndim > 1 or (rows not in (None, 1) and len(only) == rows):
                return only
    return as_array(value, argument)


def as_array(value: Any, argument: str) -> np.ndarray:
    """An array of numbers, without a copy where the value has one. TypeError for anything else."""
    if value is None:
        raise TypeError(f"{argument}: expected an array of numbers, got None")
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{argument}: expected an array of numbers, got ragged lists") from None
    if array.dtype.kind == "c":
        raise TypeError(f"{argument}: {array.dtype} is not supported; use {argument}.real")
    if array.dtype.kind not in "fiub":
        ragged = " (ragged lists or Python objects)" if array.dtype.kind == "O" else ""
        raise TypeError(
            f"{argument}: expected an array of numbers, got dtype {array.dtype}{ragged}"
        )
    if array.ndim == 0:
        raise ValueError(f"{argument}: expected an array of samples, got the number {array}")
    return array


def not_finite(array: Any) -> str | None:
    """The first NaN or infinity and where it is; None if there is none."""
    values = np.asarray(array)
    if values.dtype.kind != "f":
        return None
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return None
    index = tuple(map(int, np.argwhere(wrong)[0]))
    return f"{values[index]} at {list(index)}"


def check_count(argument: str, value: Any, low: int = 1) -> int:
    kind = "a positive int" if low == 1 else f"an int >= {low}"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{argument}: expected {kind}, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{argument}: expected {kind}, got {value!r}")
    if not low <= number < 2**63:
        raise ValueError(f"{argument}: expected {kind}, got {value!r}")
    return number


def is_iterable_of_batches(x: Any) -> bool:
    """Whether x is a generator, a data loader or the like, and not an array."""
    if isinstance(x, list | tuple | str | Mapping):
        return False
    return hasattr(x, "__next__") or (hasattr(x, "__iter__") and not _is_array(x))


def _is_array(x: Any) -> bool:
    if any(hasattr(x, name) for name in ("__array__", "__array_interface__", "__dlpack__")):
        return True
    try:
        memoryview(x)
    except TypeError:
        return False
    return True


class InputSpec:
    """What a model takes.

    Args:
        shape: of the input, or a list or dict of shapes; None for what is open.
        dtype: of the inputs, one for all or a list.
        classes: for each output the number of classes if its targets are labels, else None.
        ends: the names of inputs and outputs.
    """

    def __init__(
        self,
        shape: Any,
        dtype: str | Sequence[Any],
        classes: Sequence[int | None] = (),
        ends: Ends | None = None,
    ) -> None:
        self.shape = shape
        self._single = shape is not None and is_shape(shape)
        self.dtypes = [np.dtype(d) for d in ([dtype] if isinstance(dtype, str) else dtype)]
        self.classes = classes
        self.ends = ends or Ends()
        self.compute_dtype = next((d for d in self.dtypes if d.kind == "f"), np.dtype("float32"))

    def fit(self, x: Any) -> Any:
        """x as the model takes it: a last axis of one is added or dropped as needed, without a copy.

        Raises: ValueError for any other shape, and for too many or too few inputs.
        """
        if self.shape is None:
            return x
        if self._single:
            if is_nested(x):
                x = by_name("x", x, ["x"])[0]
            return _fitted("x", x, tuple(self.shape))
        shapes = flat_shapes(self.shape)
        form = map_shapes(lambda shape: None, self.shape)
        names = self.ends.inputs or names_of(form, "input")
        arrays = flatten(x) if outline(x) == outline(form) else by_name("x", x, names)
        fitted = [
            _fitted(f"x[{name!r}]", array, shape)
            for name, array, shape in zip(names, arrays, shapes, strict=True)
        ]
        return rebuild(form, iter(fitted))

    def check_labels(self, y: Any) -> None:
        """ValueError for a label that is no integer, or not in 0 .. classes - 1, and for a wrong number of targets."""
        outputs = self.ends.outputs
        if not self.classes and not is_nested(y) and outputs is not None and len(outputs) == 1:
            return
        if y is None or (outputs is None and is_nested(y)):
            return
        names = outputs or ["y"]
        targets = by_name("y", y, names, partial=isinstance(y, dict))
        for name, target, classes in zip(names, targets, self.classes, strict=False):
            _check_labels("y" if len(names) == 1 else f"y[{name!r}]", target, classes)

    def cast(self, batch: Batch) -> Batch:
        """The batch in the model's dtypes; integer targets stay, they are labels."""
        if is_nested(batch.x):
            leaves = flatten(batch.x)
            dtypes = self.dtypes if len(self.dtypes) == len(leaves) else self.dtypes * len(leaves)
            casts = (leaf.astype(d, copy=False) for leaf, d in zip(leaves, dtypes, strict=True))
            x = rebuild(batch.x, casts)
        else:
            x = batch.x.astype(self.dtypes[0], copy=False)
        w = map_structure(self._in_compute_dtype, batch.sample_weight)
        return Batch(x, map_structure(self._target, batch.y), w)

    def _in_compute_dtype(self, leaf: Any) -> Any:
        return leaf if leaf is None else leaf.astype(self.compute_dtype, copy=False)

    def _target(self, leaf: Any) -> Any:
        return leaf if leaf is None or leaf.dtype.kind != "f" else self._in_compute_dtype(leaf)


def _fitted(label: str, x: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    if x.ndim == len(shape) - 1 and shape[-1] == 1:
        x = x[..., np.newaxis]
    elif x.ndim == len(shape) + 1 and x.shape[-1] == 1:
        x = x[..., 0]
    wanted = shape[1:]
    if x.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(wanted, x.shape[1:], strict=True)
    ):
        return x
    expected = ", ".join(["N"] + ["any" if size is None else str(size) for size in wanted])
    hint = ""
    if x.ndim == 4 and (x.shape[2], x.shape[3], x.shape[1]) == wanted:
        hint = "; this looks like channels_first, channels go last: x.transpose(0, 2, 3, 1)"
    elif x.shape == wanted:
        hint = f"; one sample: {label}[np.newaxis]"
    raise ValueError(f"{label}: expected shape ({expected}), got {x.shape}{hint}")


def _check_labels(label: str, y: np.ndarray | None, classes: int | None) -> None:
    if y is None or classes is None or y.size == 0:
        return
    wrong = (y < 0) | (y >= classes)
    if y.dtype.kind == "f":
        wrong |= y != np.floor(y)
    if wrong.any():
        index = tuple(map(int, np.argwhere(wrong)[0]))
        row = f"row {index[0]}" if len(index) == 1 else f"index {list(index)}"
        raise ValueError(
            f"{label}: expected integer labels 0..{classes - 1}, got {y[index]} at {row}"
        )


class ArrayData:
    """Rows of arrays, in order or shuffled; the last batch may be smaller.

    X is never copied whole: each batch is gathered and cast on its own, or is a view where the rows are in order and
    the dtype is right.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        batch_size: int | None = None,
        ends: Ends | None = None,
    ) -> None:
        ends = ends or Ends()
        self.x = as_arrays(x, "x", ends.inputs)
        if not flatten(self.x):
            raise ValueError(f"x: expected at least one array, got {x!r}")
        if any(leaf is None for leaf in flatten(self.x)):
            raise TypeError("x: expected an array of numbers, got None")
        self._count = count_rows(self.x)
        self.y = as_arrays(y, "y", ends.outputs, self._count)
        if sample_weight is not None and class_weight is not None:
            raise ValueError(
                "sample_weight: expected only one of sample_weight and class_weight, got both"
            )
        weighted = ends.outputs if holds_arrays(sample_weight) else ["y"]
        self.sample_weight = as_arrays(sample_weight, "sample_weight", weighted, self._count)
        for argument, part in (("x", self.x), ("y", self.y), ("sample_weight", self.sample_weight)):
            for i, leaf in enumerate(flatten(part)):
                if leaf is not None and len(leaf) != self._count:
                    first = next(labelled(self.x, "x"))[0]
                    label = [label for label, _ in labelled(part, argument)][i]
                    raise ValueError(
                        f"{label}: {first} has {len(self)} samples, {label} has {len(leaf)}"
                    )
        if self.sample_weight is not None:
            self.sample_weight = map_structure(_row_weights, self.sample_weight)
        if class_weight is not None:
            self.sample_weight = _weights_of_classes(class_weight, self.y, ends.outputs)
        self.batch_size = (
            BATCH_SIZE if batch_size is None else check_count("batch_size", batch_size)
        )

    def __len__(self) -> int:
        return self._count

    @property
    def steps(self) -> int:
        return math.ceil(len(self) / self.batch_size)

    def split(self, fraction: float) -> tuple[ArrayData, ArrayData]:
        """All but the last `fraction` of the rows, and these. Views; before any shuffling."""
        if (
            isinstance(fraction, bool)
            or not isinstance(fraction, int | float)
            or not 0 < fraction < 1
        ):
            raise ValueError(f"validation_split: expected a number > 0 and < 1, got {fraction!r}")
        at = math.floor(len(self) * (1 - fraction))
        if at in (0, len(self)):
            raise ValueError(
                f"validation_split: {fraction} of {len(self)} samples leaves {at} to train and {len(self) - at} to "
                "validate"
            )
        return self._rows(slice(None, at)), self._rows(slice(at, None))

    def _rows(self, rows: slice) -> ArrayData:
        part = copy.copy(self)
        part.x, part.y, part.sample_weight = self._parts(rows)
        part._count = count_rows(part.x)
        return part

    def batch(self, order: np.ndarray | None, step: int) -> Batch:
        rows: Any = slice(step * self.batch_size, (step + 1) * self.batch_size)
        if order is not None:
            rows = order[rows]
        return Batch(*self._parts(rows))

    def _parts(self, rows: Any) -> tuple[Any, Any, Any]:
        return take_rows(self.x, rows), take_rows(self.y, rows), take_rows(self.sample_weight, rows)

    def batches(self, order: np.ndarray | None = None) -> Iterator[Batch]:
        for step in range(self.steps):
            yield self.batch(order, step)


def _row_weights(weight: Any) -> Any:
    if weight is None:
        return None
    if weight.ndim == 2 and weight.shape[1] == 1:
        weight = weight[:, 0]
    if not np.isfinite(weight).all():
        raise ValueError("sample_weight: expected finite numbers, got NaN or infinity")
    return weight


def _weights_of_classes(class_weight: Any, y: Any, names: Sequence[str] | None) -> Any:
    """A weight per row, for several outputs a list of them in order."""
    if not is_nested(y):
        if isinstance(class_weight, list) and len(class_weight) == 1:
            class_weight = class_weight[0]
        return class_to_sample_weight(class_weight, y)
    names = names or names_of(y, "output")
    targets = by_name("y", y, names, partial=isinstance(y, dict))
    weights = by_name("class_weight", class_weight, names, partial=isinstance(class_weight, dict))
    return [
        None if weight is None else class_to_sample_weight(weight, target)
        for weight, target in zip(weights, targets, strict=True)
    ]


class IterableData:
    """Batches from a generator, a data loader, or any iterable of (x, y[, sample_weight])."""

    steps: int | None = None

    def __init__(
        self, source: Iterable[Any], class_weight: Any = None, ends: Ends | None = None
    ) -> None:
        self.source = source
        self.class_weight = class_weight
        self.ends = ends

    def batches(self, order: np.ndarray | None = None) -> Iterator[Batch]:
        for item in self.source:
            parts = item if isinstance(item, tuple | list) else (item,)
            if not 1 <= len(parts) <= 3:
                raise ValueError(
                    "x: expected batches x, (x, y) or (x, y, sample_weight), "
                    f"got a {type(item).__name__} of {len(parts)}"
                )
            x, y, weight = (*parts, None, None)[:3]
            data = ArrayData(x, y, weight, self.class_weight, ends=self.ends)
            yield Batch(data.x, data.y, data.sample_weight)


Data = ArrayData | IterableData


def make_data(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    batch_size: int | None = None,
    ends: Ends | None = None,
) -> Data:
    if batch_size is not None:
        check_count("batch_size", batch_size)
    if not is_iterable_of_batches(x):
        return ArrayData(x, y, sample_weight, class_weight, batch_size, ends)
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"{name}: expected None, as x is a {type(x).__name__} that gives batches (x, y), got {name}"
            )
    return IterableData(x, class_weight, ends)


class EpochIterator:
    """The batches of one epoch after another; with `steps` an epoch is that many, wherever the data stand.

    `prepare` builds the model for an x if need be and says what it takes. Arrays are checked at once, others as they
    come.
    """

    def __init__(
        self,
        data: Data,
        prepare: Callable[[Any], InputSpec],
        steps: int | None = None,
        shuffler: SeedGenerator | None = None,
    ) -> None:
        self.data, self.prepare, self.shuffler = data, prepare, shuffler
        self.spec: InputSpec | None = None
        if isinstance(data, ArrayData):
            self.spec = self.prepare(data.x)
            self.spec.fit(data.x)
            self.spec.check_labels(data.y)
        self.limit = None if steps is None else check_count("steps", steps)
        self.steps = self.limit or data.steps
        self._current: Iterator[Batch] | None = None

    def epoch(self) -> Iterator[Batch]:
        seen = 0
        restarted = False
        while self.limit is None or seen < self.limit:
            if self._current is None:
                self._current = iter(self.data.batches(self._order()))
            batch = next(self._current, None)
            if batch is None:
                self._current = None
                if self.limit is None:
                    break
                if restarted:
                    warnings.warn(
                        f"x ran out of data after {seen} of {self.limit} steps",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                    break
                restarted = True
                continue
            restarted = False
            yield self._checked(batch)
            seen += 1
        if self.limit is None:
            self._current = None
            if self.steps is None:
                self.steps = seen

    def arrays(self) -> tuple[list[np.ndarray | None], np.ndarray | None] | None:
        """x, y and weights whole, and the order of one epoch's rows, for who gathers the rows itself; None where the
        data come in batches, or lie so that they would have to be copied first."""
        data = self.data
        if not isinstance(data, ArrayData) or self.limit is not None or self.spec is None:
            return None
        sources = flatten((self.spec.fit(data.x), data.y, data.sample_weight))
        if not all(a is None or _is_plain(a) for a in sources):
            return None
        return sources, self._order()

    @property
    def full_steps(self) -> int:
        """How many batches of an epoch have `batch_size` rows."""
        assert isinstance(self.data, ArrayData)
        return len(self.data) // self.data.batch_size

    def batch(self, order: np.ndarray | None, step: int) -> Batch:
        """Batch `step` of an epoch in this order."""
        assert isinstance(self.data, ArrayData)
        return self._checked(self.data.batch(order, step))

    def restart(self) -> None:
        """Begin the next epoch at the first batch, also with `steps`."""
        self._current = None

    def _checked(self, batch: Batch) -> Batch:
        if self.spec is None:
            self.spec = self.prepare(batch.x)
        if not isinstance(self.data, ArrayData):  # arrays have been checked whole
            self.spec.check_labels(batch.y)
        batch.x = self.spec.fit(batch.x)
        return self.spec.cast(batch)

    def _order(self) -> np.ndarray | None:
        if self.shuffler is None or not isinstance(self.data, ArrayData):
            return None
        return permutation(len(self.data), self.shuffler)


_PLAIN = tuple(map(np.dtype, ("bool", "uint8", "int32", "int64", "float32", "float64")))


def _is_plain(array: np.ndarray) -> bool:
    """Whether fastnn reads this memory as it is."""
    return (
        array.dtype in _PLAIN  # native ones alone; a dtype's name takes NumPy two microseconds
        and array.flags.c_contiguous
        and array.flags.aligned
    )


def class_to_sample_weight(class_weight: Any, y: np.ndarray | None) -> np.ndarray:
    """One weight per row, from its label (or the hot entry of its row); 1 for classes without a weight."""
    if y is None:
        raise ValueError("class_weight: expected y to be given, got None")
    labels = y
    if y.ndim > 1:
        labels = y.argmax(-1) if y.shape[-1] > 1 else y[..., 0]
    if labels.ndim != 1:
        raise ValueError(f"class_weight: expected one label per sample, got y of shape {y.shape}")
    if class_weight == "balanced":
        classes, counts = np.unique(labels, return_counts=True)
        class_weight = dict(
            zip(classes.tolist(), len(labels) / (len(classes) * counts), strict=True)
        )
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight: expected a dict of weights by class or 'balanced', got {class_weight!r}"
        )
    weights = np.ones(len(labels))
    for label, weight in class_weight.items():
        for kind, number in (("class numbers", label), ("weights", weight)):
            if not isinstance(number, int | float | np.number) or not math.isfinite(number):
                raise ValueError(f"class_weight: expected finite {kind}, got {number!r}")
        weights[labels == label] = weight
    return weights
