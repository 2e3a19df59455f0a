"""Products that a loop computes row by row from its sequences alone: computed for all rows at once, before it."""

from __future__ import annotations

from kcompile.ir import Constant, Node, Value, input_value
from kcompile.ir.graph import topological
from kcompile.operators.control import Scan
from kcompile.operators.linear import Dense, MatMul
from kcompile.passes.elementwise import BINARY, UNARY
from kcompile.passes.loops import Loop, loop_of
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, rule

_PRODUCTS = (Dense, MatMul)


@rule("scan-hoist", like(Scan))
def hoist(m: Match) -> tuple[Value, ...]:
    """The part of a step that reads no state, from its products on, is one operator over the whole sequence."""
    loop = loop_of(m)
    rows, whole = _rows(loop)
    users: dict[Value, list[Node]] = {}
    for node in topological(loop.results):
        for value in node.inputs:
            if value is not None:
                users.setdefault(value, []).append(node)
    ends = [v for v in rows if v in loop.results or any(u.results[0] not in rows for u in users.get(v, ()))]
    moved = [v for v in ends if _has_product(v)]
    applies(bool(moved))
    inner = {v: input_value(f"hoisted_{i}", v.type) for i, v in enumerate(moved)}
    made = tuple((whole[v], inner[v]) for v in moved)
    return loop.substituted(inner, sequences=(*loop.sequences, *made)).make()


def _rows(loop: Loop) -> tuple[dict[Value, None], dict[Value, Value]]:
    """(what a step computes of its rows alone, the same of the whole sequences)."""
    whole = {inner: outer for outer, inner in loop.sequences}
    fixed = {inner: outer for outer, inner in loop.captures}
    rows: dict[Value, None] = {}
    for node in topological(loop.results):
        result = node.results[0]
        if isinstance(node.op, Constant):
            fixed[result] = result
            continue
        read = [v for v in node.inputs if v is not None]
        if any(v in whole for v in read) and all(v in whole or v in fixed for v in read) and _stackable(node, fixed):
            whole[result] = node.op(*(None if v is None else whole.get(v, fixed.get(v)) for v in node.inputs))
            rows[result] = None
    return rows, whole


def _stackable(node: Node, fixed: dict[Value, Value]) -> bool:
    """Whether the operator on stacked rows gives stacked results."""
    first, *rest = (v for v in node.inputs if v is not None)
    rank = node.types[0].rank
    if isinstance(node.op, _PRODUCTS):
        return all(v in fixed for v in rest) and rest[0].type.rank == 2
    if isinstance(node.op, UNARY):
        return True
    return isinstance(node.op, BINARY) and all(
        v.type.rank == rank if v not in fixed else v.type.rank <= rank for v in (first, *rest)
    )


def _has_product(value: Value) -> bool:
    return any(isinstance(n.op, _PRODUCTS) for n in topological([value]))
