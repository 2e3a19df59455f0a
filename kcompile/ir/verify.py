"""`verify`: the type checker of the IR."""

from __future__ import annotations

from kcompile.errors import GraphError, InferError
from kcompile.ir.dims import symbols_of
from kcompile.ir.graph import Graph
from kcompile.ir.op import sub_graphs


def verify(graph: Graph) -> Graph:
    """Return the graph if it is well formed; raises GraphError naming the node if not.

    Checked: every type is what its operator infers, weights that have an array have its type,
    updates fit their weights, regions are well formed themselves.
    """
    for node in graph.nodes:
        where = f"graph {graph.name!r}, {node.op.name}" + (f" in {node.origin}" if node.origin else "")
        for region in sub_graphs(node.op):
            verify(region)
        try:
            types = node.op.infer(*(None if v is None else v.type for v in node.inputs))
        except InferError as error:
            raise GraphError(f"{where}: {error}") from error
        types = types if isinstance(types, tuple) else (types,)
        if types != node.types:
            raise GraphError(f"{where}: the type is {list(node.types)}, its operands give {list(types)}")
    _verify_weights(graph)
    return graph


def _verify_weights(graph: Graph) -> None:
    for label, value in graph.weight_values().items():
        array = graph.weights.get(label)
        if array is not None and (
            tuple(array.shape) != value.type.shape or str(array.dtype) != value.type.dtype.keras
        ):
            raise GraphError(
                f"graph {graph.name!r}: weight {label!r} is {value.type}, its array {array.dtype}{list(array.shape)}"
            )
        if any(symbols_of(d) for d in value.type.shape):
            raise GraphError(f"graph {graph.name!r}: weight {label!r} has a symbolic shape {value.type}")
    weights = graph.weight_values()
    for label, value in graph.updates:
        known = weights.get(label)
        if known is not None and known.type != value.type:
            raise GraphError(f"graph {graph.name!r}: weight {label!r} is {known.type}, its update {value.type}")
