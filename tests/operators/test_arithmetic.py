"""Arithmetic against numpy, in every dtype that torch and ONNX Runtime compute."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import constant, input_value, parse_type
from kcompile.ir.graph import Graph
from kcompile.operators.arithmetic import (
    Absolute,
    Add,
    ArcTan2,
    Divide,
    FloorDivide,
    Maximum,
    Minimum,
    Multiply,
    Negative,
    Power,
    Reciprocal,
    Remainder,
    Sign,
    Square,
    Subtract,
)
from tests.operators.cases import FLOATS, INTEGERS, N0, NUMBERS, OPSETS, Case, normal, numbers, positive, table
from tests.support import close, run_onnx, run_torch

NAN, INF = np.nan, np.inf
HALF = {"float16": 2e-3}

BINARY = {
    Add: np.add,
    Subtract: np.subtract,
    Multiply: np.multiply,
    FloorDivide: np.floor_divide,
    Remainder: np.remainder,
    Minimum: np.minimum,
    Maximum: np.maximum,
}
UNARY = {Negative: np.negative, Absolute: np.abs, Square: np.square}
DIVISOR = np.array([3, 5, 2, 7])


def _f(*values):
    return np.array(values, np.float32)


CASES = [
    *[
        Case(op(), numbers(3, 4, dtype=d), DIVISOR.astype(d), expected=f, dims=N0)
        for op, f in BINARY.items()
        for d in NUMBERS
    ],
    *[Case(op(), numbers(3, 4, dtype=d), -DIVISOR.astype(d), expected=f) for op, f in BINARY.items() for d in FLOATS],
    *[Case(op(), numbers(3, 4, dtype="int32"), -DIVISOR.astype("int32"), expected=f) for op, f in BINARY.items()],
    *[
        Case(op(), normal(3, 1, 4), normal(2, 1), expected=f, dims={(0, 0): "N", (1, 0): "M"})
        for op, f in BINARY.items()
    ],
    *[Case(op(), normal(0, 4), normal(1, 4), expected=f, dims=N0) for op, f in BINARY.items()],
    *[Case(op(), normal(1, 3), normal(5, 3), expected=f, dims={(0, 0): "N", (1, 0): "M"}) for op, f in BINARY.items()],
    *[Case(op(), numbers(3, 4, dtype=d), expected=f, dims=N0) for op, f in UNARY.items() for d in NUMBERS],
    *[Case(Sign(), numbers(3, 4, dtype=d), expected=np.sign) for d in NUMBERS],
    *[Case(Divide(), numbers(3, 4, dtype=d), DIVISOR.astype(d), expected=np.divide, dims=N0) for d in FLOATS],
    *[Case(Reciprocal(), positive(3, 4, dtype=d), expected=np.reciprocal, rtol=HALF.get(d, 1e-5)) for d in FLOATS],
    *[
        Case(Power(), positive(3, 4, dtype=d), DIVISOR.astype(d), expected=np.power, dims=N0, rtol=HALF.get(d, 1e-5))
        for d in FLOATS
    ],
    *[Case(Power(), numbers(3, 4, dtype=d, start=0), DIVISOR.astype(d) // 2, expected=np.power) for d in INTEGERS],
    Case(Divide(), _f(1, -1, 0, INF), _f(0, 0, 0, INF), expected=np.divide, note="zeros"),
    Case(Maximum(), _f(1, NAN, 2, INF), _f(NAN, 1, 3, -INF), expected=np.maximum, note="nan"),
    Case(Minimum(), _f(1, NAN, 2, INF), _f(NAN, 1, 3, -INF), expected=np.minimum, note="nan"),
    Case(FloorDivide(), _f(1, -1, 7, -7, 1e9, 5), _f(0.1, 0.1, INF, INF, 3, -INF), expected=np.floor_divide),
    Case(FloorDivide(), _f(1, -1, 0, NAN), _f(0, 0, 0, 1), expected=np.floor_divide, note="zeros"),
    Case(Remainder(), _f(5, -5, 5, -5, 0, 0.3), _f(3, 3, -3, -3, -3, 0.1), expected=np.remainder, note="signs"),
    Case(Remainder(), _f(5, 1, NAN), _f(INF, 0, 1), expected=np.remainder, note="limits"),
    Case(ArcTan2(), normal(3, 4), normal(4), expected=np.arctan2, dims=N0),
    Case(ArcTan2(), _f(0, 0, 1, -1, 0, 1, -1), _f(1, -1, 0, 0, 0, -1, -1), expected=np.arctan2, note="axes"),
    Case(ArcTan2(), _f(INF, -INF, INF, -INF, 1), _f(INF, INF, -INF, -INF, -INF), expected=np.arctan2, note="infinite"),
    Case(ArcTan2(), normal(3, dtype="float16"), normal(3, dtype="float16", seed=1), expected=np.arctan2, rtol=2e-3),
]


@table(CASES)
def test_numpy_torch_and_onnx_runtime_agree(case):
    case.check()


LEAST = {"int32": -(2**31), "int64": -(2**63)}


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(("op", "expected"), [(FloorDivide(), [None, 0, 3]), (Remainder(), [0, 0, 1])])
def test_integer_division_by_0_and_of_the_least_by_minus_1_does_not_kill_onnx_runtime(dtype, op, expected):
    x, y = np.array([LEAST[dtype], 5, 7], dtype), np.array([-1, 0, 2], dtype)
    wanted = np.array([LEAST[dtype] if v is None else v for v in expected], dtype)
    operands = [input_value(f"x{i}", parse_type(f"{'i32' if dtype == 'int32' else 'i64'}[3]")) for i in range(2)]
    for divisor, arrays in ((operands[1], [x, y]), (constant(y), [x])):
        graph = Graph("g", operands[: len(arrays)], [op(operands[0], divisor)])
        for opset in OPSETS:
            close(run_onnx(graph, arrays, opset)[0], wanted)


@pytest.mark.parametrize("op", [Add(), Subtract(), Multiply(), Divide(), Power(), Maximum()])
@pytest.mark.parametrize("order", [1, -1])
def test_a_constant_scalar_on_either_side(op, order):
    x, number = positive(3, 4), np.float32(1.5)
    given, both = input_value("x", parse_type("f32[N, 4]")), [x, number][::order]
    graph = Graph("g", [given], [op(*[given, constant(number)][::order])])
    expected = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}
    wanted = {**expected, "power": np.power, "maximum": np.maximum}[op.name](*both)
    close(run_torch(graph, [x])[0], wanted)
    close(run_onnx(graph, [x])[0], wanted)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (Add(), ("f32[3]", "f64[3]"), "add: operands must have one dtype"),
        (Add(), ("bool[3]", "bool[3]"), "add: operands must be numbers"),
        (Add(), ("f32[3]", "f32[4]"), "don't broadcast"),
        (Divide(), ("i32[3]", "i32[3]"), "divide: operands must be float"),
        (Reciprocal(), ("i32[3]",), "reciprocal: x must be a float"),
        (Negative(), ("bool[3]",), "negative: x must be a tensor of numbers"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, types, message):
    with pytest.raises(InferError, match=message):
        op.infer(*map(parse_type, types))
