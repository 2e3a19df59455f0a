"""Arrow's columns as numpy arrays, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kcompile.errors import printable
from kcompile.tables.columns import ArrayColumn, Column, Place


@dataclass(frozen=True)
class ArrowColumn:
    """A column of numbers, strings, or lists of them to any depth, without nulls."""

    values: pa.Array
    place: Place

    def __len__(self) -> int:
        return len(self.values)

    def shapes(self) -> np.ndarray:
        rows, values = np.arange(len(self)), self.values
        sizes: list[np.ndarray] = []
        while is_list(values.type):
            fixed = pa.types.is_fixed_size_list(values.type)
            size = np.full(len(self), values.type.list_size if fixed else 0)
            if not fixed:
                lengths = pc.list_value_length(values).to_numpy()
                size[rows] = lengths
                odd = np.flatnonzero(size[rows] != lengths)
                if odd.size:
                    raise self.place.error("its inner lists have different lengths", int(rows[odd[0]]))
            else:
                lengths = np.full(len(values), values.type.list_size)
            sizes.append(size)
            rows, values = np.repeat(rows, lengths), values.flatten()
        return np.stack(sizes, -1) if sizes else np.empty((len(self), 0), np.int64)

    def take(self, rows: np.ndarray) -> ArrowColumn:
        return ArrowColumn(self.values.take(pa.array(rows)), self.place)

    def array(self) -> np.ndarray:
        values = self.values
        while is_list(values.type):
            values = values.flatten()
        shape = tuple(self.shapes()[0]) if len(self) else ()
        return values.to_numpy(zero_copy_only=False).reshape(len(self), *shape)

    def __reduce__(self) -> Any:
        # A slice would be pickled with all that it is a slice of.
        sink = pa.BufferOutputStream()
        batch = pa.record_batch([self.values], names=["values"])
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return _unpickled, (sink.getvalue().to_pybytes(), self.place)


def _unpickled(content: bytes, place: Place) -> ArrowColumn:
    with pa.ipc.open_stream(content) as stream:
        return ArrowColumn(stream.read_next_batch().column(0), place)


def is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def to_column(values: Any, place: Place) -> Column:
    """A column of an Arrow array; UsageError for nulls and for what is neither numbers nor text."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if isinstance(values, pa.FixedShapeTensorArray):
        _check_nulls(values.storage, place)
        return ArrayColumn(values.to_numpy_ndarray(), place)
    leaf = _check_nulls(values, place)
    kind = leaf.type
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not numbers and not pa.types.is_string(kind) and not pa.types.is_large_string(kind):
        raise place.error(f"it holds {printable(values.type)}, neither numbers nor text; convert or leave it out")
    return ArrowColumn(values, place)


def _check_nulls(values: Any, place: Place) -> Any:
    """The innermost values; UsageError that names the first row in which one is null."""
    rows = np.arange(len(values))
    while True:
        if values.null_count:
            missing = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
            raise place.error("it is null, or has a null in it; fill in a value", int(rows[missing[0]]))
        if not is_list(values.type):
            return values
        fixed = pa.types.is_fixed_size_list(values.type)
        rows = np.repeat(rows, values.type.list_size if fixed else pc.list_value_length(values).to_numpy())
        values = values.flatten()


def to_arrow(rows: np.ndarray | list[np.ndarray], dims: tuple[Any, ...]) -> pa.Array:
    """An array [rows, *shape], or an array for each row, as numbers, text or lists; ``dims`` tells which sizes are fixed.

    What is one number by its ``dims`` is a number, not a list of it.
    """
    if isinstance(rows, np.ndarray):
        flat, shapes = rows.reshape(-1), np.tile(np.array(rows.shape[1:], dtype=np.int64), (len(rows), 1))
    else:
        flat, shapes = np.concatenate([r.reshape(-1) for r in rows]), np.array([r.shape for r in rows], dtype=np.int64)
    values = pa.array(flat)
    if all(d == 1 for d in dims):
        return values
    for axis in reversed(range(len(dims))):
        if isinstance(dims[axis], int):
            values = pa.FixedSizeListArray.from_arrays(values, dims[axis])
            continue
        lengths = np.repeat(shapes[:, axis], shapes[:, :axis].prod(axis=1))
        values = pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), values)
    return values


def to_rows(table: Any) -> np.ndarray:
    """An Arrow table of numbers as an array [rows, columns], an Arrow array as one of shape [rows, 1]."""
    columns = dict(zip(table.column_names, table.columns, strict=True)) if hasattr(table, "columns") else {"": table}
    arrays = [to_column(values, Place("Arrow table", name)).array() for name, values in columns.items()]
    return np.stack(arrays, axis=-1)
