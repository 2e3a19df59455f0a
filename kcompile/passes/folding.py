"""Constant folding: whole constant subgraphs are computed at once, by the caller's evaluator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kcompile.ir import Graph, Node, Value, Weight, constant, is_leaf
from kcompile.ir.op import Op, sub_graphs, symbols_in
from kcompile.ir.types import Type, bf16, f32, type_of
from kcompile.operators.arithmetic import FloorDivide, Remainder
from kcompile.operators.opaque import Opaque
from kcompile.operators.random import RANDOM
from kcompile.passes.arrays import Arrays
from kcompile.passes.layout import SPATIAL

Evaluate = Callable[[Graph], "list[np.ndarray]"]

# A result may always have that many bytes: scales, masks and position tables of a layer or two are
# worth having; a Fill or Expand of an image is not worth its place in the file.
SMALL = 16 << 10
# Nothing larger is computed on the way to a small result.
LARGE = 64 << 20


def fold_constants(graph: Graph, reads_weights: bool, evaluate: Evaluate) -> Graph:
    """``graph`` with constant subgraphs replaced by their results; the same graph where there are none.

    A result is folded where it has at most `SMALL` bytes, or no more than the arrays that go with
    it because nothing else reads them: a kernel that is only ever transposed, say. Not folded:
    random operators, control flow (a loop may run for long), bfloat16, for which ONNX Runtime has
    no kernels. ``evaluate`` computes a graph without inputs.
    """
    arrays = Arrays(graph, reads_weights)
    found = _Folding(graph, arrays)
    wanted = [v for n in found.frontier() for v in n.results if found.is_read(v)]
    if not wanted:
        return graph
    made = evaluate(Graph("constants", [], wanted, weights=graph.weights))
    results: dict[Value, Value] = {}
    for value, array in zip(wanted, made, strict=True):
        assert type_of(array) == value.type, f"folding {value!r} gave {type_of(array)}"
        label = next((n.op.label for n in found.leaves[value.node] if isinstance(n.op, Weight)), None)
        results[value] = constant(array) if label is None else arrays.add(label, array)

    def change(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        return tuple(results.get(v, v) for v in node.results) if node.results[0] in results else None

    return graph.rebuild(change).replace(weights=arrays.weights)


class _Folding:
    """Which nodes can be folded."""

    def __init__(self, graph: Graph, arrays: Arrays):
        self.users = graph.users()
        # The constants and weights that each foldable node is computed from.
        self.leaves: dict[Node, dict[Node, None]] = {}
        for node in graph.nodes:
            if not is_leaf(node.op) and _allowed(node):
                read = [v for v in node.inputs if v is not None]
                if all(v.node in self.leaves or arrays.known(v) is not None for v in read):
                    below = [self.leaves.get(v.node, {v.node: None}) for v in read]
                    self.leaves[node] = {n: None for leaves in below for n in leaves}
        self._drop_growing()

    def frontier(self) -> list[Node]:
        """Foldable nodes that something else reads, or whose results leave the graph."""
        return [n for n in self.leaves if any(map(self.is_read, n.results))]

    def is_read(self, value: Value) -> bool:
        return any(user is None or user not in self.leaves for user in self.users[value])

    def _drop_growing(self) -> None:
        while True:
            growing = [n for n in self.frontier() if _size(n.types) > max(SMALL, self._freed(n))]
            if not growing:
                return
            for node in growing:
                del self.leaves[node]

    def _freed(self, node: Node) -> int:
        """Bytes of the arrays that only foldable nodes read."""
        gone = (n for n in self.leaves[node] if not self.is_read(n.results[0]))
        return sum(_size(n.types) for n in gone)


def _allowed(node: Node) -> bool:
    op, types = node.op, [*node.types, *(v.type for v in node.inputs if v is not None)]
    # What an opaque node is for is not known: a dequantised bias, say, has to stay beside its convolution.
    if isinstance(op, (*RANDOM, Opaque)) or sub_graphs(op) or symbols_in(op) or not _expressible(op):
        return False
    if isinstance(op, (FloorDivide, Remainder)) and node.types[0].dtype.is_integer:
        return False  # the rule fold-integer-division's
    if isinstance(op, SPATIAL) and node.types[0].dtype is not f32:
        return False  # ONNX Runtime has no such kernels
    return all(t.is_static and t.dtype is not bf16 for t in types) and _size(node.types) <= LARGE


def _expressible(op: Op) -> bool:
    return callable(op.onnx) or callable(op.decompose)


def _size(types: tuple[Type, ...]) -> int:
    return sum(int(t.size) * max(t.dtype.bits // 8, 1) for t in types)  # type: ignore[arg-type]
