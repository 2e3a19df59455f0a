"""bfloat16, for which ONNX Runtime has hardly a kernel: operators cast around themselves."""

from __future__ import annotations

import pytest

from kcompile.ir import Graph, dtype, input_value, parse_type
from kcompile.operators import arithmetic, creation, indexing, linear, logic, math, reduction, shape, sorting
from kcompile.operators.einsum import Einsum
from tests.operators.cases import OPSETS, positive
from tests.support import close, run_onnx, run_torch

BF16 = dtype("bf16")
Cast = logic.Cast

# Operators of one, two or no operands shaped [3, 4].
UNARY = [
    arithmetic.Negative(), arithmetic.Absolute(), arithmetic.Sign(), arithmetic.Square(), arithmetic.Reciprocal(),
    math.Exp(), math.Log1p(), math.Erf(), math.Trunc(), math.Rsqrt(), logic.Clip(0.2, 0.5), reduction.Sum((1,)),
    reduction.Mean(), reduction.Max((0,)), reduction.LogSumExp((1,)), reduction.CumulativeSum(1),
    reduction.CumulativeProduct(1), sorting.Sort(), shape.Pad(((1, 1), (0, 2)), "constant", 2.0),
    shape.Pad(((1, 1), (0, 2)), "edge"), shape.Tile((2, 1)), shape.Expand((2, 3, 4)), shape.Flip((0,)),
    shape.Reshape((4, 3)), creation.Triangle(), Einsum("ij->j"),
]  # fmt: skip
BINARY = [
    arithmetic.Add(), arithmetic.Divide(), arithmetic.Power(), arithmetic.Maximum(), arithmetic.Remainder(),
    arithmetic.FloorDivide(), arithmetic.ArcTan2(), shape.Concat(0), Einsum("ij,kj->ik"),
]  # fmt: skip
NULLARY = [creation.Fill((2, 3), 1.5, BF16), creation.Fill((50, 60), 1.5, BF16), creation.Range(0, 5, 1, BF16)]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("op", [*UNARY, *BINARY, *NULLARY], ids=repr)
def test_torch_and_onnx_runtime_agree(op, opset):
    count = 1 if op in UNARY else 2 if op in BINARY else 0
    inputs = [input_value(f"x{i}", parse_type("f32[3, 4]")) for i in range(max(count, 1))]
    result = op(*(Cast(BF16)(x) for x in inputs[:count]))
    graph = Graph("g", inputs, [Cast(dtype("f32"))(result)])
    arrays = [positive(3, 4) + i for i in range(len(inputs))]
    # bfloat16 has 8 bits: each rounding is up to 4e-3.
    close(run_onnx(graph, arrays, opset)[0], run_torch(graph, arrays)[0], rtol=2e-2)


def test_comparison_selection_lookup_and_product():
    x, y = (input_value(f"x{i}", parse_type("f32[3, 4]")) for i in range(2))
    a, b = Cast(BF16)(x), Cast(BF16)(y)
    chosen = logic.Where()(logic.Less()(a, b), b, a)
    rows = indexing.Gather(0)(chosen, reduction.ArgMax(0)(a))
    product = linear.MatMul()(rows, shape.Transpose((1, 0))(b))
    dense = linear.Dense()(rows, shape.Transpose((1, 0))(b), reduction.Sum((1,))(b))
    graph = Graph("g", [x, y], [Cast(dtype("f32"))(v) for v in (product, dense)])
    arrays = [positive(3, 4), positive(3, 4)[::-1].copy()]
    for got, want in zip(run_onnx(graph, arrays), run_torch(graph, arrays), strict=True):
        close(got, want, rtol=2e-2)
