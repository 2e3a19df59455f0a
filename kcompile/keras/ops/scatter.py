"""Functions of `keras.ops` that add values up at indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras.ops import arrays, elementwise
from kcompile.keras.ops.common import kind, op, rank_of, run, shape_of, tensor
from kcompile.operators import indexing


@op
def scatter(indices: Any, values: Any, shape: Sequence[Any]) -> Any:
    """Zeros of ``shape`` with ``values`` [*i, *rest] added at indices [*i, axes]; equal indices add up."""
    values = tensor(values)
    start = arrays.zeros(tuple(shape), kind(values))
    return run(indexing.ScatterNd("add"), start, tensor(indices, "int64"), values)


@op
def segment_sum(data: Any, segment_ids: Any, num_segments: int, sorted: bool = False) -> Any:
    """Sums of the rows of data [N, ...] by their segment's number [N]; rows of numbers outside are left out."""
    data, ids = tensor(data), tensor(segment_ids, "int64")
    inside = elementwise.logical_and(
        elementwise.greater_equal(ids, 0), elementwise.less(ids, tensor(num_segments, "int64"))
    )
    rows = arrays.reshape(inside, (-1, *(1,) * (rank_of(data) - 1)))
    kept = elementwise.where(rows, data, arrays.zeros((), kind(data)))
    places = elementwise.where(inside, ids, tensor(0, "int64"))
    return scatter(arrays.expand_dims(places, -1), kept, (num_segments, *shape_of(data)[1:]))
