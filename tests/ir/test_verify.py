"""`verify` finds each violation and names the graph and the node."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import GraphError
from kcompile.ir import Graph, Node, Type, input_value, parse, symbol, verify, weight
from kcompile.ir import dtype as ir_dtype
from kcompile.operators.activation import Relu
from kcompile.operators.arithmetic import Add
from kcompile.operators.registry import OPERATORS
from tests.ir.strategies import Mixed

F32 = ir_dtype("f32")
PAIR = Type(F32, (2,))
W = weight("w", PAIR)
X = input_value("x", PAIR)
LONG = input_value("x", Type(F32, (3,)))


def text(*lines: str) -> Graph:
    return parse("graph g(%x: f32[2]) {\n" + "\n".join(lines) + "\n return y=%0\n}", OPERATORS)


def added(array: np.ndarray) -> Graph:
    return Graph("g", [X], [Add()(X, W)], weights={"w": array})


WRONG = Graph("inner", [X], [Node(Relu(), (X,), (Type(F32, (9,)),), "layer").results[0]])


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (text(" %0 = relu(%x) : f32[3] # layer"), r"relu in layer: the type is \[f32\[3\]\], its operands give"),
        (text(" %0 = relu(%x) : f16[2]"), "graph 'g', relu: the type is"),
        (text(" %0 = relu() : f32[2]"), "relu: 0 operands: missing a required argument"),
        (text(" %0 = relu(%x, %x) : f32[2]"), "relu: 2 operands: too many positional arguments"),
        (text(" %0 = relu(_) : f32[2]"), "relu: operand 0 may not be absent"),
        (text(" %0 = transpose(%x, perm=(0, 1)) : f32[2]"), "transpose: "),
        (text(" %0, %1 = relu(%x) : f32[2], f32[2]"), "relu: the type is"),
        (added(np.zeros(3, np.float32)), r"weight 'w' is f32\[2\], its array float32\[3\]"),
        (added(np.zeros(2)), "its array float64"),
        (Graph("g", [], [weight("w", Type(F32, (symbol("N"),)))]), "symbolic shape"),
        (Graph("g", [], [Add()(W, weight("w", Type(F32, (1,))))]), r"weight 'w' is both f32\[2\] and f32\[1\]"),
        (Graph("g", [LONG], [W], updates=[("w", LONG)]), r"weight 'w' is f32\[2\], its update f32\[3\]"),
        (Graph("g", [X], [], updates=[("v", X)], weights={"v": np.zeros(3, np.float32)}), r"'v' is f32\[3\], its update"),
        (Graph("g", [], Mixed(region=WRONG)()), "graph 'inner', relu in layer: the type is"),
    ],
)  # fmt: skip
def test_violation(graph: Graph, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        verify(graph)


def test_a_good_graph_is_returned() -> None:
    graph = Graph(
        "g", [X], [Add()(X, W)], updates=[("w", Relu()(X)), ("fresh", X)], weights={"w": np.zeros(2, np.float32)}
    )
    assert verify(graph) is graph
