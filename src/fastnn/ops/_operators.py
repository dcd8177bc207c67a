"""Python's operators and NumPy's methods on Tensor and Variable, in terms of fastnn.ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastnn import _core
from fastnn._core import Tensor
from fastnn.ops._deferred import deferring
from fastnn.ops.comparison import logical_and, logical_not, logical_or, logical_xor
from fastnn.ops.dense import matmul
from fastnn.ops.indexing import getitem

_BINARY: dict[str, Callable[..., Tensor]] = {
    "add": _core.add,
    "sub": _core.subtract,
    "mul": _core.multiply,
    "truediv": _core.divide,
    "pow": _core.power,
    "matmul": matmul,
}
_COMPARE: dict[str, Callable[..., Tensor]] = {
    "eq": _core.equal,
    "ne": _core.not_equal,
    "lt": _core.less,
    "le": _core.less_equal,
    "gt": _core.greater,
    "ge": _core.greater_equal,
}
_LOGIC: dict[str, Callable[..., Tensor]] = {
    "and": logical_and,
    "or": logical_or,
    "xor": logical_xor,
}

# `array * tensor` reaches the tensor as NumPy's ufunc of that operator.
_UFUNCS: dict[str, Callable[..., Tensor]] = {
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


# Each helper makes a function with annotations: they are what the type stub of _core shows.


def _unary(op: Callable[..., Tensor]) -> Callable[[Any], Tensor]:
    def apply(self: Any) -> Tensor:
        return op(self)

    return apply


def _operator(op: Callable[..., Tensor]) -> Callable[[Any, Any], Tensor]:
    def apply(self: Any, other: Any) -> Tensor:
        try:
            return op(self, other)
        except TypeError:
            if deferring(other) is None:
                raise
        reflected: Tensor = NotImplemented
        return reflected

    return apply


def _reflected(op: Callable[..., Tensor]) -> Callable[[Any, Any], Tensor]:
    def apply(self: Any, other: Any) -> Tensor:
        return op(other, self)

    return apply


def _comparison(op: Callable[..., Tensor]) -> Callable[[Any, Any], Tensor]:
    operate = _operator(op)

    def compare(self: Any, other: Any) -> Tensor:
        # Python's own answer (identity) for what is no number at all.
        no_number = other is None or isinstance(other, str | dict)
        return NotImplemented if no_number else operate(self, other)

    return compare


def _logic(op: Callable[..., Tensor], symbol: str) -> Callable[[Any, Any], Tensor]:
    def combine(self: Any, other: Any) -> Tensor:
        for operand in (self, other):
            if not isinstance(operand, bool) and str(getattr(operand, "dtype", None)) != "bool":
                raise TypeError(f"{symbol}: expected two operands of dtype bool, got {operand!r}")
        return op(self, other)

    return combine


def _iterate(self: Any) -> Iterator[Tensor]:
    if self.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return (getitem(self, i) for i in range(len(self)))


def _invert(op: Callable[..., Tensor]) -> Callable[[Any], Tensor]:
    def apply(self: Any) -> Tensor:
        if self.dtype.kind != "b":
            raise TypeError(f"~: expected a tensor of dtype bool, got {self.dtype}")
        return op(self)

    return apply


def _reshape(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(self: Any, shape: Any, *rest: int) -> Tensor:
        return op(self, _spread(shape, rest))

    return apply


def _flatten(reshape: Callable[..., Tensor], copy: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(self: Any) -> Tensor:
        return copy(reshape(self, -1))

    return apply


def _astype(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(self: Any, dtype: Any) -> Tensor:
        return op(self, dtype)

    return apply


def _transpose(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(self: Any, *axes: Any) -> Tensor:
        return op(self, _spread(axes[0], axes[1:]) if axes else None)

    return apply


def _spread(first: Any, rest: tuple[Any, ...]) -> Any:
    """The arguments of x.reshape(2, 3) and x.reshape((2, 3)) alike."""
    return (first, *rest) if rest else first


def attach_operators(
    cls: Any, through: Callable[[Callable[..., Tensor]], Callable[..., Tensor]] = lambda op: op
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
    cls.__neg__ = _unary(through(_core.negative))
    cls.__abs__ = _unary(through(_core.abs))
    cls.__invert__ = _invert(through(logical_not))
    cls.__getitem__ = through(getitem)
    cls.__iter__ = _iterate
    cls.__array_ufunc__ = _array_ufunc
    cls.T = property(_unary(through(_core.transpose)))
    cls.reshape = _reshape(through(_core.reshape))
    cls.transpose = _transpose(through(_core.transpose))
    cls.flatten = _flatten(through(_core.reshape), through(_core.copy))
    cls.astype = _astype(through(_core.cast))
    for name in ("sum", "mean", "max", "min"):
        setattr(cls, name, _reduction(through(getattr(_core, name))))


def _reduction(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(
        self: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Tensor:
        return op(self, axis, keepdims)

    return reduce
