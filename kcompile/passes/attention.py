"""Attention: found where it is written out, masks that hide nothing, scales that the query's kernel takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kcompile.ir import Graph, Node, Value, Weight, constant
from kcompile.ir.shapes import normal_axis
from kcompile.operators.activation import Softmax
from kcompile.operators.arithmetic import Add, Divide, Multiply
from kcompile.operators.attention import Attention
from kcompile.operators.creation import Range
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.logic import GreaterEqual, LessEqual, Where
from kcompile.operators.shape import ExpandDims, Reshape, Split, Transpose
from kcompile.passes.arrays import Arrays
from kcompile.passes.expressions import scalar
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, Skip, applies, require, rule

# What stands for or is added to a hidden key's score: beside it no other score has a digit left.
_LOW = -1e4


@rule("attention", like(MatMul, like(Softmax, "scores"), "v"))
def attention(m: Match) -> Value:
    """softmax(q k^T) v, where the scores may be multiplied, divided and have a mask added on the way."""
    m.used_once("softmax", "scores")
    for scores, mask in _unmasked(m.scores):
        product, scale = _unscaled(scores)
        if isinstance(product.op, MatMul) and product.type == m.softmax.type:
            return _attention(m, product, scale, mask)
    raise Skip


def _unmasked(scores: Value) -> Iterator[tuple[Value, Value | None]]:
    """Scores, and the mask that is added to them."""
    yield scores, None
    if isinstance(scores.op, Add):
        first, second = scores.inputs
        assert first is not None and second is not None
        yield from ((x, mask) for x, mask in ((first, second), (second, first)) if x.type == scores.type)


@rule("attention-where", like(MatMul, like(Softmax, like(Where, "condition", "scores", "=low")), "v"))
def attention_where(m: Match) -> Value:
    """The same where a condition chooses between the scores and a low number."""
    m.used_once("softmax", "where", "scores")
    low = scalar(m.low)
    applies(low is not None and low <= _LOW)
    # Of a row that is hidden throughout, minus infinity makes NaN, and any other number equal weights.
    require(low != -math.inf, "minus infinity makes NaN where all is hidden")
    product, scale = _unscaled(m.scores)
    applies(isinstance(product.op, MatMul) and product.type == m.softmax.type)
    return _attention(m, product, scale, m.condition)


def _attention(m: Match, product: Value, scale: float, mask: Value | None) -> Value:
    """The operator that makes the root of ``product``, the queries times the keys."""
    applies(m.v.type.rank == 4 and normal_axis(m.op("softmax").axis, 4) == 3)
    q, turned = product.inputs
    assert q is not None and turned is not None
    # Attention turns the keys itself, so that only keys which the graph turns too make it shorter.
    if not isinstance(turned.op, Transpose):
        raise Skip
    applies(q.type.shape[:2] == turned.type.shape[:2] == m.v.type.shape[:2])
    perm, keys = turned.op.perm, turned.inputs[0]
    perm = (*perm[:2], perm[3], perm[2])
    k = keys if perm == (0, 1, 2, 3) else Transpose(perm)(keys)
    result: Value = Attention(scale)(q, k, m.v, mask)
    applies(result.type == m.type)
    return result


def _unscaled(scores: Value) -> tuple[Value, float]:
    """What is multiplied by a number or divided by one, and the factor."""
    if isinstance(scores.op, (Multiply, Divide)):
        x, y = scores.inputs
        assert x is not None and y is not None
        number = scalar(y)
        if number is not None and x.type == scores.type and number != 0:
            return x, 1 / number if isinstance(scores.op, Divide) else number
        number = scalar(x)
        if number is not None and y.type == scores.type and isinstance(scores.op, Multiply):
            return y, number
    return scores, 1.0


@rule("causal-mask", like(Attention, "q", "k", "v", "=mask"))
def causal_mask(m: Match) -> Value:
    """A constant mask that lets each query see the keys up to its own is the operator's own."""
    op, mask = m.op("attention"), m.array("mask")
    queries, keys = m.q.type.shape[2], m.k.type.shape[2]
    applies(not op.causal and mask.shape[-2:] == (queries, keys) and mask.shape[:-2] == (1,) * (mask.ndim - 2))
    seen = np.tri(queries, keys, dtype=bool)
    hidden = mask.reshape(seen.shape)
    applies(np.array_equal(hidden if hidden.dtype == bool else hidden == 0, seen))
    require(hidden.dtype == bool or bool(np.all(hidden[~seen] <= _LOW)), "hidden keys still count")
    result: Value = op.replace(causal=True)(m.q, m.k, m.v, None)
    return result


@rule(
    "causal-positions", like(Attention, "q", "k", "v", like((GreaterEqual, LessEqual), "first", "second", bind="seen"))
)
def causal_positions(m: Match) -> Value:
    """The same where the mask compares the queries' positions with the keys'."""
    op, scores = m.op("attention"), (m.q.type.shape[2], m.k.type.shape[2])
    later = isinstance(m.op("seen"), GreaterEqual)
    rows, columns = (m.first, m.second) if later else (m.second, m.first)
    applies(not op.causal and m.seen.type.shape == (1,) * (m.seen.type.rank - 2) + scores)
    applies(rows.type.shape[-2:] == (scores[0], 1) and columns.type.shape[-1] == scores[1])
    applies(_counts(rows) and _counts(columns))
    result: Value = op.replace(causal=True)(m.q, m.k, m.v, None)
    return result


def _counts(positions: Value) -> bool:
    """Whether these are 0, 1, 2, ..., in any shape of one axis and ones."""
    while isinstance(positions.op, (Reshape, ExpandDims)):
        positions = positions.inputs[0]  # type: ignore[assignment]
    op = positions.op
    return isinstance(op, Range) and op.start == 0 and op.step == 1


@rule("drop-mask", like(Attention, "q", "k", "v", "=mask"))
def drop_mask(m: Match) -> Value:
    mask = m.array("mask")
    nothing = bool(np.all(mask if m.mask.type.dtype.is_bool else mask == 0))
    applies(nothing)
    result: Value = m.op("attention")(m.q, m.k, m.v, None)
    require(result.type == m.type, "the mask widens the result")
    return result


_QUERY = like(Transpose, like(Reshape, like(Dense, "x", "=kernel", "?=bias")))


@rule("fold-attention-scale", like(Attention, _QUERY, "k", "v", "?mask"))
def fold_attention_scale(m: Match) -> Value:
    """The scores' scale goes into the dense layer that makes the queries."""
    op, depth = m.op("attention"), m.transpose.type.shape[-1]
    applies(op.scale != 1 and (op.scale is not None or isinstance(depth, int)))
    m.used_once("transpose", "reshape", "dense")
    scale = op.scale if op.scale is not None else 1 / math.sqrt(max(depth, 1))
    kernel = m.weight(m.kernel, m.array("kernel") * scale)
    bias = None if m.bias is None else m.weight(m.bias, m.array("bias") * scale)
    q = Transpose(m.op("transpose").perm)(Reshape(m.reshape.type.shape)(Dense()(m.x, kernel, bias)))
    result: Value = op.replace(scale=1.0)(q, m.k, m.v, m.mask)
    return result


def scale_packed_queries(graph: Graph) -> Graph:
    """The graph with scales of scores in dense layers that make queries, keys and values at once; itself where there are none."""
    arrays, users = Arrays(graph, reads_weights=True), graph.users()
    scales: dict[Node, np.ndarray] = {}
    scaled: set[Node] = set()
    for node in graph.nodes:
        found = _packed(node, users) if isinstance(node.op, Attention) else None
        weights = [] if found is None else [w for w in found[0].inputs[1:] if w is not None]
        if found is not None and all(arrays.known(w) is not None and len(users[w]) == 1 for w in weights):
            dense, columns, scale = found
            vector = scales.setdefault(dense, np.ones(int(dense.types[0].shape[-1])))  # type: ignore[arg-type]
            vector[columns] = scale
            scaled.add(node)

    def change(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        if node in scaled:
            return node.op.replace(scale=1.0)(*inputs).node.results  # type: ignore[no-any-return]
        if node not in scales:
            return None
        return (Dense()(inputs[0], *(_times(w, scales[node], arrays) for w in inputs[1:])),)

    return graph.rebuild(change).replace(weights=arrays.weights) if scaled else graph


def _packed(node: Node, users: Mapping[Value, Sequence[Node | None]]) -> tuple[Node, slice, float] | None:
    """(the dense layer, the columns that are the queries, the scale) of an attention that has a scale."""
    op, value = node.op, node.inputs[0]
    assert isinstance(op, Attention) and value is not None
    depth = value.type.shape[-1]
    if op.scale == 1 or (op.scale is None and not isinstance(depth, int)):
        return None
    while isinstance(value.op, (Transpose, Reshape)) and len(users[value]) == 1:
        value = value.inputs[0]
        assert value is not None
    split, rank = value.op, value.type.rank
    if not isinstance(split, Split) or len(users[value]) > 1 or normal_axis(split.axis, rank) != rank - 1:
        return None
    whole = value.inputs[0]
    assert whole is not None
    if not isinstance(whole.op, Dense) or len(users[whole]) > 1 or not all(isinstance(n, int) for n in split.sizes):
        return None
    start = sum(split.sizes[: value.index])  # type: ignore[arg-type]
    scale = op.scale if op.scale is not None else 1 / math.sqrt(max(depth, 1))  # type: ignore[type-var]
    return whole.node, slice(start, start + split.sizes[value.index]), float(scale)


def _times(weight: Value | None, vector: np.ndarray, arrays: Arrays) -> Value | None:
    """A kernel or bias with its columns scaled."""
    if weight is None:
        return None
    data = np.asarray(arrays.known(weight))
    result = (data * vector).astype(data.dtype)
    return arrays.add(weight.op.label, result) if isinstance(weight.op, Weight) else constant(result)
