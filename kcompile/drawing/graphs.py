"""The IR as a diagram."""

from __future__ import annotations

from typing import Any

from kcompile.drawing.diagram import Box, Diagram, Edge
from kcompile.ir import Array, Constant, Graph, Node, Value, Weight, is_leaf


def of_graph(graph: Graph) -> Diagram:
    """Inputs, operators within their layers, outputs; weights and constants are lines of those who read them."""
    boxes: list[Box] = []
    edges: list[Edge] = []
    place: dict[Node, int] = {}

    def connect(values: list[Value | None], target: int) -> None:
        for value in values:
            if value is not None and value.node in place:
                edges.append(Edge(place[value.node], target, str(value.type), value.index))

    for value in graph.inputs:
        place[value.node] = len(boxes)
        boxes.append(Box(value.op.label, (str(value.type),), kind="input"))  # type: ignore[attr-defined]
    for node in graph.operators():
        place[node] = len(boxes)
        scope = tuple(part for part in node.origin.split("/") if part)
        boxes.append(Box(node.op.name, (*_attributes(node), *_stored(node)), scope))
        connect(list(node.inputs), place[node])
    ends = [*zip(graph.output_names, graph.outputs, strict=True)]
    ends += [(f"update {label}", value) for label, value in graph.updates]
    for name, value in ends:
        boxes.append(Box(name, (str(value.type),), kind="output"))
        connect([value], len(boxes) - 1)
    return Diagram(graph.name, tuple(boxes), tuple(edges))


def _attributes(node: Node) -> list[str]:
    return [f"{key} = {_shown(value)}" for key, value in node.op.changed().items()]


def _shown(value: Any) -> str:
    if isinstance(value, Graph):
        return f"graph of {len(value.operators())} operators"
    if isinstance(value, Array):
        return f"{value.data.dtype}{list(value.data.shape)}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_shown, value)) + ")"
    return str(value)


def _stored(node: Node) -> list[str]:
    """The weights and constants that a node reads; small constants with their numbers."""
    lines = []
    for value in node.inputs:
        if value is not None and is_leaf(value.op):
            if isinstance(value.op, Weight):
                lines.append(f"{value.op.label.rpartition('/')[2]} {value.type}")
            elif isinstance(value.op, Constant):
                data = value.op.value.data
                lines.append(f"{value.type} {data.tolist()}" if data.size <= 4 else f"constant {value.type}")
    return lines
