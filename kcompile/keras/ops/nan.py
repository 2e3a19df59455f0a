"""Reductions of `keras.ops` that leave NaN out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops import reductions
from kcompile.keras.ops.common import float_dtype, kind, op, tensor

Axis = int | Sequence[int] | None


def _filled(x: Any, number: float) -> Any:
    """x with a number in place of NaN."""
    return ew.where(ew.isnan(x), number, x) if kind(x).is_float else tensor(x)


def _unless_all_nan(x: Any, result: Any, axis: Axis, keepdims: bool, otherwise: float) -> Any:
    if not kind(x).is_float:
        return result
    return ew.where(reductions.all(ew.isnan(x), axis, keepdims), otherwise, result)


@op
def nansum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Sum over axes, NaN counted as 0."""
    return reductions.sum(_filled(x, 0.0), axis, keepdims)


@op
def nanprod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Product over axes, NaN counted as 1."""
    return reductions.prod(_filled(x, 1.0), axis, keepdims)


@op
def nanmax(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Largest value over axes but for NaN; NaN where there is nothing else."""
    return _unless_all_nan(x, reductions.max(_filled(x, -math.inf), axis, keepdims), axis, keepdims, math.nan)


@op
def nanmin(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Smallest value over axes but for NaN; NaN where there is nothing else."""
    return _unless_all_nan(x, reductions.min(_filled(x, math.inf), axis, keepdims), axis, keepdims, math.nan)


@op
def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index (int32) of the largest element but for NaN; -1 where there is nothing else."""
    return _unless_all_nan(x, reductions.argmax(_filled(x, -math.inf), axis, keepdims), axis, keepdims, -1)


@op
def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index (int32) of the smallest element but for NaN; -1 where there is nothing else."""
    return _unless_all_nan(x, reductions.argmin(_filled(x, math.inf), axis, keepdims), axis, keepdims, -1)


@op
def nanmean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Mean over axes of what is not NaN."""
    x = tensor(x, float_dtype(kind(x)))
    counted = tensor(ew.logical_not(ew.isnan(x)), kind(x))
    return ew.divide(nansum(x, axis, keepdims), reductions.sum(counted, axis, keepdims))


@op
def nanvar(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Population variance over axes of what is not NaN."""
    x = tensor(x, float_dtype(kind(x)))
    return nanmean(ew.square(ew.subtract(x, nanmean(x, axis, True))), axis, keepdims)


@op
def nanstd(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Population standard deviation over axes of what is not NaN."""
    return ew.sqrt(nanvar(x, axis, keepdims))


@op
def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sum, NaN counted as 0."""
    return reductions.cumsum(_filled(x, 0.0), axis, dtype)


@op
def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running product, NaN counted as 1."""
    return reductions.cumprod(_filled(x, 1.0), axis, dtype)


__all__ = [
    "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum",
    "nanvar",
]  # fmt: skip
