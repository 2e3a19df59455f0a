"""ONNX into the IR: `read`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto

from kcompile.errors import UsageError
from kcompile.ir import Graph
from kcompile.onnx.reader.checks import prepared
from kcompile.onnx.reader.scope import Account, Scope

FIRST_OPTIONAL = 4  # IR version since which an initialiser that is an input too is the input's default


@dataclass(frozen=True)
class Read:
    """A file as a graph; how its nodes were read; inputs that have a default."""

    graph: Graph
    account: Account
    defaults: Sequence[str]


def read(model: ModelProto) -> Graph:
    """An ONNX model as a Graph: the same inputs and outputs by name, initialisers as weights.

    What the IR has no operator or type for is in it as `Opaque` nodes. Raises FileFormatError, in
    one line, for a model that is not well formed.
    """
    return read_model(model).graph


def read_model(model: ModelProto) -> Read:
    """`read` with the account of what was read and what was carried through."""
    model = prepared(model)
    graph = model.graph
    scope = Scope(model)
    initialised = {t.name for t in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    optional = model.ir_version >= FIRST_OPTIONAL
    defaults = [v.name for v in graph.input if v.name in initialised and optional]
    names = [v.name for v in graph.input if v.name not in initialised or v.name in defaults]
    inputs = scope.inputs(graph, names)
    for tensor in graph.initializer:
        if tensor.name not in defaults:
            scope.initializer(tensor)
    for sparse in graph.sparse_initializer:
        if sparse.values.name in defaults:
            raise UsageError("a sparse initialiser that is an input too can't be read")
        scope.sparse(sparse)
    for node in graph.node:
        scope.node(node)
    outputs = [v.name for v in graph.output]
    result = Graph(graph.name, inputs, [scope.values[n] for n in outputs], outputs, weights=scope.weights)
    used = result.weight_values()
    return Read(result.replace(weights={k: v for k, v in scope.weights.items() if k in used}), scope.account, defaults)
