"""Tables by their files' names: what reads them, what writes them."""

from __future__ import annotations

import glob
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kcompile.errors import MissingError, UsageError, did_you_mean, printable
from kcompile.tables.columns import ArrayColumn, Column, Outputs, Place

READERS = {
    ".parquet": ("readers", "ParquetReader"), ".csv": ("readers", "TextReader"), ".jsonl": ("readers", "TextReader"),
    ".npy": ("numpy_files", "ArrayReader"), ".npz": ("numpy_files", "ArchiveReader"),
}  # fmt: skip
WRITERS = {
    ".parquet": ("writers", "ParquetWriter"), ".csv": ("writers", "CsvWriter"), ".jsonl": ("writers", "JsonWriter"),
    ".npy": ("numpy_files", "ArrayWriter"),
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Some rows of a file, the first of which is number ``first`` from 0; arrays are Arrow's or numpy's."""

    file: str
    first: int
    arrays: dict[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def column(self, name: str) -> Column:
        """A column ready for a model; UsageError for nulls and for what is neither numbers nor text."""
        place, values = Place(self.file, name, self.first), self.arrays[name]
        if isinstance(values, np.ndarray):
            return ArrayColumn(values, place)
        return _load(("arrow", "to_column"))(values, place)


class Table:
    """Files of one table after another: files, folders and patterns, whose files come in order of their names."""

    def __init__(self, sources: Sequence[str | Path]):
        self.files = [file for source in sources for file in find(source)]
        if not self.files:
            raise UsageError("no files are given")
        self._first = open_file(self.files[0])

    @property
    def names(self) -> list[str]:
        """The columns of the first file; the others may have more."""
        return self._first.names

    def rows(self, names: list[str], size: int) -> Iterator[Rows]:
        """At most ``size`` rows at a time with these columns; at least once, if only without a row.

        Raises UsageError for a file that lacks a column, FileFormatError for one that is damaged.
        """
        none = True
        for number, path in enumerate(self.files):
            reader = open_file(path) if number else self._first
            check_names(path, reader.names, names)
            first = 0
            for arrays in reader.batches(names, size):
                rows = Rows(str(path), first, arrays)
                first += len(rows)
                none = False
                yield rows
        if none:
            yield Rows(str(self.files[0]), 0, self._first.empty(names))


def check_names(path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    """UsageError where a file has not exactly one column of each name."""
    for name in wanted:
        if names.count(name) != 1:
            what = "more than one" if name in names else "no"
            close = "" if name in names else did_you_mean(name, names)
            raise UsageError(f"{path}: it has {what} column {printable(name)!r}{close}")


def find(source: str | Path) -> list[Path]:
    """The files of a file's, a folder's or a pattern's name; UsageError where there are none."""
    path = Path(source)
    if path.is_dir():
        found = [p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path))]
        found = [p for p in found if p.suffix in READERS]
    elif path.exists() or not glob.has_magic(str(source)):
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(str(source), recursive=True)]
    if not found:
        raise UsageError(f"{source}: no file of a table there ({', '.join(READERS)})")
    return sorted(found)


def _hidden(path: Path) -> bool:
    """Whether the name says that it is no data, as Spark and others name their own files."""
    return any(part.startswith((".", "_")) for part in path.parts)


def open_file(path: Path) -> Any:
    """What reads the file; UsageError for a kind that is not known."""
    if path.suffix not in READERS:
        raise UsageError(f"{path}: not a table that can be read ({', '.join(READERS)})")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return _load(READERS[path.suffix])(path)


def check_target(path: Path) -> None:
    """UsageError for a name that no table can be written to, MissingError where pyarrow is needed and not there."""
    if path.suffix not in WRITERS:
        raise UsageError(f"{path}: tables are written as {', '.join(WRITERS)}")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path}: {'is a folder' if path.is_dir() else f'the folder {path.parent} does not exist'}")
    _load(WRITERS[path.suffix])


def open_writer(path: Path, stream: BinaryIO) -> Any:
    """What writes a table of the kind that ``path`` names into the stream."""
    return _load(WRITERS[path.suffix])(stream)


def outputs_to_arrow(outputs: Outputs, dims: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """A model's outputs as Arrow arrays, lists where ``dims`` has a size that varies."""
    to_arrow = _load(("arrow", "to_arrow"))
    return {name: to_arrow(rows, dims[name]) for name, rows in outputs.items()}


def _load(place: tuple[str, str]) -> Any:
    """A class or function of this room that may need pyarrow."""
    module, name = place
    try:
        return getattr(importlib.import_module(f"kcompile.tables.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingError("tables other than .npy and .npz need pyarrow: pip install 'kcompile[parquet]'") from error
