"""Arrays that stay on the disk: memory maps and HDF5 datasets, of which only the rows at work are read."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class Stored:
    """A memory map's or an HDF5 dataset's rows from ``start`` to ``stop``; slices of it read nothing."""

    def __init__(self, array: Any, start: int = 0, stop: int | None = None):
        self.array, self.start = array, start
        self.stop = len(array) if stop is None else stop

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, rows: slice) -> Stored:
        start, stop, _ = rows.indices(len(self))
        return Stored(self.array, self.start + start, self.start + max(start, stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array[self.start : self.stop], dtype=dtype)

    def parts(self, spans: Iterable[tuple[int, int]], order: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """The rows from each begin to its end, read as they are asked for, in an ``order`` where one is given."""
        _advise(self.array, shuffled=order is not None)
        for begin, end in spans:
            if order is None:
                yield np.asarray(self[begin:end])
                continue
            # HDF5 takes rising numbers only, and a disk gives them sooner.
            rows, back = np.unique(order[begin:end], return_inverse=True)
            yield np.asarray(self.array[self.start + rows])[back]


def _advise(a: Any, shuffled: bool) -> None:
    """Tell the system how a memory map will be read."""
    while isinstance(a, np.ndarray):
        a = a.base
    if isinstance(a, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):  # not on Windows
        a.madvise(advice(len(a), shuffled))


def advice(size: int, shuffled: bool) -> int:
    """For a map of so many bytes.

    Of a file larger than memory, what lies after rows in a random order is read in vain (100 times
    slower); one that may stay in memory is mapped sooner in longer pieces (3 times).
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return mmap.MADV_RANDOM if shuffled and size > memory // 2 else mmap.MADV_NORMAL


def is_stored(a: Any) -> bool:
    """True for a view of a memory map, and for an HDF5 dataset."""
    kind = type(a)
    if kind.__module__.partition(".")[0] == "h5py" and kind.__name__ == "Dataset":
        return len(a.shape) > 0
    while isinstance(a, np.ndarray):
        if isinstance(a, np.memmap):
            return a.ndim > 0
        a = a.base
    return False
