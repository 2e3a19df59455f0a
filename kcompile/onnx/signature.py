"""What an optimised file keeps of the file that it was made of: its interface, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, ValueInfoProto

from kcompile.onnx.opaque import nodes_below

QUANTISED = ("Quantize", "QLinear", "MatMulInteger", "ConvInteger")


def keep_signature(made: ModelProto, source: ModelProto, defaults: Sequence[str] = ()) -> ModelProto:
    """``made`` with the inputs, outputs and texts of ``source``.

    An output that ``source`` gives no shape has the one that was found. Inputs called ``defaults``
    keep the initialiser that is used where they are not given.
    """
    names = {v.name for v in made.graph.input}
    inputs = [v for v in source.graph.input if v.name in names]
    found = {v.name: v for v in made.graph.output}
    outputs = [_shaped(v, found[v.name]) for v in source.graph.output]
    for field, values in (("input", inputs), ("output", outputs)):
        kept = [ValueInfoProto.FromString(v.SerializeToString()) for v in values]
        made.graph.ClearField(field)  # type: ignore[arg-type]
        getattr(made.graph, field).extend(kept)
    made.graph.initializer.extend(t for t in source.graph.initializer if t.name in defaults)
    made.ir_version = max(made.ir_version, source.ir_version)
    made.metadata_props.extend(source.metadata_props)
    made.doc_string, made.domain, made.model_version = source.doc_string, source.domain, source.model_version
    return made


def _shaped(declared: ValueInfoProto, found: ValueInfoProto) -> ValueInfoProto:
    missing = declared.type.HasField("tensor_type") and not declared.type.tensor_type.HasField("shape")
    return found if missing or not declared.type.WhichOneof("value") else declared


def node_count(model: ModelProto) -> int:
    """Nodes, those of subgraphs and of local functions among them."""
    functions = (n for f in model.functions for n in f.node)
    return sum(1 for _ in nodes_below([*model.graph.node, *functions]))


def standard_opset(model: ModelProto) -> int:
    """The version of the standard operators that the file imports, 0 where it imports none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def is_quantised(model: ModelProto) -> bool:
    """Whether numbers in it are rounded to integers on the way."""
    return any(word in n.op_type for n in nodes_below(model.graph.node) for word in QUANTISED)
