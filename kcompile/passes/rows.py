"""Dense layers over sequences on a matrix of rows.

A dense layer over [N, T, D] is a matrix product and an addition; over [N*T, D] it is one Gemm, and
a runtime can take the activation in too. Operators that treat every row alone (dense layers, layer
norm, activations, residual sums) are gathered into groups that can stay flat from end to end, and a
group is made flat where the reshapes at its edges are no more than the additions that it saves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kcompile.ir import Constant, Graph, Node, Value, Weight, origin
from kcompile.ir.dims import DimLike, product
from kcompile.ir.graph import remake
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.operators.activation import Glu, LogSoftmax, Softmax
from kcompile.operators.linear import Dense
from kcompile.operators.normalization import LayerNorm, RmsNorm
from kcompile.operators.shape import Concat, ExpandDims, Reshape, Split, Squeeze
from kcompile.passes.elementwise import ELEMENTWISE
from kcompile.passes.movement import cheap_reshape

_RESHAPING = (Reshape, ExpandDims, Squeeze)
Lead = tuple[DimLike, ...]


def flatten_rows(graph: Graph) -> Graph:
    """The graph with its dense layers over more than one leading axis on matrices, where that pays."""
    users = graph.users()
    groups = [g for g in _groups(graph) if _pays(g, users)]
    return _Flatten(graph, groups).run() if groups else graph


# ---- which operators treat each row alone


def _first(node: Node) -> list[Value]:
    return [v for v in node.inputs[:1] if v is not None]


def _last_axis(node: Node) -> list[Value]:
    """Operators along one axis, where it is the last."""
    axis, rank = node.op.axis, node.types[0].rank  # type: ignore[attr-defined]
    return [v for v in node.inputs if v is not None] if normal_axis(axis, rank) == rank - 1 else []


def _normalised(node: Node) -> list[Value]:
    rank = node.types[0].rank
    return _first(node) if normal_axes(node.op.axes, rank) == (rank - 1,) else []  # type: ignore[attr-defined]


def _elementwise(node: Node) -> list[Value]:
    """Operands that have the rows, where all others are the same for each row."""
    lead, found = node.types[0].shape[:-1], []
    for value in node.inputs:
        if value is not None and value.type.shape[:-1] == lead:
            found.append(value)
        elif value is not None and any(d != 1 for d in value.type.shape[:-1]):
            return []
    return found


_ROW_WISE: dict[type, Callable[[Node], list[Value]]] = {
    Dense: _first,
    **dict.fromkeys((LayerNorm, RmsNorm), _normalised),
    **dict.fromkeys((Softmax, LogSoftmax, Glu, Concat, Split), _last_axis),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
}


def _rows(node: Node) -> list[Value]:
    """The operands of a row-wise node that have its rows; empty for any other node."""
    find = _ROW_WISE.get(type(node.op))
    return find(node) if find is not None and node.types[0].rank > 2 else []


# ---- groups


@dataclass
class _Group:
    """Row-wise nodes that read each other or the same value, all with the same leading axes."""

    lead: Lead
    nodes: dict[Node, None] = field(default_factory=dict)


def _groups(graph: Graph) -> list[_Group]:
    of: dict[Value, _Group] = {}  # by operand and by result: who reads one value belongs together
    for node in graph.nodes:
        operands = _rows(node)
        if not operands:
            continue
        group = _Group(node.types[0].shape[:-1], {node: None})
        for other in {id(of[v]): of[v] for v in operands if v in of}.values():
            if other.lead == group.lead:
                small, group = sorted((group, other), key=lambda g: len(g.nodes))
                group.nodes.update(small.nodes)
                of.update((v, group) for n in small.nodes for v in (*_rows(n), *n.results))
        of.update((v, group) for v in (*operands, *node.results))
    return list({id(g): g for g in of.values()}.values())


def _pays(group: _Group, users: dict[Value, list[Node | None]]) -> bool:
    """Whether the reshapes at the edges of a flat group are no more than the additions that it saves."""
    dense = [n for n in group.nodes if isinstance(n.op, Dense) and n.inputs[2] is not None]
    if not dense:
        return False
    cost = 0
    entering = {v for n in group.nodes for v in _rows(n) if v.node not in group.nodes}
    for value in entering:
        free = isinstance(value.op, (Weight, Constant)) or (
            isinstance(value.op, _RESHAPING) and all(u in group.nodes for u in users[value])
        )
        cost += not free
    computed: set[tuple[DimLike, ...]] = set()  # shapes that have to be put together from sizes
    for value in (v for n in group.nodes for v in n.results):
        outside = [u for u in users[value] if u not in group.nodes]
        reshapes = [u for u in outside if u is not None and isinstance(u.op, _RESHAPING)]
        targets = [u.types[0].shape for u in reshapes]
        if len(reshapes) < len(outside):
            cost += 1
            targets.append(value.type.shape)
        flat = value.type.with_shape(_flat(value.type.shape))
        computed |= {t for t in targets if not cheap_reshape(flat, t)}
    # Such a shape is a Concat; the sizes in it are read by a Shape once for all of them.
    return cost + len(computed) + bool(computed) <= len(dense)


def _flat(shape: tuple[DimLike, ...]) -> tuple[DimLike, ...]:
    return product(shape[:-1]), shape[-1]


class _Flatten:
    def __init__(self, graph: Graph, groups: list[_Group]):
        self.graph = graph
        self.inside = {node for group in groups for node in group.nodes}
        self.full: dict[Value, Value] = {}  # old value -> new value in its own shape
        self.flat: dict[Value, Value] = {}  # old value -> new value as a matrix

    def run(self) -> Graph:
        for node in self.graph.nodes:
            with origin(node.origin):
                if node in self.inside:
                    self.flat.update(zip(node.results, self._flattened(node), strict=True))
                else:
                    self.full.update(zip(node.results, self._kept(node), strict=True))
        return self.graph.replace(
            outputs=[self._whole(v) for v in self.graph.outputs],
            updates=[(label, self._whole(v)) for label, v in self.graph.updates],
        )

    def _kept(self, node: Node) -> tuple[Value, ...]:
        x = node.inputs[0] if node.inputs else None
        if isinstance(node.op, _RESHAPING) and x in self.flat:
            return (Reshape(node.types[0].shape)(self.flat[x]),)
        return remake(node, tuple(map(self._whole, node.inputs))).results

    def _flattened(self, node: Node) -> tuple[Value, ...]:
        rows = _rows(node)
        side = self._vector if isinstance(node.op, ELEMENTWISE) else self._whole
        inputs = [self._matrix(v) if v in rows else side(v) for v in node.inputs]
        result: Any = _on_matrix(node)(*inputs)
        return result if isinstance(result, tuple) else (result,)

    def _whole(self, value: Value | None) -> Any:
        if value is not None and value not in self.full:
            self.full[value] = Reshape(value.type.shape)(self.flat[value])
        return None if value is None else self.full[value]

    def _matrix(self, value: Value | None) -> Value:
        assert value is not None
        if value not in self.flat:
            whole = self.full[value]
            if isinstance(whole.op, _RESHAPING) and whole.inputs[0] is not None:
                whole = whole.inputs[0]
            self.flat[value] = Reshape(_flat(value.type.shape))(whole)
        return self.flat[value]

    def _vector(self, value: Value | None) -> Any:
        """A broadcast operand that is the same for each row: what is left of its shape is the last axis."""
        if value is None or value.type.rank < 2:
            return self._whole(value)
        return Reshape(value.type.shape[-1:])(self._whole(value))


def _on_matrix(node: Node) -> Any:
    """The operator of a row-wise node for rank 2: an axis that it names is the last."""
    fields = node.op.attributes()
    if isinstance(node.op, (LayerNorm, RmsNorm)):
        return node.op.replace(axes=(1,))
    return node.op.replace(axis=1) if "axis" in fields else node.op
