"""Columns of a chunk of rows: each row a number, a string or a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kcompile.errors import UsageError, printable


@dataclass(frozen=True)
class Place:
    """Where a column's rows stand, for messages: the file, the column, the number of its first row (from 0)."""

    file: str
    column: str
    first: int = 0

    def error(self, what: str, row: int | None = None) -> UsageError:
        """An error that names file, column and row."""
        column = f", column {printable(self.column)!r}" if self.column else ""
        at = "" if row is None else f", row {self.first + row}"
        return UsageError(f"{printable(self.file)}{column}{at}: {what}")


class Column(Protocol):
    """Rows of one column."""

    @property
    def place(self) -> Place: ...

    def __len__(self) -> int: ...

    def shapes(self) -> np.ndarray:
        """Each row's shape: integers [rows, rank]; UsageError for a row whose lists have no rectangular shape."""

    def take(self, rows: np.ndarray) -> Column:
        """These rows, in this order."""

    def array(self) -> np.ndarray:
        """[rows, *shape] where all rows have one shape."""


@dataclass(frozen=True)
class ArrayColumn:
    """A column that is a numpy array: all rows have one shape."""

    values: np.ndarray
    place: Place

    def __len__(self) -> int:
        return len(self.values)

    def shapes(self) -> np.ndarray:
        return np.tile(np.array(self.values.shape[1:], dtype=np.int64), (len(self), 1))

    def take(self, rows: np.ndarray) -> ArrayColumn:
        return ArrayColumn(self.values[rows], self.place)

    def array(self) -> np.ndarray:
        return self.values


def packed(columns: list[Column]) -> Column:
    """One column, or several columns of numbers as one of vectors."""
    if len(columns) == 1:
        return columns[0]
    for column in columns:
        if column.shapes().shape[1]:
            raise column.place.error("it holds lists, and only columns of single numbers can be packed together")
    return ArrayColumn(np.stack([c.array() for c in columns], axis=-1), columns[0].place)


# What a model gives for some rows: [rows, *shape], or an array for each row where their shapes differ.
Outputs = dict[str, np.ndarray | list[np.ndarray]]
