"""What the ops functions share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from kcompile.ir import Dim, DType, Op, dtype
from kcompile.keras import backend, config, symbolic
from kcompile.tracing.scope import current_tracer
from kcompile.tracing.sizes import sizes_of
from kcompile.tracing.tensor import SymbolicTensor, promoted, weak_dtype

F = TypeVar("F", bound=Callable[..., Any])


def op(function: F) -> F:
    """Makes a call with a functional model's tensors a node of that model."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if current_tracer() is None and symbolic.has_keras_tensor(args, kwargs):
            return symbolic.call_function(call, args, kwargs)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def run(operator: Op, *xs: Any) -> Any:
    """An operator on operands whose dtypes fit already."""
    return backend.apply(operator, xs)


def common(operator: Op, *xs: Any, to_float: bool = False) -> Any:
    """An operator on operands cast to their common dtype, as Keras promotes."""
    target = float_dtype(promoted(*xs)) if to_float else promoted(*xs)
    return backend.apply(operator, xs, target)


def on_float(operator: Op, x: Any) -> Any:
    """An operator on one operand, integers and bools cast to floatx first."""
    return backend.apply(operator, (x,), float_dtype(kind(x)))


def kind(x: Any) -> DType:
    """The dtype that ``x`` has as a tensor."""
    weak = weak_dtype(x)
    return weak if isinstance(weak, DType) else backend.dtype_of(x)


def float_dtype(of: DType) -> DType:
    """``of`` if it is a float dtype, else floatx."""
    return of if of.is_float else dtype(config.floatx())


def tensor(x: Any, to: Any = None) -> Any:
    """`backend.convert_to_tensor`."""
    return backend.convert_to_tensor(x, to)


def shape_of(x: Any) -> tuple[Any, ...]:
    """Ints and symbolic dims."""
    return backend.shape_of(x)


def as_sizes(x: Any) -> tuple[Any, ...]:
    """A shape (or counts, one an axis) as ints and symbolic sizes: of one of them, of a sequence, of a tensor of them.

    Raises TraceError for a tensor whose values are not known while the model is traced.
    """
    if isinstance(x, (int, Dim, np.integer)):
        return (as_size(x),)
    if isinstance(x, SymbolicTensor):
        known = sizes_of(x.value)
        return tuple(map(as_size, x) if known is None else known.reshape(-1).tolist())
    if backend.is_tensor(x) or isinstance(x, np.ndarray):
        return tuple(int(d) for d in x.reshape(-1).tolist())
    return tuple(map(as_size, x))


def as_size(x: Any) -> Any:
    """One size: an int, a Dim (or None) as it is, a tensor that holds one as that."""
    if not isinstance(x, SymbolicTensor):
        return int(x) if backend.is_tensor(x) or isinstance(x, np.integer) else x
    known = sizes_of(x.value)
    return x.__index__() if known is None or known.size != 1 else known.item()


def rank_of(x: Any) -> int:
    return len(shape_of(x))


def axes_tuple(axis: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """An axis argument as a tuple; None means all."""
    if axis is None:
        return None
    return (axis,) if isinstance(axis, int) else tuple(axis)


def normal_axis(axis: int, rank: int) -> int:
    """The axis counted from the start; raises ValueError outside of the rank."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of bounds for a tensor of rank {rank}")
    return axis % rank
