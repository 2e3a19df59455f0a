"""Reshapes and transposes: merged, cancelled, made cheaper."""

from __future__ import annotations

from collections.abc import Sequence

from kcompile.ir import Type, Value
from kcompile.ir.dims import Dim, DimLike, product
from kcompile.ir.shapes import normal_axes
from kcompile.operators.reduction import All, Any, LogSumExp, Max, Mean, Min, Product, Sum
from kcompile.operators.shape import Expand, ExpandDims, Reshape, Squeeze, Transpose
from kcompile.passes.elementwise import BINARY
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, Skip, applies, require, rule

REDUCTIONS = (Sum, Mean, Max, Min, Product, Any, All, LogSumExp)
_RESHAPING = (Reshape, ExpandDims, Squeeze)


def cheap_reshape(before: Type, shape: Sequence[DimLike]) -> bool:
    """Whether one ONNX Reshape says it with 0 (copied size) and one -1, without computing sizes."""
    odd = [i for i, d in enumerate(shape) if isinstance(d, Dim) and before.shape[i : i + 1] != (d,)]
    rest = product(d for i, d in enumerate(shape) if i not in odd)
    return not odd or (len(odd) == 1 and rest != 0 and 0 not in before.shape)


@rule("transpose-of-transpose", like(Transpose, like(Transpose, "x", bind="inner")))
def transpose_of_transpose(m: Match) -> Value:
    outer, inner = m.op("transpose").perm, m.op("inner").perm
    perm = tuple(inner[i] for i in outer)
    return m.x if perm == tuple(range(len(perm))) else Transpose(perm)(m.x)


@rule("transpose-as-reshape", like(Transpose, "x"))
def transpose_as_reshape(m: Match) -> Value:
    """Moving axes of size 1 moves no element."""
    perm, shape = m.op("transpose").perm, m.x.type.shape
    moved = [i for i in perm if shape[i] != 1]
    applies(moved == sorted(moved))
    require(cheap_reshape(m.x.type, m.type.shape), "the reshape would have to compute sizes")
    return Reshape(m.type.shape)(m.x)


@rule("reshape-of-reshape", like(_RESHAPING, like(_RESHAPING, "x", bind="inner"), bind="outer"))
def reshape_of_reshape(m: Match) -> Value:
    if m.x.type == m.type:
        return m.x
    outer, inner = m.op("outer"), m.op("inner")
    if isinstance(outer, ExpandDims) and isinstance(inner, ExpandDims):
        own = normal_axes(outer.axes, m.type.rank)
        kept = [i for i in range(m.type.rank) if i not in own]
        return ExpandDims(tuple(sorted([*own, *(kept[a] for a in normal_axes(inner.axes, len(kept)))])))(m.x)
    if isinstance(outer, Squeeze) and isinstance(inner, Squeeze):
        own = normal_axes(inner.axes, m.x.type.rank)
        kept = [i for i in range(m.x.type.rank) if i not in own]
        return Squeeze(tuple(sorted([*own, *(kept[a] for a in normal_axes(outer.axes, len(kept)))])))(m.x)
    require(cheap_reshape(m.x.type, m.type.shape), "the reshape would have to compute sizes")
    return Reshape(m.type.shape)(m.x)


@rule("reshape-ones", like(Reshape, "x"))
def reshape_ones(m: Match) -> Value:
    """A Reshape that only adds or drops sizes of 1, and would have to compute sizes, as ExpandDims or Squeeze."""
    applies(not cheap_reshape(m.x.type, m.type.shape))
    more, less = m.type.shape, m.x.type.shape
    for longer, shorter, make in ((more, less, ExpandDims), (less, more, Squeeze)):
        axes = _ones_to_drop(longer, shorter)
        if axes:
            return make(axes)(m.x)
    raise Skip


def _ones_to_drop(longer: Sequence[DimLike], shorter: Sequence[DimLike]) -> tuple[int, ...]:
    """Axes of size 1 without which ``longer`` is ``shorter``; empty where there are none."""
    rest, axes = list(shorter), []
    for i, dim in enumerate(longer):
        if rest and rest[0] == dim:
            rest.pop(0)
        elif dim == 1:
            axes.append(i)
        else:
            return ()
    return () if rest else tuple(axes)


@rule("reshape-of-reduction", like(_RESHAPING, like(REDUCTIONS, "x", bind="reduction"), bind="outer"))
def reshape_of_reduction(m: Match) -> Value:
    """A reduction whose axes are put back (or dropped) afterwards keeps (or drops) them itself."""
    m.used_once("reduction")
    op = m.op("reduction")
    other = op.replace(keepdims=not op.keepdims)(m.x)
    applies(other.type == m.type)
    return other


@rule("reduction-of-sums", like((Sum, Mean), like((Sum, Mean), "x", bind="inner"), bind="outer"))
def reduction_of_sums(m: Match) -> Value:
    return _reduced_once(m)


@rule(
    "reduction-of-extremes",
    like((Max, Min, Product, Any, All), like((Max, Min, Product, Any, All), "x", bind="inner"), bind="outer"),
)
def reduction_of_extremes(m: Match) -> Value:
    """Equal extremes would share the gradient otherwise."""
    return _reduced_once(m)


def _reduced_once(m: Match) -> Value:
    """A reduction of a reduction of the same kind, over the axes of both."""
    outer, inner, rank = m.op("outer"), m.op("inner"), m.x.type.rank
    applies(type(outer) is type(inner))
    m.used_once("inner")
    own = normal_axes(inner.axes, rank)
    kept = list(range(rank)) if inner.keepdims else [i for i in range(rank) if i not in own]
    axes = tuple(sorted({*own, *(kept[a] for a in normal_axes(outer.axes, len(kept)))}))
    result: Value = outer.replace(axes=axes)(m.x)
    require(result.type == m.type, "only one of them keeps its axes")
    return result


@rule("expand-before-broadcast", like(BINARY, like(Expand, "x"), "y", bind="binary"))
def expand_before_left(m: Match) -> Value:
    return _without_expand(m, m.x, m.y)


@rule("expand-before-broadcast-right", like(BINARY, "y", like(Expand, "x"), bind="binary"))
def expand_before_right(m: Match) -> Value:
    return _without_expand(m, m.y, m.x)


def _without_expand(m: Match, left: Value, right: Value) -> Value:
    """The operator broadcasts by itself, where the other operand has the full shape."""
    result: Value = m.op("binary")(left, right)
    applies(result.type == m.type)
    return result
