"""Comparisons, booleans, bits, selection, clipping and casts against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError, UnsupportedError
from kcompile.ir import dtype, parse_type
from kcompile.operators.logic import (
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
    Cast,
    Clip,
    Equal,
    Greater,
    GreaterEqual,
    LeftShift,
    Less,
    LessEqual,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    LogicalXor,
    NotEqual,
    RightShift,
    Where,
)
from tests.operators.cases import INTEGERS, N0, NUMBERS, Case, bools, normal, numbers, table
from tests.support import graph_of, run_onnx

NAN, INF = np.nan, np.inf
COMPARISONS = {
    Equal: np.equal,
    NotEqual: np.not_equal,
    Less: np.less,
    LessEqual: np.less_equal,
    Greater: np.greater,
    GreaterEqual: np.greater_equal,
}
LOGICAL = {LogicalAnd: np.logical_and, LogicalOr: np.logical_or, LogicalXor: np.logical_xor}
BITWISE = {BitwiseAnd: np.bitwise_and, BitwiseOr: np.bitwise_or, BitwiseXor: np.bitwise_xor}
SHIFTS = {LeftShift: np.left_shift, RightShift: np.right_shift}
LIMITS = np.array([NAN, 1, INF, -INF, 0], np.float32)
COUNTS = np.array([0, 1, 3, 7])


def _clipped(low, high):
    return lambda x: np.clip(x, low, high).astype(x.dtype)


CASES = [
    *[
        Case(op(), numbers(3, 4, dtype=d), COUNTS.astype(d), expected=f, dims=N0)
        for op, f in COMPARISONS.items()
        for d in NUMBERS
    ],
    *[Case(op(), LIMITS, LIMITS[::-1].copy(), expected=f, note="limits") for op, f in COMPARISONS.items()],
    *[Case(op(), normal(0, 3), normal(3), expected=f, dims=N0) for op, f in COMPARISONS.items()],
    Case(Equal(), bools(4), bools(4, seed=3), expected=np.equal),
    Case(NotEqual(), bools(4), bools(4, seed=3), expected=np.not_equal),
    *[Case(op(), bools(3, 4), bools(4, seed=3), expected=f, dims=N0) for op, f in LOGICAL.items()],
    Case(LogicalNot(), bools(3, 4), expected=np.logical_not, dims=N0),
    *[
        Case(op(), numbers(3, 4, dtype=d), COUNTS.astype(d), expected=f, dims=N0, opsets=(18, 20, 23))
        for op, f in BITWISE.items()
        for d in INTEGERS
    ],
    *[Case(BitwiseNot(), numbers(3, 4, dtype=d), expected=np.bitwise_not, opsets=(18, 20)) for d in INTEGERS],
    *[
        Case(op(), numbers(3, 4, dtype=d), COUNTS.astype(d), expected=f, dims=N0)
        for op, f in SHIFTS.items()
        for d in INTEGERS
    ],
    *[
        Case(Where(), bools(3, 1), numbers(3, 4, dtype=d), numbers(4, dtype=d), expected=np.where)
        for d in (*NUMBERS, "bool")
    ],
    Case(Where(), bools(3), normal(2, 1), normal(1), expected=np.where, dims={(0, 0): "N", (1, 0): "M"}),
    Case(Where(), bools(0), normal(0), normal(1), expected=np.where, dims={(0, 0): "N", (1, 0): "N"}),
    *[Case(Clip(1, 3), numbers(3, 4, dtype=d), expected=_clipped(1, 3), dims=N0) for d in NUMBERS],
    Case(Clip(None, 0.5), LIMITS, expected=_clipped(None, 0.5)),
    Case(Clip(-0.5, None), LIMITS, expected=_clipped(-0.5, None)),
    Case(Clip(), LIMITS, expected=lambda x: x),
    Case(Clip(3.0, 1.0), normal(4), expected=_clipped(3, 1), note="the upper bound wins"),
    *[
        Case(Cast(dtype(to)), numbers(2, 3, dtype=d, start=0), expected=lambda x, to=to: x.astype(to))
        for d in (*NUMBERS, "bool")
        for to in ("bool", "int32", "float32", "uint8", "float16")
    ],
    Case(Cast(dtype("int32")), np.array([1.9, -1.9, 0.5], np.float32), expected=np.array([1, -1, 0], np.int32)),
    Case(Cast(dtype("int8")), np.array([300, -129], np.int32), expected=np.array([44, 127], np.int8)),
]


@table(CASES)
def test_numpy_torch_and_onnx_runtime_agree(case):
    case.check()


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (Less(), ("bool[3]", "bool[3]"), "less: operands must be numbers"),
        (LogicalAnd(), ("bool[3]", "i32[3]"), "logical_and: operands must be bool"),
        (BitwiseAnd(), ("i32[3]", "i8[3]"), "bitwise_and: operands must have one dtype"),
        (BitwiseNot(), ("f32[3]",), "bitwise_not: operands must be integer"),
        (Where(), ("i32[3]", "f32[3]", "f32[3]"), "where: the condition must be a bool"),
        (Clip(0.5), ("i32[3]",), "clip: bound 0.5 of the integer tensor"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, types, message):
    with pytest.raises(InferError, match=message):
        op.infer(*map(parse_type, types))


def test_bits_before_opset_18_are_refused_with_the_opset():
    x = numbers(3, dtype="int32")
    with pytest.raises(UnsupportedError, match=r"'bitwise_not'.*it needs --opset 18"):
        run_onnx(graph_of(BitwiseNot(), parse_type("i32[3]")), [x], 17)
