"""Matrix products and Einstein sums against numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import parse_type
from kcompile.onnx.model import to_onnx
from kcompile.operators.einsum import Einsum
from kcompile.operators.linear import Dense, MatMul
from tests.operators.cases import FLOATS, N0, Case, normal, numbers, table
from tests.support import graph_of

HALF = {"float16": 4e-3}


def _product(a, b):
    wide = np.float64 if a.dtype.kind == "f" else a.dtype
    return np.matmul(a.astype(wide), b.astype(wide)).astype(a.dtype)


def _dense(x, kernel, bias):
    result = x.astype(np.float64) @ kernel.astype(np.float64)
    return (result if bias is None else result + bias).astype(x.dtype)


SHAPES = [
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((4,), (4, 2)),
    ((3, 4), (4,)),
    ((5, 3, 4), (4, 2)),
    ((3, 4), (5, 4, 2)),
    ((5, 1, 3, 4), (2, 4, 6)),
    ((4,), (5, 4, 2)),
    ((5, 3, 4), (4,)),
    ((3, 0), (0, 2)),
    ((0, 4), (4, 2)),
    ((1, 1), (1, 1)),
]

# Equation, shapes of the operands.
EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,jk->ki", (2, 3), (3, 4)),
    ("ba,Ca", (2, 3), (4, 3)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bqhd,bkhd->bhqk", (2, 4, 3, 5), (2, 6, 3, 5)),
    ("abc,cd->abd", (2, 3, 4), (4, 5)),
    ("abc,cde->abde", (2, 3, 4), (4, 5, 6)),
    ("btnh,nhd->btd", (2, 3, 4, 5), (4, 5, 6)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iij,jk->ik", (3, 3, 4), (4, 2)),
    ("iji->j", (3, 2, 3)),
    ("aabb->ab", (2, 2, 3, 3)),
    ("iii->i", (3, 3, 3)),
    ("i,j->ij", (3,), (4,)),
    ("i,i->", (3,), (3,)),
    ("i,i->i", (3,), (3,)),
    (",i->i", (), (3,)),
    ("ij->ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ij->j", (3, 4)),
    ("->", ()),
    ("ba", (2, 3)),
    ("abcd,bd->ac", (2, 3, 4, 5), (3, 5)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 5)),
    ("...ij,...jk", (2, 1, 3, 4), (5, 4, 5)),
    ("i...->...", (3, 4)),
    ("...->...", (3, 4)),
    ("...i,i->...", (2, 3), (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ab,ab,ab->b", (2, 3), (2, 3), (2, 3)),
    ("ij,k,jk->i", (2, 3), (4,), (3, 4)),
    ("i,i->i", (1,), (3,)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    ("ijk,ijl->ikl", (0, 2, 3), (0, 2, 4)),
    ("ijk,ilk->ijl", (2, 0, 3), (2, 4, 3)),
    ("ij,jk->ki", (2, 0), (0, 4)),
    ("a b , b c -> a c", (2, 3), (3, 4)),
]


def _einsum(equation):
    def wanted(*xs):
        return np.asarray(np.einsum(equation, *(x.astype(np.float64) for x in xs)), xs[0].dtype)

    return wanted


def _named(shapes):
    """Every axis longer than 1 symbolic, equal sizes sharing a name."""
    return {(i, axis): f"D{size}" for i, shape in enumerate(shapes) for axis, size in enumerate(shape) if size != 1}


CASES = [
    *[Case(MatMul(), normal(*a), normal(*b), expected=_product) for a, b in SHAPES],
    *[Case(MatMul(), normal(*a), normal(*b), expected=_product, dims=N0) for a, b in SHAPES if len(a) > 1],
    *[
        Case(MatMul(), numbers(3, 4, dtype=d), numbers(4, 2, dtype=d), expected=_product, rtol=HALF.get(d, 1e-5))
        for d in (*FLOATS, "int32", "int64", "int8", "uint8", "uint16", "uint32")
    ],
    *[
        Case(
            Dense(),
            normal(*s, dtype=d),
            normal(4, 5, dtype=d),
            b,
            expected=_dense,
            rtol=HALF.get(d, 1e-5),
            dims=N0 if len(s) > 1 else None,
        )
        for d in FLOATS
        for s in ((3, 4), (1, 4), (0, 4), (2, 3, 4), (4,))
        for b in (None, normal(5, dtype=d))
    ],
    *[
        Case(Einsum(e), *(normal(*s, seed=i) for i, s in enumerate(shapes)), expected=_einsum(e))
        for e, *shapes in EQUATIONS
    ],
    *[
        Case(Einsum(e), *(normal(*s, seed=i) for i, s in enumerate(shapes)), expected=_einsum(e), dims=_named(shapes))
        for e, *shapes in EQUATIONS
    ],
    *[
        Case(Einsum(e), *(np.asarray(numbers(*s, dtype="int32")) for s in shapes), expected=_einsum(e))
        for e, *shapes in EQUATIONS
    ],
]


@table(CASES)
def test_numpy_torch_and_onnx_runtime_agree(case):
    case.check()


@pytest.mark.parametrize(
    ("op", "types", "written"),
    [
        (Dense(), ("f32[N, 4]", "f32[4, 2]", "f32[2]"), ["Gemm"]),
        (Dense(), ("f32[N, 4]", "f32[4, 2]", None), ["MatMul"]),
        (Einsum("ij,jk->ik"), ("f32[N, 4]", "f32[4, 2]"), ["MatMul"]),
        (Einsum("bhqd,bhdk->bhqk"), ("f32[N, 2, T, 4]", "f32[N, 2, 4, T]"), ["MatMul"]),
        (Einsum("bhqd,bhkd->bhqk"), ("f32[N, 2, T, 4]", "f32[N, 2, S, 4]"), ["Transpose", "MatMul"]),
        (Einsum("abc,cd->abd"), ("f32[N, T, 4]", "f32[4, 2]"), ["MatMul"]),
        (Einsum("abc,cde->abde"), ("f32[N, T, 4]", "f32[4, 2, 3]"), ["Reshape", "MatMul", "Reshape"]),
    ],
)
def test_the_shortest_onnx_is_written(op, types, written):
    graph = graph_of(op, *(None if t is None else parse_type(t) for t in types))
    assert [node.op_type for node in to_onnx(graph).graph.node] == written


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (MatMul(), ("f32[3, 4]", "f32[3, 4]"), "mat_mul: the inner sizes .* differ"),
        (MatMul(), ("f32[]", "f32[3]"), "mat_mul: operands must have an axis"),
        (Dense(), ("f32[3, 4]", "f32[5, 2]", None), "dense: the last axis .* differ"),
        (Dense(), ("f32[3, 4]", "f32[4, 2]", "f32[3]"), "dense: the bias .* differ"),
        (Einsum("ij,jk->ik"), ("f32[3, 4]",), "einsum: .* has 2 operands, got 1"),
        (Einsum("ij->ik"), ("f32[3, 4]",), "einsum: .* has a result label that no operand has"),
        (Einsum("ij->ii"), ("f32[3, 4]",), "einsum: a label of the result repeats"),
        (Einsum("ij,jk->ik"), ("f32[3, 4]", "f32[5, 2]"), "einsum: label 'j'"),
        (Einsum("i?->i"), ("f32[3, 4]",), "einsum: .* has a character that is no label"),
        (Einsum("ijk->i"), ("f32[3, 4]",), "einsum: 'ijk' .* does not fit an operand of rank 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, types, message):
    with pytest.raises(InferError, match=message):
        op.infer(*(None if t is None else parse_type(t) for t in types))
