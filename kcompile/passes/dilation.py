"""Convolutions over images whose positions were dealt out to the batch: dilated ones. Crops behind convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.ir import Value
from kcompile.ir.dims import DimLike
from kcompile.operators.convolution import Conv
from kcompile.operators.shape import Slice, Transpose
from kcompile.operators.windows import resolve_padding, spatial_shape
from kcompile.passes.affine import channel_axis
from kcompile.passes.elementwise import UNARY
from kcompile.passes.factors import MOVING, Factor, Layout, layout_of, moved
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule


@rule("space-to-batch", like(MOVING, bind="image"))
def space_to_batch(m: Match) -> Value:
    """Every b-th row and column as an image of its own, convolved and put together again: dilated by b."""
    *behind, conv = _down(m, m.image, (*MOVING, *UNARY), once=True)
    applies(isinstance(conv.op, Conv) and m.uses(conv) == 1)
    *before, x = _down(m, conv.inputs[0], MOVING, once=False)
    dealt = _through(layout_of(x.type.shape), before)
    order, blocks = _dealt(conv, dealt, x.type.rank)
    rest = _through(_convolved(conv, dealt), [v for v in behind if isinstance(v.op, MOVING)])
    y = _dilated(conv, blocks)(Transpose(order)(x), *conv.inputs[1:])
    for value in reversed(behind):
        if not isinstance(value.op, MOVING):
            y = value.op(y)
    result: Value = Transpose(tuple(order.index(axis) for axis in _axes(rest)))(y)
    applies(result.type == m.type)
    return result


def _down(m: Match, value: Value | None, classes: tuple[type, ...], once: bool) -> list[Value]:
    """The value, what it is made from through these operators (read ``once`` each), and what is none of them."""
    assert value is not None
    found = [value]
    while isinstance(found[-1].op, classes):
        applies(not once or len(found) == 1 or m.uses(found[-1]) == 1)
        found.append(found[-1].inputs[0])  # type: ignore[arg-type]
    return found


def _through(layout: Layout, chain: Sequence[Value]) -> Layout:
    """The layout behind operators that move elements, the last of which comes first."""
    for value in reversed(chain):
        found = moved(layout, value)
        applies(found is not None)
        layout = found  # type: ignore[assignment]
    return layout


def _spatial(conv: Value) -> list[int]:
    channels = channel_axis(conv.op, conv.type.rank)
    return [i for i in range(1, conv.type.rank) if i != channels]


def _dealt(conv: Value, layout: Layout, rank: int) -> tuple[tuple[int, ...], list[int]]:
    """(the source's axes in the order of the convolution's, the block of each spatial axis)."""
    applies(rank == len(layout) == conv.type.rank)
    groups = [layout[i] for i in range(1, rank)]
    applies(all(len(group) == 1 for group in groups))
    axes = [group[0].axis for group in groups]
    left = [i for i in range(rank) if i not in axes]
    applies(len(left) == 1 and layout[channel_axis(conv.op, rank)][0].inside == 1)
    blocks = [layout[i][0].inside for i in _spatial(conv)]
    applies(max(blocks) > 1)
    return (left[0], *axes), blocks


def _convolved(conv: Value, layout: Layout) -> Layout:
    """The layout of the convolution's result, its own sizes in place of the image's."""
    sizes = conv.type.shape
    return (layout[0], *((Factor(g[0].axis, g[0].inside, sizes[i]),) for i, g in enumerate(layout[1:], 1)))


def _dilated(conv: Value, blocks: Sequence[int]) -> Conv:
    op, kernel = conv.op, conv.inputs[1]
    assert isinstance(op, Conv) and conv.inputs[0] is not None and kernel is not None
    require(set(op.strides) == {1}, "the convolution has strides")
    image = spatial_shape(conv.inputs[0].type, op.data_format)
    pads = resolve_padding(op.padding, image, kernel.type.shape[:-2], op.strides, op.dilations)  # type: ignore[arg-type]
    padding = tuple((int(a) * b, int(c) * b) for (a, c), b in zip(pads, blocks, strict=True))  # type: ignore[arg-type]
    dilations = tuple(d * b for d, b in zip(op.dilations, blocks, strict=True))
    plain = all(pair == (0, 0) for pair in padding)
    return op.replace(padding="valid" if plain else padding, dilations=dilations)


def _axes(layout: Layout) -> list[int]:
    """The source's axis that each axis is, all of it."""
    applies(all(len(group) <= 1 and all(f.inside == 1 for f in group) for group in layout))
    found = [group[0].axis if group else None for group in layout]
    missing = [i for i in range(len(layout)) if i not in found]
    applies(found.count(None) == len(missing))
    return [missing.pop(0) if axis is None else axis for axis in found]


@rule("slice-into-conv", like(Slice, like((Conv, Transpose, *UNARY), bind="whole")))
def slice_into_conv(m: Match) -> Value:
    """Rows and columns that are cut off a convolution's result need no padding."""
    *behind, conv = _down(m, m.whole, (Transpose, *UNARY), once=True)
    applies(isinstance(conv.op, Conv) and m.uses(conv) == m.uses(m.whole) == 1)
    op, rank = m.op("slice"), m.type.rank
    assert isinstance(conv.op, Conv)
    applies(not isinstance(conv.op.padding, str) and set(conv.op.strides) == {1})
    places = list(range(rank))
    for value in reversed(behind):
        places = [places[i] for i in value.op.perm] if isinstance(value.op, Transpose) else places
    cut = {}
    for place, entry in zip(places, zip(op.starts, op.stops, op.steps, strict=True), strict=True):
        cut[place] = _cut(conv.type.shape[place], *entry)
    own: Any = conv.op.padding
    pads = tuple((a - cut[i][0], b - cut[i][1]) for i, (a, b) in zip(_spatial(conv), own, strict=True))
    require(all(n >= 0 for pair in pads for n in pair), "it cuts off more than comes from the padding")
    y: Value = conv.op.replace(padding=pads if any(map(any, pads)) else "valid")(*conv.inputs)
    for value in reversed(behind):
        y = value.op(y)
    applies(y.type == m.type)
    return y


def _cut(size: DimLike, start: DimLike, stop: DimLike | None, step: int) -> tuple[int, int]:
    """What a slice leaves out at either end."""
    applies(step == 1 and isinstance(start, int) and start >= 0)
    if stop is None or stop == size:
        return start, 0  # type: ignore[return-value]
    applies(isinstance(stop, int) and (stop < 0 or isinstance(size, int)))
    after = -stop if stop < 0 else max(size - stop, 0)  # type: ignore[operator]
    return start, after  # type: ignore[return-value]
