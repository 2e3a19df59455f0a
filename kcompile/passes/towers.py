"""Shared towers: the same layers on two inputs, run once on both.

A model that compares two things runs one stack of layers on each. With the two joined along the
batch, each kernel is read once, which is what a small batch waits for::

    tower(a), tower(b)  ->  split(tower(concat(a, b)))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import Any

from kcompile.ir import Constant, Graph, Node, Value, Weight, origin
from kcompile.ir.graph import remake
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.operators.activation import LogSoftmax, Softmax
from kcompile.operators.linear import Dense
from kcompile.operators.normalization import BatchNorm, LayerNorm, RmsNorm
from kcompile.operators.reduction import Max, Mean, Min, Sum
from kcompile.operators.shape import Concat, Split
from kcompile.passes.elementwise import BINARY, UNARY

# Weights for each number that is copied to join and to split; below that, copying costs what it saves. Measured
# in ONNX Runtime, both towers together: batch 1 0.69 of the time (256-512-256-64) and 0.94 (50-128-64-32), batch 8
# to 128 1.00 to 1.04.
WORTH = 64
_ALONG = (Softmax, LogSoftmax, BatchNorm)
_REDUCTIONS = (Sum, Mean, Max, Min)


@dataclass
class _Tower:
    """Pairs of equal layers over one pair of values, in order."""

    entry: tuple[Value, Value]
    pairs: list[tuple[Node, Node]] = field(default_factory=list)


def share_towers(graph: Graph) -> Graph:
    """The graph with towers over two values of one type as one; itself where there are none that pay."""
    users = graph.users()
    for tower in _towers(graph, users):
        exits = _exits(tower, users)
        order = _order(graph, tower) if _pays(tower, exits) else None
        if order is not None:
            return share_towers(_joined(graph, tower, exits, order))
    return graph


# ---- finding them


def _towers(graph: Graph, users: dict[Value, list[Node | None]]) -> list[_Tower]:
    waiting: dict[Any, Node] = {}
    tower_of: dict[tuple[Node, Node], _Tower] = {}
    pair_of: dict[Node, tuple[Node, Node]] = {}
    towers: list[_Tower] = []

    def append(tower: _Tower, pair: tuple[Node, Node]) -> None:
        tower.pairs.append(pair)
        tower_of[pair] = tower
        pair_of.update(dict.fromkeys(pair, pair))

    for node in graph.nodes:
        which = _varying(node)
        if which is None:
            twin, side = _twin(node, pair_of, users)
            if twin is not None and len({id(tower_of[pair_of[v.node]]) for v in node.inputs if v is not None}) == 1:
                pair = (twin, node) if side else (node, twin)
                append(tower_of[pair_of[node.inputs[0].node]], pair)  # type: ignore[union-attr]
            continue
        x = node.inputs[which]
        assert x is not None
        others = tuple(v for i, v in enumerate(node.inputs) if i != which)
        twin = waiting.setdefault((node.op, which, others, x.type), node)
        y = twin.inputs[which]
        if twin is node or y is None:
            continue
        turned = (x.node, y.node) in tower_of
        pair, entry = ((node, twin), (x, y)) if turned else ((twin, node), (y, x))
        tower = tower_of.get((entry[0].node, entry[1].node))
        if tower is None:
            tower = _Tower(entry)
            towers.append(tower)
        append(tower, pair)
    return towers


def _twin(
    node: Node, pair_of: dict[Node, tuple[Node, Node]], users: dict[Value, list[Node | None]]
) -> tuple[Node | None, int]:
    """The same elementwise operator on the other side of what this one reads, and the side that it is on itself."""
    values = [v for v in node.inputs if v is not None and v.node in pair_of]
    batch, rank = node.types[0].shape[:1], node.types[0].rank
    if (
        node in pair_of
        or not isinstance(node.op, BINARY)
        or len(values) < 2
        or any(v.type.rank != rank or v.type.shape[:1] != batch for v in values)
    ):
        return None, 0
    pairs = [pair_of[v.node] for v in values]
    sides = {pair.index(v.node) for pair, v in zip(pairs, values, strict=True)}
    side = sides.pop()
    others = tuple(pair[1 - side].results[0] for pair in pairs)
    found = [u for u in users[others[0]] if u is not None and u.op == node.op and u.inputs == others]
    return (found[0] if found and not sides and found[0] is not node else None), side


def _varying(node: Node) -> int | None:
    """The position of the one operand that is no weight, of operators that treat every sample alone."""
    op, type = node.op, node.types[0]
    if type.rank < 2:
        return None
    if isinstance(op, (Dense, *UNARY)):
        return 0 if all(map(_stored, node.inputs[1:])) else None
    if isinstance(op, (LayerNorm, RmsNorm)):
        return 0 if 0 not in normal_axes(op.axes, type.rank) and all(map(_stored, node.inputs[1:])) else None
    if isinstance(op, _REDUCTIONS):
        return 0 if op.axes and 0 not in normal_axes(op.axes, node.inputs[0].type.rank) else None  # type: ignore[union-attr]
    if isinstance(op, _ALONG):
        return 0 if normal_axis(op.axis, type.rank) != 0 and all(map(_stored, node.inputs[1:])) else None
    if isinstance(op, BINARY):
        for i, x in enumerate(node.inputs):
            other = node.inputs[1 - i]
            if other is not None and x is not None and _stored(other) and x.type.shape == type.shape:
                # What has a batch of its own is no parameter.
                return i if other.type.rank < type.rank or other.type.shape[0] == 1 else None
    return None


def _stored(value: Value | None) -> bool:
    return value is None or isinstance(value.op, (Weight, Constant))


def _exits(tower: _Tower, users: dict[Value, list[Node | None]]) -> list[tuple[Node, Node]]:
    """The pairs whose results something outside reads."""
    inside = {node for pair in tower.pairs for node in pair}
    return [pair for pair in tower.pairs if any(u not in inside for n in pair for u in users[n.results[0]])]


def _pays(tower: _Tower, exits: list[tuple[Node, Node]]) -> bool:
    copied = [tower.entry[0].type, *(pair[0].types[0] for pair in exits)]
    kernels = [pair[0].inputs[1] for pair in tower.pairs if isinstance(pair[0].op, Dense)]
    sizes = [[*t.shape[1:]] for t in copied] + [[*k.type.shape] for k in kernels if k is not None]
    if not all(isinstance(d, int) for shape in sizes for d in shape):
        return False
    counts = [prod(shape) for shape in sizes]  # type: ignore[arg-type]
    weights, moved = sum(counts[len(copied) :]), sum(counts[: len(copied)])
    return len(tower.pairs) > 1 + len(exits) and weights >= WORTH * moved


# ---- joining them


def _order(graph: Graph, tower: _Tower) -> list[Node | None] | None:
    """The graph's nodes in an order in which the tower, None, is one step; None where it feeds itself."""
    inside = {node for pair in tower.pairs for node in pair}
    if any(v.node in inside for v in tower.entry):
        return None
    sorter: TopologicalSorter[Node | None] = TopologicalSorter()
    for node in graph.nodes:
        step = None if node in inside else node
        read = (v.node for v in node.inputs if v is not None)
        sorter.add(step, *(None if n in inside else n for n in read if step is not None or n not in inside))
    try:
        return list(sorter.static_order())
    except CycleError:
        return None


def _joined(graph: Graph, tower: _Tower, exits: Sequence[tuple[Node, Node]], order: Sequence[Node | None]) -> Graph:
    table: dict[Value, Value] = {}
    for node in order:
        if node is not None:
            inputs = tuple(None if v is None else table[v] for v in node.inputs)
            table.update(zip(node.results, remake(node, inputs).results, strict=True))
            continue
        both: dict[Node, Value] = {}
        first, second = tower.entry
        with origin(tower.pairs[0][0].origin):
            start = Concat(0)(table[first], table[second])
        for left, right in tower.pairs:
            inputs = tuple(_on_both(v, table, both, start) for v in left.inputs)
            with origin(left.origin):
                both[left] = left.op(*inputs)
                if (left, right) in exits:
                    batch = left.types[0].shape[0]
                    halves = Split((batch, batch), 0)(both[left])
                    table.update(zip((left.results[0], right.results[0]), halves, strict=True))
    return graph.replace(
        outputs=[table[v] for v in graph.outputs],
        updates=[(label, table[v]) for label, v in graph.updates],
    )


def _on_both(value: Value | None, table: dict[Value, Value], both: dict[Node, Value], start: Value) -> Value | None:
    """The new operand of a joined layer: a parameter, what the layer before made, or where the tower begins."""
    if value is None or _stored(value):
        return None if value is None else table[value]
    return both.get(value.node, start)
