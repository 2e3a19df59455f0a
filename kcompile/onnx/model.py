"""A Graph as a complete, checked ONNX model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kcompile.errors import UsageError, printable
from kcompile.ir import Graph, Type
from kcompile.onnx.emitter import Emitter, has_facet
from kcompile.onnx.fusing import fuse_activations
from kcompile.onnx.targets import PORTABLE, VENDOR, Target
from kcompile.operators.lowering import expand

DEFAULT_OPSET = PORTABLE.opset
LEAST_OPSET = 17


def to_onnx(
    graph: Graph,
    opset: int | None = None,
    metadata: Mapping[str, str] | None = None,
    target: Target = PORTABLE,
) -> onnx.ModelProto:
    """The graph's outputs (not its updates) as an ONNX model: the target's operators, and what a file brought along.

    ``opset`` is 17 or later (default: the target's, 20 for the portable one). The bytes are a function of the arguments alone.
    Raises UnsupportedError naming the operator and layer that ONNX at this opset can't express,
    UsageError for an opset out of range and for names that an ONNX file can't hold.
    """
    opset = check_opset(opset, target)
    _check_names(graph)
    graph = expand(graph.inference(), partial(has_facet, opset=opset), "onnx")
    emitter = Emitter(opset, target=target)
    emitter._taken.update(graph.input_names, graph.output_names)
    emitter.reserve(graph.weight_values())
    names = {v: v.op.label for v in graph.inputs}  # type: ignore[attr-defined]
    emitter.emit(graph, names)
    outputs = _name_outputs(emitter, graph, names)
    nodes = _live(emitter.nodes, graph.output_names)
    if emitter.has("FusedConv"):
        nodes = fuse_activations(nodes, graph.output_names, emitter.arrays)
        emitter.domains |= {VENDOR: 1} if any(n.domain == VENDOR for n in nodes) else {}
    arrays = _named_arrays(emitter, nodes)
    opsets = [helper.make_opsetid(d, v) for d, v in (("", opset), *sorted(emitter.domains.items()))]
    tensors = {name: t for name, t in emitter.tensors.items() if name in set(_names_read(nodes))}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            graph.name or "graph",
            [emitter.info(v.op.label, v.type) for v in graph.inputs],  # type: ignore[attr-defined]
            outputs,
            [
                *(numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), n) for n, a in arrays.items()),
                *tensors.values(),
            ],
        ),
        opset_imports=opsets,
        producer_name="kcompile",
        # The IR version that came with the opset: a runtime that has the opset reads it.
        ir_version=helper.find_min_ir_version_for(opsets, ignore_unknown=True),
    )
    helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    return model


def _check_names(graph: Graph) -> None:
    for value, name in zip(graph.outputs, graph.output_names, strict=True):
        if name in graph.input_names and value not in graph.inputs:
            raise UsageError(f"{name!r} is the name of an input and of an output; ONNX has one name for one tensor")
    for name in (*graph.input_names, *graph.output_names):
        if not name:
            raise UsageError("an input or output without a name can't be written to ONNX")
    for name in (graph.name, *graph.input_names, *graph.output_names, *graph.weight_values()):
        # Half of a surrogate pair, which UTF-8 has no bytes for.
        if any("\ud800" <= c <= "\udfff" for c in name):
            raise UsageError(f"the name {printable(name)!r} is not valid Unicode; rename it")


def check_opset(opset: int | None, target: Target = PORTABLE) -> int:
    """The opset to write, or UsageError."""
    if opset is None:
        return target.opset
    newest = onnx.defs.onnx_opset_version()
    if type(opset) is not int or not LEAST_OPSET <= opset <= newest:
        raise UsageError(f"opset {opset!r} is out of range: this kcompile writes {LEAST_OPSET} to {newest}")
    return opset


def _name_outputs(emitter: Emitter, graph: Graph, names: dict) -> list[onnx.ValueInfoProto]:
    """Give the outputs their own names: rename the tensor where that is its one name, else Identity."""
    made = {name for node in emitter.nodes for name in node.output}
    renamed: dict[str, str] = {}
    infos = []
    for value, output in zip(graph.outputs, graph.output_names, strict=True):
        tensor = names[value]
        if tensor in made and tensor not in renamed:
            renamed[tensor] = output
        elif output != tensor:
            name = emitter.unique(f"{output}/Identity")
            emitter.nodes.append(helper.make_node("Identity", [tensor], [output], name=name))
        infos.append(emitter.info(output, value.type))
    _rename(emitter.nodes, renamed)
    return infos


def _named_arrays(emitter: Emitter, nodes: list[onnx.NodeProto]) -> dict[str, np.ndarray]:
    """Initialisers that are read, by name. One made from a weight alone (a transposed kernel) takes its name."""
    read = set(_names_read(nodes))
    kept = {name: array for name, array in emitter.arrays.items() if name in read}
    renamed: dict[str, str] = {}
    for name in kept:
        source = emitter.derived.get(name)
        if source is not None and source not in read and source not in renamed.values():
            renamed[name] = source
    _rename(nodes, renamed)
    return {renamed.get(name, name): array for name, array in kept.items()}


def _rename(nodes: Iterable[onnx.NodeProto], renamed: Mapping[str, str]) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name in renamed:
                    names[i] = renamed[name]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g.node, renamed)


def _names_read(nodes: Iterable[onnx.NodeProto]) -> Iterable[str]:
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _names_read(attribute.g.node)
                yield from (o.name for o in attribute.g.output)


def _live(nodes: list[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """Nodes that an output needs."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_names_read([node]))
    return kept[::-1]


def dims_of(type: Type) -> list[int | str]:
    """A shape with symbolic dims as text, for reports."""
    return [d if isinstance(d, int) else str(d) for d in type.shape]
