"""Operators that move elements about, or make tensors out of sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.ir import Dim, Type, Value
from kcompile.ir.dims import DimLike, floordiv, product
from kcompile.ir.shapes import broadcast, normal_axes, normal_axis
from kcompile.ir.types import type_of
from kcompile.onnx.reader.reading import Call, decline, reads, require, same_kernel
from kcompile.operators import creation, image, shape
from kcompile.passes.movement import cheap_reshape

_END = 2**31 - 1  # what exporters write for "to the end", and anything beyond


def axes_of(c: Call, operand: int, since: int) -> list[int] | None:
    """Axes, an attribute before opset ``since`` and an operand from then on; None where they are not given."""
    if c.version < since:
        given = c.attr("axes")
        return None if given is None else list(given)
    return None if c.get(operand) is None else c.ints(operand, "axes")


@reads("Identity")
def identity(c: Call) -> Value:
    return c[0]


@reads("Dropout")
def dropout(c: Call) -> Value:
    """Nothing, unless it is in training mode."""
    c.single()
    c.ignore("ratio", "seed")
    training = c.get(2) is not None and bool(c.array(2, "the training mode").item())
    require(c.version >= 7 and not training, "dropout in training mode")
    return c[0]


@reads("Reshape")
def reshape(c: Call) -> Value:
    x = c.type(0)
    target = c.sizes(1, "the target shape") if c.version >= 5 else list(c.attr("shape"))
    if not c.attr("allowzero", 0):
        target = [x.shape[i] if d == 0 else d for i, d in enumerate(target)]
    require(sum(d == -1 for d in target) <= 1, "two sizes of -1")
    if -1 in target:
        rest = product(d for d in target if d != -1)
        require(rest != 0, "a size of -1 beside a size of 0")
        target[target.index(-1)] = floordiv(x.size, rest)
    return shape.Reshape(tuple(target))(c[0])


@reads("Flatten")
def flatten(c: Call) -> Value:
    sizes = c.type(0).shape
    axis = c.attr("axis", 1)
    axis += len(sizes) if axis < 0 else 0
    target = product(sizes[:axis]), product(sizes[axis:])
    require(cheap_reshape(c.type(0), target), "a reshape would have to compute sizes")
    return shape.Reshape(target)(c[0])


@reads("Transpose")
def transpose(c: Call) -> Value:
    return shape.Transpose(c.attr("perm", list(reversed(range(c.type(0).rank)))))(c[0])


@reads("SpaceToDepth")
def space_to_depth(c: Call) -> Value:
    same_kernel("SpaceToDepth", c.type(0))
    return image.SpaceToDepth(c.attr("blocksize"))(c[0])


@reads("DepthToSpace")
def depth_to_space(c: Call) -> Value:
    same_kernel("DepthToSpace", c.type(0))
    return image.DepthToSpace(c.attr("blocksize"), c.attr("mode", "DCR") == "CRD")(c[0])


@reads("Unsqueeze")
def unsqueeze(c: Call) -> Value:
    axes = axes_of(c, 1, 13)
    return shape.ExpandDims(tuple(axes))(c[0]) if axes is not None else decline("no axes")


@reads("Squeeze")
def squeeze(c: Call) -> Value:
    axes = axes_of(c, 1, 13)
    if axes is None:
        require(c.type(0).is_static, "which sizes are 1 is not known before the model runs")
        axes = [i for i, d in enumerate(c.type(0).shape) if d == 1]
    return shape.Squeeze(tuple(axes))(c[0]) if axes else c[0]


@reads("Concat")
def concat(c: Call) -> Value:
    return shape.Concat(c.attr("axis", 1))(*(c[i] for i in range(len(c.operands))))


@reads("Expand")
def expand(c: Call) -> Value:
    same_kernel("Expand", c.type(0))
    return shape.Expand(broadcast(c.type(0).shape, c.sizes(1, "the target shape")))(c[0])


@reads("Tile")
def tile(c: Call) -> Value:
    same_kernel("Tile", c.type(0))
    return shape.Tile(tuple(c.sizes(1, "repeats")))(c[0])


@reads("Split")
def split(c: Call) -> tuple[Value, ...]:
    axis = normal_axis(c.attr("axis", 0), c.type(0).rank)
    size, count = c.type(0).shape[axis], len(c.wanted)
    given = c.attr("split") if c.version < 13 else None if c.get(1) is None else c.sizes(1, "sizes")
    if given is None:
        given = _even(size, count)
    c.ignore("num_outputs")
    require(len(given) == count, f"sizes {given} for {count} results")
    results = shape.Split(tuple(given), axis)(c[0])
    return results if isinstance(results, tuple) else (results,)


def _even(size: DimLike, count: int) -> list[DimLike]:
    """Sizes of an even split, the last one smaller where it does not come out."""
    if isinstance(size, int):
        part = -(-size // count)
        return [min(part, size - part * i) for i in range(count)]
    share = floordiv(size, count)
    require(share * count == size, "an even split of a size that is not known")
    return [share] * count


@reads("Slice")
def slice_(c: Call) -> Value:
    x = c.type(0)
    if c.version < 10:
        starts, ends = list(c.attr("starts")), list(c.attr("ends"))
        axes, steps = c.attr("axes"), None
    else:
        starts, ends = c.sizes(1, "starts"), c.sizes(2, "ends")
        axes = None if c.get(3) is None else c.ints(3, "axes")
        steps = None if c.get(4) is None else c.ints(4, "steps")
    axes = list(range(len(starts))) if axes is None else [normal_axis(a, x.rank) for a in axes]
    entries: list[tuple[Any, Any, int]] = [(0, None, 1)] * x.rank
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(axes), strict=True):
        entries[axis] = _entry(x.shape[axis], start, end, step)
    columns = zip(*entries, strict=True)
    return shape.Slice(*columns)(c[0])


def _entry(size: DimLike, start: DimLike, end: DimLike, step: int) -> tuple[DimLike, DimLike | None, int]:
    """(start, stop, step) of the IR, which reads numbers as Python does."""
    require(step != 0, "a step of 0")
    if step > 0:
        stop = None if isinstance(end, int) and end >= (size if isinstance(size, int) else _END) else end
        return start, stop, step
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        # ONNX holds a start within the axis where Python, going backwards, gives nothing.
        first = min(max(start + size if start < 0 else start, 0), size - 1)
        last = min(max(end + size if end < 0 else end, -1), size - 1)
        return first, None if last < 0 else last, step
    whole = (start == -1 or (isinstance(start, int) and start >= _END)) and isinstance(end, int) and end <= -_END
    return (-1, None, step) if whole else decline("a slice backwards whose ends depend on the size")


@reads("ReverseSequence")
def reverse_sequence(c: Call) -> Value:
    """A Flip where every sequence has the length of the axis."""
    time = c.attr("time_axis", 0)
    c.ignore("batch_axis")
    lengths = c[1]
    while isinstance(lengths.op, (shape.Expand, shape.Reshape, shape.ExpandDims, shape.Squeeze)):
        lengths = lengths.inputs[0]  # type: ignore[assignment]
    held = c.held(lengths)
    found = (
        [lengths.op.value]
        if isinstance(lengths.op, creation.Fill)
        else []
        if held is None
        else held.reshape(-1).tolist()
    )
    require(bool(found) and all(n == c.type(0).shape[time] for n in found), "sequences of other lengths")
    return shape.Flip((time,))(c[0])


@reads("Pad")
def pad(c: Call) -> Value:
    x, mode = c.type(0), c.attr("mode", "constant")
    same_kernel("Pad", x)
    if c.version < 11:
        flat, value = list(c.attr("pads", c.attr("paddings"))), c.attr("value", 0.0)
    else:
        flat, value = c.ints(1, "pads"), 0.0
        if c.get(2) is not None:
            value = c.array(2, "the padded value").reshape(-1)[0].item()
    axes = list(range(x.rank)) if c.get(3) is None else [normal_axis(a, x.rank) for a in c.ints(3, "axes")]
    pairs = [(0, 0)] * x.rank
    for axis, before, after in zip(axes, flat[: len(axes)], flat[len(axes) :], strict=True):
        pairs[axis] = (before, after)
    require(mode in ("constant", "edge", "reflect"), f"mode {mode}")
    fits = all(isinstance(d, Dim) or max(pair) < d for d, pair in zip(x.shape, pairs, strict=True))
    require(mode != "reflect" or fits, "a mirror image of more than there is")
    return shape.Pad(tuple(pairs), mode, value if mode == "constant" else 0.0)(c[0])


# ---- sizes and what is made of them


@reads("Shape")
def shape_of(c: Call) -> Value:
    return creation.Shape(c.attr("start", 0), c.attr("end"))(c[0])


@reads("ConstantOfShape")
def constant_of_shape(c: Call) -> Value:
    value = np.asarray(c.attr("value", np.zeros(1, np.float32)))
    kind: Type = type_of(value)
    same_kernel("Expand", kind)
    return creation.Fill(tuple(c.sizes(0, "the shape")), value.reshape(-1)[0].item(), kind.dtype)()


@reads("Range")
def range_(c: Call) -> Value:
    require(c.type(0).dtype.name == "i64", "a range of other numbers than int64")
    ends = [c.sizes(i, "an end")[0] for i in range(3)]
    require(isinstance(ends[2], int) and ends[2] != 0, "a step that is not known")
    return creation.Range(*ends)()


@reads("Trilu")
def trilu(c: Call) -> Value:
    same_kernel("Trilu", c.type(0))
    diagonal = 0 if c.get(1) is None else c.ints(1, "the diagonal")[0]
    return creation.Triangle(bool(c.attr("upper", 1)), diagonal)(c[0])


def reduced(c: Call, since: int) -> tuple[tuple[int, ...], bool]:
    """(axes, keepdims) of a reduction."""
    axes, rank, none = axes_of(c, 1, since), c.type(0).rank, c.attr("noop_with_empty_axes", 0)
    if not axes:
        axes = [] if none else list(range(rank))
    return normal_axes(axes, rank), bool(c.attr("keepdims", 1))
