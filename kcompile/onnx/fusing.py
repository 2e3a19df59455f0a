"""Activations taken into the convolution or Gemm before them: ONNX Runtime's FusedConv and FusedGemm.

ONNX Runtime makes the same nodes when it loads a standard file; written, they make the file shorter
and its start quicker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from kcompile.onnx.targets import VENDOR

_FUSED = {"Conv": "FusedConv", "Gemm": "FusedGemm"}
# The activations that both kernels know, with the attributes that are their parameters.
_ACTIVATIONS: dict[str, tuple[tuple[str, float], ...]] = {
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "LeakyRelu": (("alpha", 0.01),),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
}


def fuse_activations(
    nodes: list[onnx.NodeProto], outputs: Iterable[str], arrays: Mapping[str, np.ndarray]
) -> list[onnx.NodeProto]:
    """The nodes, with each float32 Conv or Gemm whose result only an activation reads as one with it."""
    used = Counter(name for node in nodes for name in _read(node))
    used.update(outputs)
    made = {node.output[0]: node for node in nodes if node.op_type in _FUSED and not node.domain}
    fused: dict[str, onnx.NodeProto] = {}
    gone: set[str] = set()
    for node in nodes:
        known = not node.domain and node.op_type in (*_ACTIVATIONS, "Clip")
        source = made.get(node.input[0]) if known else None
        if source is None or used[source.output[0]] > 1 or not _is_float32(source, arrays):
            continue
        parameters = _parameters(node, arrays)
        if parameters is not None and (source.op_type, node.op_type) != ("Gemm", "Clip"):
            fused[node.output[0]] = _fused(source, node, parameters)
            gone.add(source.output[0])
    return [fused.get(n.output[0], n) for n in nodes if n.output[0] not in gone]


def _read(node: onnx.NodeProto) -> Iterable[str]:
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                yield from _read(inner)
            yield from (o.name for o in attribute.g.output)


def _is_float32(source: onnx.NodeProto, arrays: Mapping[str, np.ndarray]) -> bool:
    weights = arrays.get(source.input[1])
    return weights is not None and weights.dtype == np.float32


def _parameters(node: onnx.NodeProto, arrays: Mapping[str, np.ndarray]) -> list[float] | None:
    """The activation's numbers; None where it is not one that the kernel takes."""
    if node.op_type != "Clip":
        given = {a.name: a.f for a in node.attribute}
        return [given.get(name, default) for name, default in _ACTIVATIONS[node.op_type]]
    bounds = [arrays.get(name) for name in [*node.input[1:], "", ""][:2]]
    return [float(b) for b in bounds if b is not None] if all(b is not None for b in bounds) else None


def _fused(source: onnx.NodeProto, node: onnx.NodeProto, parameters: list[float]) -> onnx.NodeProto:
    attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in source.attribute}
    attributes["activation"] = node.op_type
    if source.op_type == "Conv":
        attributes["activation_params"] = parameters or None
    else:
        attributes |= dict(zip(("activation_alpha", "activation_beta"), parameters, strict=False))
    made = helper.make_node(
        _FUSED[source.op_type],
        list(source.input),
        [node.output[0]],
        name=node.name,
        domain=VENDOR,
        **{k: v for k, v in attributes.items() if v is not None},
    )
    made.attribute.sort(key=lambda a: a.name)
    return made
