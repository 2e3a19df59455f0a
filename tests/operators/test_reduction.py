"""Reductions against numpy: axes, keepdims, dtypes, empty axes, ties."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import parse_type
from kcompile.operators.reduction import (
    All,
    Any,
    ArgMax,
    ArgMin,
    CumulativeMax,
    CumulativeProduct,
    CumulativeSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Product,
    Sum,
)
from tests.operators.cases import FLOATS, INTEGERS, N0, NUMBERS, Case, bools, normal, numbers, table

INF = np.inf
NUMERIC = {Sum: np.sum, Max: np.max, Min: np.min, Product: np.prod}
FLOATING = {Mean: np.mean, LogSumExp: lambda x, **k: np.log(np.sum(np.exp(x), **k))}
BOOLEAN = {Any: np.any, All: np.all}
AXES = (None, 0, (0, 2), (-1,), (1, 2), ())
TIES = np.array([[1, 3, 3, 0], [2, 2, 0, 0]])
SMALL = {"float16": 4e-3}


def _reduced(function, axes, keepdims=False):
    return lambda x: np.asarray(function(x, axis=axes, keepdims=keepdims)).astype(x.dtype)


def _axes(axes):
    return (axes,) if isinstance(axes, int) else axes


def _before(axis, reverse):
    """numpy's exclusive cumulative sum."""

    def wanted(x):
        x = np.flip(x, axis) if reverse else x
        total = np.roll(np.cumsum(x, axis=axis, dtype=x.dtype), 1, axis)
        total[(slice(None),) * axis + (slice(0, 1),)] = 0
        return np.flip(total, axis) if reverse else total

    return wanted


def _reverse_sum(x):
    return np.flip(np.cumsum(np.flip(x, 1), axis=1, dtype=x.dtype), 1)


CASES = [
    *[
        Case(op(_axes(a), k), normal(3, 2, 5), expected=_reduced(f, _axes(a), k), dims={(0, 0): "N", (0, 2): "T"})
        for op, f in {**NUMERIC, **FLOATING}.items()
        for a in AXES
        for k in (False, True)
    ],
    *[
        Case(op(_axes(a), k), bools(3, 2, 5), expected=_reduced(f, _axes(a), k), dims=N0)
        for op, f in BOOLEAN.items()
        for a in AXES
        for k in (False, True)
    ],
    *[
        Case(op((1,)), numbers(3, 4, dtype=d), expected=_reduced(f, 1), rtol=SMALL.get(d, 1e-5))
        for op, f in {**NUMERIC, **FLOATING}.items()
        for d in FLOATS
    ],
    *[
        Case(op((0,)), numbers(2, 4, dtype=d, start=1), expected=_reduced(f, 0), dims=N0)
        for op, f in NUMERIC.items()
        for d in INTEGERS
    ],
    *[
        Case(op((0,)), normal(0, 3), expected=_reduced(f, 0), dims=N0, note="empty")
        for op, f in {Sum: np.sum, Product: np.prod}.items()
    ],
    *[Case(op((1,)), normal(0, 3), expected=_reduced(f, 1), dims=N0, note="no rows") for op, f in NUMERIC.items()],
    *[Case(op((0,)), bools(0, 3), expected=_reduced(f, 0), dims=N0, note="empty") for op, f in BOOLEAN.items()],
    *[Case(op(), bools(2), expected=lambda x, f=f: np.asarray(f(x))) for op, f in BOOLEAN.items()],
    *[Case(op(), np.asarray(normal(), np.float32), expected=lambda x: x, note="scalar") for op in NUMERIC],
    Case(LogSumExp((0,)), normal(0, 3), expected=np.full(3, -INF, np.float32), dims=N0, note="empty"),
    Case(
        LogSumExp((1,)),
        np.array([[-INF, -INF], [INF, 1], [1000, 1000], [-1000, -INF]], np.float32),
        expected=np.array([-INF, INF, 1000 + np.log(2), -1000], np.float32),
        note="limits",
    ),
    *[
        Case(op(1, k), TIES.astype(d), expected=lambda x, f=f, k=k: f(x, axis=1, keepdims=k), dims=N0)
        for op, f in {ArgMax: np.argmax, ArgMin: np.argmin}.items()
        for d in NUMBERS
        for k in (False, True)
    ],
    *[
        Case(op(0), normal(1, 3), expected=lambda x, f=f: f(x, axis=0), dims=N0)
        for op, f in {ArgMax: np.argmax, ArgMin: np.argmin}.items()
    ],
    *[
        Case(CumulativeSum(1), numbers(3, 4, dtype=d), expected=lambda x: np.cumsum(x, axis=1, dtype=x.dtype), dims=N0)
        for d in NUMBERS
    ],
    *[
        Case(CumulativeSum(1, True, r), numbers(3, 4, dtype=d), expected=_before(1, r), dims=N0)
        for d in NUMBERS
        for r in (False, True)
    ],
    Case(CumulativeSum(-1, reverse=True), normal(3, 4), expected=_reverse_sum, dims={(0, 1): "T"}),
    Case(CumulativeSum(0, True), normal(1, 4), expected=_before(0, False), dims=N0),
    Case(CumulativeSum(0, True), normal(0, 4), expected=normal(0, 4), dims=N0),
    *[
        Case(
            CumulativeProduct(1),
            numbers(3, 4, dtype=d, start=-3),
            expected=lambda x: np.cumprod(x, axis=1, dtype=x.dtype),
            dims=N0,
        )
        for d in NUMBERS
    ],
    *[
        Case(CumulativeMax(1), TIES.astype(d), expected=lambda x: np.maximum.accumulate(x, axis=1), dims=N0)
        for d in NUMBERS
    ],
    Case(CumulativeMax(0), normal(3, 2, 4), expected=lambda x: np.maximum.accumulate(x, axis=0), dims={(0, 0): "T"}),
    Case(CumulativeProduct(-1), normal(4), expected=np.cumprod, dims={(0, 0): "T"}),
    Case(CumulativeMax(0), normal(0, 4), expected=normal(0, 4)),
    Case(CumulativeProduct(1), normal(0, 4), expected=normal(0, 4), dims=N0),
]


@table(CASES)
def test_numpy_torch_and_onnx_runtime_agree(case):
    case.check()


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (Sum(), "bool[3]", "sum: x must be a tensor of numbers"),
        (Mean(), "i32[3]", "mean: x must be a float"),
        (Any(), "i32[3]", "any: x must be a bool"),
        (Max((0,)), "f32[0, 3]", "max: .* has no elements along axes"),
        (ArgMax(0), "f32[0]", "arg_max: .* has no elements along axis 0"),
        (ArgMax(0), "f32[]", "arg_max: x must have an axis"),
        (Sum((2,)), "f32[3, 4]", "axis 2 is outside of a tensor of rank 2"),
        (Sum((0, -2)), "f32[3, 4]", "axes .* repeat"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, type, message):
    with pytest.raises(InferError, match=message):
        op.infer(parse_type(type))
