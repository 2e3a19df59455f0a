"""`ParquetDataset`: training data in Parquet files, more than memory holds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import UsageError
from kcompile.keras import backend
from kcompile.keras.training.arrays import as_tensor
from kcompile.keras.training.source import Batch, Source
from kcompile.keras.training.workers import ahead
from kcompile.tables.columns import Column, packed
from kcompile.tables.files import Rows, check_names, find, open_file

Columns = str | Sequence[str] | dict[str, str | Sequence[str]]


@dataclass(frozen=True)
class Group:
    """A row group: its reader, its number in the file, the number of its first row there, its rows."""

    reader: Any
    number: int
    first: int
    rows: int


class ParquetDataset:
    """Rows of Parquet files for fit, evaluate and predict, which read them a row group at a time.

    ``source`` is a file, a folder, a pattern or a list of them. ``features``, ``target`` and
    ``sample_weight`` are columns: a name is a tensor as the column holds it (a number is of shape
    [1]), a list of names a vector of numbers, a dict one of them for each input or output.

    With ``shuffle=True``, which is fit's default, row groups come in a random order, and rows are mixed
    among the ``buffer`` that are in memory: the larger, the better mixed. `keras.utils.set_random_seed`
    fixes both. Raises UsageError for a column that is not there or whose rows have different shapes, or
    is null somewhere; MissingError without pyarrow.
    """

    def __init__(
        self,
        source: str | Path | Sequence[str | Path],
        features: Columns,
        target: Columns | None = None,
        sample_weight: Columns | None = None,
        buffer: int = 16384,
    ):
        if buffer < 1:
            raise UsageError(f"buffer must be at least 1, got {buffer}")
        self.buffer = buffer
        self.parts = [_by_name(part) for part in (features, target, sample_weight)]
        self.leaves = [names for part in self.parts for names in part.values()]
        self.names = list(dict.fromkeys(name for names in self.leaves for name in names))
        self.groups: list[Group] = []
        for path in [p for s in ([source] if isinstance(source, (str, Path)) else source) for p in find(s)]:
            self._add(path)

    def _add(self, path: Path) -> None:
        if path.suffix != ".parquet":
            raise UsageError(f"{path}: not a .parquet file")
        reader = open_file(path)
        check_names(path, reader.names, self.names)
        first = 0
        for number, rows in enumerate(reader.group_sizes):
            self.groups.append(Group(reader, number, first, rows))
            first += rows

    def __len__(self) -> int:
        """Rows in all."""
        return sum(group.rows for group in self.groups)


class ParquetData(Source):
    """Batches of a `ParquetDataset`; what comes next is read in a thread while a batch is at work."""

    def __init__(self, dataset: ParquetDataset, batch_size: int | None = None, shuffle: bool = False):
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size or 32, shuffle

    @property
    def num_batches(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        # Drawn here, in fit's thread: there dropout draws from the same generator.
        random = np.random.default_rng(backend.engine().permutation(64).numpy()) if self.shuffle else None
        return self._read(random, skip)

    def _read(self, random: np.random.Generator | None, skip: int) -> Iterator[Batch]:
        """The batches, without the first ones, whose rows are read all the same: they mix with those behind them."""
        left: list[np.ndarray] = []
        with contextlib.closing(ahead(self._buffers(random))) as buffers:
            for arrays in buffers:
                joined = [np.concatenate(pair) for pair in zip(left, arrays, strict=True)] if left else arrays
                whole = len(joined[0]) // self.batch_size * self.batch_size
                skipped = min(skip * self.batch_size, whole)
                skip -= skipped // self.batch_size
                for start in range(skipped, whole, self.batch_size):
                    yield self._batch([a[start : start + self.batch_size] for a in joined])
                left = [a[whole:] for a in joined]
        if left and len(left[0]) and not skip:
            yield self._batch(left)

    def _batch(self, arrays: list[np.ndarray]) -> Batch:
        tensors = map(as_tensor, arrays)
        parts = [{name: next(tensors) for name in part} for part in self.dataset.parts]
        x, y, weight = (part.get("", part or None) for part in parts)
        return x, y, weight

    def _buffers(self, random: np.random.Generator | None) -> Iterator[list[np.ndarray]]:
        """The arrays of about as many rows as the buffer holds, mixed where rows are shuffled."""
        groups, size = self.dataset.groups, self.dataset.buffer
        waiting: list[list[np.ndarray]] = []
        shapes: list[tuple[int, ...] | None] = [None] * len(self.dataset.leaves)
        for i in range(len(groups)) if random is None else random.permutation(len(groups)):
            first = groups[i].first
            for arrays in groups[i].reader.batches(self.dataset.names, size, [groups[i].number]):
                rows = Rows(str(groups[i].reader.path), first, arrays)
                first += len(rows)
                columns = [[rows.column(name) for name in names] for names in self.dataset.leaves]
                waiting.append([_array(c, shape) for c, shape in zip(columns, shapes, strict=True)])
                shapes = [a.shape[1:] for a in waiting[-1]]
                if sum(len(a[0]) for a in waiting) >= size:
                    yield _mixed(waiting, random)
                    waiting = []
        if waiting:
            yield _mixed(waiting, random)


def _by_name(part: Columns | None) -> dict[str, tuple[str, ...]]:
    """Names of columns for each input or output, or for the only one, which is called ""."""
    given = {} if part is None else part if isinstance(part, dict) else {"": part}
    return {name: (names,) if isinstance(names, str) else tuple(names) for name, names in given.items()}


def _array(columns: list[Column], shape: tuple[int, ...] | None) -> np.ndarray:
    """Columns as one array, a number as a vector of one; UsageError where rows are not of the ``shape`` of those before."""
    column = packed(columns)
    shapes = column.shapes() if column.shapes().shape[1] else np.ones((len(column), 1), np.int64)
    wanted = shapes[:1] if shape is None else np.array([shape])
    same = shapes.shape[1] == wanted.shape[1]
    odd = np.flatnonzero((shapes != wanted).any(axis=1)) if same else np.arange(len(column))
    if odd.size:
        told = f"its shape is {shapes[odd[0]].tolist()}, that of rows before {wanted[0].tolist()}"
        raise column.place.error(f"{told}; write rows of one shape", int(odd[0]))
    array = column.array()
    return array if array.ndim > 1 else array[:, None]


def _mixed(chunks: list[list[np.ndarray]], random: np.random.Generator | None) -> list[np.ndarray]:
    """The chunks' rows as one, in a random order where there is one."""
    joined = [np.concatenate(column) for column in zip(*chunks, strict=True)]
    if random is None:
        return joined
    order = random.permutation(len(joined[0]))
    return [a[order] for a in joined]
