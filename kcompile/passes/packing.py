"""Masked recurrent layers over packed steps: moved to the front once, for all layers that follow each other."""

from __future__ import annotations

from kcompile.ir import Value
from kcompile.operators.bidirectional import Bidirectional
from kcompile.operators.indexing import Embedding
from kcompile.operators.packing import PackSteps, UnpackSteps
from kcompile.operators.shape import Flip, Reshape, Transpose
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule
from kcompile.passes.sequences import RECURRENT, TIME_FIRST, row_wise, states_and_mask

_LAYERS = (*RECURRENT, Bidirectional)


def _mask(layer: Value) -> Value | None:
    if isinstance(layer.op, Bidirectional):
        return layer.inputs[7] if len(layer.inputs) > 7 else None
    return states_and_mask(layer.node)[-1]


@rule("pack-steps", like(_LAYERS, bind="layer"))
def pack_steps(m: Match) -> tuple[Value, ...]:
    """A masked layer runs over packed steps, and its outputs are moved back."""
    op, mask, (x, *rest) = m.op("layer"), _mask(m.layer), m.layer.inputs
    applies(mask is not None and not op.front)
    x = Transpose(TIME_FIRST)(x) if op.time_major else x
    packed = Transpose(TIME_FIRST)(PackSteps()(x, mask))
    if isinstance(op, Bidirectional):
        y, *finals = op.replace(front=True, time_major=True)(packed, *rest)
        there, back = (2, 0, 1, 3), (1, 2, 0, 3)
        return Transpose(back)(UnpackSteps(True)(Transpose(there)(y), mask)), *finals
    require(not op.reverse or op.zero_masked or not m.is_read(0), "outputs are repeated from the end on")
    y, *finals = op.replace(front=True, time_major=True, aligned=True, zero_masked=True)(packed, *rest)
    sequence = UnpackSteps(op.zero_masked)(Transpose(TIME_FIRST)(y), mask)
    if op.reverse and not op.aligned:
        sequence = Flip((1,))(sequence)
    return Transpose(TIME_FIRST)(sequence) if op.time_major else sequence, *finals


@rule("packed-already", like(_LAYERS, bind="layer", front=True))
def packed_already(m: Match) -> tuple[Value, ...]:
    """Steps that were just moved back needn't be: what is computed of each of them alone, nothing reads of the others."""
    first, *rest = m.layer.inputs
    applies(isinstance(first.op, Transpose) and first.op.perm == TIME_FIRST)
    pack = first.inputs[0]
    applies(isinstance(pack.op, PackSteps) and pack.inputs[1] is _mask(m.layer))
    chain = []
    value: Value = pack.inputs[0]
    while row_wise(value) or (isinstance(value.op, Reshape) and value.type.shape[:2] == value.inputs[0].type.shape[:2]):  # type: ignore[union-attr]
        applies(m.uses(value) == 1)
        chain.append(value)
        value = value.inputs[0]  # type: ignore[assignment]
    applies(isinstance(value.op, UnpackSteps) and value.inputs[1] is pack.inputs[1])
    y: Value = value.inputs[0]  # type: ignore[assignment]
    for link in reversed(chain):
        y = link.op(y, *link.inputs[1:])
    result: tuple[Value, ...] = m.op("layer")(Transpose(TIME_FIRST)(y), *rest)
    return result


@rule("pack-of-embedding", like(PackSteps, like(Embedding, "table", "ids"), "mask"))
def pack_of_embedding(m: Match) -> Value:
    """Move the ids about instead of what they stand for."""
    m.used_once("embedding")
    applies(m.ids.type.rank == 2)
    return Embedding()(m.table, PackSteps()(m.ids, m.mask))
