"""Operators that do nothing: what they return is what they were given."""

from __future__ import annotations

from kcompile.ir import Value
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.ir.types import DType
from kcompile.operators.gradient import StopGradient
from kcompile.operators.logic import Cast
from kcompile.operators.random import Dropout
from kcompile.operators.shape import (
    Concat,
    Expand,
    ExpandDims,
    Flip,
    Pad,
    Reshape,
    Slice,
    Split,
    Squeeze,
    Tile,
    Transpose,
)
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule

_MOVING = (Reshape, ExpandDims, Squeeze, Transpose, Expand, Slice, Tile, Flip)
_SAME_TYPE = (Reshape, Expand, Cast, Slice, Pad, Tile, ExpandDims, Squeeze, Flip, Transpose)


@rule("no-op", like(_SAME_TYPE, "x", bind="op_"))
def no_op(m: Match) -> Value:
    """Reshape, Expand, Cast, Slice, Pad, Tile ... to what x is already."""
    op = m.op_.op
    applies(m.type == m.x.type)
    if isinstance(op, Transpose):
        applies(op.perm == tuple(range(len(op.perm))))
    elif isinstance(op, Flip):
        applies(all(m.x.type.shape[a] == 1 for a in op.axes))
    elif isinstance(op, Slice):
        applies(all(s == 1 or d == 1 for s, d in zip(op.steps, m.type.shape, strict=True)))
    elif isinstance(op, Pad):
        # Cropping at one end what is added at the other keeps the type too.
        applies(all(n == 0 for pair in op.pads for n in pair))
    elif isinstance(op, Tile):
        applies(all(r == 1 for r in op.repeats))
    return m.x


@rule("concat-one", like(Concat))
def concat_one(m: Match) -> Value:
    applies(len(m.concat.inputs) == 1)
    return m.concat.inputs[0]


@rule("concat-of-concat", like(Concat))
def concat_of_concat(m: Match) -> Value:
    """Concat(a, Concat(b, c)) along one axis is Concat(a, b, c)."""
    op = m.op("concat")
    parts: list[Value] = []
    for value in m.concat.inputs:
        nested = value.op == op and m.uses(value) == 1
        parts += value.inputs if nested else (value,)
    applies(len(parts) > len(m.concat.inputs))
    return op(*parts)


@rule("split-one", like(Split, "x"))
def split_one(m: Match) -> tuple[Value, ...]:
    applies(len(m.split.node.results) == 1)
    return (m.x,)


@rule("concat-of-split", like(Concat))
def concat_of_split(m: Match) -> Value:
    """All parts of a Split in their order, joined along the axis that it cut; single rows from the last to the first."""
    first, rank = m.concat.inputs[0], m.type.rank
    applies(isinstance(first.op, Split) and normal_axis(first.op.axis, rank) == normal_axis(m.op("concat").axis, rank))
    whole: Value = first.inputs[0]
    if m.concat.inputs == first.node.results:
        return whole
    applies(set(first.op.sizes) == {1} and m.concat.inputs == first.node.results[::-1])
    return Flip((normal_axis(first.op.axis, rank),))(whole)


@rule("flip-of-flip", like(Flip, like(Flip, "x", bind="inner")))
def flip_of_flip(m: Match) -> Value:
    """An axis that is turned twice is as it was."""
    outer, inner = (set(normal_axes(m.op(name).axes, m.type.rank)) for name in ("flip", "inner"))
    axes = tuple(sorted(outer ^ inner))
    return Flip(axes)(m.x) if axes else m.x


@rule("flips-around-transpose", like(Flip, like(Transpose, like(Flip, "x", bind="inner"))))
def flips_around_transpose(m: Match) -> Value:
    """The same with the axes moved about in between."""
    turn, rank = m.op("transpose"), m.type.rank
    outer, inner = (set(normal_axes(m.op(name).axes, rank)) for name in ("flip", "inner"))
    applies({turn.perm[i] for i in outer} == inner)
    result: Value = turn(m.x)
    return result


@rule("dropout-zero", like(Dropout, "x", "?seed"))
def dropout_zero(m: Match) -> Value:
    applies(m.op("dropout").rate == 0)
    return m.x


@rule("stop-gradient", like(StopGradient, "x"))
def stop_gradient(m: Match) -> Value:
    """Nothing flows back through a graph that is only run."""
    return m.x


def exact(source: DType, target: DType) -> bool:
    """Whether every value of ``source`` is one of ``target``."""
    if source is target or source.is_bool:
        return True
    if target.is_bool:
        return False
    if source.is_float:
        wider = {"f16": ("f32", "f64"), "bf16": ("f32", "f64"), "f32": ("f64",)}
        return target.name in wider.get(source.name, ())
    value_bits = source.bits - (source.kind == "int")
    if target.is_float:
        return value_bits <= {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}[target.name]
    return (source.kind == "uint" or target.kind == "int") and value_bits <= target.bits - (target.kind == "int")


@rule("cast-of-cast", like(Cast, like(Cast, "x", bind="inner")))
def cast_of_cast(m: Match) -> Value:
    """Two casts are one where the first keeps every value: f16 to f32 to f16, but not f32 to f16 to f32."""
    first, second, third = m.x.type.dtype, m.inner.type.dtype, m.type.dtype
    _require_one(first, second, third)
    return Cast(third)(m.x) if third is not first else m.x


def _require_one(first: DType, second: DType, third: DType) -> None:
    """Skip unless casting in one step is the same as in two."""
    integers = first.is_integer and second.is_integer and third.is_integer
    # Dropping the high bits in one step or in two is the same.
    narrowing = integers and third.bits <= second.bits <= first.bits
    require(exact(first, second) or narrowing, f"{first} to {second} loses digits")


@rule("cast-of-moved-cast", like(Cast, like(_MOVING, like(Cast, "x", bind="inner"), bind="moved")))
def cast_of_moved_cast(m: Match) -> Value:
    """The same where what was cast is moved about in between."""
    m.used_once("moved")
    first, third = m.x.type.dtype, m.type.dtype
    _require_one(first, m.inner.type.dtype, third)
    require(third is first, "another cast would be left")
    result: Value = m.op("moved")(m.x)
    return result


@rule("expand-of-expand", like(Expand, like(Expand, "x", bind="inner")))
def expand_of_expand(m: Match) -> Value:
    return m.op("expand")(m.x)
