"""`difference`: the same model under other names is the same; each change is told, and nothing else."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from kcompile.onnx.diff import Difference, difference
from kcompile.onnx.model import to_onnx
from tests.onnx.graphs import medium

pytestmark = pytest.mark.torchless
make = helper.make_node


def model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], inputs: tuple[str, ...] = ("x",), output: str = "y"
) -> ModelProto:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in (*inputs, output)]
    tensors = [numpy_helper.from_array(a, n) for n, a in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:-1], ends[-1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def base() -> ModelProto:
    """Two towers that are joined: y = softmax(relu(x a + b) - relu(x c + b))."""
    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in (("a", (4, 4)), ("b", (4,)), ("c", (4, 4)))}
    nodes = [
        make("Gemm", ["x", "a", "b"], ["l1"], name="left/Gemm"),
        make("Relu", ["l1"], ["l2"], name="left/Relu"),
        make("Gemm", ["x", "c", "b"], ["r1"], name="right/Gemm"),
        make("Relu", ["r1"], ["r2"], name="right/Relu"),
        make("Sub", ["l2", "r2"], ["d"], name="join/Sub"),
        make("Softmax", ["d"], ["y"], name="join/Softmax", axis=-1),
    ]
    return model(nodes, weights)


def copied(source: ModelProto) -> ModelProto:
    return ModelProto.FromString(source.SerializeToString())


def renamed(source: ModelProto, keep_names: bool = False) -> ModelProto:
    """The same model, every tensor but the inputs and outputs under another name, nodes without names."""
    made = copied(source)
    ends = {v.name for v in (*made.graph.input, *made.graph.output)}
    table: dict[str, str] = {}

    def new(name: str) -> str:
        return name if not name or name in ends else table.setdefault(name, f"t{len(table)}")

    for node in made.graph.node:
        node.name = node.name if keep_names else ""
        for names in (node.input, node.output):
            names[:] = [new(n) for n in names]
    for tensor in made.graph.initializer:
        tensor.name = new(tensor.name)
    made.graph.ClearField("value_info")
    return made


def shuffled(source: ModelProto, seed: int) -> ModelProto:
    """The nodes in another topological order."""
    made, rng = copied(source), random.Random(seed)
    left, known = list(made.graph.node), {v.name for v in (*made.graph.input, *made.graph.initializer)} | {""}
    ordered: list[onnx.NodeProto] = []
    while left:
        node = rng.choice([n for n in left if known.issuperset(n.input)])
        left.remove(node)
        ordered.append(node)
        known |= set(node.output)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in ordered]
    made.graph.ClearField("node")
    made.graph.node.extend(copies)
    return made


def weight(made: ModelProto, name: str) -> TensorProto:
    return next(t for t in made.graph.initializer if t.name == name)


def node(made: ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in made.graph.node if n.name == name)


def set_weight(made: ModelProto, name: str, array: np.ndarray) -> None:
    weight(made, name).CopyFrom(numpy_helper.from_array(array, name))


SAME: dict[str, Callable[[ModelProto], ModelProto]] = {
    "itself": copied,
    "other names": renamed,
    "other tensors": lambda m: renamed(m, keep_names=True),
    "another order": lambda m: shuffled(m, 1),
    "both": lambda m: renamed(shuffled(m, 2)),
    "metadata": lambda m: (helper.set_model_props(c := copied(m), {"a": "b"}), c)[1],
}


@pytest.mark.parametrize("change", SAME)
@pytest.mark.parametrize("source", [base, lambda: to_onnx(medium())], ids=["towers", "medium"])
def test_the_same(source: Callable[[], ModelProto], change: str) -> None:
    first = source()
    found = difference(first, SAME[change](first))
    assert found.same and found.same_structure and found.same_weights and found.paired == len(first.graph.node)
    assert not found.ends and not found.opsets and bool(found.model) == (change == "metadata")


def attribute(made: ModelProto) -> None:
    node(made, "join/Softmax").attribute[0].i = 1


def swapped(made: ModelProto) -> None:
    names = node(made, "join/Sub").input
    names[:] = names[::-1]


def inserted(made: ModelProto) -> None:
    made.graph.node.insert(2, make("Tanh", ["l2"], ["l3"], name="left/Tanh"))
    node(made, "join/Sub").input[0] = "l3"


def removed(made: ModelProto) -> None:
    made.graph.node.remove(node(made, "right/Relu"))
    node(made, "join/Sub").input[1] = "r1"


def replaced(made: ModelProto) -> None:
    node(made, "right/Relu").op_type = "Tanh"


def no_bias(made: ModelProto) -> None:
    del node(made, "left/Gemm").input[2]


def one_weight(made: ModelProto) -> None:
    set_weight(made, "a", numpy_helper.to_array(weight(made, "a")) + np.float32(0.5))


def not_finite(made: ModelProto) -> None:
    set_weight(made, "b", np.array([np.nan, 0, 0, 0], np.float32))


def retyped(made: ModelProto) -> None:
    set_weight(made, "c", np.zeros((4, 5), np.float32))


def unused(made: ModelProto) -> None:
    made.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "more"))


def another_input(made: ModelProto) -> None:
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3


def input_name(made: ModelProto) -> None:
    made.graph.input[0].name = "z"
    for n in made.graph.node:
        n.input[:] = ["z" if i == "x" else i for i in n.input]


def opset(made: ModelProto) -> None:
    made.opset_import[0].version = 21


# change -> (statuses of nodes, of weights that are not equal, ends, opsets)
CHANGES: list[tuple[Callable[[ModelProto], None], dict[str, int], dict[str, int], int, int]] = [
    (attribute, {"changed": 1}, {}, 0, 0),
    (swapped, {"changed": 1}, {}, 0, 0),
    (inserted, {"added": 1, "changed": 1}, {}, 0, 0),
    (removed, {"removed": 1, "changed": 1}, {}, 0, 0),
    (replaced, {"removed": 1, "added": 1, "changed": 1}, {}, 0, 0),
    (no_bias, {"changed": 1}, {}, 0, 0),
    (one_weight, {}, {"changed": 1}, 0, 0),
    (not_finite, {}, {"changed": 1}, 0, 0),
    (retyped, {}, {"changed": 1}, 0, 0),
    (unused, {}, {"added": 1}, 0, 0),
    (another_input, {}, {}, 1, 0),
    (input_name, {}, {}, 1, 0),
    (opset, {}, {}, 0, 1),
]  # fmt: skip


def counts(found: Difference) -> tuple[dict[str, int], dict[str, int], int, int]:
    weights = Counter(w.status for w in found.weights if w.status not in ("equal", "renamed"))
    return dict(Counter(c.status for c in found.changes)), dict(weights), len(found.ends), len(found.opsets)


MIRROR = {"added": "removed", "removed": "added", "changed": "changed"}


@pytest.mark.parametrize("names", [True, False], ids=["names", "other names"])
@pytest.mark.parametrize(
    ("change", "nodes", "weights", "ends", "opsets"), CHANGES, ids=[c[0].__name__ for c in CHANGES]
)
def test_a_change(change: Callable, nodes: dict, weights: dict, ends: int, opsets: int, names: bool) -> None:
    made = base()
    change(made)
    if not names and change is not input_name:
        made = renamed(made)
    found, back = difference(base(), made), difference(made, base())
    assert counts(found) == (nodes, weights, ends, opsets) and not found.same
    assert counts(back) == (
        {MIRROR[k]: n for k, n in nodes.items()},
        {MIRROR[k]: n for k, n in weights.items()},
        ends,
        opsets,
    )


def test_what_is_told() -> None:
    made = base()
    attribute(made)
    swapped(made)
    one_weight(made)
    weight(made, "c").name = "kernel"
    node(made, "right/Gemm").input[1] = "kernel"
    found = difference(base(), made)
    assert [(c.after, c.details) for c in found.changes] == [
        ("join/Sub", ("operand 0: node l2 -> node r2", "operand 1: node r2 -> node l2")),
        ("join/Softmax", ("axis: -1 -> 1",)),
    ]
    first, second, third = found.weights
    assert (first.status, first.before, first.largest) == ("changed", "a", pytest.approx(0.5))
    largest = float(np.abs(numpy_helper.to_array(weight(base(), "a"))).max())
    assert first.relative == pytest.approx(0.5 / largest)
    assert (second.status, third.status, third.before, third.after) == ("equal", "renamed", "c", "kernel")
    not_finite(made)
    assert {w.before: w.largest for w in difference(base(), made).weights}["b"] == float("inf")


def test_equal_weights_that_became_one() -> None:
    first = base()
    set_weight(first, "c", numpy_helper.to_array(weight(first, "a")))
    made = copied(first)
    made.graph.initializer.remove(weight(made, "c"))
    node(made, "right/Gemm").input[1] = "a"
    for pair in ((first, made), (made, first)):
        assert difference(*pair).same


def test_subgraphs() -> None:
    def branch(op: str, name: str, captured: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4])
        return helper.make_graph([make(op, [captured, captured], [name])], op, [], [out])

    def whole(op: str, name: str = "inner", captured: str = "h") -> ModelProto:
        branches = {"then_branch": branch("Add", f"{name}1", captured), "else_branch": branch(op, f"{name}2", captured)}
        nodes = [make("Relu", ["x"], [captured]), make("If", ["which"], ["y"], **branches)]
        return model(nodes, {"which": np.array(True)})

    assert difference(whole("Mul"), whole("Mul", "other", "g")).same
    assert counts(difference(whole("Mul"), whole("Sub")))[0] == {"changed": 1}


def random_model(rng: random.Random) -> ModelProto:
    """A random network of a few operators, many of them alike."""
    known, nodes = ["x"], []
    weights = {f"w{i}": np.full((4, 4), rng.randrange(3), np.float32) for i in range(3)}
    for i in range(rng.randrange(2, 40)):
        op = rng.choice(["Relu", "Tanh", "Add", "Sub", "MatMul"])
        operands = [rng.choice(known[-6:])]
        if op in ("Add", "Sub"):
            operands.append(rng.choice(known))
        if op == "MatMul":
            operands.append(rng.choice(list(weights)))
        nodes.append(make(op, operands, [f"h{i}"], name=f"n{i}"))
        known.append(f"h{i}")
    nodes.append(make("Sum", known[1:], ["y"], name="sum"))
    return model(nodes, weights)


@pytest.mark.parametrize("seed", range(60))
def test_random(seed: int) -> None:
    rng = random.Random(seed)
    first = random_model(rng)
    second = renamed(shuffled(first, seed)) if seed % 2 else shuffled(first, seed)
    # The operands of the Sum keep the order, so that only names and the order of nodes differ.
    assert difference(first, second).same
    place = rng.randrange(len(first.graph.node) - 1)
    second.graph.node[place].op_type = "Selu"
    assert not difference(first, second).same_structure
