"""Datasets out of arrays: `timeseries_dataset_from_array`, `split_dataset`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kcompile.errors import UsageError
from kcompile.keras import backend, tree
from kcompile.keras.training.py_dataset import PyDataset


class Windows(PyDataset):
    """Windows of a series, and the targets at their starts, in batches."""

    def __init__(self, data: Any, targets: Any, starts: np.ndarray, offsets: np.ndarray, batch_size: int):
        super().__init__()
        self.data, self.targets, self.starts, self.offsets, self.batch_size = data, targets, starts, offsets, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.starts) / self.batch_size)

    def __getitem__(self, index: int) -> Any:
        starts = self.starts[index * self.batch_size : (index + 1) * self.batch_size]
        windows = self.data[starts[:, None] + self.offsets]
        return windows if self.targets is None else (windows, self.targets[starts])


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> Windows:
    """Windows of ``sequence_length`` rows of a series as a `PyDataset` of batches, with their targets where given.

    Windows begin every ``sequence_stride`` rows and take every ``sampling_rate``-th row; ``targets[i]`` belongs to the
    window that begins at row i. Without ``batch_size`` each window is a batch of one.
    """
    rows = np.asarray(data)
    first, last = start_index or 0, len(rows) if end_index is None else end_index
    if not 0 <= first < last <= len(rows):
        raise ValueError(
            f"rows {first} to {last} are no part of a series of {len(rows)}: see `start_index`, `end_index`"
        )
    for name, step in (("sampling_rate", sampling_rate), ("sequence_stride", sequence_stride)):
        if not 0 < step < len(rows):
            raise ValueError(f"`{name}` must be higher than 0 and lower than the {len(rows)} rows, got {step}")
    count = last - first - (sequence_length - 1) * sampling_rate
    count = count if targets is None else min(count, len(targets))
    starts = np.arange(0, count, sequence_stride)
    if shuffle:
        np.random.default_rng(seed).shuffle(starts)
    offsets = np.arange(sequence_length) * sampling_rate
    after = None if targets is None else np.asarray(targets)[first:last]
    return Windows(rows[first:last], after, starts, offsets, batch_size or 1)


class Rows(PyDataset):
    """Some rows of a structure of arrays, one at a time."""

    def __init__(self, arrays: Any, chosen: np.ndarray):
        super().__init__()
        self.arrays, self.chosen = arrays, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Any:
        row = self.chosen[index]
        return tree.map_structure(lambda a: a[row : row + 1], self.arrays)


def split_dataset(
    dataset: Any,
    left_size: float | int | None = None,
    right_size: float | int | None = None,
    shuffle: bool = False,
    seed: int | None = None,
) -> tuple[Rows, Rows]:
    """Two `PyDataset`s of the first and the last rows of an array, or of a list or tuple of arrays; a row is a batch.

    Sizes are numbers of rows, or shares between 0 and 1; one may be left out. Raises UsageError where they don't fit.
    """
    arrays = tuple(dataset) if isinstance(dataset, list) else dataset
    leaves = tree.flatten(arrays)
    lengths = {len(a) for a in leaves if backend.is_array_like(a)}
    if len(lengths) != 1 or not all(backend.is_array_like(a) for a in leaves):
        raise TypeError(
            "split_dataset takes an array, or a list or tuple of arrays of one length; split other data by hand"
        )
    total = lengths.pop()
    if left_size is None and right_size is None:
        raise ValueError("At least one of the `left_size` or `right_size` must be specified")
    left, right = _rows(left_size, total, "left_size"), _rows(right_size, total, "right_size")
    left = total - right if left is None else left  # type: ignore[operator]
    right = total - left if right is None else right
    if left + right > total or left < 1 or right < 1:
        raise UsageError(f"{total} rows can't be split into {left} and {right}")
    order = np.random.default_rng(seed).permutation(total) if shuffle else np.arange(total)
    return Rows(arrays, order[:left]), Rows(arrays, order[total - right :])


def _rows(size: float | int | None, total: int, name: str) -> int | None:
    if size is None or isinstance(size, int):
        return size
    if not 0 < size < 1:
        raise ValueError(f"`{name}` is a number of rows or a share between 0 and 1, got {size}")
    return round(size * total)
