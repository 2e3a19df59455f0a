"""Matrices of a pattern, ranges and grids of `keras.ops`."""

from __future__ import annotations

from typing import Any

from kcompile.ir import dtype as to_dtype
from kcompile.keras import config
from kcompile.keras.ops import arrays
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import kind, op, rank_of, run, shape_of, tensor
from kcompile.operators import creation


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Ones on the k-th diagonal of an N x M matrix."""
    rows, columns = arrays.arange(N), arrays.arange(N if M is None else M)
    rows = arrays.expand_dims(rows, 1)
    return tensor(ew.equal(ew.add(rows, k), columns), dtype or config.floatx())


def identity(n: int, dtype: Any = None) -> Any:
    """The n x n identity matrix."""
    return eye(n, dtype=dtype)


@op
def tril(x: Any, k: int = 0) -> Any:
    """x with zeros above the k-th diagonal."""
    return run(creation.Triangle(upper=False, diagonal=k), x)


@op
def triu(x: Any, k: int = 0) -> Any:
    """x with zeros below the k-th diagonal."""
    return run(creation.Triangle(upper=True, diagonal=k), x)


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """``num`` numbers from start to stop, evenly apart along a new axis; with ``retstep`` their step too."""
    target = to_dtype(dtype or config.floatx())
    steps = max(num - 1 if endpoint else num, 1)
    ramp = ew.divide(arrays.arange(0, num, dtype=target), float(steps))
    width = wide = ew.subtract(stop, start)
    if rank_of(width):
        start, wide = (arrays.expand_dims(arrays.broadcast_to(x, shape_of(width)), axis) for x in (start, width))
        spread = [1] * rank_of(wide)
        spread[axis] = num
        ramp = arrays.reshape(ramp, spread)
    made = tensor(ew.add(start, ew.multiply(ramp, wide)), target)
    return (made, ew.divide(width, float(steps))) if retstep else made


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Ones on and below the k-th diagonal of an N x M matrix."""
    rows, columns = arrays.arange(N), arrays.arange(N if M is None else M)
    below = ew.less_equal(columns, ew.add(arrays.expand_dims(rows, 1), k))
    return tensor(below, dtype or config.floatx())


@op
def meshgrid(*x: Any, indexing: str = "xy") -> list[Any]:
    """Coordinates of all points of a grid, one tensor for each axis; "xy" puts the second axis first."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    rows = [arrays.reshape(tensor(v), (-1,)) for v in x]
    order = list(range(len(rows)))
    if indexing == "xy" and len(rows) > 1:
        order[:2] = [1, 0]
    sizes = [shape_of(rows[i])[0] for i in order]
    grids = []
    for i, row in enumerate(rows):
        spread: list[Any] = [1] * len(rows)
        spread[order.index(i)] = shape_of(row)[0]
        grids.append(arrays.broadcast_to(arrays.reshape(row, spread), sizes))
    return grids


@op
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers of each x [M] from 0 up to N - 1 as a row, the highest first unless ``increasing``."""
    count = shape_of(x)[0] if N is None else N
    x = arrays.expand_dims(tensor(x), 1)
    powers = arrays.arange(0, count, dtype="int32")
    powers = powers if increasing else arrays.flip(powers)
    return ew.power(x, tensor(powers, kind(x)))


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10, dtype: Any = None, axis: int = 0
) -> Any:
    """``num`` powers of the base, their exponents evenly apart from start to stop."""
    exponents = linspace(start, stop, num, endpoint, dtype=config.floatx(), axis=axis)
    return tensor(ew.power(float(base), exponents), dtype or kind(exponents))


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """``num`` numbers from start to stop, each the same multiple of the one before; both ends of one sign."""
    start = tensor(start, config.floatx())
    logs = linspace(
        arrays.zeros_like(start), ew.log(ew.divide(stop, start)), num, endpoint, dtype=config.floatx(), axis=axis
    )
    start = arrays.expand_dims(start, axis) if rank_of(start) else start
    return tensor(ew.multiply(start, ew.exp(logs)), dtype or config.floatx())


__all__ = [
    "eye", "geomspace", "identity", "linspace", "logspace", "meshgrid", "tri", "tril", "triu", "vander",
]  # fmt: skip
