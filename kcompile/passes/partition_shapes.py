"""How operators that move elements about, and those that read by indices, run on parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.ir import Node, Value
from kcompile.ir.dims import Dim, DimLike, product
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.operators import creation, indexing, shape
from kcompile.operators.arithmetic import Add
from kcompile.operators.collectives import AllReduce
from kcompile.operators.shape import Reshape
from kcompile.passes.partition_plan import Axes, Plan, Rule, first_only, other_axis, rank_of


def _reshape(node: Node, axes: Axes, part: Any) -> Plan | None:
    """The split axis leads the same elements before and after: its runs stay runs."""
    axis, target = axes[0], node.types[0].shape
    if axis is None:
        return None
    assert node.inputs[0] is not None
    source = node.inputs[0].type.shape
    for to, size in enumerate(target):
        if part.holds(size) and product(target[:to]) == product(source[:axis]):
            local = (*target[:to], part.local(size), *target[to + 1 :])
            return Plan((axis,), (to,), Reshape(local))
    return None


def _transpose(node: Node, axes: Axes, part: Any) -> Plan | None:
    perm = node.op.perm  # type: ignore[attr-defined]
    return None if axes[0] is None else Plan((axes[0],), (perm.index(axes[0]),))


def _expand_dims(node: Node, axes: Axes, part: Any) -> Plan | None:
    if axes[0] is None:
        return None
    rank = node.types[0].rank
    new = normal_axes(node.op.axes, rank)  # type: ignore[attr-defined]
    return Plan((axes[0],), ([i for i in range(rank) if i not in new][axes[0]],))


def _squeeze(node: Node, axes: Axes, part: Any) -> Plan | None:
    gone = normal_axes(node.op.axes, rank_of(node))  # type: ignore[attr-defined]
    if axes[0] is None or axes[0] in gone:
        return None
    return Plan((axes[0],), (axes[0] - sum(a < axes[0] for a in gone),))


def own_axis(shape: Sequence[DimLike], part: Any) -> int | None:
    """The first axis of a tensor's shape that the batch is split along."""
    return next((i for i, size in enumerate(shape) if isinstance(part.unit, Dim) and part.holds(size)), None)


def _filled(node: Node, axes: Axes, part: Any) -> Plan | None:
    """Fill and Expand make the rank's rows alone."""
    target = node.types[0].shape
    to = own_axis(target, part)
    if to is None:
        return None
    op: Any = node.op
    local = op.replace(shape=(*target[:to], part.local(target[to]), *target[to + 1 :]))
    if not node.inputs:
        return Plan((), (to,), local)
    assert node.inputs[0] is not None
    own = to - (len(target) - rank_of(node))
    split = own >= 0 and node.inputs[0].type.shape[own] != 1
    return Plan((own if split else None,), (to,), local)


def _concat(node: Node, axes: Axes, part: Any) -> Plan | None:
    axis = next((a for a in axes if a is not None), None)
    return None if axis is None or not other_axis(node, axis) else Plan((axis,) * len(axes), (axis,))


def _slice(node: Node, axes: Axes, part: Any) -> Plan | None:
    op: Any = node.op
    axis = axes[0]
    # Where it stops early or has steps, there are fewer rows, and the plan is refused.
    if axis is None or op.starts[axis] != 0:
        return None
    stops = (*op.stops[:axis], None, *op.stops[axis + 1 :])
    return Plan((axis,), (axis,), op.replace(stops=stops))


def _gather(node: Node, axes: Axes, part: Any) -> Plan | None:
    x, indices = node.inputs
    assert x is not None and indices is not None
    along = normal_axis(node.op.axis, x.type.rank)  # type: ignore[attr-defined]
    if axes[1] is not None:
        return Plan((None, axes[1]), (along + axes[1],))
    if axes[0] is None or axes[0] == along:
        return None
    return Plan((axes[0], None), (axes[0] + (indices.type.rank - 1 if axes[0] > along else 0),))


def _gather_elements(node: Node, axes: Axes, part: Any) -> Plan | None:
    axis = axes[0] if axes[0] is not None else axes[1]
    if axis is None or not other_axis(node, axis):
        return None
    # Places for fewer rows than there are belong to the first rows, which other ranks may have.
    same = {v.type.shape[axis] for v in node.inputs if v is not None}
    return Plan((axis, axis), (axis,)) if len(same) == 1 else None


def _one_hot(node: Node, axes: Axes, part: Any) -> Plan | None:
    if axes[0] is None:
        return None
    new = normal_axis(node.op.axis, node.types[0].rank)  # type: ignore[attr-defined]
    return Plan((axes[0],), (axes[0] + (new <= axes[0]),))


def _embedding(node: Node, axes: Axes, part: Any) -> Plan | None:
    return None if axes[1] is None else Plan((None, axes[1]), (axes[1],))


def _scatter_nd(node: Node, axes: Axes, part: Any) -> Plan | None:
    """Each rank adds its own into zeros, and the sum is added to what is there."""
    op: Any = node.op
    if op.reduction != "add" or 0 not in axes[1:]:
        return None

    def emit(x: Value, indices: Value, values: Value) -> Value:
        zeros = creation.Fill(x.type.shape, 0, x.type.dtype)()
        return Add()(x, AllReduce()(op(zeros, indices, values)))

    return Plan((None, 0, 0), (None,), emit)


SHAPES: dict[type, Rule] = {
    **dict.fromkeys((creation.Fill, shape.Expand), _filled),
    shape.Reshape: _reshape,
    shape.Transpose: _transpose,
    shape.ExpandDims: _expand_dims,
    shape.Squeeze: _squeeze,
    shape.Concat: _concat,
    shape.Slice: _slice,
    shape.Tile: first_only(lambda node, axis: node.op.repeats[axis] == 1),  # type: ignore[attr-defined]
    shape.Pad: first_only(lambda node, axis: node.op.pads[axis] == (0, 0)),  # type: ignore[attr-defined]
    creation.Triangle: first_only(lambda node, axis: axis < rank_of(node) - 2),
    indexing.Gather: _gather,
    indexing.GatherElements: _gather_elements,
    indexing.OneHot: _one_hot,
    indexing.Embedding: _embedding,
    indexing.ScatterNd: _scatter_nd,
}  # fmt: skip
