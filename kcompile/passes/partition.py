"""A graph that several processes compute together, each on its part of what is split over them.

Written once for the whole batch, a graph becomes the program of one rank: inputs that are split arrive
as the rank's rows, and every value is either whole (each rank has all of it) or split along one axis.
Operators that treat the rows on their own run on the part; where one adds over the split axis, the
parts' sums are added over the ranks (`AllReduce`). What has no rule (`partition_rules.py`) gets its
operands whole: right for every operator, at the price of sending them. So losses weighted by masks,
statistics of batch normalisation and states of metrics are those of the whole batch without any of them
knowing of ranks. It is the idea of GSPMD (Xu et al., 2021) for one axis of devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcompile.errors import InferError
from kcompile.ir import Graph, Input, Node, Type, Value, Weight, constant
from kcompile.ir.dims import Dim, DimLike, substitute
from kcompile.ir.graph import input_value, is_leaf, remake, topological
from kcompile.ir.op import origin
from kcompile.ir.types import i8
from kcompile.operators.arithmetic import Multiply
from kcompile.operators.collectives import GatherParts, OwnPart
from kcompile.operators.control import Recompute
from kcompile.passes.partition_plan import Plan
from kcompile.passes.partition_rules import DECOMPOSED, RULES

ROWS = "rows"  # the input that has the whole batch's length, for its length alone


@dataclass(frozen=True)
class Part:
    """What a rank has of ``unit`` things: ``own`` of them. ``chunked`` as in `OwnPart`."""

    unit: DimLike
    own: DimLike
    chunked: bool = False

    def holds(self, size: DimLike) -> bool:
        """Whether a whole size is cut where the things are: the unit, or a multiple of it."""
        if not isinstance(self.unit, Dim):
            return size == self.unit
        # That of any other size, such as N * N or N + 1, makes another size of the unit.
        return substitute(size, {str(self.unit): 1}) * self.unit == size

    def local(self, size: DimLike) -> DimLike:
        """This rank's share of a size that `holds`."""
        return substitute(size, {str(self.unit): self.own}) if isinstance(self.unit, Dim) else self.own


@dataclass(frozen=True)
class Split:
    """A value of which each rank has a part along an axis."""

    axis: int
    part: Part

    def local(self, type: Type) -> Type:
        """The part's type."""
        size = self.part.local(type.shape[self.axis])
        return type.with_shape((*type.shape[: self.axis], size, *type.shape[self.axis + 1 :]))


def by_rows(graph: Graph, batch: Dim, own: Dim, weights: Mapping[str, Split], share: float | None) -> Graph:
    """The rank's graph where the inputs' first axis, of size ``batch``, is split: ``own`` rows of it.

    One input more, `ROWS` i8 [batch], tells the whole length. ``weights`` are split between steps and
    gathered where they are read. ``share`` multiplies the first output, a loss that is to be differentiated.
    """
    rows = Part(batch, own)

    def leaf(node: Node) -> tuple[Value, Split | None]:
        op = node.op
        if isinstance(op, Input) and op.type.rank and op.type.shape[0] == batch:
            split = Split(0, rows)
            return input_value(op.label, split.local(op.type)), split
        return _leaf(node, weights), None

    length = input_value(ROWS, Type(i8, (batch,)))
    return _shared(_Partition(leaf, rows, length).graph(graph, {}), share)


def jointly(graph: Graph, weights: Mapping[str, Split], share: float | None) -> Graph:
    """The graph of a batch that every rank computes whole, where these weights are split between steps."""

    def leaf(node: Node) -> tuple[Value, Split | None]:
        return _leaf(node, weights), None

    return _shared(_Partition(leaf).graph(graph, {}), share)


def _leaf(node: Node, weights: Mapping[str, Split]) -> Value:
    """An input, a constant or a weight, gathered where it is split."""
    op = node.op
    if not isinstance(op, Weight) or op.label not in weights:
        return node.results[0]
    split = weights[op.label]
    return _gathered(Weight(op.label, split.local(op.type))(), split, op.type)


def _shared(graph: Graph, share: float | None) -> Graph:
    if share is None:
        return graph
    loss, *rest = graph.outputs
    return graph.replace(outputs=[Multiply()(loss, constant(share, loss.type.dtype)), *rest])


def by_weights(graph: Graph, splits: Mapping[str, Split]) -> Graph:
    """The rank's graph of an update where these weights and inputs are split, by label."""

    def leaf(node: Node) -> tuple[Value, Split | None]:
        op = node.op
        if not isinstance(op, (Weight, Input)) or op.label not in splits:
            return node.results[0], None
        split = splits[op.label]
        return op.replace(type=split.local(op.type))(), split

    return _Partition(leaf).graph(graph, splits)


def _cuts(plan: Plan, node: Node, part: Part) -> bool:
    """Whether all that the plan splits can be cut where the things are; one row for all of them can't."""
    types = [None if v is None else v.type for v in node.inputs] + list(node.types)
    axes = (*plan.operands, *plan.results)
    return all(t is None or a is None or part.holds(t.shape[a]) for t, a in zip(types, axes, strict=True))


def _gathered(value: Value, split: Split, whole: Type) -> Value:
    part = split.part
    return GatherParts(split.axis, part.unit, whole.shape[split.axis], part.chunked)(value)


class _Partition:
    """Goes through a graph once; ``leaf`` says what takes the place of an input, a weight or a constant.

    ``rows`` is how the batch is split, ``length`` the value that has its whole length.
    """

    def __init__(
        self,
        leaf: Callable[[Node], tuple[Value, Split | None]],
        rows: Part | None = None,
        length: Value | None = None,
    ):
        self.leaf, self.rows, self.length = leaf, rows, length
        self.made: dict[Value, Value] = {}
        self.splits: dict[Value, Split | None] = {}

    def graph(self, graph: Graph, ends: Mapping[str, Split]) -> Graph:
        """The partitioned graph; updates are whole but for those in ``ends``."""
        for node in graph.nodes:
            self._visit(node)
        return graph.replace(
            inputs=[self.made[v] for v in graph.inputs] + ([] if self.length is None else [self.length]),
            outputs=[self._as(v, None) for v in graph.outputs],
            updates=[(label, self._as(v, ends.get(label))) for label, v in graph.updates],
        )

    def _visit(self, node: Node) -> None:
        if is_leaf(node.op):
            self.made[node.results[0]], self.splits[node.results[0]] = self.leaf(node)
            return
        if isinstance(node.op, Recompute):
            self._region(node, node.op.body)
            return
        splits = [None if v is None else self.splits[v] for v in node.inputs]
        part = next((s.part for s in splits if s is not None), None)
        if self._by_rule(node, [None if s is None else s.axis for s in splits], part):
            return
        parts = DECOMPOSED.get(type(node.op)) or type(node.op).decompose
        if part is not None and parts is not None and callable(parts):
            self._decomposed(node, parts)
            return
        inputs = tuple(None if v is None else self._as(v, None) for v in node.inputs)
        self._keep(node, remake(node, inputs).results, None)

    def _by_rule(self, node: Node, axes: list[int | None], part: Part | None) -> bool:
        """Whether a rule says how the node runs on parts, and its result is of the types that this makes."""
        rule, part = RULES.get(type(node.op)), part or self.rows
        plan: Plan | None = None if rule is None or part is None else rule(node, axes, part)
        if plan is None or part is None or not _cuts(plan, node, part):
            return False
        operands = [
            None if v is None else self._as(v, None if axis is None else Split(axis, part))
            for v, axis in zip(node.inputs, plan.operands, strict=True)
        ]
        ends = [None if axis is None else Split(axis, part) for axis in plan.results]
        try:
            with origin(node.origin):
                made = (plan.emit or node.op)(*operands)
        except InferError:
            return False
        results = made if isinstance(made, tuple) else (made,)
        wanted = [t if end is None else end.local(t) for t, end in zip(node.types, ends, strict=True)]
        if [v.type for v in results] != wanted:
            return False
        for old, new, end in zip(node.results, results, ends, strict=True):
            self.made[old], self.splits[old] = new, end
        return True

    def _decomposed(self, node: Node, parts: Callable[..., Any]) -> None:
        """Go through what the node is made of in its place."""
        with origin(node.origin):
            made = parts(node.op, *node.inputs)
        results = made if isinstance(made, tuple) else (made,)
        for inner in topological(results, done=self.made):
            self._visit(inner)
        for old, new in zip(node.results, results, strict=True):
            self.made[old], self.splits[old] = self.made[new], self.splits[new]

    def _region(self, node: Node, body: Graph) -> None:
        """A body that is computed once more for its gradients: partitioned by itself, on operands as they are."""
        given = {own: self.splits[v] for own, v in zip(body.inputs, node.inputs, strict=True) if v is not None}

        def leaf(inner: Node) -> tuple[Value, Split | None]:
            split = given.get(inner.results[0])
            if split is None:
                return inner.results[0], None
            return inner.op.replace(type=split.local(inner.types[0]))(), split

        within = _Partition(leaf, self.rows, self.length)
        for inner in body.nodes:
            within._visit(inner)
        inputs, operands = [within.made[v] for v in body.inputs], [self.made[v] for v in node.inputs if v is not None]
        if self.length is not None:
            # Its sizes are read off its own operands.
            inputs, operands = [*inputs, self.length], [*operands, self.length]
        region = Graph(body.name, inputs, [within.made[v] for v in body.outputs], body.output_names)
        with origin(node.origin):
            results = Recompute(region)(*operands)
        for old, new, end in zip(node.results, results, body.outputs, strict=True):
            self.made[old], self.splits[old] = new, within.splits[end]

    def _keep(self, node: Node, results: Sequence[Value], split: Split | None) -> None:
        for old, new in zip(node.results, results, strict=True):
            self.made[old], self.splits[old] = new, split

    def _as(self, old: Value, wanted: Split | None) -> Value:
        """A value whole, or split as wanted."""
        value, split = self.made[old], self.splits[old]
        if split == wanted:
            return value
        whole = value if split is None else _gathered(value, split, old.type)
        if wanted is None:
            return whole
        part = wanted.part
        return OwnPart(wanted.axis, part.unit, part.local(old.type.shape[wanted.axis]), part.chunked)(whole)
