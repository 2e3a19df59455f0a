"""Nodes of a file that are carried through: what comes out is what went in, and text keeps them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, parser

from kcompile.errors import UnsupportedError
from kcompile.ir import Graph, Type, dtype, input_value, parse, show, symbol, verify
from kcompile.ir.types import OpaqueType, parse_type
from kcompile.onnx.model import to_onnx
from kcompile.onnx.opaque import form_of, same_form
from kcompile.operators.opaque import Opaque
from kcompile.operators.registry import OPERATORS
from kcompile.runtime.session import run

F32 = dtype("f32")
X = Type(F32, (symbol("N"), 3))


def opaque(node: onnx.NodeProto, *types: Type, **fields) -> Opaque:
    form, captured = form_of(node)
    return Opaque(node.op_type, node.domain, 20, form, types, captured=len(captured), **fields)


def test_a_node_comes_out_as_it_went_in() -> None:
    op = opaque(helper.make_node("Hardmax", ["x"], ["y"], axis=1), X)
    graph = verify(Graph("g", [x := input_value("x", X)], op(x)))
    assert parse(show(graph), OPERATORS) == graph
    (node,) = to_onnx(graph).graph.node
    assert (node.op_type, node.attribute[0].i) == ("Hardmax", 1)
    np.testing.assert_array_equal(
        run(to_onnx(graph).SerializeToString(), {"x": np.float32([[1, 3, 2]])})[0], [[0, 1, 0]]
    )


def test_subgraphs_capture_by_operand_and_equal_ones_are_one_node() -> None:
    text = "agraph (float[N, 3] {0}, bool c) => (float[N, 3] y) {{ y = If (c) <then_branch = t () => (float[N, 3] {1}) {{ {1} = Neg ({0}) }}, else_branch = e () => (float[N, 3] {2}) {{ {2} = Abs({0}) }}> }}"
    nodes = [parser.parse_graph(text.format(*names)).node[0] for names in (("x", "a", "b"), ("z", "q", "r"))]
    ops = [opaque(n, X) for n in nodes]
    assert ops[0] == ops[1] and form_of(nodes[1])[1] == ["z"]
    x, c = input_value("x", X), input_value("c", Type(dtype("bool"), ()))
    graph = Graph("g", [x, c], [*ops[0](c, x), *ops[1](c, x)], ["one", "two"])
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [n.op_type for n in model.graph.node] == ["If", "Identity"]
    data = np.float32([[1, -2, 3]])
    for flag, expected in ((True, -data), (False, abs(data))):
        np.testing.assert_array_equal(run(model.SerializeToString(), {"x": data, "c": np.array(flag)})[1], expected)


def test_numbers_keep_random_nodes_apart() -> None:
    node = helper.make_node("RandomNormalLike", ["x"], ["y"])
    x = input_value("x", X)
    count = len(Graph("g", [x], [*opaque(node, X, number=1)(x), *opaque(node, X, number=2)(x)]).operators())
    assert count == 2


def test_tensors_of_other_types_stay_initialisers() -> None:
    tensor = helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"b"])
    kind = OpaqueType(helper.make_tensor_type_proto(TensorProto.STRING, [2]).SerializeToString())
    (words,) = opaque(helper.make_node("Constant", [], ["w"], value=tensor), kind)()
    (y,) = opaque(helper.make_node("StringConcat", ["a", "b"], ["y"]), kind)(words, words)
    model = to_onnx(Graph("g", [], [y]))
    assert [n.op_type for n in model.graph.node] == ["StringConcat"]
    assert [t.name for t in model.graph.initializer] == ["words"]
    assert parse_type(repr(kind)) == kind and kind != Type(F32, ())


@pytest.mark.parametrize(
    ("op_type", "before", "after", "same"),
    [
        ("Hardmax", 11, 20, False),
        ("Hardmax", 13, 28, True),
        ("Cast", 9, 20, True),
        ("Upsample", 9, 17, False),
        ("Dropout", 7, 17, False),
        ("Pad", 13, 24, True),
        ("GroupNormalization", 18, 21, False),
    ],
)
def test_which_operators_mean_the_same_later(op_type: str, before: int, after: int, same: bool) -> None:
    assert same_form(op_type, before, after) is same


def test_a_form_that_changed_is_refused() -> None:
    op = Opaque("Upsample", "", 9, form_of(helper.make_node("Upsample", ["x"], ["y"]))[0], (X,))
    with pytest.raises(UnsupportedError, match="Upsample of opset 9 has another form in opset 20"):
        to_onnx(Graph("g", [x := input_value("x", X)], op(x)))
