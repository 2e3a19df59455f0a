"""Nodes that are carried through whole: into the IR's `Opaque` and out of it again.

The names in a node's subgraphs are replaced by plain ones (``local/0``, ``captured/0``) on the way
in, so that equal nodes are equal, and by names that are free in the new file on the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto

from kcompile.errors import UnsupportedError
from kcompile.ir.op import Array
from kcompile.operators.opaque import Opaque

# A newer version means something else although it has the same operands and attributes.
_OTHER_MEANING = frozenset({"GroupNormalization", "RoiAlign", "Resize", "Upsample", "Softmax", "LogSoftmax", "Hardmax"})


def graphs_of(node: NodeProto) -> list[GraphProto]:
    """The node's subgraphs."""
    return [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]


def form_of(node: NodeProto) -> tuple[Array, list[str]]:
    """(the node's attributes as `Opaque` holds them, names of the tensors that its subgraphs capture)."""
    captured: dict[str, str] = {}
    count = iter(range(1 << 62))

    def free(name: str) -> str:
        return captured.setdefault(name, f"captured/{len(captured)}")

    proto = _attributes(node, lambda name: f"local/{next(count)}", free)
    return Array(np.frombuffer(proto.SerializeToString(deterministic=True), np.uint8)), list(captured)


def write(o: Any, op: Opaque, operands: Sequence[str | None]) -> tuple[str, ...]:
    """Append the node; names of its results."""
    form = NodeProto.FromString(op.form.data.tobytes())
    if not op.domain:
        _require_form(op, form, o.opset)
    label = op.op_type if o.origin == op.name else o.origin  # the node's own name where it had one
    if op.op_type == "Constant" and not op.domain and form.attribute[0].name == "value":
        # A tensor of an element type that the IR has not (strings, 4 bits): an initialiser, as it was.
        return (o.tensor(form.attribute[0].t, label),)
    own = operands[: len(operands) - op.captured]
    outer = [n or "" for n in operands[len(own) :]]
    name = o.unique(label)
    proto = _attributes(form, lambda _: o.unique(f"{label}/inner"), lambda free: outer[int(free.rpartition("/")[2])])
    proto.op_type, proto.domain, proto.name = op.op_type, op.domain, name
    proto.input.extend(n or "" for n in own)
    while proto.input and not proto.input[-1]:
        proto.input.pop()
    results = tuple(o.unique(f"{label}.{i}") if i else name for i in range(len(op.types)))
    names = iter(results)
    for place in range(len(op.types) + len(op.left_out)):
        proto.output.append("" if place in op.left_out else next(names))
    o.append(proto, op.domain, op.version)
    return results


def nodes_below(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes, and those of their subgraphs."""
    for node in nodes:
        yield node
        for graph in graphs_of(node):
            yield from nodes_below(graph.node)


def _require_form(op: Opaque, form: NodeProto, opset: int) -> None:
    inner = [n.op_type for g in graphs_of(form) for n in nodes_below(g.node) if n.domain in ("", "ai.onnx")]
    changed = [t for t in (op.op_type, *inner) if not same_form(t, op.version, opset)]
    if changed and not onnx.defs.has(changed[0], domain=""):
        raise UnsupportedError(f"ONNX has no operator {changed[0]}; no runtime can take the file as it is")
    if changed and op.version != opset:
        raise UnsupportedError(
            f"{changed[0]} of opset {op.version} has another form in opset {opset}, and kcompile carries it through "
            f"as it is; keep the opset (17 or later), or convert the file first with onnx.version_converter"
        )


def same_form(op_type: str, before: int, after: int) -> bool:
    """Whether a node of a standard operator means the same at two opsets."""
    has = [onnx.defs.has(op_type, max_inclusive_version=v, domain="") for v in (before, after)]
    if not all(has):
        return before == after
    old, new = (onnx.defs.get_schema(op_type, max_inclusive_version=v, domain="") for v in (before, after))
    if old.since_version == new.since_version:
        return True
    if new.deprecated or op_type in _OTHER_MEANING:
        return False
    kept = [(i.name, i.option) for i in old.inputs] == [(i.name, i.option) for i in new.inputs[: len(old.inputs)]]
    later = all(str(i.option).endswith("Optional") for i in new.inputs[len(old.inputs) :])
    defaults = all(
        name in new.attributes and a.default_value == new.attributes[name].default_value
        for name, a in old.attributes.items()
    )
    return kept and later and defaults and len(old.outputs) <= len(new.outputs)


Namer = Callable[[str], str]


def _attributes(node: NodeProto, define: Namer, free: Namer) -> NodeProto:
    """A node of sorted attributes alone, the names in its subgraphs replaced."""
    result = NodeProto()
    for attribute in sorted(node.attribute, key=lambda a: a.name):
        copy = result.attribute.add()
        if attribute.type != AttributeProto.GRAPH:
            copy.CopyFrom(attribute)
            copy.ClearField("doc_string")
        else:
            copy.name, copy.type = attribute.name, AttributeProto.GRAPH
            _graph(attribute.g, copy.g, {}, define, free)
    return result


def _graph(source: GraphProto, target: GraphProto, outer: dict[str, str], define: Namer, free: Namer) -> None:
    """``source`` into ``target`` with new names: ``define`` for what it makes, ``free`` for what it captures."""
    scope = dict(outer)
    target.name = source.name or "graph"
    for value in source.input:
        copy = target.input.add()
        copy.CopyFrom(value)
        copy.name = scope[value.name] = define(value.name)
    for tensor in source.initializer:
        initializer = target.initializer.add()
        initializer.CopyFrom(tensor)
        if tensor.name not in scope or scope[tensor.name] == outer.get(tensor.name):
            scope[tensor.name] = define(tensor.name)
        initializer.name = scope[tensor.name]
    for sparse in source.sparse_initializer:
        target.sparse_initializer.add().CopyFrom(sparse)
        target.sparse_initializer[-1].values.name = scope[sparse.values.name] = define(sparse.values.name)

    def resolve(name: str) -> str:
        return scope[name] if name in scope else free(name) if name else ""

    for node in source.node:
        new = target.node.add()
        new.op_type, new.domain = node.op_type, node.domain
        new.input.extend(map(resolve, node.input))
        for attribute in node.attribute:
            copied = new.attribute.add()
            if attribute.type == AttributeProto.GRAPH:
                copied.name, copied.type = attribute.name, AttributeProto.GRAPH
                _graph(attribute.g, copied.g, scope, define, free)
            else:
                copied.CopyFrom(attribute)
        for name in node.output:
            scope[name] = define(name) if name else ""
            new.output.append(scope[name])
    made = {name for node in target.node for name in node.output}
    for value in source.output:
        copy = target.output.add()
        copy.CopyFrom(value)
        copy.name = resolve(value.name)
        if copy.name not in made and value.name not in {i.name for i in (*source.input, *source.initializer)}:
            # A result that is captured as it is: some runtimes want it made in the graph.
            target.node.add(op_type="Identity", input=[copy.name], output=[define(value.name)])
            copy.name = target.node[-1].output[0]
