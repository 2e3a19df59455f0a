"""Shape rules that operators share: broadcasting, axes, equal sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kcompile.errors import InferError
from kcompile.ir.dims import Dim, DimLike, maximum

Shape = tuple[DimLike, ...]


def known(shape: Iterable[DimLike]) -> tuple[int | None, ...]:
    """A shape as Keras tells it: None for a symbolic dim."""
    return tuple(None if isinstance(d, Dim) else int(d) for d in shape)


def broadcast_dim(a: DimLike, b: DimLike) -> DimLike:
    """numpy's rule for one dim. Two different symbols: one of them may be 1, so the larger."""
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    if isinstance(a, Dim) and isinstance(b, Dim):
        return maximum(a, b)
    if isinstance(a, Dim):
        return b
    if isinstance(b, Dim):
        return a
    raise InferError(f"sizes {a} and {b} don't broadcast")


def broadcast(*shapes: Sequence[DimLike]) -> Shape:
    """The common shape of several under numpy's broadcasting; raises InferError."""
    result: Shape = ()
    for shape in shapes:
        a, b = result, tuple(shape)
        longest = max(len(a), len(b))
        a, b = (1,) * (longest - len(a)) + a, (1,) * (longest - len(b)) + b
        try:
            result = tuple(broadcast_dim(x, y) for x, y in zip(a, b, strict=True))
        except InferError as error:
            listed = ", ".join(f"({', '.join(map(str, s))})" for s in shapes)
            raise InferError(f"shapes {listed} don't broadcast") from error
    return result


def same_dim(a: DimLike, b: DimLike, what: str) -> DimLike:
    """The size that two dims share. Symbols that differ are taken to be equal when the model runs.

    Raises InferError naming ``what`` for two different integers.
    """
    if a == b or isinstance(b, Dim):
        return min(a, b, key=lambda d: len(str(d))) if isinstance(a, Dim) and isinstance(b, Dim) else a
    if isinstance(a, Dim):
        return b
    raise InferError(f"{what}: sizes {a} and {b} differ")


def normal_axis(axis: int, rank: int) -> int:
    """A negative axis counted from the end; raises InferError outside of the rank."""
    if not -rank <= axis < rank:
        raise InferError(f"axis {axis} is outside of a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis


def normal_axes(axes: Iterable[int] | int | None, rank: int) -> tuple[int, ...]:
    """Sorted axes without negatives; None means all. Raises InferError for a repeat."""
    if axes is None:
        return tuple(range(rank))
    wanted = (axes,) if isinstance(axes, int) else tuple(axes)
    found = sorted(normal_axis(a, rank) for a in wanted)
    if len(set(found)) != len(found):
        raise InferError(f"axes {wanted} repeat")
    return tuple(found)
