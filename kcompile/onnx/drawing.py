"""An ONNX model as a diagram."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from kcompile.drawing.diagram import Box, Diagram, Edge
from kcompile.onnx.describe import (
    attribute_text,
    layer_path,
    names_read,
    operator_text,
    tensor_text,
    type_text,
)


def of_model(model: onnx.ModelProto) -> Diagram:
    """Inputs, nodes within the layers that their names tell, outputs; constants are lines of those who read them."""
    graph = model.graph
    types = _types(model)
    stored = {i.name: tensor_text(i) for i in graph.initializer}
    boxes: list[Box] = []
    edges: list[Edge] = []
    made: dict[str, tuple[int, int]] = {}

    def add(box: Box, reads: Iterable[str]) -> None:
        for name in dict.fromkeys(reads):
            if name in made:
                source, output = made[name]
                edges.append(Edge(source, len(boxes), types.get(name, ""), output))
        boxes.append(box)

    for value in graph.input:
        if value.name not in stored:
            add(Box(value.name, (types.get(value.name, ""),), kind="input"), ())
            made[value.name] = len(boxes) - 1, 0
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain and node.output:
            stored[node.output[0]] = attribute_text(node.attribute[0]) if node.attribute else ""
            continue
        reads = list(names_read(node))
        constants = [f"{n.rpartition('/')[2]} {stored[n]}" for n in reads if n in stored]
        lines = (*(f"{a.name} = {attribute_text(a)}" for a in node.attribute), *constants)
        add(Box(operator_text(node), lines, layer_path(node.name)), reads)
        made.update((name, (len(boxes) - 1, i)) for i, name in enumerate(node.output) if name)
    for value in graph.output:
        add(Box(value.name, (types.get(value.name, ""),), kind="output"), [value.name])
    return Diagram(graph.name, tuple(boxes), tuple(edges))


def _types(model: onnx.ModelProto) -> dict[str, str]:
    """Types by tensor, as far as ONNX infers them; what the file says where it infers nothing."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = model.graph
    return {v.name: type_text(v.type) for v in (*graph.input, *graph.value_info, *graph.output)}
