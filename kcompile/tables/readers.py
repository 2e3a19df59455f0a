"""Files that pyarrow reads, piece by piece: Parquet, CSV, JSON lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from kcompile.errors import FileFormatError, printable

BLOCK = 1 << 20  # bytes that are read at a time


class ParquetReader:
    """A Parquet file; no more than some pages of a row group are in memory."""

    def __init__(self, path: Path):
        self.path = path
        with _errors(path), self._open() as file:
            self.schema, footer = file.schema_arrow, file.metadata
            self.group_sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        self.names = list(self.schema.names)

    def _open(self) -> pyarrow.parquet.ParquetFile:
        return pyarrow.parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=BLOCK)

    def batches(self, names: list[str], size: int, groups: list[int] | None = None) -> Iterator[dict[str, Any]]:
        """Arrays by name, at most ``size`` rows at a time, of all row groups or of some."""
        with _errors(self.path), self._open() as file:
            for batch in file.iter_batches(size, row_groups=groups, columns=names):
                yield {name: batch.column(name) for name in names}

    def empty(self, names: list[str]) -> dict[str, Any]:
        """No rows of these columns."""
        return _empty(self.schema, names)


class TextReader:
    """A CSV file or JSON lines; types are those of the first block."""

    def __init__(self, path: Path):
        self.path = path
        with _errors(path), self._open() as file:
            self.schema = file.schema
        self.names = list(self.schema.names)

    def _open(self) -> Any:
        return pyarrow.csv.open_csv(self.path) if self.path.suffix == ".csv" else pyarrow.json.open_json(self.path)

    def batches(self, names: list[str], size: int) -> Iterator[dict[str, Any]]:
        """Arrays by name, at most ``size`` rows at a time."""
        with _errors(self.path), self._open() as file:
            for block in file:
                for start in range(0, block.num_rows, size):
                    yield {name: block.column(name).slice(start, size) for name in names}

    def empty(self, names: list[str]) -> dict[str, Any]:
        """No rows of these columns."""
        return _empty(self.schema, names)


def _empty(schema: pa.Schema, names: list[str]) -> dict[str, Any]:
    table = schema.empty_table()
    return {name: table.column(name).combine_chunks() for name in names}


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Within, what Arrow raises is a FileFormatError."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path}: can't be read: {printable(' '.join(str(error).split()))}") from error
