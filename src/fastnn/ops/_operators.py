"""Python's operators and NumPy's methods on Tensor and Variable, in terms of fastnn.ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastnn import _core
from fastnn.ops._deferred import deferring
from fastnn.ops.comparison import logical_and, logical_not, logical_or, logical_xor
from fastnn.ops.dense import matmul
from fastnn.ops.indexing import getitem

_BINARY: dict[str, Callable[..., Any]] = {
    "add": _core.add,
    "sub": _core.subtract,
    "mul": _core.multiply,
    "truediv": _core.divide,
    "pow": _core.power,
    "matmul": matmul,
}
_COMPARE: dict[str, Callable[..., Any]] = {
    "eq": _core.equal,
    "ne": _core.not_equal,
    "lt": _core.less,
    "le": _core.less_equal,
    "gt": _core.greater,
    "ge": _core.greater_equal,
}
_LOGIC: dict[str, Callable[..., Any]] = {"and": logical_and, "or": logical_or, "xor": logical_xor}

# `array * tensor` reaches the tensor as NumPy's ufunc of that operator.
_UFUNCS: dict[str, Callable[..., Any]] = {
    "add": _core.add,
    "subtract": _core.subtract,
    "multiply": _core.multiply,
    "divide": _core.divide,
    "power": _core.power,
    "matmul": matmul,
    "equal": _core.equal,
    "not_equal": _core.not_equal,
    "less": _core.less,
    "less_equal": _core.less_equal,
    "greater": _core.greater,
    "greater_equal": _core.greater_equal,
}
_OP_OF_UFUNC = {"absolute": "abs", "rint": "round", "floor_divide": "floor"}


def _array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    name = ufunc.__name__
    if method == "__call__" and not options and name in _UFUNCS:
        return _UFUNCS[name](*inputs)
    call = f"np.{name}" if method == "__call__" else f"np.{name}.{method}"
    raise TypeError(
        f"{call} does not compute with fastnn tensors; use "
        f"fastnn.ops.{_OP_OF_UFUNC.get(name, name)}, or "
        "np.asarray(tensor) for a NumPy result off the tape"
    )


def _operator(op: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def operate(self: Any, other: Any) -> Any:
        try:
            return op(self, other)
        except TypeError:
            if deferring(other) is not None:
                return NotImplemented  # its reflected operator knows
            raise

    return operate


def _reflected(op: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: op(other, self)


def _comparison(op: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    operate = _operator(op)

    def compare(self: Any, other: Any) -> Any:
        # Python's own answer (identity) for what is no number at all.
        no_number = other is None or isinstance(other, str | dict)
        return NotImplemented if no_number else operate(self, other)

    return compare


def _logic(op: Callable[..., Any], symbol: str) -> Callable[[Any, Any], Any]:
    def combine(self: Any, other: Any) -> Any:
        for operand in (self, other):
            if not isinstance(operand, bool) and str(getattr(operand, "dtype", None)) != "bool":
                raise TypeError(f"{symbol}: expected two operands of dtype bool, got {operand!r}")
        return op(self, other)

    return combine


def _iterate(self: Any) -> Iterator[Any]:
    if self.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return (getitem(self, i) for i in range(len(self)))


def _invert(logical_not: Callable[..., Any]) -> Callable[[Any], Any]:
    def invert(self: Any) -> Any:
        if self.dtype.kind != "b":
            raise TypeError(f"~: expected a tensor of dtype bool, got {self.dtype}")
        return logical_not(self)

    return invert


def _spread(first: Any, rest: tuple[Any, ...]) -> Any:
    """The arguments of x.reshape(2, 3) and x.reshape((2, 3)) alike."""
    return (first, *rest) if rest else first


def attach_operators(
    cls: Any, through: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda op: op
) -> None:
    """Give the class all operators and methods; each op goes `through` a function first."""
    own_hash = cls.__hash__
    for name, op in _BINARY.items():
        setattr(cls, f"__{name}__", _operator(through(op)))
        setattr(cls, f"__r{name}__", _reflected(through(op)))
    for name, op in _COMPARE.items():
        setattr(cls, f"__{name}__", _comparison(through(op)))
    for name, op in _LOGIC.items():
        combine = _logic(through(op), {"and": "&", "or": "|", "xor": "^"}[name])
        setattr(cls, f"__{name}__", combine)
        setattr(cls, f"__r{name}__", combine)
    cls.__hash__ = own_hash
    negative, absolute, transpose = through(_core.negative), through(_core.abs), through(_core.transpose)
    reshape, copy, cast = through(_core.reshape), through(_core.copy), through(_core.cast)
    cls.__neg__ = lambda self: negative(self)
    cls.__abs__ = lambda self: absolute(self)
    cls.__invert__ = _invert(through(logical_not))
    cls.__getitem__ = through(getitem)
    cls.__iter__ = _iterate
    cls.__array_ufunc__ = _array_ufunc
    cls.T = property(lambda self: transpose(self))
    cls.reshape = lambda self, shape, *rest: reshape(self, _spread(shape, rest))
    cls.transpose = lambda self, *axes: transpose(self, _spread(axes[0], axes[1:]) if axes else None)
    cls.flatten = lambda self: copy(reshape(self, -1))
    cls.astype = lambda self, dtype: cast(self, dtype)
    for name in ("sum", "mean", "max", "min"):
        setattr(cls, name, _reduction(through(getattr(_core, name))))


def _reduction(op: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, axis=None, keepdims=False: op(self, axis, keepdims)
