"""Files that pyarrow's tables are written to, piece by piece: Parquet, CSV, JSON lines."""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from kcompile.errors import UsageError, printable
from kcompile.tables.arrow import is_list, to_arrow
from kcompile.tables.columns import Outputs

GROUP = 8 << 20  # bytes of a row group, before they are encoded


class TableWriter:
    """Base: kept columns and a model's outputs, chunk by chunk, as record batches of one schema."""

    def __init__(self, stream: BinaryIO):
        self.stream = stream
        self.schema: pa.Schema | None = None

    def write(self, kept: dict[str, Any], outputs: Outputs, dims: dict[str, tuple[Any, ...]]) -> None:
        """Rows to follow those that are there; UsageError where a kept column has another type than before."""
        columns = {
            name: pa.array(values) if not isinstance(values, pa.Array) else values for name, values in kept.items()
        }
        columns |= {name: to_arrow(rows, dims[name]) for name, rows in outputs.items()}
        if self.schema is None:
            self.schema = pa.schema([(name, values.type) for name, values in columns.items()])
            self.begin(self.schema)
        for field in self.schema:
            if columns[field.name].type != field.type:
                raise UsageError(
                    f"column {printable(field.name)!r} is {columns[field.name].type} in one file and {field.type} in those before"
                )
        self.add(pa.record_batch(list(columns.values()), schema=self.schema))

    def begin(self, schema: pa.Schema) -> None:
        """Called before the first rows."""

    def add(self, batch: pa.RecordBatch) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Called after the last rows."""


class ParquetWriter(TableWriter):
    """Parquet, a row group whenever enough rows have come together."""

    def begin(self, schema: pa.Schema) -> None:
        self._file = pyarrow.parquet.ParquetWriter(self.stream, schema)
        self._waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        if sum(b.nbytes for b in self._waiting) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(pa.Table.from_batches(self._waiting))
        self._waiting = []

    def close(self) -> None:
        self._flush()
        self._file.close()


class CsvWriter(TableWriter):
    """CSV; a vector is a column for each of its numbers."""

    def begin(self, schema: pa.Schema) -> None:
        for field in schema:
            if is_list(field.type) and not _is_vector(field.type):
                raise UsageError(
                    f"{printable(field.name)!r} is a {field.type}, which CSV can't hold; write .parquet or .jsonl"
                )
        self._file = pyarrow.csv.CSVWriter(self.stream, _spread(schema.empty_table()).schema)

    def add(self, batch: pa.RecordBatch) -> None:
        self._file.write(_spread(batch))

    def close(self) -> None:
        self._file.close()


def _is_vector(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_list(kind) and not is_list(kind.value_type)


def _spread(table: Any) -> pa.Table:
    """The table with ``x_0``, ``x_1`` ... for a vector x."""
    columns: dict[str, Any] = {}
    for field in table.schema:
        values = table.column(field.name)
        if _is_vector(field.type):
            columns |= {f"{field.name}_{i}": pc.list_element(values, i) for i in range(field.type.list_size)}
        else:
            columns[field.name] = values
    return pa.table(columns)


class JsonWriter(TableWriter):
    """JSON lines; NaN and infinities, which JSON lacks, are text that float() reads."""

    def add(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            try:
                line = json.dumps(row, allow_nan=False, default=str)
            except ValueError:
                line = json.dumps(_finite(row), default=str)
            self.stream.write(line.encode() + b"\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
