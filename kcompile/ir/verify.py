"""`verify`: the type checker of the IR."""

from __future__ import annotations

import inspect
from typing import Any

from kcompile.errors import GraphError, InferError
from kcompile.ir.dims import symbols_of
from kcompile.ir.graph import Graph
from kcompile.ir.op import Node, Weight, sub_graphs
from kcompile.ir.types import Type, type_of


def verify(graph: Graph) -> Graph:
    """Return the graph if it is well formed; raises GraphError naming the node if not.

    Checked: every type is what its operator infers, weights that have an array have its type,
    one label is one type, updates fit their weights, regions are well formed themselves.
    """
    for node in graph.nodes:
        where = f"graph {graph.name!r}, {node.op.name}" + (f" in {node.origin}" if node.origin else "")
        for region in sub_graphs(node.op):
            verify(region)
        types = _infer(node, where)
        types = types if isinstance(types, tuple) else (types,)
        if types != node.types:
            raise GraphError(f"{where}: the type is {list(node.types)}, its operands give {list(types)}")
    _verify_weights(graph)
    return graph


def _infer(node: Node, where: str) -> Any:
    operands = [None if v is None else v.type for v in node.inputs]
    try:
        inspect.signature(node.op.infer).bind(*operands)
    except TypeError as error:
        raise GraphError(f"{where}: {len(operands)} operands: {error}") from error
    try:
        return node.op.infer(*operands)
    except InferError as error:
        raise GraphError(f"{where}: {error}") from error
    except AttributeError as error:
        # An operand that infer takes for granted; anything else is a fault of the operator.
        if None not in operands:
            raise
        raise GraphError(f"{where}: operand {operands.index(None)} may not be absent") from error


def _verify_weights(graph: Graph) -> None:
    types: dict[str, Type] = {}
    for node in graph.nodes:
        if isinstance(node.op, Weight) and types.setdefault(node.op.label, node.types[0]) != node.types[0]:
            raise GraphError(
                f"graph {graph.name!r}: weight {node.op.label!r} is both {types[node.op.label]} and {node.types[0]}"
            )
    for label, value in graph.weight_values().items():
        array = graph.weights.get(label)
        if array is not None and (tuple(array.shape) != value.type.shape or str(array.dtype) != value.type.dtype.keras):
            raise GraphError(
                f"graph {graph.name!r}: weight {label!r} is {value.type}, its array {array.dtype}{list(array.shape)}"
            )
        if any(symbols_of(d) for d in value.type.shape):
            raise GraphError(f"graph {graph.name!r}: weight {label!r} has a symbolic shape {value.type}")
    weights = graph.weight_values()
    for label, value in graph.updates:
        known = weights[label].type if label in weights else None
        if known is None and label in graph.weights:
            known = type_of(graph.weights[label])
        if known is not None and known != value.type:
            raise GraphError(f"graph {graph.name!r}: weight {label!r} is {known}, its update {value.type}")
