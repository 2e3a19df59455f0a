"""What things are called in a file: nodes by layer, weights by path, ends as asked; whatever the labels."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec

import numpy as np
import onnx
import pytest

from kcompile.errors import UsageError
from kcompile.ir import Graph, Type, Value, constant, dtype, input_value, origin, weight
from kcompile.onnx.model import to_onnx
from kcompile.operators.activation import Relu, Sigmoid
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.linear import Dense
from kcompile.operators.logic import Cast
from kcompile.operators.reduction import Sum
from kcompile.operators.shape import Transpose
from kcompile.operators.sorting import TopK
from tests.support import close, run_onnx, run_torch

F32 = dtype("f32")
PAIR = Type(F32, (2, 2))
A = np.array([[1, -2], [3, 4]], np.float32)
pytestmark = pytest.mark.torchless
with_torch = pytest.mark.skipif(find_spec("torch") is None, reason="compares with torch")


def x(label: str = "x", type: Type = PAIR) -> Value:
    return input_value(label, type)


def names(graph: Graph) -> tuple[list[str], list[str], list[str], list[str]]:
    """(nodes, initialisers, inputs, outputs) of the file."""
    found = to_onnx(graph).graph
    return tuple([v.name for v in part] for part in (found.node, found.initializer, found.input, found.output))  # type: ignore[return-value]


def test_nodes_are_called_by_layer_and_operator() -> None:
    with origin("block/act"):
        y = Relu()(x())
        z = Relu()(Add()(y, y))
    graph = Graph("g", [x()], [Sigmoid()(z)], ["probability"])
    assert names(graph)[0] == ["block/act/Relu", "block/act/Add", "block/act/Relu_1", "sigmoid/Sigmoid"]
    assert to_onnx(graph).graph.node[-1].output == ["probability"]


def test_weights_keep_their_paths_also_in_another_layout() -> None:
    kernel = weight("d/kernel", PAIR)
    graph = Graph(
        "g",
        [x()],
        [Dense()(x(), Transpose((1, 0))(kernel), weight("d/bias", Type(F32, (2,))))],
        weights={"d/kernel": A, "d/bias": A[0]},
    )
    assert names(graph)[1] == ["d/kernel", "d/bias"]
    stored = onnx.numpy_helper.to_array(to_onnx(graph).graph.initializer[0])
    assert stored.tolist() in (A.tolist(), A.T.tolist())


def test_an_array_that_is_used_in_two_layouts_has_two_names() -> None:
    w = weight("w", PAIR)
    graph = Graph("g", [x()], [Add()(Add()(x(), Transpose((1, 0))(w)), w)], weights={"w": A})
    found = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in to_onnx(graph).graph.initializer}
    assert found == {"w": A.tolist(), "w_1": A.T.tolist()}


def test_a_made_array_never_takes_the_name_of_another_weight() -> None:
    labels = {"k": A, "k_1": A + 1, "k_1_1": A + 2}
    w = {label: weight(label, PAIR) for label in labels}
    turned = Transpose((1, 0))(w["k"])
    graph = Graph("g", [x()], [Add()(Add()(Add()(x(), turned), w["k_1"]), w["k_1_1"])], weights=labels)
    found = {t.name: onnx.numpy_helper.to_array(t) for t in to_onnx(graph).graph.initializer}
    assert {k: v.tolist() for k, v in found.items()} == {
        "k": A.T.tolist(),
        "k_1": (A + 1).tolist(),
        "k_1_1": (A + 2).tolist(),
    }


@pytest.mark.parametrize("label", ["ints", "scalar", "constant"])
def test_a_helper_array_never_takes_the_name_of_a_weight(label: str) -> None:
    summed = Sum(axes=(0,))(Add()(x(), constant(A * 2)))
    graph = Graph("g", [x()], [Add()(summed, weight(label, PAIR))], weights={label: A})
    found = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in to_onnx(graph).graph.initializer}
    assert found[label] == A.tolist() and len(found) == 3


def test_equal_arrays_are_stored_once() -> None:
    a, b = weight("a", PAIR), weight("b", PAIR)
    graph = Graph("g", [x()], [Add()(Multiply()(x(), a), Add()(b, constant(A)))], weights={"a": A, "b": A.copy()})
    assert len(names(graph)[1]) <= 2
    near = Graph("g", [x()], [Add()(Multiply()(x(), a), b)], weights={"a": np.zeros_like(A), "b": -np.zeros_like(A)})
    assert names(near)[1] == ["a", "b"], "0 and -0 are not the same array"


def test_unused_weights_are_left_out() -> None:
    graph = Graph("g", [x()], [Relu()(x())], weights={"unused": A})
    assert names(graph)[1] == []


INPUTS = [("an input itself", lambda v, w: [v], ["y"]), ("an input under its own name", lambda v, w: [v], ["x"])]
ENDS = [
    *INPUTS,
    ("an input twice", lambda v, w: [v, v], ["y", "z"]),
    ("a weight", lambda v, w: [w, w], ["y", "z"]),
    ("a constant and a weight of its name", lambda v, w: [constant(A), w], ["constant", "w"]),
    ("one value twice", lambda v, w: [Relu()(v)] * 2, ["y", "z"]),
    ("a value and its user", lambda v, w: [Relu()(v), Sigmoid()(Relu()(v))], ["y", "z"]),
    ("two results swapped", lambda v, w: [*TopK(1)(v)][::-1], ["indices", "values"]),
    ("names of inner tensors", lambda v, w: [Sigmoid()(Relu()(v)), Add()(v, w)], ["relu/Relu", "w"]),
    ("nothing but a cast of an input", lambda v, w: [Cast(F32)(v)], ["y"]),
]


@with_torch
@pytest.mark.parametrize(("make", "outputs"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS])
def test_outputs(make: object, outputs: list[str]) -> None:
    v, w = x(), weight("w", PAIR)
    graph = Graph("g", [v], make(v, w), outputs, weights={"w": A + 1})  # type: ignore[operator]
    assert names(graph)[3] == outputs
    for got, want in zip(run_onnx(graph, [A]), run_torch(graph, [A]), strict=True):
        close(got, want)


def test_one_name_for_an_input_and_another_output_is_refused() -> None:
    with pytest.raises(UsageError, match="'x' is the name of an input and of an output"):
        to_onnx(Graph("g", [x()], [Relu()(x())], ["x"]))


ODD = [
    "a/b",
    "a:b",
    "a:0",
    "with space",
    "ünïcode",
    "名前",
    "\x1b[31m",
    "a\nb",
    "../../etc",
    "%0",
    '"',
    "x" * 300,
    "a_1",
    "a",
]


@with_torch
def test_odd_labels_everywhere_and_colliding() -> None:
    inputs = [x(label) for label in ODD]
    total = inputs[0]
    for label in ODD:
        with origin(label):
            total = Add()(Relu()(total), weight(label + "/Add", PAIR))
    graph = Graph(
        "\x1b g", inputs, [total, Relu()(total)], ["out/:\n", "Relu"], weights={label + "/Add": A for label in ODD}
    )
    for got, want in zip(run_onnx(graph, [A] * len(ODD)), run_torch(graph, [A] * len(ODD)), strict=True):
        close(got, want)
    nodes, arrays, starts, _ = names(graph)
    assert max(Counter([*nodes, "?"]).values()) == 1
    made = [o for n in to_onnx(graph).graph.node for o in n.output]
    assert max(Counter([*made, *arrays, *starts]).values()) == 1


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (Graph("g", [x("\ud800")], []), r"is not valid Unicode"),
        (Graph("g", [x("")], []), "without a name"),
        (Graph("g", [x()], [Relu()(x())], [""]), "without a name"),
    ],
)
def test_names_that_no_file_can_hold(graph: Graph, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        to_onnx(graph)


def test_a_graph_without_a_name_has_one_in_the_file() -> None:
    assert to_onnx(Graph("", [x()], [Relu()(x())])).graph.name == "graph"
