"""Sorting against numpy's stable sort."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import parse_type
from kcompile.operators.sorting import ArgSort, Sort, TopK
from tests.operators.cases import N0, NUMBERS, Case, normal, table


def _order(x, axis, descending):
    """Stable: equal elements by their index, in both directions."""
    key = -x.astype(np.float64) if descending else x
    return np.argsort(key, axis=axis, kind="stable")


def _top(k, axis, largest):
    def wanted(x):
        indices = np.take(_order(x, axis, largest), range(k), axis=axis)
        return [np.take_along_axis(x, indices, axis), indices]

    return wanted


def _sorted(axis, descending):
    return lambda x: np.take_along_axis(x, _order(x, axis, descending), axis)


TIES = np.array([[1, 3, 3, 0, 1], [2, 2, 0, 2, 0], [5, 4, 3, 2, 1]])
ALL_EQUAL = np.zeros((2, 300), np.float32)

CASES = [
    *[Case(TopK(3), TIES.astype(d), expected=_top(3, -1, True), dims=N0) for d in NUMBERS],
    *[
        Case(TopK(k, axis, largest), normal(3, 4, 5), expected=_top(k, axis, largest), dims=N0)
        for k, axis in ((1, 0), (4, 1), (2, -1), (0, 1))
        for largest in (False, True)
    ],
    *[
        Case(op(axis, down), TIES.astype(d), expected=f(axis, down), dims=N0)
        for d in (*NUMBERS, "bool")
        for op, f in ((Sort, _sorted), (ArgSort, lambda a, d: lambda x: _order(x, a, d)))
        for axis in (0, -1)
        for down in (False, True)
    ],
    *[Case(op, ALL_EQUAL, expected=np.tile(np.arange(300), (2, 1))) for op in (ArgSort(), ArgSort(descending=True))],
    *[Case(op, normal(0, 4), dims=N0) for op in (Sort(0), ArgSort(0), Sort(1), TopK(2, 1))],
    *[Case(op, normal(4), dims={(0, 0): "T"}) for op in (Sort(), ArgSort(), TopK(4))],
]


@table(CASES)
def test_numpy_torch_and_onnx_runtime_agree(case):
    case.check()


@pytest.mark.parametrize(
    ("op", "type", "message"),
    [
        (TopK(4), "f32[2, 3]", "top_k: k is 4, axis 1 of .* has 3"),
        (TopK(-1), "f32[2, 3]", "top_k: k must not be negative"),
        (Sort(), "f32[]", "sort: x must have an axis"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, type, message):
    with pytest.raises(InferError, match=message):
        op.infer(parse_type(type))
