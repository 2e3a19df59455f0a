"""Products and distances of `keras.ops`."""

from __future__ import annotations

from typing import Any

from kcompile.keras.ops import arrays, reductions
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import float_dtype, op, rank_of, shape_of, tensor
from kcompile.tracing.tensor import promoted


@op
def inner(x1: Any, x2: Any) -> Any:
    """Sums of products over both last axes."""
    if not rank_of(x1) or not rank_of(x2):
        return ew.multiply(x1, x2)
    return arrays.tensordot(x1, x2, axes=[[-1], [-1]])


@op
def vdot(x1: Any, x2: Any) -> Any:
    """The dot product of all elements."""
    return arrays.matmul(arrays.ravel(x1), arrays.ravel(x2))


@op
def kron(x1: Any, x2: Any) -> Any:
    """The Kronecker product: x2 as often as x1 has elements, each copy times that element."""
    rank = max(rank_of(x1), rank_of(x2))
    x1, x2 = (arrays.reshape(x, (*(1,) * (rank - rank_of(x)), *shape_of(x))) for x in (x1, x2))
    left, right = shape_of(x1), shape_of(x2)
    x1 = arrays.reshape(x1, [d for size in left for d in (size, 1)])
    x2 = arrays.reshape(x2, [d for size in right for d in (1, size)])
    return arrays.reshape(ew.multiply(x1, x2), [a * b for a, b in zip(left, right, strict=True)])


@op
def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """The vector products of vectors of 3 (or 2: their third is 0) along an axis; of two pairs, the third alone."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x1, x2 = arrays.moveaxis(x1, axisa, -1), arrays.moveaxis(x2, axisb, -1)
    sizes = shape_of(x1)[-1], shape_of(x2)[-1]
    if any(size not in (2, 3) for size in sizes):
        raise ValueError(f"cross: vectors must have 2 or 3 elements, got {sizes}")
    a, b = ([arrays.take(x, i, -1) for i in range(size)] for x, size in zip((x1, x2), sizes, strict=True))
    third = ew.subtract(ew.multiply(a[0], b[1]), ew.multiply(a[1], b[0]))
    if sizes == (2, 2):
        return third
    a, b = ([*v, ew.multiply(v[0], 0)] if len(v) == 2 else v for v in (a, b))
    first = ew.subtract(ew.multiply(a[1], b[2]), ew.multiply(a[2], b[1]))
    second = ew.subtract(ew.multiply(a[2], b[0]), ew.multiply(a[0], b[2]))
    return arrays.moveaxis(arrays.stack([first, second, third], -1), -1, axisc)


@op
def cdist(x: Any, y: Any) -> Any:
    """Distances [..., P, R] between the points of x [..., P, D] and of y [..., R, D]."""
    target = float_dtype(promoted(x, y))
    apart = ew.subtract(arrays.expand_dims(tensor(x, target), -2), arrays.expand_dims(tensor(y, target), -3))
    return ew.sqrt(reductions.sum(ew.square(apart), -1))


__all__ = ["cdist", "cross", "inner", "kron", "vdot"]
