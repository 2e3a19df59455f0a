"""Functions of `keras.ops` that write or gather up values at indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.errors import TraceError
from kcompile.ir import DType
from kcompile.keras.ops import arrays, reductions
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import kind, op, rank_of, run, shape_of, tensor
from kcompile.operators import indexing
from kcompile.tracing.scope import located
from kcompile.tracing.tensor import SymbolicTensor


@op
def scatter(indices: Any, values: Any, shape: Sequence[Any]) -> Any:
    """Zeros of ``shape`` with ``values`` [*i, *rest] added at indices [*i, axes]; equal indices add up."""
    values = tensor(values)
    start = arrays.zeros(tuple(shape), kind(values))
    return run(indexing.ScatterNd("add"), start, tensor(indices, "int64"), values)


@op
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Any:
    """inputs with updates [*i, *rest] at indices [*i, axes], in place of what is there or combined with it.

    ``reduction`` is add, max, min, mul or None, with which no index may come twice.
    """
    if reduction not in (None, "add", "max", "min", "mul"):
        raise ValueError(f"scatter_update: reduction must be 'add', 'max', 'min', 'mul' or None, got {reduction!r}")
    inputs = tensor(inputs)
    return run(indexing.ScatterNd(reduction or "none"), inputs, tensor(indices, "int64"), tensor(updates, kind(inputs)))


@op
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """inputs with the block ``updates`` of the same rank at start indices, which may be tensors."""
    inputs = tensor(inputs)
    rank, sizes = rank_of(inputs), shape_of(updates)
    columns = []
    for axis, size in enumerate(sizes):
        places = ew.add(arrays.arange(0, size, dtype="int64"), tensor(start_indices[axis], "int64"))
        spread = [1] * rank
        spread[axis] = size
        columns.append(arrays.broadcast_to(arrays.reshape(places, spread), sizes))
    return scatter_update(inputs, arrays.stack(columns, -1), updates)


# ---- segments


@op
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Sums of the rows of data [N, ...] by their segment's number [N]; rows of numbers outside are left out.

    Without ``num_segments``, the largest number says how many there are; a trace can't know it.
    """
    return _segments(data, segment_ids, num_segments, "add", lambda of: 0)


@op
def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Products of rows by their segment; 1 for a segment without rows."""
    return _segments(data, segment_ids, num_segments, "mul", lambda of: 1)


@op
def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Largest values of rows by their segment; the dtype's lowest for a segment without rows."""
    return _segments(data, segment_ids, num_segments, "max", lambda of: _end(of, lowest=True))


@op
def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Smallest values of rows by their segment; the dtype's largest for a segment without rows."""
    return _segments(data, segment_ids, num_segments, "min", lambda of: _end(of, lowest=False))


def _end(of: DType, lowest: bool) -> float | int:
    if of.is_float:
        return -math.inf if lowest else math.inf
    info = np.iinfo(of.numpy)
    return int(info.min if lowest else info.max)


def _segments(data: Any, segment_ids: Any, count: int | None, reduction: str, neutral: Any) -> Any:
    data, ids = tensor(data), tensor(segment_ids, "int64")
    if count is None:
        if isinstance(ids, SymbolicTensor):
            raise TraceError(located("segments without num_segments give a size that depends on data; give it"))
        count = int(reductions.max(ids)) + 1
    start = arrays.full((count, *shape_of(data)[1:]), neutral(kind(data)), kind(data))
    inside = ew.logical_and(ew.greater_equal(ids, 0), ew.less(ids, tensor(count, "int64")))
    rows = arrays.reshape(inside, (-1, *(1,) * (rank_of(data) - 1)))
    kept = ew.where(rows, data, arrays.full((), neutral(kind(data)), kind(data)))
    places = ew.where(inside, ids, tensor(0, "int64"))
    return run(indexing.ScatterNd(reduction), start, arrays.expand_dims(places, -1), kept)


# ---- windows of images


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _window_cells(size: Any, kernel: int, dilation: int, stride: int) -> Any:
    """int64 [kernel, windows]: the cell under each place of the kernel, for each window along an axis."""
    count = (size - dilation * (kernel - 1) - 1) // stride + 1
    places = ew.multiply(arrays.arange(0, kernel, dtype="int64"), dilation)
    starts = ew.multiply(arrays.arange(0, count, dtype="int64"), stride)
    return ew.add(arrays.expand_dims(places, 1), starts)


@op
def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The windows of images [N, C, H, W] as columns: [N, C * kernel's cells, windows]."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (_pair(v) for v in (kernel_size, dilation, padding, stride))
    x = arrays.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    batch, channels, height, width = shape_of(x)
    rows, columns = _window_cells(height, kh, dh, sh), _window_cells(width, kw, dw, sw)
    x = arrays.take(arrays.take(x, columns, 3), rows, 2)  # [N, C, kh, windows down, kw, windows across]
    x = arrays.transpose(x, (0, 1, 2, 4, 3, 5))
    windows = shape_of(rows)[1] * shape_of(columns)[1]
    return arrays.reshape(x, (batch, channels * kh * kw, windows))


@op
def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Columns [N, C * kernel's cells, windows] put back as images [N, C, H, W]; where windows overlap they add up."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (_pair(v) for v in (kernel_size, dilation, padding, stride))
    height, width = (n + 2 * p for n, p in zip(_pair(output_size), (ph, pw), strict=True))
    rows, columns = _window_cells(height, kh, dh, sh), _window_cells(width, kw, dw, sw)
    down, across = shape_of(rows)[1], shape_of(columns)[1]
    batch, channels = shape_of(x)[0], shape_of(x)[1] // (kh * kw)
    cells = ew.add(
        ew.multiply(arrays.reshape(rows, (kh, 1, down, 1)), width), arrays.reshape(columns, (1, kw, 1, across))
    )
    values = arrays.reshape(x, (batch, channels, kh * kw * down * across))
    summed = segment_sum(arrays.transpose(values, (2, 0, 1)), arrays.reshape(cells, (-1,)), height * width)
    image = arrays.reshape(arrays.transpose(summed, (1, 2, 0)), (batch, channels, height, width))
    image = arrays.slice_axis(image, 2, ph, height - ph)
    return arrays.slice_axis(image, 3, pw, width - pw)


__all__ = [
    "fold", "scatter", "scatter_update", "segment_max", "segment_min", "segment_prod", "segment_sum", "slice_update",
    "unfold",
]  # fmt: skip
