"""Branches that are never taken."""

from __future__ import annotations

from kcompile.ir import Value
from kcompile.operators.control import Cond, inline
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule


@rule("cond-constant", like(Cond))
def cond_constant(m: Match) -> tuple[Value, ...]:
    predicate, *operands = m.cond.inputs
    known = m.known(predicate)
    applies(known is not None)
    graph = m.op("cond").then if known else m.op("cond").orelse
    same = [v.type for v in graph.inputs] == [v.type for v in operands]
    require(same, "the branch has its own names for sizes")
    return inline(graph, operands)
