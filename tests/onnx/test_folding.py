"""Nodes over initialisers alone are computed while writing, exactly as onnx's reference computes them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from kcompile.onnx import initializers
from kcompile.onnx.emitter import Emitter
from kcompile.onnx.initializers import fold

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7.5
I = np.array([-7, 0, 5, 3], np.int64)
pytestmark = pytest.mark.torchless


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


CASES = [
    ("Transpose", [A], {}, 1),
    ("Transpose", [A], {"perm": [2, 0, 1]}, 1),
    ("Transpose", [np.float32(3) + np.zeros((), np.float32)], {}, 1),
    ("Reshape", [A, ints(0, -1)], {}, 1),
    ("Reshape", [A, ints(4, 6)], {}, 1),
    ("Reshape", [A[:0], ints(0, 3, 2)], {"allowzero": 1}, 1),
    ("Reshape", [A, ints(-1)], {}, 1),
    ("Unsqueeze", [A, ints(0, -1)], {}, 1),
    ("Unsqueeze", [A, ints(4, 1)], {}, 1),
    ("Squeeze", [A[:1, :, :1], ints(0, -1)], {}, 1),
    ("Squeeze", [A[:1, :, :1]], {}, 1),
    ("Concat", [A, A + 1], {"axis": -1}, 1),
    ("Concat", [A, A[:, :0]], {"axis": 1}, 1),
    ("Split", [A, ints(1, 3)], {"axis": 2}, 2),
    ("Split", [A, ints(0, 3)], {"axis": -2}, 2),
    ("Split", [A], {"axis": 2, "num_outputs": 2}, 2),
    ("Split", [A], {"axis": 1, "num_outputs": 2}, 2),
    ("Split", [np.arange(7.0)], {"axis": 0, "num_outputs": 3}, 3),
    ("Split", [np.arange(4.0)], {"axis": 0, "num_outputs": 3}, 3),
    ("Slice", [A, ints(1), ints(2)], {}, 1),
    ("Slice", [A, ints(-2), ints(2**62), ints(-1)], {}, 1),
    ("Slice", [A, ints(-1), ints(-(2**62)), ints(1), ints(-1)], {}, 1),
    ("Slice", [A, ints(-1), ints(-4), ints(2), ints(-2)], {}, 1),
    ("Slice", [A, ints(3), ints(-3), ints(2), ints(-1)], {}, 1),
    ("Slice", [A, ints(-100), ints(2), ints(2), ints(1)], {}, 1),
    ("Slice", [A, ints(100), ints(0), ints(2), ints(-1)], {}, 1),
    ("Slice", [A, ints(2), ints(1), ints(2)], {}, 1),
    ("Cast", [I], {"to": TensorProto.FLOAT}, 1),
    ("Cast", [I], {"to": TensorProto.INT32}, 1),
    ("Cast", [A.astype(np.float16)], {"to": TensorProto.FLOAT}, 1),
    ("Cast", [A], {"to": TensorProto.DOUBLE}, 1),
    ("Cast", [I > 0], {"to": TensorProto.INT64}, 1),
    ("Neg", [A], {}, 1),
    ("Neg", [I], {}, 1),
    ("Where", [A > 0, A, A[0, 0]], {}, 1),
    ("Where", [np.tri(3, 4, dtype=bool), np.zeros((), np.float32), np.full((), -1e9, np.float32)], {}, 1),
    ("Add", [A, A[0, 0]], {}, 1),
    ("Add", [I, ints(2**63 - 1)], {}, 1),
    ("Sub", [np.float32(1) + A, A], {}, 1),
    ("Mul", [A, A], {}, 1),
    ("Mul", [np.array([200], np.uint8), np.array([2], np.uint8)], {}, 1),
    ("Mul", [np.full(3, 60000, np.float16), np.float16(2) * np.ones(3, np.float16)], {}, 1),
]


def reference(op_type: str, arrays: list, attributes: dict, count: int) -> list[np.ndarray]:
    ins = [
        helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for i, a in enumerate(arrays)
    ]
    outs = [helper.make_value_info(f"y{i}", onnx.TypeProto()) for i in range(count)]
    node = helper.make_node(op_type, [i.name for i in ins], [o.name for o in outs], **attributes)
    model = helper.make_model(helper.make_graph([node], "g", ins, outs), opset_imports=[helper.make_opsetid("", 20)])
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, {i.name: a for i, a in zip(ins, arrays, strict=True)})


@pytest.mark.parametrize(
    ("op_type", "arrays", "attributes", "count"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)]
)
def test_folded_as_the_reference_computes(op_type: str, arrays: list, attributes: dict, count: int) -> None:
    folded = fold(op_type, arrays, attributes, count)
    assert folded is not None
    for got, want in zip(folded, reference(op_type, arrays, attributes, count), strict=True):
        assert (
            got.dtype == want.dtype
            and got.shape == want.shape
            and got.tobytes() == np.ascontiguousarray(want).tobytes()
        )


def test_every_foldable_operator_has_a_case() -> None:
    assert {c[0] for c in CASES} == set(initializers._FOLDABLE)


@pytest.mark.parametrize(
    ("op_type", "arrays", "attributes"),
    [
        ("Relu", [A], {}),
        ("Add", [A, None], {}),
        ("Add", [], {}),
        ("Cast", [A], {"to": TensorProto.INT32}),
        ("Cast", [A], {"to": TensorProto.FLOAT16}),
        ("Cast", [A], {"to": TensorProto.BFLOAT16}),
        ("Cast", [I], {"to": TensorProto.BOOL}),
        ("Where", [np.tri(200, dtype=bool), np.zeros((), np.float32), np.ones((), np.float32)], {}),
        ("Add", [np.zeros((2048, 1), np.float32), np.zeros((1, 2048), np.float32)], {}),
    ],
)
def test_what_stays_a_node(op_type: str, arrays: list, attributes: dict) -> None:
    assert fold(op_type, arrays, attributes, 1) is None


def test_large_weights_fold_where_they_do_not_grow() -> None:
    assert fold("Transpose", [np.zeros((2048, 1024), np.int8)], {"perm": [1, 0]}, 1) is not None


def test_the_emitter_leaves_initialisers_not_nodes() -> None:
    o = Emitter(20)
    name = o.Transpose(o.Add(o.array(A[0], "w"), o.array(A[0, 0], "b")), perm=[1, 0])
    assert o.nodes == [] and o.value_of(name).tolist() == (A[0] + A[0, 0]).T.tolist()  # type: ignore[union-attr]
    assert o.value_of("x") is None and o.value_of(None) is None
    first, second = o.Split(o.array(A[0], "w"), o.ints([1, 2]), axis=0, outputs=2)
    assert o.value_of(first).shape == (1, 4) and o.value_of(second).shape == (2, 4)  # type: ignore[union-attr]


def test_two_transposes_are_one_or_none() -> None:
    o = Emitter(20)
    once = o.Transpose("x", perm=[1, 2, 0])
    assert o.Transpose(once, perm=[2, 0, 1]) == "x"
    twice = o.Transpose(once, perm=[1, 2, 0])
    assert (
        list(o.nodes[-1].input) == ["x"]
        and list(o.nodes[-1].attribute[0].ints) == [2, 0, 1]
        and twice == o.nodes[-1].name
    )


def test_bfloat16_initialisers() -> None:
    o = Emitter(20)
    assert o.array(A.astype(ml_dtypes.bfloat16)) != o.array(A)
