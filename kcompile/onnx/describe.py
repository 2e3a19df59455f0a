"""Parts of ONNX models in words: types, tensors, attributes, layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, TypeProto, helper, numpy_helper

from kcompile.onnx.opaque import graphs_of
from kcompile.onnx.protos import DTYPES

MOST_NUMBERS = 4  # of a tensor that are written out


def type_text(proto: TypeProto) -> str:
    """``f32[N, 4]``; what is no tensor by its kind; nothing for a type that is not there."""
    kind = proto.WhichOneof("value")
    if kind != "tensor_type":
        return "" if kind is None else kind.removesuffix("_type")
    dims = proto.tensor_type.shape.dim
    shape = [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
    known = proto.tensor_type.HasField("shape")
    return f"{element_text(proto.tensor_type.elem_type)}[{', '.join(shape) if known else '...'}]"


def element_text(elem_type: int) -> str:
    """The name of an element type, as in the IR where that has it."""
    if elem_type in DTYPES:
        return DTYPES[elem_type].name
    known = elem_type in TensorProto.DataType.values()
    return TensorProto.DataType.Name(elem_type).lower() if known else f"type {elem_type}"  # type: ignore[arg-type]


def tensor_text(tensor: TensorProto) -> str:
    """A tensor's type, and its numbers where there are few."""
    text = f"{element_text(tensor.data_type)}{list(tensor.dims)}"
    few = math.prod(tensor.dims) <= MOST_NUMBERS and tensor.data_location != TensorProto.EXTERNAL
    if not few or tensor.data_type not in DTYPES:
        return text
    try:
        return f"{text} {numpy_helper.to_array(tensor).tolist()}"
    except ValueError:  # a damaged tensor is still shown
        return text


def attribute_text(attribute: AttributeProto) -> str:
    """An attribute's value on one line."""
    if attribute.type == AttributeProto.GRAPH:
        return f"graph of {len(attribute.g.node)} nodes"
    if attribute.type == AttributeProto.TENSOR:
        return tensor_text(attribute.t)
    if attribute.type in (AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING):
        return _scalar(helper.get_attribute_value(attribute))
    if attribute.type in (AttributeProto.FLOATS, AttributeProto.INTS, AttributeProto.STRINGS):
        return "[" + ", ".join(map(_scalar, helper.get_attribute_value(attribute))) + "]"
    return AttributeProto.AttributeType.Name(attribute.type).lower()


def _scalar(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def operator_text(node: onnx.NodeProto) -> str:
    """The operator's name, with its domain where that is not the standard one."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def layer_path(name: str) -> tuple[str, ...]:
    """The layers that a node's name tells: all but the last part, as the emitter and torch name nodes."""
    return tuple(part for part in name.split("/")[:-1] if part)


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node and its subgraphs read from outside of it."""
    yield from (name for name in node.input if name)
    for graph in graphs_of(node):
        own = {o for n in graph.node for o in n.output} | {v.name for v in (*graph.input, *graph.initializer)}
        read = [*(n for inner in graph.node for n in names_read(inner)), *(o.name for o in graph.output)]
        yield from (name for name in read if name not in own)
