"""Functions with a gradient of their own: in ops (custom_gradient) or in NumPy (py_function)."""

from __future__ import annotations

import functools
import inspect
import itertools
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn import _core
from fastnn._core import Tensor, Variable
from fastnn._structure import flatten, holds_arrays, is_shape, leaves, map_structure
from fastnn._typing import ArrayLike, DTypeLike
from fastnn.ops._deferred import deferring

__all__ = ["custom_gradient", "py_function"]

_keys = itertools.count()


class CustomGradient:
    """What `fastnn.custom_gradient` makes of a function; call it like the function."""

    __name__: str

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function, updated=())
        self.__name__ = _name_of(function)
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        label = f"custom_gradient '{self.__name__}'"
        if kwargs:
            raise TypeError(
                f"{label}: expected positional arguments only, as its gradients are by position, got "
                + ", ".join(f"{name}=" for name in kwargs)
            )
        symbol = deferring(*args)
        if symbol is not None:
            return symbol.__fastnn_op__(self, args, {})
        return _call(label, self._function, args)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        return CustomGradient(types.MethodType(self._function, instance))


def custom_gradient(f: Callable[..., tuple[Any, Callable[..., Any]]]) -> CustomGradient:
    """Give a function of `fastnn.ops` a gradient of its own, as `tf.custom_gradient` does.

    Both `f` and its gradient are made of ops. Where a step is recorded (`fit`, `@fastnn.function`) their ops become
    part of it like any others, and no Python runs afterwards.

    Args:
        f: `f(*args)` returns `(y, grad_fn)`: a tensor or a list, tuple or dict of tensors, and the function that takes
            one upstream gradient per output (zeros for an output that nothing depends on, `None` for one of integers)
            to one gradient per argument, in the argument's shape and dtype. A gradient of `None` says that y does not
            depend on the argument; what is given for an argument that is no floating tensor is ignored. An argument
            that is a list of tensors has one gradient for each.

            Where f reads trainable variables that are not among its arguments, the call is
            `grad_fn(*upstream, variables=[...])`, and returns `(gradients, gradients_of_the_variables)`.
    Returns: the function. It takes positional arguments only; a method can be decorated too.
    Raises:
        TypeError, ValueError: from `gradient`, naming f, for gradients of another number, shape or dtype.
    Example:
        >>> import fastnn
        >>> @fastnn.custom_gradient
        ... def log1pexp(x):
        ...     e = fastnn.ops.exp(x)
        ...     return fastnn.ops.log1p(e), lambda upstream: upstream * (1 - 1 / (1 + e))
        >>> x = fastnn.Variable(100.0)
        >>> with fastnn.GradientTape() as tape:
        ...     y = log1pexp(x)
        >>> float(tape.gradient(y, x))
        1.0
    """
    if not callable(f):
        raise TypeError(f"custom_gradient: expected a function, got {f!r}")
    return CustomGradient(f)


def _call(label: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:
    given = [map_structure(_as_tensor, a) if holds_arrays(a) else _as_tensor(a) for a in args]
    with _core.CustomFunction() as scope:
        result = function(*given)
        if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
            raise TypeError(f"{label}: expected it to return (y, grad_fn), got {_kind(result)}")
        try:
            # Each output is a value of its own, or a function that returns its argument would be none to the tape.
            y = map_structure(lambda leaf: _core.stop_gradient(leaf), result[0])
        except TypeError as error:
            raise TypeError(f"{label}: outputs: {error}") from None
    grad_fn = result[1]

    flat = [leaf for a in given for leaf in (flatten(a) if holds_arrays(a) else [a])]
    tensors = [leaf for leaf in flat if isinstance(leaf, Tensor | Variable)]
    known = {_id(tensor) for tensor in tensors}
    variables = [v for v in scope.variables if _id(v) not in known]
    if variables and not _takes_variables(grad_fn):
        raise TypeError(
            f"{label}: it reads the trainable variable '{variables[0].name}', which is no argument of it; expected a "
            "grad_fn(*upstream, variables) that returns (gradients, gradients of the variables), or pass the "
            "variable as an argument"
        )
    # What the tape keeps of the arguments is in C++; here their forms suffice.
    specs = [_spec(leaf) for leaf in flat]
    of_variables = [_spec(variable) for variable in variables]

    def pullback(*upstream: Any) -> list[Any]:
        if not variables:
            return _gradients(label, grad_fn(*upstream), specs)
        both = grad_fn(*upstream, variables=variables)
        if not (isinstance(both, tuple) and len(both) == 2):
            raise TypeError(
                f"{label}: expected grad_fn to return (gradients, gradients of the variables), got {_kind(both)}"
            )
        gradients = _gradients(label, both[0], specs)
        return gradients + _gradients(label, both[1], of_variables, "variable")

    key = next(_keys)
    for tape in scope.show(label, key, [*tensors, *variables], flatten(y)):
        tape.pullbacks[key] = pullback
    return y


_Spec = tuple[tuple[int | None, ...], np.dtype[Any]]


def _gradients(
    label: str, found: Any, specs: Sequence[_Spec | None], of: str = "argument"
) -> list[Any]:
    """The gradients of the tensors among the arguments, checked."""
    gradients = list(leaves(found)) if isinstance(found, list | tuple) else [found]
    if len(gradients) != len(specs):
        raise ValueError(
            f"{label}: expected {len(specs)} gradients, one per {of}, got {len(gradients)}"
        )
    checked: list[Any] = []
    for i, (gradient, spec) in enumerate(zip(gradients, specs, strict=True), 1):
        if spec is None:
            continue
        shape, dtype = spec
        if gradient is None or dtype.kind != "f":
            checked.append(None)
            continue
        try:
            g = Tensor(gradient, dtype.name if type(gradient) in _SCALARS else None)
        except TypeError as error:
            raise TypeError(f"{label}: gradient of {of} {i}: {error}") from None
        if not _fits(tuple(g.shape), shape):
            raise ValueError(
                f"{label}: expected the gradient of {of} {i} in shape {shape}, got {tuple(g.shape)}"
            )
        if g.dtype != dtype:
            raise TypeError(
                f"{label}: expected the gradient of {of} {i} in dtype {dtype}, got {g.dtype}"
            )
        checked.append(g)
    return checked


_SCALARS = (bool, int, float)


def _fits(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> bool:
    return len(a) == len(b) and all(
        m is None or n is None or m == n for m, n in zip(a, b, strict=True)
    )


def _as_tensor(x: Any) -> Any:
    """Arrays as tensors, so that f and the tape see the same value; what is no array as it is."""
    return Tensor(x) if hasattr(x, "__array__") and not isinstance(x, Tensor | Variable) else x


def _spec(x: Any) -> _Spec | None:
    return (tuple(x.shape), np.dtype(x.dtype)) if isinstance(x, Tensor | Variable) else None


def _id(x: Tensor | Variable) -> int:
    return x.value.id if isinstance(x, Variable) else x.id


def _takes_variables(grad_fn: Callable[..., Any]) -> bool:
    parameters = inspect.signature(grad_fn).parameters.values()
    return any(p.name == "variables" or p.kind is p.VAR_KEYWORD for p in parameters)


def _kind(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


# ---- NumPy code


class _Function:
    """NumPy code that a node of a graph names by a key.

    The graph's owner keeps it; from here it is seen as long as that lives.
    """

    __slots__ = ("__weakref__", "call")

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


_OutputSpec = tuple[tuple[int | None, ...], DTypeLike]
_functions: weakref.WeakValueDictionary[int, _Function] = weakref.WeakValueDictionary()


def run_function(key: int, name: str, inputs: list[Any], outputs: list[np.ndarray]) -> None:
    """Called by C++ where a program has come to a py_function: fill the outputs, which are memory of the program."""
    function = _functions.get(key)
    if function is None:
        raise RuntimeError(f"{name}: the model, function or graph that it was recorded in is gone")
    found = function.call(*inputs)
    if len(found) != len(outputs):
        raise ValueError(f"{name}: expected {len(outputs)} outputs, got {len(found)}")
    for i, (value, out) in enumerate(zip(found, outputs, strict=True), 1):
        which = "an output" if len(outputs) == 1 else f"output {i}"
        if value is None:
            raise TypeError(f"{name}: expected {which} of shape {out.shape}, got None")
        array = np.asarray(value)
        if array.shape != out.shape:
            raise ValueError(
                f"{name}: expected {which} of shape {out.shape}, got one of shape {array.shape}"
            )
        # Python's numbers are weak, as in ops.
        dtype = np.result_type(value, out.dtype) if type(value) in _SCALARS else array.dtype
        if dtype != out.dtype:
            raise TypeError(
                f"{name}: expected {which} of dtype {out.dtype}, got {dtype}; .astype('{out.dtype}') converts it"
            )
        out[...] = array


def _node(
    name: str, call: Callable[..., Any], inputs: Sequence[Tensor], specs: Sequence[_OutputSpec]
) -> list[Tensor]:
    """The outputs of NumPy code that returns a list of arrays."""
    function, key = _Function(call), next(_keys)
    _functions[key] = function
    shapes, dtypes = [shape for shape, _ in specs], [dtype for _, dtype in specs]
    outputs, graphs = _core.py_function(key, name, inputs, shapes, dtypes)
    for graph in graphs:
        graph.functions.append(function)
    return outputs


def py_function(
    fn: Callable[..., Any],
    inputs: ArrayLike | Sequence[ArrayLike],
    output_shapes: Any,
    dtypes: DTypeLike | Sequence[DTypeLike],
    gradient: Callable[..., Any] | None = None,
) -> Any:
    """Call NumPy code, in a recorded step too.

    A step that is recorded (`fit`, `@fastnn.function`) calls `fn` anew whenever it runs, and never while it is
    recorded. An exception in `fn` ends the step and is raised to its caller; no variable has changed then.

    Args:
        fn: called with one read-only NumPy array per input. The arrays are views of memory that is used for other
            things afterwards: copy what you want to keep. Returns an array, or a list or tuple of them where several
            shapes are given.
        inputs: tensor or array, or a list of them.
        output_shapes: the shape of the result, or a list of shapes. A first dimension of `None` is the first dimension
            of the first input.
        dtypes: dtype of the result, or a list with one per output; one dtype serves all.
        gradient: NumPy code as well: `gradient(*inputs, *outputs, *upstream)` returns one gradient per input (an
            array, or a list where there are several), in its shape and dtype; `None` stands for zeros, and serves for
            integers. The upstream gradient of an output of integers is `None`. Default: asking for the gradient is an
            error.
    Returns: a tensor, or a list of them if `output_shapes` is a list of shapes.
    Raises:
        ValueError, TypeError: naming fn, when its results have other shapes or dtypes than announced.
        RuntimeError: from `gradient` of a tape, where no gradient was given.
    Example:
        >>> import fastnn, numpy as np
        >>> def median(x):
        ...     return np.median(x, axis=1)
        >>> @fastnn.function
        ... def spread(x):
        ...     return x - fastnn.ops.expand_dims(fastnn.py_function(median, x, (None,), "float32"), 1)
        >>> spread(np.array([[1, 5, 9]], "float32")).numpy()
        array([[-4.,  0.,  4.]], dtype=float32)
    """
    given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    symbol = deferring(*given)
    if symbol is not None:
        return symbol.__fastnn_op__(
            py_function, (fn, given, output_shapes, dtypes), {"gradient": gradient}
        )
    for argument, value in (("fn", fn), ("gradient", gradient)):
        if not callable(value) and not (value is None and argument == "gradient"):
            raise TypeError(f"py_function: {argument}: expected a function, got {value!r}")
    name = f"py_function '{_name_of(fn)}'"
    if isinstance(output_shapes, int | np.integer):
        output_shapes = (output_shapes,)
    single = is_shape(output_shapes)
    specs = _output_specs(name, [output_shapes] if single else output_shapes, dtypes)

    def call(*arrays: Any) -> Any:
        found = fn(*arrays)
        if not single and not isinstance(found, list | tuple):
            raise TypeError(
                f"{name}: expected a list of {len(specs)} outputs, got {type(found).__name__}"
            )
        return [found] if single else found

    def function(*tensors: Any) -> Any:
        outputs = _node(name, call, tensors, specs)

        def grad_fn(*upstream: Any) -> list[Any]:
            if gradient is None:
                raise RuntimeError(
                    f"{name}: has no gradient; give gradient=, or put stop_gradient around its inputs"
                )
            return _gradient_node(name, gradient, tensors, outputs, upstream)

        return outputs, grad_fn

    outputs = _call(name, function, [Tensor(x) for x in given])
    return outputs[0] if single else outputs


def _gradient_node(
    name: str,
    gradient: Callable[..., Any],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    upstream: Sequence[Tensor | None],
) -> list[Any]:
    """One gradient per input, None for integers; from NumPy code."""
    floating = [x.dtype.kind == "f" for x in inputs]
    seeded = [u is not None for u in upstream]
    before = len(inputs) + len(outputs)

    # The node keeps this function: it must not know the tensors, or they would keep the graph.
    def call(*arrays: Any) -> list[Any]:
        seeds = iter(arrays[before:])
        found = gradient(*arrays[:before], *(next(seeds) if given else None for given in seeded))
        gradients = list(found) if isinstance(found, list | tuple) else [found]
        if len(gradients) != len(floating):
            raise ValueError(
                f"gradient of {name}: expected {len(floating)} gradients, one per input, got {len(gradients)}"
            )
        return [
            np.zeros_like(x) if g is None else g
            for x, g, wanted in zip(arrays, gradients, floating, strict=False)
            if wanted
        ]

    specs = [(tuple(x.shape), x.dtype) for x, f in zip(inputs, floating, strict=True) if f]
    given = [*inputs, *outputs, *(u for u in upstream if u is not None)]
    found = iter(_node(f"gradient of {name}", call, given, specs) if specs else ())
    return [next(found) if wanted else None for wanted in floating]


def _output_specs(name: str, shapes: Any, dtypes: Any) -> list[_OutputSpec]:
    if not isinstance(shapes, list | tuple) or not all(is_shape(shape) for shape in shapes):
        raise TypeError(
            f"{name}: output_shapes: expected a shape or a list of shapes, got {shapes!r}"
        )
    given = list(dtypes) if isinstance(dtypes, list | tuple) else [dtypes] * len(shapes)
    if len(given) != len(shapes):
        raise ValueError(
            f"{name}: dtypes: expected {len(shapes)}, one per output, got {len(given)}"
        )
    for shape in shapes:
        if any(size is None for size in shape[1:]) or any(s is not None and s < 0 for s in shape):
            raise ValueError(
                f"{name}: output_shapes: expected known dimensions after the first, got {tuple(shape)}"
            )
    return [(tuple(shape), dtype) for shape, dtype in zip(shapes, given, strict=True)]
