"""Reductions, running sums and sorting of `keras.ops`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.arrays import expand_dims, reshape, squeeze, take_along_axis
from kcompile.keras.ops.common import axes_tuple, float_dtype, kind, on_float, op, rank_of, run, tensor
from kcompile.operators import reduction, sorting

Axis = int | Sequence[int] | None


@op
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Sum over axes; bools and small integers are summed as 32-bit integers."""
    return run(reduction.Sum(axes_tuple(axis), keepdims), _wide(x))


@op
def prod(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Product over axes."""
    return run(reduction.Product(axes_tuple(axis), keepdims), _wide(x) if dtype is None else tensor(x, dtype))


@op
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Mean over axes."""
    return on_float(reduction.Mean(axes_tuple(axis), keepdims), x)


@op
def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Population variance over axes."""
    x = tensor(x, float_dtype(kind(x)))
    return mean(ew.square(ew.subtract(x, mean(x, axis, True))), axis, keepdims)


@op
def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Population standard deviation over axes."""
    return ew.sqrt(var(x, axis, keepdims))


@op
def max(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Largest value over axes."""
    result = run(reduction.Max(axes_tuple(axis), keepdims), x)
    return result if initial is None else ew.maximum(result, initial)


@op
def min(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Smallest value over axes."""
    result = run(reduction.Min(axes_tuple(axis), keepdims), x)
    return result if initial is None else ew.minimum(result, initial)


amax, amin = max, min


@op
def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """True where any element over the axes is true."""
    return run(reduction.Any(axes_tuple(axis), keepdims), tensor(x, "bool"))


@op
def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """True where all elements over the axes are true."""
    return run(reduction.All(axes_tuple(axis), keepdims), tensor(x, "bool"))


@op
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over axes without overflow."""
    return on_float(reduction.LogSumExp(axes_tuple(axis), keepdims), x)


@op
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index (int32) of the first largest element; over all elements where axis is None."""
    return _arg(reduction.ArgMax, x, axis, keepdims)


@op
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index (int32) of the first smallest element."""
    return _arg(reduction.ArgMin, x, axis, keepdims)


def _arg(operator: Any, x: Any, axis: int | None, keepdims: bool) -> Any:
    x = tensor(x, "int32") if kind(x).is_bool else tensor(x)
    if axis is not None:
        return tensor(run(operator(axis, keepdims), x), "int32")
    found = tensor(run(operator(0, False), reshape(x, (-1,))), "int32")
    return reshape(found, (1,) * rank_of(x)) if keepdims else found


@op
def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sum."""
    x = _wide(x) if dtype is None else tensor(x, dtype)
    return run(reduction.CumulativeSum(axis), x) if axis is not None else cumsum(reshape(x, (-1,)), 0)


@op
def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running product."""
    x = _wide(x) if dtype is None else tensor(x, dtype)
    return run(reduction.CumulativeProduct(axis), x) if axis is not None else cumprod(reshape(x, (-1,)), 0)


@op
def sort(x: Any, axis: int = -1) -> Any:
    """Ascending along an axis."""
    return run(sorting.Sort(axis), x)


@op
def argsort(x: Any, axis: int = -1) -> Any:
    """Indices (int32) that sort along an axis; equal elements keep their order."""
    return tensor(run(sorting.ArgSort(axis), x), "int32")


@op
def top_k(x: Any, k: int, sorted: bool = True) -> Any:
    """(values, int32 indices) of the k largest along the last axis."""
    values, indices = run(sorting.TopK(k), x)
    return values, tensor(indices, "int32")


@op
def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """True where fewer than k predictions are above the target's."""
    own = take_along_axis(predictions, expand_dims(targets, -1), -1)
    above = sum(tensor(ew.greater(predictions, own), "int32"), axis=-1)
    return ew.logical_and(ew.less(above, k), ew.isfinite(squeeze(own, -1)))


def _wide(x: Any) -> Any:
    of = kind(x)
    if of.is_bool or (of.is_integer and of.bits < 32):
        return tensor(x, "uint32" if of.kind == "uint" else "int32")
    return tensor(x)


__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "argsort", "cumprod", "cumsum", "in_top_k", "logsumexp", "max",
    "mean", "min", "prod", "sort", "std", "sum", "top_k", "var",
]  # fmt: skip
