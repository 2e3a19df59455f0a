"""Recurrent layers: both directions in one operator, outputs where they belong, time before batch.

ONNX's recurrent operators want [time, batch, features] and can run in both directions at once. The
transposes that this takes stand in the graph, where they meet each other and cancel.
"""

from __future__ import annotations

from collections.abc import Sequence

from kcompile.ir import Constant, Graph, Node, Value, Weight, origin
from kcompile.ir.dims import DimLike
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.operators.activation import LogSoftmax, Softmax
from kcompile.operators.bidirectional import Bidirectional
from kcompile.operators.indexing import Embedding, Gather
from kcompile.operators.linear import Dense
from kcompile.operators.normalization import BatchNorm, LayerNorm, RmsNorm
from kcompile.operators.recurrence import Recurrent
from kcompile.operators.recurrent import Gru, Lstm, SimpleRnn
from kcompile.operators.shape import Concat, ExpandDims, Flip, Reshape, Slice, Split, Transpose
from kcompile.passes.elementwise import UNARY
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule

TIME_FIRST = (1, 0, 2)
RECURRENT = (Lstm, Gru, SimpleRnn)


def merge_directions(graph: Graph) -> Graph:
    """The graph with recurrent layers that read one sequence from both ends as one; itself where there are none."""
    pairs = _pairs(graph)
    if not pairs:
        return graph
    made: dict[Node, tuple[list[Value], list[Value]]] = {}

    def change(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        pair = pairs.get(node)
        if pair is None:
            return None
        if pair[0] not in made:
            assert inputs[0] is not None
            with origin(node.origin):
                mask = inputs[-1] if states_and_mask(node)[-1] is not None else None
                made[pair[0]] = _both(inputs[0], mask, *pair)
        return made[pair[0]][pair.index(node)]

    return graph.rebuild(change)


def _pairs(graph: Graph) -> dict[Node, tuple[Node, Node]]:
    """Nodes that run forwards and backwards over one sequence, by each of the two."""
    users = graph.users()
    waiting: dict[tuple, list[Node]] = {}
    pairs: dict[Node, tuple[Node, Node]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, RECURRENT):
            continue
        *begun, mask = states_and_mask(node)
        if node.op.time_major and (mask is not None or (node.op.reverse and not node.op.aligned)):
            continue
        # With a mask the two in one give zeros at masked steps.
        zeros = mask is None or node.op.zero_masked or not users[node.results[0]]
        if any(v is not None for v in begun) or not zeros:
            continue
        weights = [v for v in node.inputs[1:4] if v is not None]
        if not all(isinstance(v.op, (Weight, Constant)) for v in weights):
            continue
        if node.op.reverse and not node.op.aligned and not all(_flips_time(u) for u in users[node.results[0]]):
            continue
        plain = node.op.replace(reverse=False, aligned=False)
        others = waiting.setdefault((plain, node.inputs[0], mask, node.types, len(weights)), [])
        partner = next((o for o in others if o.op.reverse != node.op.reverse), None)  # type: ignore[attr-defined]
        if partner is None:
            others.append(node)
        else:
            others.remove(partner)
            pair = (partner, node) if node.op.reverse else (node, partner)
            pairs.update(dict.fromkeys(pair, pair))
    return pairs


def states_and_mask(node: Node) -> list[Value | None]:
    """Initial states and mask, None where absent."""
    count = len(node.types)
    given = list(node.inputs[4:])
    return given + [None] * (count - len(given))


def _flips_time(user: Node | None) -> bool:
    return user is not None and isinstance(user.op, Flip) and normal_axes(user.op.axes, 3) == (1,)


def _both(x: Value, mask: Value | None, forwards: Node, backwards: Node) -> tuple[list[Value], list[Value]]:
    """The results of the two nodes, from one operator."""
    op, units = forwards.op, forwards.types[0].shape[2]
    assert isinstance(op, Recurrent) and isinstance(backwards.op, Recurrent)
    fields = {k: v for k, v in op.attributes().items() if k in Bidirectional.fields}
    # An absent operand at the end may be missing from the tuple.
    weights = tuple(n.inputs[i] if i < len(n.inputs) else None for n in (forwards, backwards) for i in (1, 2, 3))
    first = mask is None
    y, *states = Bidirectional(op.name, **{**fields, "time_major": first})(
        Transpose(TIME_FIRST)(x) if first and not op.time_major else x, *weights, mask
    )
    apart = (0, 2, 1, 3) if op.time_major else (2, 0, 1, 3)
    parts = [_halves(Transpose(apart)(y), units)] + [_halves(Transpose(TIME_FIRST)(s), units) for s in states]
    ahead, back = [p[0] for p in parts], [p[1] for p in parts]
    if not backwards.op.aligned:
        back[0] = Flip((1,))(back[0])
    return ahead, back


def _halves(both: Value, units: DimLike) -> tuple[Value, ...]:
    """[..., 2, U] as the two [..., U]."""
    shape = both.type.shape
    return Split((units, units), len(shape) - 2)(Reshape((*shape[:-2], 2 * units))(both))


@rule("flip-into-recurrent", like(RECURRENT, bind="layer"))
def flip_into_recurrent(m: Match) -> tuple[Value, ...]:
    """A layer over a sequence that is turned about runs backwards."""
    op, (x, *rest) = m.op("layer"), m.layer.inputs
    applies(states_and_mask(m.layer.node)[-1] is None)
    time = 0 if op.time_major else 1
    turned = isinstance(x.op, Transpose) and x.op.perm == TIME_FIRST
    flip = x.inputs[0] if turned else x
    applies(isinstance(flip.op, Flip) and normal_axes(flip.op.axes, 3) == (1 - time if turned else time,))
    x = Transpose(TIME_FIRST)(flip.inputs[0]) if turned else flip.inputs[0]
    sequence, *finals = op.replace(reverse=not op.reverse, aligned=not op.reverse)(x, *rest)
    in_order = op.reverse and not op.aligned
    return sequence if in_order else Flip((time,))(sequence), *finals


@rule("last-step", like((Slice, Gather), bind="step"))
def last_step(m: Match) -> Value:
    """The last step of a sequence is the layer's state at its end."""
    layer: Value = m.step.inputs[0]
    turned = isinstance(layer.op, Transpose) and layer.op.perm == TIME_FIRST
    layer = layer.inputs[0] if turned else layer  # type: ignore[assignment]
    op = layer.op
    applies(isinstance(op, RECURRENT) and layer.index == 0)
    assert isinstance(op, Recurrent)
    time = 0 if op.time_major != turned else 1
    # Aligned, what a layer backwards computes last stands at the front.
    applies(_place(m, time) == ("first" if op.reverse and op.aligned else "last"))
    *begun, mask = states_and_mask(layer.node)
    # Without a step that counts, the sequence is zeros and the state what it began with.
    require(mask is None or (not op.zero_masked and begun[0] is None), "the last step may be masked")
    state = layer.node.results[1]
    return ExpandDims((time,))(state) if isinstance(m.step.op, Slice) else state


def _place(m: Match, time: int) -> str:
    """Which one step along an axis a Slice or Gather takes."""
    op, size = m.op("step"), m.step.inputs[0].type.shape[time]
    if isinstance(op, Gather):
        index = m.known(m.step.inputs[1])
        applies(index is not None and index.ndim == 0 and normal_axis(op.axis, 3) == time)
        start: DimLike = int(index)  # type: ignore[arg-type]
    else:
        entries = list(zip(op.starts, op.stops, op.steps, strict=True))
        start, *_ = entries.pop(time)
        applies(m.type.shape[time] == 1 and all(entry == (0, None, 1) for entry in entries))
    return "last" if start in (-1, size - 1) else "first" if start == 0 else ""


@rule("time-first", like(RECURRENT, bind="layer"))
def time_first(m: Match) -> tuple[Value, ...]:
    op, (x, *rest) = m.op("layer"), m.layer.inputs
    # A masked one moves steps about along time, which wants the batch first.
    applies(not op.time_major and states_and_mask(m.layer.node)[-1] is None)
    sequence, *finals = op.replace(time_major=True)(Transpose(TIME_FIRST)(x), *rest)
    return Transpose(TIME_FIRST)(sequence), *finals


@rule("transpose-of-embedding", like(Transpose, like(Embedding, "table", "ids")))
def transpose_of_embedding(m: Match) -> Value:
    """Move the ids about instead of what they stand for."""
    m.used_once("embedding")
    *perm, last = m.op("transpose").perm
    applies(last == len(perm))
    return Embedding()(m.table, Transpose(tuple(perm))(m.ids))


@rule("transpose-of-moved-embedding", like(Transpose, like(Embedding, "table", like(Transpose, "ids", bind="inner"))))
def transpose_of_moved_embedding(m: Match) -> Value:
    """Where what the ids stand for is moved about too, one transposition does both."""
    m.used_once("embedding", "inner")
    perm, rank = m.op("transpose").perm, m.type.rank
    applies(perm[-1] != rank - 1)
    before = (*m.op("inner").perm, rank - 1)
    return Transpose(tuple(before[i] for i in perm))(Embedding()(m.table, m.ids))


@rule("transpose-of-merge", like(Transpose, like(Reshape, like(Transpose, "x", bind="inner"))))
def transpose_of_merge(m: Match) -> Value:
    """A Reshape that joins the last two axes stands between two transposes: they become one before it."""
    m.used_once("reshape", "inner")
    *perm, last = m.op("transpose").perm
    before, after = m.inner.type.shape, m.reshape.type.shape
    applies(last == len(perm) and len(before) == len(after) + 1 and before[:-2] == after[:-1])
    joined = Transpose((*perm, last, last + 1))(m.inner)
    return Reshape(m.type.shape)(joined)


@rule("concat-of-transposes", like(Concat))
def concat_of_transposes(m: Match) -> Value:
    """Sequences that are all moved about alike, then joined: joined first."""
    parts = m.concat.inputs
    first = parts[0].op
    applies(len(parts) > 1 and isinstance(first, Transpose) and first.perm == TIME_FIRST)
    applies(all(v.op == first and m.uses(v) == 1 for v in parts))
    axis = first.perm[normal_axis(m.op("concat").axis, 3)]
    return Transpose(TIME_FIRST)(Concat(axis)(*(v.inputs[0] for v in parts)))


@rule("transposes-around", like(Transpose, like((*UNARY, Dense, LayerNorm, RmsNorm, BatchNorm, Softmax, LogSoftmax),
                                                bind="chain")))  # fmt: skip
def transposes_around(m: Match) -> Value:
    """Between two transposes that cancel, operators that treat every row alone."""
    perm = m.op("transpose").perm
    rank = len(perm)
    applies(perm[-1] == rank - 1)
    chain: list[Value] = []
    value: Value = m.chain
    while row_wise(value):
        applies(m.uses(value) == 1)
        chain.append(value)
        value = value.inputs[0]  # type: ignore[assignment]
    applies(bool(chain) and isinstance(value.op, Transpose) and tuple(perm[i] for i in perm) == tuple(range(rank)))
    applies(value.op.attributes()["perm"] == perm)
    y: Value = value.inputs[0]  # type: ignore[assignment]
    for link in reversed(chain):
        y = link.op(y, *link.inputs[1:])
    return y


def row_wise(value: Value) -> bool:
    """Whether the operator treats every row of its first operand alone, with vectors or matrices beside it."""
    op, rank = value.op, value.type.rank
    if isinstance(op, (*UNARY, Dense)):
        return True
    if isinstance(op, (LayerNorm, RmsNorm)):
        return normal_axes(op.axes, rank) == (rank - 1,)
    return isinstance(op, (BatchNorm, Softmax, LogSoftmax)) and normal_axis(op.axis, rank) == rank - 1
