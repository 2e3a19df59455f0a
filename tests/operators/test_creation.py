"""Tensors from attributes, and symbolic sizes as values."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import Graph, dtype, input_value, parse_type, symbol, verify
from kcompile.operators.creation import Fill, Range, Shape, SizeOf, Triangle
from tests.operators.cases import N0, OPSETS, Case, normal, numbers, table
from tests.support import close, run_onnx, run_torch

N, T = symbol("N"), symbol("T")
NAMES = ("bool", "int8", "int32", "int64", "uint8", "float16", "float32", "float64")

CASES = [
    *[
        Case(Fill(shape, 1, dtype(d)), expected=np.ones(shape, d))
        for d in NAMES
        for shape in ((), (2, 3), (0, 3), (2000,))
    ],
    *[
        Case(Range(*entries, dtype("int32")), expected=np.arange(*entries, dtype=np.int32))
        for entries in ((0, 10, 3), (5, 0, -2), (3, 3, 1), (0, 2000, 1), (0, -1, 1))
    ],
    Case(Range(0.0, 1.0, 0.1, dtype("float32")), expected=np.arange(0, 1, 0.1).astype(np.float32)),
    Case(Range(1.5, -1.0, -0.25, dtype("float64")), expected=np.arange(1.5, -1, -0.25)),
    *[
        Case(Triangle(upper, k), numbers(3, 4, dtype=d), expected=lambda x, f=f, k=k: f(x, k), dims=N0)
        for d in NAMES
        for upper, f in ((False, np.tril), (True, np.triu))
        for k in (-1, 0, 2)
    ],
    Case(Triangle(), normal(2, 3, 3), expected=np.tril, dims={(0, 1): "T", (0, 2): "T"}),
    *[
        Case(Shape(start, stop), normal(2, 0, 3), expected=np.array([2, 0, 3])[start:stop], dims=dims)
        for start, stop in ((0, None), (1, None), (-1, None), (0, -1), (2, 2), (1, 9))
        for dims in (N0, {}, {(0, 0): "N", (0, 1): "T"})
    ],
    Case(Triangle(True, 1), normal(2, 0, 3), expected=np.triu, dims={(0, 1): "T"}),
]


@table(CASES)
def test_numpy_torch_and_onnx_runtime_agree(case):
    case.check()


SYMBOLIC = [
    (SizeOf(N), lambda n, t: np.asarray(n)),
    (SizeOf(2 * N + T, dtype("float32")), lambda n, t: np.asarray(2 * n + t, np.float32)),
    (SizeOf(7, dtype("int32")), lambda n, t: np.asarray(7, np.int32)),
    (Fill((N, 2), 3.0), lambda n, t: np.full((n, 2), 3, np.float32)),
    (Fill((N, 0), 3.0), lambda n, t: np.full((n, 0), 3, np.float32)),
    (Fill((T, N), True, dtype("bool")), lambda n, t: np.full((t, n), True)),
    (Range(0, N), lambda n, t: np.arange(n)),
    (Range(N, N + T, 2, dtype("int32")), lambda n, t: np.arange(n, n + t, 2, dtype=np.int32)),
    (Range(T, -1, -3, dtype("float32")), lambda n, t: np.arange(t, -1, -3).astype(np.float32)),
]


@pytest.mark.parametrize("sizes", [(3, 4), (0, 1), (1, 0)])
@pytest.mark.parametrize(("op", "expected"), SYMBOLIC, ids=[repr(op) for op, _ in SYMBOLIC])
def test_symbolic_sizes_are_read_off_the_inputs(op, expected, sizes):
    graph = verify(Graph("g", [input_value("x", parse_type("f32[N, T]"))], [op()]))
    wanted = expected(*sizes)
    assert graph.outputs[0].type.substitute({"N": sizes[0], "T": sizes[1]}).shape == wanted.shape
    close(run_torch(graph, [normal(*sizes)])[0], wanted)
    for opset in OPSETS:
        close(run_onnx(graph, [normal(*sizes)], opset)[0], wanted)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (Fill((-1,), 0.0), (), "fill: sizes must not be negative"),
        (Range(0, 3, 0), (), "range: step must not be 0"),
        (Range(0.5, N), (), "range: next to a symbolic end"),
        (Triangle(), ("f32[3]",), "triangle: x must be a matrix"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, types, message):
    with pytest.raises(InferError, match=message):
        op.infer(*map(parse_type, types))
