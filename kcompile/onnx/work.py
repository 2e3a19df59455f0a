"""How much the nodes of a model compute, at stated sizes of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

Shapes = Mapping[str, Sequence[Any]]  # sizes, None where one is not known


def shapes_at(model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> dict[str, list[int | None]]:
    """Shapes of all tensors that ONNX can tell where the inputs have these sizes; raises onnx's InferenceError."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, inputs.get(value.name, ()), strict=False):
            dim.dim_value = size
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    fixed.graph.ClearField("value_info")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    shapes: dict[str, list[int | None]] = {i.name: list(i.dims) for i in inferred.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [d.dim_value if d.HasField("dim_value") else None for d in dims]
    return shapes


def product_work(node: onnx.NodeProto, shapes: Shapes) -> int | None:
    """2 x multiply-adds of one node; 0 for what is no product; None where a shape is missing."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"):
        return 0
    operands = [shapes.get(n, [None]) for n in node.input[:2]]
    if node.op_type == "Gemm":
        if any(None in s for s in operands):
            return None
        inner = operands[0][0 if any(x.name == "transA" and x.i for x in node.attribute) else 1]
        return 2 * math.prod(operands[0]) * math.prod(operands[1]) // max(inner, 1)
    wanted = [*operands, shapes.get(node.output[0] or node.input[0], [None])]
    if any(None in s for s in wanted):
        return None
    a, b, out = wanted
    if node.op_type == "Conv":
        return 2 * math.prod(out) * math.prod(b[1:])
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(a) * math.prod(b[1:])
    if node.op_type == "MatMul":
        return 2 * math.prod(out) * a[-1]
    hidden = next((x.i for x in node.attribute if x.name == "hidden_size"), 0)
    steps, batch = a[0], a[1]
    return 2 * steps * batch * math.prod(b[:2]) * (b[2] + hidden)
