"""Adaptive pooling of `keras.ops`: windows that divide an input of any size into so many parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kcompile.ir import Dim
from kcompile.keras import config
from kcompile.keras.ops import arrays, elementwise, neural, reductions
from kcompile.keras.ops.common import kind, op, rank_of, shape_of, tensor


@op
def adaptive_average_pool(inputs: Any, output_size: int | Sequence[int], data_format: str | None = None) -> Any:
    """Means of ``output_size`` windows along each spatial axis; window i of o is cells i n // o to ceil((i + 1) n / o)."""
    return _adaptive(inputs, output_size, data_format, neural.average_pool, _means)


@op
def adaptive_max_pool(inputs: Any, output_size: int | Sequence[int], data_format: str | None = None) -> Any:
    """Largest values of the windows of `adaptive_average_pool`."""
    return _adaptive(inputs, output_size, data_format, neural.max_pool, _maxima)


def _adaptive(x: Any, output_size: Any, data_format: str | None, pool: Any, one_axis: Any) -> Any:
    count = rank_of(x) - 2
    data_format = config.standardize_data_format(data_format)
    wanted = (output_size,) * count if isinstance(output_size, int) else tuple(output_size)
    if len(wanted) != count:
        raise ValueError(f"output_size {output_size} must have one entry for each of the {count} spatial axes")
    first = 1 if data_format == "channels_last" else 2
    sizes = shape_of(x)[first : first + count]
    if all(isinstance(n, int) and n % o == 0 for n, o in zip(sizes, wanted, strict=True)):
        window = tuple(n // o for n, o in zip(sizes, wanted, strict=True))
        return pool(x, window, window, "valid", data_format)
    for axis, out in enumerate(wanted, first):
        x = arrays.moveaxis(one_axis(arrays.moveaxis(x, axis, -1), out), -1, axis)
    return x


def _inside(size: Any, out: int) -> Any:
    """bool [size, out]: which cells are in which window; the size may be symbolic."""
    window = arrays.arange(out, dtype="int64")
    start = elementwise.floor_divide(elementwise.multiply(window, size), out)
    end = elementwise.multiply(elementwise.add(window, 1), size)
    stop = elementwise.floor_divide(elementwise.add(end, out - 1), out)
    cell = arrays.expand_dims(arrays.arange(0, size, dtype="int64"), 1)
    return elementwise.logical_and(elementwise.greater_equal(cell, start), elementwise.less(cell, stop))


def _means(x: Any, out: int) -> Any:
    """[..., n] to [..., out], windows not all of one size."""
    inside = tensor(_inside(shape_of(x)[-1], out), kind(x))
    return arrays.matmul(x, elementwise.divide(inside, reductions.sum(inside, 0, True)))


def _maxima(x: Any, out: int) -> Any:
    size = shape_of(x)[-1]
    if not isinstance(size, Dim):
        # Windows of one length that reach back far enough: each starts where it must, or a cell of it twice.
        length = max(math.ceil((i + 1) * size / out) - i * size // out for i in range(out))
        cells = [
            [min(i * size // out + j, math.ceil((i + 1) * size / out) - 1) for j in range(length)] for i in range(out)
        ]
        return reductions.max(arrays.take(x, cells, -1), -1)
    lowest = elementwise.where(_inside(size, out), arrays.expand_dims(x, -1), -math.inf)
    return reductions.max(lowest, -2)


__all__ = ["adaptive_average_pool", "adaptive_max_pool"]
