"""How operators run on parts: one rule an operator, from the axes along which its operands are split.

A rule gives the axis along which each operand has to be split (None: whole), that of each result, and
what to compute on the parts where that is not the operator itself; or None where it knows no way. Rules
are asked with no operand split too: what makes a tensor of the batch's length can make the rank's rows.
"""

from __future__ import annotations

from collections.abc import Callable
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
from kcompile.operators.collectives import AllReduce, OwnPart
from kcompile.operators.logic import Cast
from kcompile.operators.math import Sqrt
from kcompile.operators.reduction import Mean, Sum
from kcompile.operators.shape import Concat, ExpandDims, Reshape, Squeeze
from kcompile.passes.elementwise import ELEMENTWISE
from kcompile.passes.partition_plan import (
    Axes,
    Plan,
    Rule,
    aligned,
    elementwise,
    first_only,
    none_of_axes,
    other_axis,
    rank_of,
)
from kcompile.passes.partition_shapes import SHAPES, own_axis

_batch = first_only(lambda node, axis: axis == 0)
_along = first_only(other_axis)


def _reduction(node: Node, axes: Axes, part: Any) -> Plan | None:
    op: Any = node.op
    axis, rank = axes[0], rank_of(node)
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
    if axis is None or not other_axis(node, axis):
        return None
    return Plan((axis,), (axis if op.keepdims else axis - (normal_axis(op.axis, rank_of(node)) < axis),))


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
    return elementwise(node, axes, part)


def _einsum(node: Node, axes: Axes, part: Any) -> Plan | None:
    op: Any = node.op
    labels, result = op.labels([v.type for v in node.inputs if v is not None])
    label = next((row[axis] for row, axis in zip(labels, axes, strict=True) if axis is not None), None)
    if label is None or any(list(row).count(label) > 1 for row in labels):
        return None
    wheres = (list(row).index(label) if label in row else None for row in labels)
    # One row for all is whole everywhere.
    operands = tuple(
        None if axis is None or v is None or v.type.shape[axis] == 1 else axis
        for axis, v in zip(wheres, node.inputs, strict=True)
    )
    if label in result:
        return Plan(operands, (list(result).index(label),))
    return Plan(operands, (None,), lambda *xs: AllReduce()(op(*xs)))


def _attention(node: Node, axes: Axes, part: Any) -> Plan | None:
    found = aligned(node, axes, 4)
    return None if found is None or found[0] != 0 else Plan(found[1], (0,))


def _recurrent(node: Node, axes: Axes, part: Any) -> Plan | None:
    time_major = node.op.time_major  # type: ignore[attr-defined]
    batch = 1 if time_major else 0
    if axes[0] != batch:
        return None
    # x, two kernels, a bias, then states and the mask.
    states = tuple(None if v is None else 0 for v in node.inputs[4:])
    return Plan((batch, None, None, None, *states)[: len(axes)], (batch, *(0,) * (len(node.results) - 1)))


def _softmax_cross_entropy(node: Node, axes: Axes, part: Any) -> Plan | None:
    rank = rank_of(node)
    found, along = aligned(node, axes, rank), normal_axis(node.op.axis, rank)  # type: ignore[attr-defined]
    if found is None or found[0] == along:
        return None
    return Plan(found[1], (found[0] - (along < found[0]),))


def _sparse_cross_entropy(node: Node, axes: Axes, part: Any) -> Plan | None:
    axis = axes[0] if axes[0] is not None else axes[1]
    return None if axis is None or axis == rank_of(node) - 1 else Plan((axis, axis), (axis,))


# ---- random numbers: each rank draws those of the whole batch and keeps its rows, or they would not be one process's


def _random(node: Node, axes: Axes, part: Any) -> Plan | None:
    shape = node.types[0].shape
    axis = own_axis(shape, part)
    if axis is None:
        return None
    own = OwnPart(axis, part.unit, part.local(shape[axis]), part.chunked)
    return Plan((None,) * len(axes), (axis,), lambda *xs: own(node.op(*xs)))


def _dropout(node: Node, axes: Axes, part: Any) -> Plan | None:
    op: Any = node.op
    axis = axes[0]
    if axis is None:
        return None
    operands = (axis, *(None,) * (len(axes) - 1))
    if op.rate in (0, 1):
        return Plan(operands, (axis,), op.replace(noise_shape=None))
    assert node.inputs[0] is not None
    noise = op.noise(node.inputs[0].type)
    size = noise.shape[axis]
    if size == 1:
        # One decision for all rows.
        return Plan(operands, (axis,), lambda x, seed=None: Multiply()(x, noise(seed)))
    if not part.holds(size):
        return None
    own = OwnPart(axis, part.unit, part.local(size), part.chunked)
    return Plan(operands, (axis,), lambda x, seed=None: Multiply()(x, own(noise(seed))))


# ---- updates of variables


def _adam(node: Node, axes: Axes, part: Any) -> Plan | None:
    axis = next((a for a in axes[:4] if a is not None), None)
    return None if axis is None else Plan((axis,) * 4 + (None,), (axis,) * 3)


RULES: dict[type, Rule] = {
    **dict.fromkeys((*ELEMENTWISE, gradient.StopGradient, losses.SigmoidCrossEntropy), elementwise),
    **dict.fromkeys((reduction.Sum, reduction.Mean, reduction.Max, reduction.Min, reduction.Product,
                     reduction.LogSumExp, reduction.Any, reduction.All), _reduction),
    **dict.fromkeys((reduction.ArgMax, reduction.ArgMin), _dropped),
    **dict.fromkeys((activation.Softmax, activation.LogSoftmax, activation.Glu, activation.Sparsemax,
                     reduction.CumulativeSum, reduction.CumulativeProduct, reduction.CumulativeMax, sorting.TopK,
                     sorting.Sort, sorting.ArgSort, shape.Split, normalization.BatchNorm), _along),
    **dict.fromkeys((normalization.LayerNorm, normalization.RmsNorm, shape.Flip), first_only(none_of_axes)),
    **dict.fromkeys((convolution.Conv, convolution.ConvTranspose, pooling.MaxPool, pooling.AveragePool,
                     normalization.GroupNorm, image.Resize), _batch),
    **dict.fromkeys((recurrent.Lstm, recurrent.Gru, recurrent.SimpleRnn), _recurrent),
    **dict.fromkeys((random.RandomUniform, random.RandomNormal, random.TruncatedNormal, random.RandomInteger,
                     random.DropoutNoise, random.RandomGamma, random.RandomBinomial), _random),
    linear.MatMul: _mat_mul,
    linear.Dense: first_only(lambda node, axis: axis < rank_of(node) - 1),
    einsum.Einsum: _einsum,
    attention.Attention: _attention,
    losses.SoftmaxCrossEntropy: _softmax_cross_entropy,
    losses.SparseSoftmaxCrossEntropy: _sparse_cross_entropy,
    random.Dropout: _dropout,
    updates.AdamStep: _adam,
    **SHAPES,
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
