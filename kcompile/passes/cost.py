"""What a graph costs: operators, bytes of weights, floating-point operations at stated sizes.

A model of cost, not a measurement: two operations for a multiply-add of a product, one for an
element of anything else that computes, none for what only moves numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from math import prod
from typing import Any

from kcompile.ir import Constant, Dim, Graph, Node, Op, Type, Value, Weight, is_leaf
from kcompile.ir.dims import DimLike, evaluate, product
from kcompile.ir.op import sub_graphs
from kcompile.operators.attention import Attention
from kcompile.operators.bidirectional import Bidirectional
from kcompile.operators.control import Cond, Scan
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.operators.creation import Fill, Range, Shape, SizeOf
from kcompile.operators.einsum import Einsum
from kcompile.operators.indexing import Embedding, Gather, GatherElements, GatherNd
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.opaque import Opaque
from kcompile.operators.recurrent import Gru, Lstm, SimpleRnn
from kcompile.operators.shape import (
    Concat,
    Expand,
    ExpandDims,
    Flip,
    Pad,
    Reshape,
    Slice,
    Split,
    Squeeze,
    Tile,
    Transpose,
)

LENGTH = 32  # what a free size other than the batch is taken for


@dataclass(frozen=True)
class Cost:
    """Operators (those in regions too), bytes of weights and constants, floating-point operations."""

    nodes: int = 0
    bytes: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.nodes + other.nodes, self.bytes + other.bytes, self.flops + other.flops)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.nodes - other.nodes, self.bytes - other.bytes, self.flops - other.flops)

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))


class Sizes(dict[str, int]):
    """Sizes by symbol; those that are not in it have the length."""

    def __init__(self, graph: Graph, batch: int = 1, length: int = LENGTH):
        """The first axis of every input is the batch, where it is free."""
        first = (v.type.shape[0] for v in graph.inputs if v.type.rank)
        super().__init__({d.name: batch for d in first if isinstance(d, Dim) and d.name is not None})
        self.length = length

    def __missing__(self, symbol: str) -> int:
        return self.length

    def of(self, dim: DimLike) -> int:
        return max(int(evaluate(dim, self)), 0)

    def shape(self, type: Type) -> list[int]:
        return [self.of(d) for d in type.shape]


# Multiply-adds of a node from the shapes of its operands (None: absent) and of its first result.
Count = Callable[[Any, list[Any], list[int]], int]


def _recurrent(op: Op, shapes: list[Any], out: list[int]) -> int:
    x, kernel, recurrent = shapes[:3]
    return x[0] * x[1] * (prod(kernel) + prod(recurrent))


def _attention(op: Op, shapes: list[Any], out: list[int]) -> int:
    q, k, v = shapes[:3]
    return prod(q[:3]) * k[2] * (q[3] + v[3])


PRODUCTS: dict[type[Op], Count] = {
    Dense: lambda op, shapes, out: prod(out) * shapes[0][-1],
    MatMul: lambda op, shapes, out: prod(out) * shapes[0][-1],
    Conv: lambda op, shapes, out: prod(out) * prod(shapes[1][:-1]),
    ConvTranspose: lambda op, shapes, out: prod(shapes[0]) * prod(shapes[1][:-1]),
    Attention: _attention,
    Lstm: _recurrent,
    Gru: _recurrent,
    SimpleRnn: _recurrent,
    Bidirectional: lambda op, s, out: s[0][0] * s[0][1] * sum(prod(s[i]) for i in (1, 2, 4, 5)),
}
MOVEMENT: tuple[type[Op], ...] = (
    Reshape, Transpose, Expand, ExpandDims, Squeeze, Concat, Split, Slice, Tile, Flip, Pad, Fill, Range, Shape, SizeOf,
    Gather, GatherElements, GatherNd, Embedding,
)  # fmt: skip


def node_flops(node: Node, sizes: Sizes) -> int:
    """Floating-point operations of one node, those of its regions included; 0 for an opaque one, of which none is known."""
    op = node.op
    if is_leaf(op) or isinstance(op, (Opaque, *MOVEMENT)):
        return 0
    if isinstance(op, Einsum):
        types = [v.type for v in node.inputs if v is not None]
        return 2 * sizes.of(product(op.sizes(op.labels(types)[0], types).values()))
    count = PRODUCTS.get(type(op))
    if count is not None:
        shapes = [None if v is None else sizes.shape(v.type) for v in node.inputs]
        return 2 * count(op, shapes, sizes.shape(node.types[0]))
    regions = [graph_flops(g, sizes) for g in sub_graphs(op)]
    if regions:
        # A branch: the dearer one. A loop whose number of steps is not known: one step.
        steps = sizes.of(node.inputs[op.states].type.shape[0]) if isinstance(op, Scan) else 1  # type: ignore[union-attr]
        return max(regions) if isinstance(op, Cond) else steps * sum(regions)
    read = [prod(sizes.shape(v.type)) for v in node.inputs if v is not None]
    return max([*read, *(prod(sizes.shape(t)) for t in node.types)])


def graph_flops(graph: Graph, sizes: Sizes) -> int:
    return sum(node_flops(n, sizes) for n in graph.operators())


def node_count(graph: Graph) -> int:
    """Operators, those of the regions too."""
    return sum(map(_with_regions, graph.operators()))


def _with_regions(node: Node) -> int:
    return 1 + sum(map(node_count, sub_graphs(node.op)))


def leaves(graph: Graph) -> set[Op]:
    """The weights and constants of a graph and of its regions."""
    found: set[Op] = set()
    for node in graph.nodes:
        if isinstance(node.op, (Weight, Constant)):
            found.add(node.op)
        for region in sub_graphs(node.op):
            found |= leaves(region)
    return found


def stored(ops: Iterable[Op]) -> int:
    """Bytes of weights and constants."""
    types = (op.infer() for op in ops)
    return sum(int(t.size) * t.dtype.bits // 8 for t in types)


def graph_cost(graph: Graph, sizes: Sizes) -> Cost:
    """What a whole graph costs."""
    return Cost(node_count(graph), stored(leaves(graph)), graph_flops(graph, sizes))


def nodes_cost(nodes: Iterable[Node], sizes: Sizes) -> Cost:
    """What some nodes cost, with the weights that they read."""
    found = [n for n in nodes if not is_leaf(n.op)]
    read: set[Op] = {v.op for n in found for v in n.inputs if _is_stored(v)}  # type: ignore[union-attr]
    return Cost(sum(map(_with_regions, found)), stored(read), sum(node_flops(n, sizes) for n in found))


def _is_stored(value: Value | None) -> bool:
    return value is not None and isinstance(value.op, (Weight, Constant))
