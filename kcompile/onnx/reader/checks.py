"""What a file must hold before it is read, and local functions put in the place of their calls."""

from __future__ import annotations

import onnx
import onnx.inliner
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

from kcompile.errors import FileFormatError, printable
from kcompile.onnx.opaque import graphs_of, nodes_below

MOST_NODES = 1_000_000  # after all local functions have been put in the place of their calls
MOST_CALLS = 64  # of functions that call functions
MOST_DEPTH = 16  # of subgraphs in subgraphs


def prepared(model: ModelProto) -> ModelProto:
    """The model without local functions. Raises FileFormatError, in one line, for one that is not well formed."""
    if not model.HasField("graph"):
        raise FileFormatError("not an ONNX file: it holds no graph")
    imports = {(_plain(o.domain), o.version) for o in model.opset_import}
    if len({domain for domain, _ in imports}) != len(imports) or not imports:
        raise FileFormatError("the file imports no operator set, or two versions of one")
    if model.functions:
        _check_functions(model)
        model = onnx.inliner.inline_local_functions(model)
    _check_graph(model.graph, frozenset(), 0)
    return model


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _key(item: NodeProto | FunctionProto) -> tuple[str, str]:
    return item.domain, item.op_type if isinstance(item, NodeProto) else item.name


def _check_functions(model: ModelProto) -> None:
    functions = {_key(f): f for f in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def size(nodes: list[NodeProto], path: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes_below(nodes):
            key = _key(node)
            if key not in functions:
                total += 1
                continue
            if key in path or len(path) > MOST_CALLS:
                raise FileFormatError(f"the function {printable(node.op_type)!r} calls itself, or nests too deep")
            if key not in counts:
                counts[key] = size(list(functions[key].node), (*path, key))
            total += counts[key]
            if total > MOST_NODES:
                raise FileFormatError(f"the file's functions expand to more than {MOST_NODES} nodes")
        return total

    size(list(model.graph.node), ())


def _check_graph(graph: GraphProto, outer: frozenset[str], depth: int) -> None:
    if depth > MOST_DEPTH:
        raise FileFormatError(f"subgraphs nest deeper than {MOST_DEPTH}")
    known: set[str] = set()
    initializers = [t.name for t in graph.initializer] + [s.values.name for s in graph.sparse_initializer]
    for what, names in (("initialiser", initializers), ("input", [v.name for v in graph.input])):
        seen: set[str] = set()
        for name in names:
            if name in seen or not name:
                raise FileFormatError(f"the {what} {printable(name)!r} is there twice, or has no name")
            seen.add(name)
        known |= seen
    for node in graph.node:
        for name in node.input:
            if name and name not in known and name not in outer:
                raise FileFormatError(
                    f"{_described(node)} reads {printable(name)!r}, which nothing makes before it (a cycle, or a name "
                    "that is not there)"
                )
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                raise FileFormatError(f"{_described(node)} refers to an attribute of a function outside of one")
            if attribute.type == AttributeProto.GRAPHS:
                raise FileFormatError(f"{_described(node)} has a list of graphs, which no operator takes")
        for subgraph in graphs_of(node):
            _check_graph(subgraph, outer | known, depth + 1)
        for name in filter(None, node.output):
            if name in known:
                raise FileFormatError(f"{printable(name)!r} is made twice, the second time by {_described(node)}")
            known.add(name)
    outputs = [v.name for v in graph.output]
    for name in outputs:
        if name not in known and name not in outer:
            raise FileFormatError(f"nothing makes the output {printable(name)!r}")
    if depth == 0 and len(set(outputs)) != len(outputs):
        raise FileFormatError("an output is there twice")


def _described(node: NodeProto) -> str:
    return f"the node {printable(node.name or '(no name)')!r} ({printable(node.op_type)})"
