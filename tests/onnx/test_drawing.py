"""ONNX files as diagrams: what becomes a box, a line, an edge, a layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kcompile.drawing.diagram import Box, Edge
from kcompile.onnx.describe import attribute_text, layer_path, type_text
from kcompile.onnx.drawing import of_model
from tests.runtime import files as made

pytestmark = pytest.mark.torchless
make = helper.make_node


def test_boxes_and_edges(tmp_path: Path) -> None:
    nodes = [
        make("Split", ["x"], ["a", "b"], name="top/split/Split", axis=1, num_outputs=2),
        make("Constant", [], ["two"], value_float=2.0),
        make("Mul", ["a", "two"], ["c"], name="Mul_1"),
        make("Add", ["c", "b"], ["d"], name="/top/sum/Add"),
        make("MatMul", ["d", "w/kernel"], ["y"], name="top/MatMul"),
    ]
    path = made.write(
        tmp_path / "m.onnx", nodes, [made.end("x", ["N", 4])], [made.end("y", ["N", 3])],
        **{"w/kernel": np.zeros((2, 3), np.float32)},
    )  # fmt: skip
    found = of_model(onnx.load(path))
    assert found.boxes == (
        Box("x", ("f32[N, 4]",), (), "input"),
        Box("Split", ("axis = 1", "num_outputs = 2"), ("top", "split")),
        Box("Mul", ("two 2",), ()),
        Box("Add", (), ("top", "sum")),
        Box("MatMul", ("kernel f32[2, 3]",), ("top",)),
        Box("y", ("f32[N, 3]",), (), "output"),
    )
    assert found.edges == (
        Edge(0, 1, "f32[N, 4]"), Edge(1, 2, "f32[N, 2]"), Edge(2, 3, "f32[N, 2]"), Edge(1, 3, "f32[N, 2]", 1),
        Edge(3, 4, "f32[N, 2]"), Edge(4, 5, "f32[N, 3]"),
    )  # fmt: skip


def test_what_a_subgraph_captures_is_an_edge(tmp_path: Path) -> None:
    branches = [
        helper.make_graph([make(op, ["x", "x"], [f"{op}_out"])], op, [], [made.end(f"{op}_out", ["N", 4])])
        for op in ("Add", "Mul")
    ]
    nodes = [
        make("ReduceSum", ["x"], ["total"], keepdims=0),
        make("Greater", ["total", "zero"], ["which"]),
        make("If", ["which"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    path = made.write(
        tmp_path / "m.onnx", nodes, [made.end("x", ["N", 4])], [made.end("y", ["N", 4])], zero=np.float32(0)
    )
    found = of_model(onnx.load(path))
    assert found.boxes[3] == Box("If", ("else_branch = graph of 1 nodes", "then_branch = graph of 1 nodes"))
    assert {(e.source, e.target) for e in found.edges} == {(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)}


# A file whose nodes stand in no order still has a drawing, without the edges that go back.
def test_a_cycle(tmp_path: Path) -> None:
    nodes = [make("Relu", ["b"], ["a"]), make("Relu", ["a"], ["b"])]
    found = of_model(onnx.load(made.write(tmp_path / "m.onnx", nodes, [], [made.end("b", [1])])))
    assert [(e.source, e.target) for e in found.edges] == [(0, 1), (1, 2)]


ATTRIBUTES = [
    (1, "1"), (0.25, "0.25"), ("same", "same"), ([1, 2], "[1, 2]"), (["a", "b"], "[a, b]"), ([0.5], "[0.5]"), (b"\xff", r"\xff"),
    (helper.make_tensor("t", TensorProto.INT64, [2], [3, 4]), "i64[2] [3, 4]"),
    (helper.make_tensor("t", TensorProto.FLOAT, [5], [0.0] * 5), "f32[5]"),
    (helper.make_tensor("t", TensorProto.STRING, [1], [b"x"]), "string[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), ATTRIBUTES, ids=[a[1] for a in ATTRIBUTES])
def test_attributes(value: object, text: str) -> None:
    assert attribute_text(helper.make_attribute("a", value)) == text


def test_types() -> None:
    tensor = helper.make_tensor_type_proto
    assert type_text(tensor(TensorProto.FLOAT, ["N", 2, None])) == "f32[N, 2, ?]"
    assert type_text(tensor(TensorProto.STRING, None)) == "string[...]"
    assert type_text(helper.make_sequence_type_proto(tensor(TensorProto.FLOAT, [1]))) == "sequence"
    assert type_text(onnx.TypeProto()) == ""


def test_layer_path() -> None:
    cases = {"a/b/Conv_1": ("a", "b"), "/a/b/Conv": ("a", "b"), "node_Conv_3": (), "": (), "a//Conv": ("a",)}
    assert {name: layer_path(name) for name in cases} == cases
