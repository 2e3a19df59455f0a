"""Graphs: equal nodes are one node, dead ones are none, depth costs nothing."""

from __future__ import annotations

import pickle
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from kcompile.errors import GraphError
from kcompile.ir import (
    Constant,
    Graph,
    Type,
    Value,
    constant,
    dtype,
    input_value,
    is_leaf,
    origin,
    symbol,
    verify,
    weight,
)
from kcompile.ir.graph import topological
from kcompile.operators.activation import Elu, Relu, Sigmoid
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.control import Cond
from kcompile.operators.sorting import TopK
from tests.ir.strategies import Mixed

N = symbol("N")
F32 = Type(dtype("f32"), (N, 4))
DEEP = 50_000


def x(label: str = "x", type: Type = F32) -> Value:
    return input_value(label, type)


def graph(*outputs: Value, inputs: tuple[Value, ...], **rest: object) -> Graph:
    return Graph("g", inputs, outputs, **rest)  # type: ignore[arg-type]


def test_equal_nodes_are_one() -> None:
    a = x()
    g = graph(Add()(Relu()(a), Relu()(a)), inputs=(a,))
    assert [n.op.name for n in g.operators()] == ["relu", "add"]
    assert g.operators()[1].inputs[0] is g.operators()[1].inputs[1]


def test_nodes_equal_only_through_their_operands_are_one() -> None:
    a = x()
    left, right = Sigmoid()(Elu()(Relu()(a))), Sigmoid()(Elu()(Relu()(a)))
    assert len(graph(left, right, inputs=(a,), output_names=["l", "r"]).operators()) == 3


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda a: Elu(1.0)(a), lambda a: Elu(2.0)(a)),
        (lambda a: Add()(a, Relu()(a)), lambda a: Add()(Relu()(a), a)),
        (lambda a: Mixed()(a, None)[0], lambda a: Mixed()(None, a)[0]),
        (lambda a: Mixed()(a)[0], lambda a: Mixed()(a)[1]),
        (lambda a: Multiply()(a, constant(np.float32(0.0))), lambda a: Multiply()(a, constant(np.float32(-0.0)))),
    ],
)
def test_different_nodes_stay_apart(left: object, right: object) -> None:
    a = x()
    one, two = left(a), right(a)  # type: ignore[operator]
    g = graph(one, two, inputs=(a,))
    assert g.outputs[0] is not g.outputs[1]
    assert graph(one, inputs=(a,)) != graph(two, inputs=(a,))


def test_the_first_of_equal_nodes_gives_the_origin() -> None:
    a = x()
    with origin("first"):
        one = Relu()(a)
    with origin("second"):
        two = Relu()(a)
    g = graph(one, two, inputs=(a,))
    assert [n.origin for n in g.operators()] == ["first"] and g.outputs[0] is g.outputs[1]
    assert graph(one, inputs=(a,)) == graph(two, inputs=(a,)), "origins are not compared"


def test_dead_nodes_are_left_out_and_unused_inputs_stay() -> None:
    a, b = x("a"), x("b")
    Relu()(a)
    g = graph(Elu()(a), inputs=(a, b))
    assert [n.op.name for n in g.nodes] == ["input", "input", "elu"] and g.input_names == ("a", "b")


def test_equality_of_graphs() -> None:
    a, b = x("a"), x("b")
    y = Relu()(a)
    base = graph(y, inputs=(a,))
    assert base == base.replace(name="other", weights={"w": np.zeros(2)}) and hash(base) == hash(
        base.replace(name="other")
    )
    different = [
        graph(Relu()(b), inputs=(b,)),
        graph(y, inputs=(a, b)),
        graph(y, inputs=(a,), output_names=["other"]),
        graph(y, y, inputs=(a,)),
        graph(y, inputs=(a,), updates=[("w", y)]),
        graph(a, inputs=(a,)),
    ]
    assert len({base, *different}) == 7 and base != "graph"


def test_several_results_updates_and_users() -> None:
    a = x()
    values, indices = TopK(2)(a)
    w = weight("w", Type(dtype("i64"), (2,)))
    g = graph(values, indices, inputs=(a,), output_names=["v", "i"], updates=[("w", indices), ("u", Add()(w, w))])
    top = g.operators()[0]
    users = g.users()
    assert users[g.inputs[0]] == [top]
    assert users[top.results[0]] == [None] and users[top.results[1]] == [None, None]
    assert [n.op.name for n in users[g.weight_values()["w"]]] == ["add", "add"]  # type: ignore[union-attr]
    assert list(g.results()) == [*g.outputs, *(v for _, v in g.updates)] and len(list(g.results())) == 4
    assert g.inference().updates == () and g.inference().weight_values() == {}


def test_absent_operands_and_region() -> None:
    i = x("i", Type(dtype("f32"), (2,)))
    then, orelse = graph(Relu()(i), inputs=(i,)), graph(Elu()(i), inputs=(i,))
    flag, a = x("flag", Type(dtype("bool"), ())), x("a", i.type)
    g = verify(graph(*Cond(then, orelse)(flag, a), inputs=(flag, a)))
    same = verify(graph(*Cond(graph(Relu()(i), inputs=(i,)), orelse)(flag, a), inputs=(flag, a)))
    assert g == same and hash(g) == hash(same)
    assert g != verify(graph(*Cond(orelse, then)(flag, a), inputs=(flag, a)))
    assert graph(*Mixed()(None, a), inputs=(a,)).operators()[0].inputs[0] is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: Graph("g", [Relu()(a)], []), "is not an input"),
        (lambda a: Graph("g", [a, x("x", Type(dtype("f32"), ()))], []), "input names repeat"),
        (lambda a: Graph("g", [a], [a, a], ["y"]), "2 outputs, 1 names"),
        (lambda a: Graph("g", [a], [a, a], ["y", "y"]), "output names repeat"),
        (lambda a: Graph("g", [], [Relu()(a)]), "the input 'x' is used but is not an input of this graph"),
        (lambda a: Graph("g", [a], [], updates=[("w", a), ("w", a)]), "updated twice"),
    ],
)
def test_what_is_no_graph(make: object, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        make(x())  # type: ignore[operator]


def test_rebuild_replaces_keeps_and_infers_anew() -> None:
    a = x()
    with origin("layer"):
        y = Elu()(Relu()(a))
    g = graph(y, inputs=(a,), updates=[("w", Relu()(a))])
    changed = g.rebuild(lambda node, inputs: [Sigmoid()(inputs[0])] if node.op.name == "relu" else None)
    assert [n.op.name for n in changed.operators()] == ["sigmoid", "elu"] and changed.operators()[1].origin == "layer"
    assert changed.updates[0][1] is changed.operators()[0].results[0]
    assert g.rebuild(lambda node, inputs: None) == g
    smaller = x("x", Type(dtype("f32"), (3,)))
    typed = g.rebuild(lambda node, inputs: [smaller] if is_leaf(node.op) else None)
    assert typed.outputs[0].type == smaller.type and typed.inputs[0].type == smaller.type


def chain(length: int) -> Graph:
    a = x()
    y = a
    for i in range(length):
        y = Add()(y, y) if i % 2 else Relu()(y)
    return graph(y, inputs=(a,))


def test_deep_graphs_do_not_recurse() -> None:
    g = chain(DEEP)
    assert len(g.operators()) == DEEP
    back = pickle.loads(pickle.dumps(g))
    assert back == g and hash(back) == hash(g)
    assert len(verify(g).users()) == DEEP + 1 and g.rebuild(lambda node, inputs: None) == g
    assert len(str(g).splitlines()) == DEEP + 3


@pytest.mark.parametrize("length", [100, 1000, 10_000])
def test_building_looks_at_each_node_a_fixed_number_of_times(length: int) -> None:
    a = x()
    values = [a]
    for _ in range(length):
        values.append(Add()(values[-1], values[-1]))
    with (
        mock.patch("kcompile.ir.graph.topological", wraps=topological) as walk,
        mock.patch.object(Add, "__hash__", autospec=True, side_effect=lambda op: op._hash) as hashed,
    ):
        g = Graph("g", [a], values[1:], [str(i) for i in range(length)])
    assert walk.call_count == length + 2, "once for each end, once for the order"
    assert len(g.operators()) == length and hashed.call_count <= 2 * length


def test_order_is_a_function_of_the_graph() -> None:
    a, b = x("a"), x("b")
    right = Sigmoid()(b)
    left = Relu()(a)
    g = graph(Add()(left, right), inputs=(a, b))
    assert [n.op.name for n in g.nodes] == ["input", "input", "relu", "sigmoid", "add"]


def test_pickles_with_everything_into_another_process() -> None:
    i = x("i", Type(dtype("f32"), (2,)))
    region = graph(i, inputs=(i,))
    a = x()
    with origin("layer"):
        y, z = Mixed(np.array([1.0, np.nan]), region)(a, None, weight("w", Type(dtype("f32"), (2,))))
    g = Graph("g", [a], [y], ["y"], [("u", z)], {"w": np.arange(2, dtype=np.float32)})
    code = (
        "import pickle, sys; g, h = (pickle.loads(bytes.fromhex(sys.argv[1])) for _ in range(2));"
        "print(g == h, len({g, h}), g.operators()[0].origin, g.weights['w'].tolist(), g.updates[0][0]); print(g)"
    )
    argv = [sys.executable, "-c", code, pickle.dumps(g).hex()]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={"PYTHONHASHSEED": "5", "PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout == f"True 1 layer [0.0, 1.0] u\n{g}\n", done.stderr


def test_constants_are_shared() -> None:
    a = x("a", Type(dtype("f32"), ()))
    g = graph(Add()(Add()(a, constant(2.0, dtype("f32"))), constant(2.0, dtype("f32"))), inputs=(a,))
    assert sum(isinstance(n.op, Constant) for n in g.nodes) == 1
