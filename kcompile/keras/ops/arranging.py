"""Joining, cutting, turning and indexing of `keras.ops`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from kcompile.ir import Dim
from kcompile.ir.dims import floordiv, minimum, product
from kcompile.keras import config
from kcompile.keras.ops import arrays, core, reductions
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import kind, op, rank_of, run, shape_of, tensor
from kcompile.operators.shape import Slice

# ---- copies


def array(x: Any, dtype: Any = None) -> Any:
    """x as a tensor."""
    return tensor(x, dtype)


@op
def copy(x: Any) -> Any:
    """A tensor of its own with x's elements."""
    x = tensor(x)
    return arrays.concatenate([x]) if rank_of(x) else arrays.reshape(arrays.concatenate([arrays.reshape(x, (1,))]), ())


def dtype(x: Any) -> str:
    """The name of x's dtype."""
    return kind(x).keras


def empty_like(x: Any, dtype: Any = None) -> Any:
    """An array like x whose content does not matter: zeros."""
    return arrays.zeros_like(x, dtype)


def get_item(x: Any, key: Any) -> Any:
    """x[key]."""
    return core.getitem(x, key)


# ---- joining and cutting


@op
def append(x1: Any, x2: Any, axis: int | None = None) -> Any:
    """x2 after x1 along an axis; both as rows of elements where axis is None."""
    if axis is None:
        return arrays.concatenate([arrays.ravel(x1), arrays.ravel(x2)])
    return arrays.concatenate([x1, x2], axis)


def _widened(x: Any, *places: int) -> Any:
    """x with axes of size 1 put in one after the other, until there are as many axes as places."""
    x = tensor(x)
    for place in places[rank_of(x) :]:
        x = arrays.expand_dims(x, place)
    return x


@op
def hstack(xs: Sequence[Any]) -> Any:
    """Tensors joined along the second axis, rows along their only one."""
    parts = [_widened(x, 0) for x in xs]
    return arrays.concatenate(parts, 0 if rank_of(parts[0]) == 1 else 1)


@op
def vstack(xs: Sequence[Any]) -> Any:
    """Tensors joined along the first axis; rows become the rows of a matrix."""
    return arrays.concatenate([_widened(x, 0, 0) for x in xs], 0)


@op
def dstack(xs: Sequence[Any]) -> Any:
    """Tensors joined along the third axis."""
    return arrays.concatenate([_widened(x, 0, 0, 2) for x in xs], 2)


@op
def array_split(x: Any, indices_or_sections: int, axis: int = 0) -> list[Any]:
    """Parts along an axis, whose sizes may differ by one: the larger ones come first."""
    size = shape_of(x)[axis]
    if not isinstance(indices_or_sections, int):
        raise TypeError(
            f"Argument `indices_or_sections` must be of type `int`. Received: indices_or_sections={indices_or_sections}"
        )
    if isinstance(size, Dim):
        raise ValueError(f"array_split: axis {axis} needs a fixed size, got {size}")
    least, more = divmod(size, indices_or_sections)
    ends = [(i + 1) * least + min(i + 1, more) for i in range(indices_or_sections - 1)]
    return arrays.split(x, ends, axis)


@op
def hsplit(x: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along the second axis, of a row along its only one."""
    return arrays.split(x, indices_or_sections, 0 if rank_of(x) == 1 else 1)


@op
def vsplit(x: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along the first axis."""
    return arrays.split(x, indices_or_sections, 0)


@op
def dsplit(x: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along the third axis."""
    return arrays.split(x, indices_or_sections, 2)


# ---- turning


@op
def fliplr(x: Any) -> Any:
    """x with its second axis reversed."""
    return arrays.flip(x, 1)


@op
def flipud(x: Any) -> Any:
    """x with its first axis reversed."""
    return arrays.flip(x, 0)


@op
def rot90(array: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """The plane of two axes turned by k quarters, from the first towards the second."""
    if rank_of(array) < 2 or len(axes) != 2:
        raise ValueError(f"rot90: two axes of a tensor of at least two, got axes={axes} of shape {shape_of(array)}")
    a, b = axes
    turns = k % 4
    if turns == 0:
        return tensor(array)
    if turns == 2:
        return arrays.flip(array, (a, b))
    turned = arrays.flip(array, b) if turns == 1 else array
    turned = arrays.swapaxes(turned, a, b)
    return turned if turns == 1 else arrays.flip(turned, b)


@op
def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Axes split, ordered and merged as in einops: ``"b (h p) c -> b h (p c)"`` with ``p=2``.

    Raises ValueError where the two sides don't name the same axes or a size can't be known.
    """
    left, arrow, right = pattern.partition("->")
    groups = [re.findall(r"\w+", part) for part in re.findall(r"\w+|\(.*?\)", left)]
    wanted = [re.findall(r"\w+", part) for part in re.findall(r"\w+|\(.*?\)", right)]
    order, result = ([name for group in side for name in group] for side in (groups, wanted))
    if not arrow or sorted(order) != sorted(result) or len(set(order)) != len(order):
        raise ValueError(f"rearrange: both sides of {pattern!r} must name the same axes, each once")
    sizes = shape_of(tensor)
    if len(groups) != len(sizes):
        raise ValueError(f"rearrange: {pattern!r} names {len(groups)} axes, the tensor has the shape {sizes}")
    known: dict[str, Any] = dict(axes_lengths)
    for group, size in zip(groups, sizes, strict=True):
        free = [name for name in group if name not in known]
        if len(free) > 1:
            raise ValueError(f"rearrange: give the sizes of all but one of {', '.join(free)} in {pattern!r}")
        rest = product(known[name] for name in group if name in known)
        if free:
            known[free[0]] = floordiv(size, rest)
        if product(known[name] for name in group) != size:
            raise ValueError(f"rearrange: an axis of size {size} does not split into {' '.join(group)}")
    x = arrays.reshape(tensor, [known[name] for name in order])
    x = arrays.transpose(x, [order.index(name) for name in result])
    return arrays.reshape(x, [product(known[name] for name in group) for group in wanted])


@op
def depth_to_space(x: Any, block_size: int, data_format: str | None = "channels_last") -> Any:
    """Channels laid out as blocks of positions: [N, H, W, b * b * C] to [N, H * b, W * b, C]."""
    if config.standardize_data_format(data_format) == "channels_first":
        return rearrange(x, "n (c p q) h w -> n c (h p) (w q)", p=block_size, q=block_size)
    return rearrange(x, "n h w (p q c) -> n (h p) (w q) c", p=block_size, q=block_size)


@op
def space_to_depth(x: Any, block_size: int, data_format: str | None = "channels_last") -> Any:
    """Blocks of positions laid out as channels: the inverse of `depth_to_space`."""
    if config.standardize_data_format(data_format) == "channels_first":
        return rearrange(x, "n c (h p) (w q) -> n (c p q) h w", p=block_size, q=block_size)
    return rearrange(x, "n (h p) (w q) c -> n h w (p q c)", p=block_size, q=block_size)


# ---- diagonals


@op
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The elements on a diagonal of the plane of two axes, as a new last axis."""
    if rank_of(x) < 2:
        raise ValueError(f"diagonal: x must have at least two axes, got the shape {shape_of(x)}")
    x = arrays.moveaxis(x, (axis1, axis2), (-2, -1))
    *outer, rows, columns = shape_of(x)
    first, start = max(-offset, 0), max(offset, 0)
    count = minimum(rows - first, columns - start)
    places = ew.multiply(arrays.arange(0, count, dtype="int64"), columns + 1)
    places = ew.add(places, first * columns + start)
    return arrays.take(arrays.reshape(x, (*outer, rows * columns)), places, -1)


@op
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal."""
    return reductions.sum(diagonal(x, offset, axis1, axis2), -1)


@op
def diag(x: Any, k: int = 0) -> Any:
    """The k-th diagonal of a matrix, or the matrix that has x [N] on it and zeros elsewhere."""
    if rank_of(x) == 2:
        return diagonal(x, k)
    if rank_of(x) != 1:
        raise ValueError(f"diag: x must have one or two axes, got the shape {shape_of(x)}")
    x = arrays.pad(x, ((max(-k, 0), max(k, 0)),))
    size = shape_of(x)[0]
    places = arrays.arange(0, size, dtype="int64")
    on = ew.equal(ew.add(arrays.expand_dims(places, 1), k), places)
    return ew.where(on, arrays.expand_dims(x, 1), tensor(0, kind(x)))


@op
def diagflat(x: Any, k: int = 0) -> Any:
    """The matrix with all elements of x on its k-th diagonal."""
    return diag(arrays.ravel(x), k)


# ---- indexing


@op
def slice(inputs: Any, start_indices: Any, shape: Sequence[Any]) -> Any:
    """The block of a shape that begins at start indices: numbers, or tensors where they depend on data."""
    x = tensor(inputs)
    starts = [start_indices[i] for i in range(rank_of(x))]
    if all(isinstance(s, (int, Dim)) for s in starts):
        stops = tuple(s + n for s, n in zip(starts, shape, strict=True))
        return run(Slice(tuple(starts), stops, (1,) * len(starts)), x)
    for axis, (start, size) in enumerate(zip(starts, shape, strict=True)):
        x = arrays.take(x, ew.add(arrays.arange(0, size, dtype="int64"), tensor(start, "int64")), axis)
    return x


@op
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """The choice of the first condition that holds, else the default."""
    result = default
    for condition, choice in zip(reversed(list(condlist)), reversed(list(choicelist)), strict=True):
        result = ew.where(condition, choice, result)
    return result


@op
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Which elements of x1 are among those of x2 (with ``invert``: are not)."""
    found = reductions.any(ew.equal(arrays.expand_dims(x1, -1), arrays.ravel(x2)), -1)
    return ew.logical_not(found) if invert else found


@op
def unravel_index(indices: Any, shape: Sequence[int]) -> tuple[Any, ...]:
    """Places in a tensor of a shape of the elements with these numbers."""
    indices, found, below = tensor(indices), [], math.prod(shape)
    indices = ew.where(ew.less(indices, 0), ew.add(indices, below), indices)
    for size in shape:
        below //= max(size, 1)
        found.append(ew.mod(ew.floor_divide(indices, below), size))
    return tuple(found)


@op
def argpartition(x: Any, kth: int, axis: int = -1) -> Any:
    """Indices (int32) that put the kth smallest in its place, none larger before it: here, all in order."""
    return reductions.argsort(x, axis)


@op
def multi_hot(
    inputs: Any, num_classes: int | None = None, axis: int = -1, dtype: Any = None, sparse: bool = False, **kwargs: Any
) -> Any:
    """1 for each class that is among the integers [N] (or in a row of [B, N]), else 0."""
    num_classes = kwargs.pop("num_tokens", num_classes)
    if num_classes is None or kwargs:
        raise ValueError(f"multi_hot: give num_classes; unknown arguments: {sorted(kwargs)}")
    hot = arrays.one_hot(inputs, num_classes, axis, dtype, sparse)
    return reductions.max(hot, 1 if rank_of(inputs) > 1 else 0)


# ---- windows over sequences and images


@op
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """Stretches of x [..., T] that begin ``sequence_stride`` apart: [..., count, sequence_length]."""
    count = floordiv(shape_of(x)[-1] - sequence_length, sequence_stride) + 1
    starts = ew.multiply(arrays.arange(0, count, dtype="int64"), sequence_stride)
    places = ew.add(arrays.expand_dims(starts, 1), arrays.arange(0, sequence_length, dtype="int64"))
    return arrays.take(x, places, -1)


__all__ = [
    "append", "argpartition", "array", "array_split", "copy", "depth_to_space", "diag", "diagflat", "diagonal",
    "dsplit", "dstack", "dtype", "empty_like", "extract_sequences", "fliplr", "flipud", "get_item",
    "hsplit", "hstack", "isin", "multi_hot", "rearrange", "rot90", "select", "slice",
    "space_to_depth", "trace", "unravel_index", "vsplit", "vstack",
]  # fmt: skip
