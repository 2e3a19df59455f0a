"""What the backends share: expanding operators that a backend lacks into ones that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kcompile.errors import UnsupportedError
from kcompile.ir import Graph, Node, Value
from kcompile.ir.graph import is_leaf
from kcompile.ir.op import Op, Unsupported, origin
from kcompile.operators.opaque import Opaque


def expand(graph: Graph, has: Callable[[Op], bool], target: str) -> Graph:
    """The graph with each operator that ``has`` denies replaced by its decomposition, repeatedly.

    Weights' arrays stay. Raises UnsupportedError naming operator, layer and ``target`` where an
    operator has no decomposition either.
    """

    def change(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        if is_leaf(node.op) or has(node.op):
            return None
        if node.op.decompose is None:
            raise UnsupportedError(f"{describe(node)}: {target} can't express it{_reason(node.op, target)}")
        with origin(node.origin):
            result = node.op.decompose(*inputs)
        return result if isinstance(result, tuple) else (result,)

    while any(not is_leaf(n.op) and not has(n.op) for n in graph.nodes):
        graph = graph.rebuild(change)
    return graph


def describe(node: Node) -> str:
    """``operator 'svd' in layer 'block/whiten'`` for messages."""
    name = node.op.op_type if isinstance(node.op, Opaque) else node.op.name
    return f"operator {name!r}" + (f" in layer {node.origin!r}" if node.origin else "")


def _reason(op: Op, target: str) -> str:
    facet = getattr(op, target, None)
    return f": {facet.reason}" if isinstance(facet, Unsupported) else ""
