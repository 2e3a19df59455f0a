"""How operators run on parts: one rule an operator, from the axes along which its operands are split.

A rule gives the axis along which each operand has to be split (None: whole), that of each result, and
what to compute on the parts where that is not the operator itself; or None where it knows no way. Rules
are asked with no operand split too: what makes a tensor of the batch's length can make the rank's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kcompile.ir import Node, Value, constant
from kcompile.ir.dims import Dim, product
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.ir.types import f32, i32, i64
from kcompile.operators import (
    activation,
    attention,
    convolution,
    creation,
    einsum,
    gradient,
    image,
    indexing,
    linear,
    logic,
    losses,
    normalization,
    pooling,
    random,
    recurrent,
    reduction,
    shape,
    sorting,
    updates,
)
from kcompile.operators.arithmetic import Add, Divide, Multiply, Square, Subtract
from kcompile.operators.collectives import AllReduce, RankSeed
from kcompile.operators.logic import Cast
from kcompile.operators.math import Sqrt
from kcompile.operators.reduction import Mean, Sum
from kcompile.operators.shape import Concat, ExpandDims, Reshape, Squeeze
from kcompile.passes.elementwise import ELEMENTWISE

Axes = Sequence["int | None"]


@dataclass(frozen=True)
class Plan:
    """Along which axis operands and results are split; ``emit`` makes the results of the operands instead."""

    operands: tuple[int | None, ...]
    results: tuple[int | None, ...]
    emit: Callable[..., Any] | None = None


Rule = Callable[[Node, Axes, Any], "Plan | None"]


def _aligned(node: Node, axes: Axes, part: Any, rank: int) -> tuple[int, tuple[int | None, ...]] | None:
    """The axis of a broadcast result of this rank along which it is split, and its operands' axes."""
    first = next(((a, v) for a, v in zip(axes, node.inputs, strict=True) if a is not None and v is not None), None)
    if first is None:
        return None
    target = first[0] + rank - first[1].type.rank
    wanted: list[int | None] = []
    for value in node.inputs:
        own = None if value is None else target - (rank - value.type.rank)
        if value is None or own is None or own < 0 or value.type.shape[own] == 1:
            wanted.append(None)
        elif part.holds(value.type.shape[own]):
            wanted.append(own)
        else:
            return None
    return target, tuple(wanted)


def _elementwise(node: Node, axes: Axes, part: Any) -> Plan | None:
    found = _aligned(node, axes, part, node.types[0].rank)
    return None if found is None else Plan(found[1], (found[0],) * len(node.results))


def _first_only(allowed: Callable[[Node, int], bool]) -> Rule:
    """Split like the first operand where that axis is allowed; all others are whole, results have its axes."""

    def rule(node: Node, axes: Axes, part: Any) -> Plan | None:
        if axes[0] is None or not allowed(node, axes[0]):
            return None
        return Plan((axes[0], *(None,) * (len(axes) - 1)), (axes[0],) * len(node.results))

    return rule


def _rank(node: Node) -> int:
    assert node.inputs[0] is not None
    return node.inputs[0].type.rank


def _other_axis(node: Node, axis: int) -> bool:
    return axis != normal_axis(node.op.axis, _rank(node))  # type: ignore[attr-defined]


def _none_of_axes(node: Node, axis: int) -> bool:
    return axis not in normal_axes(node.op.axes, _rank(node))  # type: ignore[attr-defined]


_batch = _first_only(lambda node, axis: axis == 0)
_along = _first_only(_other_axis)


def _reduction(node: Node, axes: Axes, part: Any) -> Plan | None:
    op: Any = node.op
    axis, rank = axes[0], _rank(node)
    if axis is None:
        return None
    reduced = normal_axes(op.axes, rank)
    if axis not in reduced:
        return Plan((axis,), (axis if op.keepdims else axis - sum(a < axis for a in reduced),))
    emit = _OVER_RANKS.get(type(op))
    return None if emit is None else Plan((axis,), (None,), lambda x: emit(op, x, node))


def _sum(op: Any, x: Value, node: Node) -> Value:
    return AllReduce()(op(x))


def _mean(op: Any, x: Value, node: Node) -> Value:
    assert node.inputs[0] is not None
    whole = node.inputs[0].type
    count = product(whole.shape[a] for a in normal_axes(op.axes, whole.rank))
    # Sums of half precision overflow long before their mean does.
    wide = f32 if whole.dtype.bits < 32 else whole.dtype
    total = AllReduce()(Sum(op.axes, op.keepdims)(_cast(x, wide)))
    size = creation.SizeOf(count, wide)() if isinstance(count, Dim) else constant(count, wide)
    return _cast(Divide()(total, size), whole.dtype)


def _any(op: Any, x: Value, node: Node) -> Value:
    return logic.Greater()(AllReduce()(Sum(op.axes, op.keepdims)(Cast(i32)(x))), constant(0, i32))


def _all(op: Any, x: Value, node: Node) -> Value:
    return logic.LogicalNot()(_any(op, logic.LogicalNot()(x), node))


_OVER_RANKS: dict[type, Callable[[Any, Value, Node], Value]] = {
    reduction.Sum: _sum,
    reduction.Mean: _mean,
    reduction.Any: _any,
    reduction.All: _all,
}


def _cast(x: Value, dtype: Any) -> Value:
    return x if x.type.dtype is dtype else Cast(dtype)(x)


def _dropped(node: Node, axes: Axes, part: Any) -> Plan | None:
    """An index along one axis, which goes unless it is kept."""
    op: Any = node.op
    axis = axes[0]
    if axis is None or not _other_axis(node, axis):
        return None
    return Plan((axis,), (axis if op.keepdims else axis - (normal_axis(op.axis, _rank(node)) < axis),))


# ---- products


def _mat_mul(node: Node, axes: Axes, part: Any) -> Plan | None:
    a, b = node.inputs
    assert a is not None and b is not None
    ranks, rank = (a.type.rank, b.type.rank), node.types[0].rank
    if min(ranks) < 2:
        rows = ranks[0] > 1 and axes[0] is not None and axes[0] < ranks[0] - 1
        return Plan((axes[0], None), (axes[0],)) if rows else None
    inner = ranks[0] - 1, ranks[1] - 2
    if axes[0] == inner[0] or (axes[0] is None and axes[1] == inner[1]):
        return Plan(inner, (None,), lambda a, b: AllReduce()(linear.MatMul()(a, b)))
    if axes[0] == ranks[0] - 2:
        return Plan((axes[0], None), (rank - 2,))
    if axes[0] is None and axes[1] == ranks[1] - 1:
        return Plan((None, axes[1]), (rank - 1,))
    return _elementwise(node, (axes[0], None) if axes[0] is not None else axes, part)


def _einsum(node: Node, axes: Axes, part: Any) -> Plan | None:
    op: Any = node.op
    labels, result = op.labels([v.type for v in node.inputs if v is not None])
    label = next((row[axis] for row, axis in zip(labels, axes, strict=True) if axis is not None), None)
    if label is None or any(list(row).count(label) > 1 for row in labels):
        return None
    operands = tuple(list(row).index(label) if label in row else None for row in labels)
    if label in result:
        return Plan(operands, (list(result).index(label),))
    return Plan(operands, (None,), lambda *xs: AllReduce()(op(*xs)))


def _attention(node: Node, axes: Axes, part: Any) -> Plan | None:
    if next((a for a in axes if a is not None), None) != 0:
        return None
    found = _aligned(node, (0, *(None,) * (len(axes) - 1)), part, 4)
    return None if found is None else Plan(found[1], (0,))


def _recurrent(node: Node, axes: Axes, part: Any) -> Plan | None:
    time_major = node.op.time_major  # type: ignore[attr-defined]
    batch = 1 if time_major else 0
    if axes[0] != batch:
        return None
    # x, two kernels, a bias, then states and the mask.
    states = tuple(None if v is None else 0 for v in node.inputs[4:])
    return Plan((batch, None, None, None, *states)[: len(axes)], (batch, *(0,) * (len(node.results) - 1)))


def _softmax_cross_entropy(node: Node, axes: Axes, part: Any) -> Plan | None:
    rank = _rank(node)
    found, along = _aligned(node, axes, part, rank), normal_axis(node.op.axis, rank)  # type: ignore[attr-defined]
    if found is None or found[0] == along:
        return None
    return Plan(found[1], (found[0] - (along < found[0]),))


def _sparse_cross_entropy(node: Node, axes: Axes, part: Any) -> Plan | None:
    axis = axes[0] if axes[0] is not None else axes[1]
    return None if axis is None or axis == _rank(node) - 1 else Plan((axis, axis), (axis,))


# ---- shapes


def _reshape(node: Node, axes: Axes, part: Any) -> Plan | None:
    """The split axis leads the same elements before and after: its runs stay runs."""
    axis, target = axes[0], node.types[0].shape
    if axis is None or not isinstance(part.unit, Dim):
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
    gone = normal_axes(node.op.axes, _rank(node))  # type: ignore[attr-defined]
    if axes[0] is None or axes[0] in gone:
        return None
    return Plan((axes[0],), (axes[0] - sum(a < axes[0] for a in gone),))


def _filled(node: Node, axes: Axes, part: Any) -> Plan | None:
    """Fill and Expand make the rank's rows alone."""
    target = node.types[0].shape
    to = next((i for i, size in enumerate(target) if isinstance(part.unit, Dim) and part.holds(size)), None)
    if to is None:
        return None
    op: Any = node.op
    local = op.replace(shape=(*target[:to], part.local(target[to]), *target[to + 1 :]))
    if not node.inputs:
        return Plan((), (to,), local)
    assert node.inputs[0] is not None
    own = to - (len(target) - _rank(node))
    split = own >= 0 and node.inputs[0].type.shape[own] != 1
    return Plan((own if split else None,), (to,), local)


def _concat(node: Node, axes: Axes, part: Any) -> Plan | None:
    axis = next((a for a in axes if a is not None), None)
    if axis is None or not _other_axis(node, axis):
        return None
    if not all(v is not None and part.holds(v.type.shape[axis]) for v in node.inputs):
        return None
    return Plan((axis,) * len(axes), (axis,))


def _slice(node: Node, axes: Axes, part: Any) -> Plan | None:
    op: Any = node.op
    axis = axes[0]
    assert node.inputs[0] is not None
    if axis is None or (op.starts[axis], op.steps[axis]) != (0, 1):
        return None
    if op.stops[axis] not in (None, node.inputs[0].type.shape[axis]):
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
    return None if axis is None or not _other_axis(node, axis) else Plan((axis, axis), (axis,))


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
    if op.reduction != "add" or axes[0] is not None or 0 not in axes[1:]:
        return None

    def emit(x: Value, indices: Value, values: Value) -> Value:
        zeros = creation.Fill(x.type.shape, 0, x.type.dtype)()
        return Add()(x, AllReduce()(op(zeros, indices, values)))

    return Plan((None, 0, 0), (None,), emit)


# ---- random numbers: each rank draws its own


def _random(node: Node, axes: Axes, part: Any) -> Plan | None:
    plan = _filled(node, (), part) if isinstance(part.unit, Dim) else None
    if plan is None or plan.emit is None:
        return None
    drawn = plan.emit
    return Plan((None,) * len(axes), plan.results, lambda seed=None: drawn(RankSeed()(seed)))


def _dropout(node: Node, axes: Axes, part: Any) -> Plan | None:
    op: Any = node.op
    axis = axes[0]
    if axis is None:
        return None
    shared = op.noise_shape is not None and op.noise_shape[axis] == 1
    noise = op.noise_shape
    if noise is not None and not shared:
        noise = (*noise[:axis], None, *noise[axis + 1 :])
    own = op.replace(noise_shape=noise)
    operands = (axis, *(None,) * (len(axes) - 1))
    if shared:
        # One decision for all rows: all ranks draw the same.
        return Plan(operands, (axis,), own)
    return Plan(operands, (axis,), lambda x, seed=None: own(x, RankSeed()(seed)))


# ---- updates of variables


def _adam(node: Node, axes: Axes, part: Any) -> Plan | None:
    axis = next((a for a in axes[:4] if a is not None), None)
    return None if axis is None else Plan((axis,) * 4 + (None,), (axis,) * 3)


RULES: dict[type, Rule] = {
    **dict.fromkeys((*ELEMENTWISE, gradient.StopGradient, losses.SigmoidCrossEntropy), _elementwise),
    **dict.fromkeys((reduction.Sum, reduction.Mean, reduction.Max, reduction.Min, reduction.Product,
                     reduction.LogSumExp, reduction.Any, reduction.All), _reduction),
    **dict.fromkeys((reduction.ArgMax, reduction.ArgMin), _dropped),
    **dict.fromkeys((activation.Softmax, activation.LogSoftmax, activation.Glu, activation.Sparsemax,
                     reduction.CumulativeSum, reduction.CumulativeProduct, reduction.CumulativeMax, sorting.TopK,
                     sorting.Sort, sorting.ArgSort, shape.Split, normalization.BatchNorm), _along),
    **dict.fromkeys((normalization.LayerNorm, normalization.RmsNorm, shape.Flip), _first_only(_none_of_axes)),
    **dict.fromkeys((convolution.Conv, convolution.ConvTranspose, pooling.MaxPool, pooling.AveragePool,
                     normalization.GroupNorm, image.Resize), _batch),
    **dict.fromkeys((recurrent.Lstm, recurrent.Gru, recurrent.SimpleRnn), _recurrent),
    **dict.fromkeys((creation.Fill, shape.Expand), _filled),
    **dict.fromkeys((random.RandomUniform, random.RandomNormal, random.TruncatedNormal, random.RandomInteger,
                     random.DropoutNoise), _random),
    linear.MatMul: _mat_mul,
    linear.Dense: _first_only(lambda node, axis: axis < _rank(node) - 1),
    einsum.Einsum: _einsum,
    attention.Attention: _attention,
    losses.SoftmaxCrossEntropy: _softmax_cross_entropy,
    losses.SparseSoftmaxCrossEntropy: _sparse_cross_entropy,
    shape.Reshape: _reshape,
    shape.Transpose: _transpose,
    shape.ExpandDims: _expand_dims,
    shape.Squeeze: _squeeze,
    shape.Concat: _concat,
    shape.Slice: _slice,
    shape.Tile: _first_only(lambda node, axis: node.op.repeats[axis] == 1),  # type: ignore[attr-defined]
    shape.Pad: _first_only(lambda node, axis: node.op.pads[axis] == (0, 0)),  # type: ignore[attr-defined]
    creation.Triangle: _first_only(lambda node, axis: axis < _rank(node) - 2),
    indexing.Gather: _gather,
    indexing.GatherElements: _gather_elements,
    indexing.OneHot: _one_hot,
    indexing.Embedding: _embedding,
    indexing.ScatterNd: _scatter_nd,
    random.Dropout: _dropout,
    updates.AdamStep: _adam,
}  # fmt: skip


# ---- operators that are taken apart: their parts have rules


def _batch_norm_training(op: Any, x: Value, gamma: Value | None = None, beta: Value | None = None) -> Any:
    rank, dtype = x.type.rank, x.type.dtype
    axis = normal_axis(op.axis, rank)
    others = tuple(i for i in range(rank) if i != axis)
    mean = Mean(others, True)(x)
    centred = Subtract()(x, mean)
    variance = Mean(others, True)(Square()(centred))
    y = Divide()(centred, Sqrt()(Add()(variance, constant(op.epsilon, dtype))))
    along = tuple(x.type.shape[i] if i == axis else 1 for i in range(rank))
    if gamma is not None:
        y = Multiply()(y, Reshape(along)(gamma))
    if beta is not None:
        y = Add()(y, Reshape(along)(beta))
    stop = gradient.StopGradient()
    return y, stop(Squeeze(others)(mean)), stop(Squeeze(others)(variance))


def _shape(op: Any, x: Value) -> Value:
    """The whole sizes."""
    sizes = [creation.SizeOf(d, i64)() if isinstance(d, Dim) else constant(d, i64) for d in op.sizes(x.type)]
    return Concat(0)(*(ExpandDims((0,))(s) for s in sizes)) if sizes else constant([], i64)


DECOMPOSED: dict[type, Callable[..., Any]] = {
    normalization.BatchNormTraining: _batch_norm_training,
    creation.Shape: _shape,
}
