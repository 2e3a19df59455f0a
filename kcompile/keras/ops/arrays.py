"""Functions of `keras.ops` that reduce, rearrange and make arrays."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from kcompile.ir import dtype
from kcompile.ir.dims import floordiv, product
from kcompile.keras import config
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import (
    as_size,
    as_sizes,
    axes_tuple,
    common,
    kind,
    normal_axis,
    op,
    rank_of,
    run,
    shape_of,
    tensor,
)
from kcompile.operators import creation, indexing, linear, shape
from kcompile.operators.einsum import Einsum

Axis = int | Sequence[int] | None


# ---- shapes


@op
def reshape(x: Any, newshape: Any) -> Any:
    """x with its elements in another shape; one entry may be -1 (or None): what the rest leaves."""
    x = tensor(x)
    old = shape_of(x)
    wanted = [-1 if d is None else d for d in as_sizes(newshape)]
    free = [i for i, d in enumerate(wanted) if isinstance(d, int) and d == -1]
    if len(free) > 1:
        raise ValueError(f"reshape: only one size of {tuple(wanted)} may be -1")
    if free:
        rest = product(d for i, d in enumerate(wanted) if i != free[0])
        total = product(old)
        if isinstance(rest, int) and (rest == 0 or (isinstance(total, int) and total % rest)):
            raise ValueError(f"reshape: a tensor of shape {old} can't take the shape {as_sizes(newshape)}")
        wanted[free[0]] = floordiv(total, rest)
    return run(shape.Reshape(tuple(wanted)), x)


@op
def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """x with its axes in another order; reversed where ``axes`` is None."""
    rank = rank_of(x)
    order = tuple(range(rank))[::-1] if axes is None else tuple(normal_axis(a, rank) for a in axes)
    return run(shape.Transpose(order), x)


@op
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """x with two axes exchanged."""
    rank = rank_of(x)
    order = list(range(rank))
    a, b = normal_axis(axis1, rank), normal_axis(axis2, rank)
    order[a], order[b] = order[b], order[a]
    return run(shape.Transpose(tuple(order)), x)


@op
def moveaxis(x: Any, source: Axis, destination: Axis) -> Any:
    """x with axes moved; the others keep their order."""
    rank = rank_of(x)
    froms = [normal_axis(a, rank) for a in axes_tuple(source) or ()]
    tos = [normal_axis(a, rank) for a in axes_tuple(destination) or ()]
    order = [a for a in range(rank) if a not in froms]
    for to, origin in sorted(zip(tos, froms, strict=True)):
        order.insert(to, origin)
    return run(shape.Transpose(tuple(order)), x)


@op
def expand_dims(x: Any, axis: int | Sequence[int]) -> Any:
    """x with axes of size 1 put in at these places of the result."""
    places = axes_tuple(axis) or ()
    rank = rank_of(x) + len(places)
    return run(shape.ExpandDims(tuple(sorted(normal_axis(a, rank) for a in places))), x)


@op
def squeeze(x: Any, axis: Axis = None) -> Any:
    """x without axes of size 1."""
    sizes = shape_of(x)
    axes = [i for i, d in enumerate(sizes) if d == 1] if axis is None else list(axes_tuple(axis) or ())
    return run(shape.Squeeze(tuple(sorted(normal_axis(a, len(sizes)) for a in axes))), x)


@op
def ravel(x: Any) -> Any:
    """x as one row of elements."""
    return reshape(x, (-1,))


@op
def broadcast_to(x: Any, shape: Any) -> Any:
    """x repeated along axes of size 1 to fill the shape."""
    from kcompile.operators.shape import Expand

    return run(Expand(as_sizes(shape)), x)


@op
def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """Tensors joined along an existing axis."""
    rank = rank_of(xs[0])
    return common(shape.Concat(normal_axis(axis, rank)), *xs)


@op
def stack(x: Sequence[Any], axis: int = 0) -> Any:
    """Tensors joined along a new axis."""
    return concatenate([expand_dims(t, axis) for t in x], axis)


@op
def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Any]:
    """The slices along an axis, as a list."""
    count = num if num is not None else int(shape_of(x)[axis])
    return [squeeze(part, axis) for part in split(x, count, axis)]


@op
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Parts along an axis: so many equal ones, or cut at these indices."""
    rank = rank_of(x)
    axis = normal_axis(axis, rank)
    size = shape_of(x)[axis]
    if isinstance(indices_or_sections, int):
        if isinstance(size, int) and size % indices_or_sections:
            raise ValueError(f"split: {size} elements along axis {axis} don't divide by {indices_or_sections}")
        sizes = [floordiv(size, indices_or_sections)] * indices_or_sections
    else:
        ends = [*(int(i) for i in indices_or_sections), size]
        sizes = [b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    if len(sizes) == 1:
        return [tensor(x)]
    return list(run(shape.Split(tuple(sizes), axis), x))


@op
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """x with elements added around it; mode constant, reflect, edge, symmetric or wrap."""
    rank = rank_of(x)
    if isinstance(pad_width, int):
        pads = ((pad_width, pad_width),) * rank
    else:
        pairs = [tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in pad_width]
        flat = len(pad_width) == 2 and builtins.all(isinstance(p, int) for p in pad_width)
        pads = (tuple(pad_width),) * rank if flat else tuple(pairs * rank if len(pairs) == 1 else pairs)
    return run(shape.Pad(pads, mode, float(constant_values or 0.0)), x)


@op
def tile(x: Any, repeats: Any) -> Any:
    """x repeated so many times along each axis."""
    counts = as_sizes(repeats)
    missing = rank_of(x) - len(counts)
    x = expand_dims(x, tuple(range(-missing))) if missing < 0 else x
    return run(shape.Tile((1,) * builtins.max(missing, 0) + counts), x)


@op
def repeat(x: Any, repeats: int, axis: int | None = None) -> Any:
    """Each element repeated so many times in a row."""
    if axis is None:
        return repeat(ravel(x), repeats, 0)
    axis = normal_axis(axis, rank_of(x))
    sizes, repeats = list(shape_of(x)), as_size(repeats)
    spread = [1] * (len(sizes) + 1)
    spread[axis + 1] = repeats
    tiled = tile(expand_dims(x, axis + 1), spread)
    return reshape(tiled, [*sizes[:axis], sizes[axis] * repeats, *sizes[axis + 1 :]])


@op
def flip(x: Any, axis: Axis = None) -> Any:
    """x with the order of its elements reversed along axes."""
    rank = rank_of(x)
    axes = range(rank) if axis is None else axes_tuple(axis) or ()
    return run(shape.Flip(tuple(normal_axis(a, rank) for a in axes)), x)


@op
def roll(x: Any, shift: Any, axis: Axis = None) -> Any:
    """x with elements moved along axes, those pushed out coming in at the other end."""
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), shape_of(x))
    axes = axes_tuple(axis) or ()
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    for by, along in zip(shifts, axes, strict=True):
        size = shape_of(x)[along]
        cut = size - by % size if isinstance(size, int) else (-by if by < 0 else size - by)
        head, tail = slice_axis(x, along, 0, cut), slice_axis(x, along, cut, size)
        x = concatenate([tail, head], along)
    return x


def slice_axis(x: Any, axis: int, start: Any, stop: Any) -> Any:
    """Elements start to stop along one axis."""
    sizes = shape_of(x)
    axis = normal_axis(axis, len(sizes))
    starts = tuple(start if i == axis else 0 for i in range(len(sizes)))
    stops = tuple(stop if i == axis else d for i, d in enumerate(sizes))
    return run(shape.Slice(starts, stops, (1,) * len(sizes)), x)


# ---- products


@op
def matmul(x1: Any, x2: Any) -> Any:
    """Matrix product over the last two axes."""
    return common(linear.MatMul(), x1, x2)


@op
def einsum(subscripts: str, *operands: Any) -> Any:
    """Sum of products as the subscripts say."""
    return common(Einsum(subscripts), *operands)


@op
def dot(x1: Any, x2: Any) -> Any:
    """numpy's dot: the last axis of x1 with the last but one of x2."""
    a, b = rank_of(x1), rank_of(x2)
    if a == 0 or b == 0:
        return ew.multiply(x1, x2)
    if b <= 2:
        return matmul(x1, x2)
    return tensordot(x1, x2, axes=[[a - 1], [b - 2]])


@op
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Sum of products over pairs of axes."""
    a, b = rank_of(x1), rank_of(x2)
    if isinstance(axes, int):
        left, right = list(range(a - axes, a)), list(range(axes))
    else:
        left, right = ([normal_axis(i, r) for i in (axes_tuple(s) or ())] for s, r in zip(axes, (a, b), strict=True))
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    first, second = list(letters[:a]), list(letters[a : a + b])
    for i, j in zip(left, right, strict=True):
        second[j] = first[i]
    out = [c for i, c in enumerate(first) if i not in left] + [c for j, c in enumerate(second) if j not in right]
    return einsum(f"{''.join(first)},{''.join(second)}->{''.join(out)}", x1, x2)


@op
def outer(x1: Any, x2: Any) -> Any:
    """Products of all pairs."""
    return ew.multiply(reshape(x1, (-1, 1)), reshape(x2, (1, -1)))


# ---- indexing


@op
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Slices of x at integer indices along an axis; negative indices count from the end."""
    if axis is None:
        return take(ravel(x), indices, 0)
    indices = tensor(indices)
    if not kind(indices).is_integer or kind(indices).bits < 32:
        indices = tensor(indices, "int32")
    return run(indexing.Gather(normal_axis(axis, rank_of(x))), x, indices)


@op
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Elements of x at indices that have x's rank."""
    if axis is None:
        return take_along_axis(ravel(x), ravel(indices), 0)
    return run(indexing.GatherElements(normal_axis(axis, rank_of(x))), x, tensor(indices, "int64"))


@op
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """1 at the index, else 0, along a new axis; an index out of range gives zeros."""
    from kcompile.ir import dtype as to_dtype

    if sparse:
        raise ValueError("one_hot: sparse tensors are not supported; leave sparse=False")
    wide = tensor(x) if kind(x).is_integer and kind(x).bits >= 32 else tensor(x, "int32")
    return run(indexing.OneHot(num_classes, axis, to_dtype(dtype or config.floatx())), wide)


# ---- new arrays


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array filled with one number (floatx unless dtype says)."""
    dims = as_sizes(shape)
    target = _to_dtype(dtype or config.floatx())
    if isinstance(fill_value, (bool, int, float)):
        return run(creation.Fill(dims, fill_value, target))
    return broadcast_to(tensor(fill_value, target), dims)


def zeros(shape: Any, dtype: Any = None) -> Any:
    """An array of zeros (floatx unless dtype says)."""
    return full(shape, 0.0, dtype or config.floatx())


def ones(shape: Any, dtype: Any = None) -> Any:
    """An array of ones (floatx unless dtype says)."""
    return full(shape, 1.0, dtype or config.floatx())


def empty(shape: Any, dtype: Any = None) -> Any:
    """An array whose content does not matter: zeros."""
    return zeros(shape, dtype)


@op
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array like x filled with one number."""
    return full(shape_of(x), fill_value, dtype or kind(x))


@op
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros in x's shape and dtype."""
    return full(shape_of(x), 0, dtype or kind(x))


@op
def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones in x's shape and dtype."""
    return full(shape_of(x), 1, dtype or kind(x))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    """Numbers from start (0 where only one is given) up to but not including stop."""
    if stop is None:
        start, stop = 0, start
    floats = builtins.any(isinstance(v, float) for v in (start, stop, step))
    target = _to_dtype(dtype or (config.floatx() if floats else "int32"))
    return run(creation.Range(start, stop, step, target))


def _to_dtype(name: Any) -> Any:
    return dtype(name)


__all__ = [
    "arange", "broadcast_to", "concatenate", "dot", "einsum", "empty", "expand_dims", "flip", "full",
    "full_like", "matmul", "moveaxis", "one_hot", "ones", "ones_like", "outer", "pad",
    "ravel", "repeat", "reshape", "roll", "split", "squeeze", "stack", "swapaxes", "take", "take_along_axis",
    "tensordot", "tile", "transpose", "unstack", "zeros", "zeros_like",
]  # fmt: skip
