"""Parts of tensors: slices, gathers of neighbours, splits and joins, paddings and repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from kcompile.ir import Dim, Value
from kcompile.ir.dims import DimLike
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.operators.arithmetic import Add, Maximum, Minimum
from kcompile.operators.indexing import Gather
from kcompile.operators.reduction import Max, Min, Sum
from kcompile.operators.shape import Concat, Expand, ExpandDims, Flip, Pad, Reshape, Slice, Split, Tile
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, Skip, applies, require, rule

Entry = tuple[DimLike, "DimLike | None", int]  # start, stop and step along one axis
WHOLE: Entry = (0, None, 1)


@rule("slice-of-slice", like(Slice, like(Slice, "x", bind="inner"), bind="outer"))
def slice_of_slice(m: Match) -> Value:
    """One slice, where the positions add up without knowing sizes."""
    inner, outer = _entries(m.op("inner")), _entries(m.op("outer"))
    both = [_within(d, i, o) for d, i, o in zip(m.x.type.shape, inner, outer, strict=True)]
    result = _slice(m.x, both)
    require(result.type == m.type, "the positions depend on sizes")
    return result


def _entries(op: Slice) -> list[Entry]:
    return list(zip(op.starts, op.stops, op.steps, strict=True))


def _slice(x: Value, entries: Sequence[Entry]) -> Value:
    starts, stops, steps = zip(*entries, strict=True)
    result: Value = Slice(starts, stops, steps)(x)
    return result


def _within(size: DimLike, inner: Entry, outer: Entry) -> Entry:
    """The entry that takes ``outer`` of ``inner``."""
    if outer == WHOLE:
        return inner
    if inner == WHOLE:
        return outer
    numbers = [n for n in (*inner[:2], *outer[:2]) if n is not None]
    require(not any(isinstance(n, Dim) for n in numbers), "the positions depend on sizes")
    if isinstance(size, int):
        left = range(size)[slice(*inner)][slice(*outer)]
        return (left.start, left.stop if left.stop >= 0 else None, left.step) if left else (0, 0, 1)
    (first, last, step), (begin, end, stride) = inner, outer
    ahead = min((*numbers, step, stride)) >= 0
    require(ahead, "the positions depend on sizes")
    stops = [] if last is None else [last]
    stops += [] if end is None else [first + max(end - 1, 0) * step + bool(end)]  # type: ignore[operator]
    return first + begin * step, min(stops, default=None), step * stride  # type: ignore[type-var]


@rule("gather-to-slice", like(Gather, "x", "=indices"))
def gather_to_slice(m: Match) -> Value:
    """Rows at regular distances are copied in one go."""
    indices, axis = m.array("indices"), normal_axis(m.op("gather").axis, m.x.type.rank)
    size = m.x.type.shape[axis]
    applies(indices.ndim == 1 and indices.size > 0)
    found = [int(i) for i in indices]
    if isinstance(size, int):
        found = [i + size if i < 0 else i for i in found]
    steps = {b - a for a, b in pairwise(found)} or {1}
    step = steps.pop()
    applies(not steps and step > 0 and found[0] >= 0)
    require(isinstance(size, int), "an index outside of a free size has to fail")
    entries = [WHOLE] * m.x.type.rank
    entries[axis] = (found[0], found[-1] + 1, step)
    result = _slice(m.x, entries)
    applies(result.type == m.type)
    return result


@rule("concat-of-slices", like(Concat))
def concat_of_slices(m: Match) -> Value:
    """Neighbouring slices of one tensor, joined again, are one slice."""
    axis = normal_axis(m.op("concat").axis, m.type.rank)
    parts: list[Value] = []
    for part in m.concat.inputs:
        joined = _joined(parts[-1], part, axis) if parts else None
        parts[-1:] = [joined] if joined is not None else [*parts[-1:], part]
    applies(len(parts) < len(m.concat.inputs))
    result: Value = m.op("concat")(*parts) if len(parts) > 1 else parts[0]
    applies(result.type == m.type)
    return result


def _joined(first: Value, second: Value, axis: int) -> Value | None:
    """The slice that holds both, where one ends and the other begins at the same place."""
    if not (isinstance(first.op, Slice) and isinstance(second.op, Slice) and first.inputs == second.inputs):
        return None
    one, two = _entries(first.op), _entries(second.op)
    others = [i for i in range(len(one)) if i != axis]
    x, (start, stop, step), (begin, end, stride) = first.inputs[0], one[axis], two[axis]
    if any(one[i] != two[i] for i in others) or step != 1 or stride != 1 or stop is None or stop != begin:
        return None
    assert x is not None
    one[axis] = (start, end, 1)
    whole = _slice(x, one)
    # Where the first slice ends beyond the tensor, or before its own start, the two don't meet.
    return whole if whole.type.shape[axis] == first.type.shape[axis] + second.type.shape[axis] else None


@rule("gather-of-new-axis", like(Gather, like(ExpandDims, "x"), "=index"))
def gather_of_new_axis(m: Match) -> Value:
    """The one row along an axis that was put in for it."""
    axes = normal_axes(m.op("expand_dims").axes, m.expand_dims.type.rank)
    index = m.array("index")
    applies(axes == (normal_axis(m.op("gather").axis, m.expand_dims.type.rank),) and index.ndim == 0)
    applies(int(index) in (0, -1))
    whole: Value = m.x
    return whole


@rule("part-of-split", like(Split, "x"))
def part_of_split(m: Match) -> tuple[Value, ...]:
    """Where one part alone is read, the others needn't be copied."""
    sizes, rank = m.op("split").sizes, m.x.type.rank
    axis = normal_axis(m.op("split").axis, rank)
    applies(sum(m.is_read(i) for i in range(len(sizes))) == 1 and all(isinstance(n, int) for n in sizes))
    ends = [0, *accumulate(sizes)]
    rest: tuple[Entry, ...] = (WHOLE,) * rank
    return tuple(_slice(m.x, (*rest[:axis], (a, b, 1), *rest[axis + 1 :])) for a, b in pairwise(ends))


@rule("slice-as-flip", like(Slice, "x"))
def slice_as_flip(m: Match) -> Value:
    """Whole axes from the end to the beginning, which other rules know as Flip."""
    entries, shape = _entries(m.op("slice")), m.x.type.shape
    turned = [
        i
        for i, (start, stop, step) in enumerate(entries)
        if step == -1 and stop is None and start in (-1, shape[i] - 1)
    ]
    applies(bool(turned) and all(entry == WHOLE for i, entry in enumerate(entries) if i not in turned))
    applies(m.x.type == m.type)  # T//2-1 from end to beginning is max(0, T//2-1): equal, which dims don't know
    return Flip(tuple(turned))(m.x)


@rule("slice-of-concat", like(Slice, like(Concat)))
def slice_of_concat(m: Match) -> Value:
    """A slice that lies within one of the joined tensors."""
    axis, op = normal_axis(m.op("concat").axis, m.type.rank), m.op("slice")
    first = 0
    size, (start, stop, step) = m.concat.type.shape[axis], _entries(op)[axis]
    applies(isinstance(size, int) and not isinstance(start, Dim) and not isinstance(stop, Dim))
    taken = range(size)[slice(start, stop, step)]
    applies(len(taken) > 0)
    for part in m.concat.inputs:
        length = int(part.type.shape[axis])
        if first <= min(taken) and max(taken) < first + length:
            entries = _entries(op)
            stop = taken.stop - first
            entries[axis] = (taken.start - first, stop if stop >= 0 else None, step)
            result = _slice(part, entries)
            applies(result.type == m.type)
            return result
        first += length
    raise Skip


@rule("split-of-concat", like(Split, like(Concat)))
def split_of_concat(m: Match) -> tuple[Value, ...]:
    """A join that is cut again where its parts meet."""
    axis = normal_axis(m.op("concat").axis, m.concat.type.rank)
    applies(normal_axis(m.op("split").axis, m.concat.type.rank) == axis)
    rest, found = list(m.concat.inputs), []
    for wanted in m.split.node.types:
        taken: list[Value] = []
        size: DimLike = 0
        while rest and (size != wanted.shape[axis] or not taken):
            taken.append(rest.pop(0))
            size = size + taken[-1].type.shape[axis]
        applies(bool(taken) and size == wanted.shape[axis])
        found.append(Concat(axis)(*taken) if len(taken) > 1 else taken[0])
    applies(not rest and [v.type for v in found] == list(m.split.node.types))
    return tuple(found)


@rule("pad-of-pad", like(Pad, like(Pad, "x", bind="inner", mode="constant"), bind="outer", mode="constant"))
def pad_of_pad(m: Match) -> Value:
    outer, inner = m.op("outer"), m.op("inner")
    m.used_once("inner")
    require(outer.value == inner.value, "they pad with different numbers")
    pairs = [*outer.pads, *inner.pads]
    require(all(n >= 0 for pair in pairs for n in pair), "one of them crops")
    both = zip(outer.pads, inner.pads, strict=True)
    result: Value = outer.replace(pads=tuple((a + c, b + d) for (a, b), (c, d) in both))(m.x)
    return result


@rule("tile-of-tile", like(Tile, like(Tile, "x", bind="inner"), bind="outer"))
def tile_of_tile(m: Match) -> Value:
    repeats = zip(m.op("outer").repeats, m.op("inner").repeats, strict=True)
    return Tile(tuple(a * b for a, b in repeats))(m.x)


@rule("tile-as-expand", like(Tile, "x"))
def tile_as_expand(m: Match) -> Value:
    """Repeating what has size 1 is broadcasting, which many readers do by themselves."""
    applies(all(r == 1 or d == 1 for r, d in zip(m.op("tile").repeats, m.x.type.shape, strict=True)))
    return Expand(m.type.shape)(m.x)


_STACKED = {Sum: Add, Max: Maximum, Min: Minimum}


@rule("reduction-of-stack", like(tuple(_STACKED), like(Concat), bind="reduction"))
def reduction_of_stack(m: Match) -> Value:
    """The sum (or maximum, minimum) of tensors that were stacked for it."""
    op, axis, rank = m.op("reduction"), normal_axis(m.op("concat").axis, m.concat.type.rank), m.concat.type.rank
    applies(op.axes is not None and [normal_axis(a, rank) for a in op.axes] == [axis] and not op.keepdims)
    m.used_once("concat")
    applies(all(isinstance(p.op, (ExpandDims, Reshape)) and m.uses(p) == 1 for p in m.concat.inputs))
    parts = [p.inputs[0] for p in m.concat.inputs]
    applies(len(parts) > 1 and all(p.type == m.type for p in parts))
    total = parts[0]
    for part in parts[1:]:
        total = _STACKED[type(op)]()(total, part)
    return total
