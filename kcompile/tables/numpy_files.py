"""Arrays in files, piece by piece: .npy and .npz, read and written."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kcompile.errors import FileFormatError, UsageError, printable
from kcompile.tables.columns import Outputs

BAD = (ValueError, OSError, EOFError, zipfile.BadZipFile)


class _Reader:
    """Base: arrays that are read from streams as far as they are needed, not mapped, so that they don't stay in memory."""

    def __init__(self, path: Path):
        self.path = path
        with _errors(path), contextlib.ExitStack() as stack:
            self.heads = {name: _head(stream) for name, stream in self._streams(stack).items()}
        self.names = list(self.heads)
        for name, (shape, fortran, _) in self.heads.items():
            if not shape or fortran:
                what = "is a single number" if not shape else "is stored by columns; save numpy.ascontiguousarray of it"
                raise FileFormatError(f"{path}: array {printable(name)!r} {what}")

    def _streams(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        """Each array's bytes, closed with the stack."""
        raise NotImplementedError

    def batches(self, names: list[str], size: int) -> Iterator[dict[str, Any]]:
        """Arrays by name, at most ``size`` rows at a time."""
        lengths = {self.heads[n][0][0] for n in names}
        if len(lengths) != 1:
            raise UsageError(f"{self.path}: its arrays {names} have different numbers of rows: {sorted(lengths)}")
        length = lengths.pop()
        with _errors(self.path), contextlib.ExitStack() as stack:
            streams = self._streams(stack)
            for name in names:
                _head(streams[name])
            for start in range(0, length, size):
                yield {n: self._rows(n, streams[n], min(size, length - start)) for n in names}

    def _rows(self, name: str, stream: Any, count: int) -> np.ndarray:
        shape, _, dtype = self.heads[name]
        content = stream.read(count * math.prod(shape[1:]) * dtype.itemsize)
        if len(content) < count * math.prod(shape[1:]) * dtype.itemsize:
            raise FileFormatError(f"{self.path}: array {printable(name)!r} ends early")
        return np.frombuffer(content, dtype, count * math.prod(shape[1:])).reshape(count, *shape[1:])

    def empty(self, names: list[str]) -> dict[str, Any]:
        """No rows of these columns."""
        return {n: np.empty((0, *self.heads[n][0][1:]), self.heads[n][2]) for n in names}


class ArrayReader(_Reader):
    """A .npy file: one column without a name."""

    def _streams(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        return {"": stack.enter_context(open(self.path, "rb"))}


class ArchiveReader(_Reader):
    """A .npz file: a column for each of its arrays."""

    def _streams(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        archive = stack.enter_context(zipfile.ZipFile(self.path))
        names = [n for n in archive.namelist() if n.endswith(".npy")]
        return {n.removesuffix(".npy"): stack.enter_context(archive.open(n)) for n in names}


def _head(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether by columns, dtype), which stand before an array's numbers."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the .npy format")
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return shape, fortran, dtype


class ArrayWriter:
    """Writes a .npy file as its rows come; their number is put into the head at the end."""

    def __init__(self, stream: BinaryIO):
        self.stream, self.rows = stream, 0
        self._first: np.ndarray | None = None

    def write(self, kept: dict[str, Any], outputs: Outputs, dims: dict[str, tuple[Any, ...]]) -> None:
        """Rows to follow those that are there; UsageError where they are not of the same shape."""
        (name, rows), *more = outputs.items()
        if kept or more:
            raise UsageError(f".npy holds one array, not {[*kept, *outputs]}; write .parquet or .jsonl")
        if not isinstance(rows, np.ndarray) or (self._first is not None and rows.shape[1:] != self._first.shape[1:]):
            raise UsageError(
                f"rows of {printable(name)!r} have different shapes, which .npy can't hold; write .parquet"
            )
        if rows.dtype.hasobject:
            raise UsageError(f"{printable(name)!r} is text, which .npy can't hold; write .parquet or .jsonl")
        if self._first is None:
            self._first = rows[:0]
            self._head(0)
        self.stream.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def _head(self, rows: int) -> None:
        assert self._first is not None
        # numpy leaves room for the first size to grow, so that the head can be written again.
        told = np.lib.format.header_data_from_array_1_0(self._first) | {"shape": (rows, *self._first.shape[1:])}
        np.lib.format.write_array_header_1_0(self.stream, told)

    def close(self) -> None:
        self.stream.seek(0)
        self._head(self.rows)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Within, what numpy and zipfile raise is a FileFormatError."""
    try:
        yield
    except FileFormatError:
        raise
    except BAD as error:
        raise FileFormatError(f"{path}: not an array file: {printable(error)}") from error
