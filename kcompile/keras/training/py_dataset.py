"""`PyDataset`: batches by number, loaded by worker threads or processes where asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any


class PyDataset:
    """Base of datasets that give whole batches: define ``__getitem__(index)`` and ``__len__`` (or ``num_batches``).

    ``num_batches`` of None means batches without end. With ``workers`` above 1, or with
    ``use_multiprocessing``, `fit`, `evaluate` and `predict` load ahead in as many threads or processes,
    at most ``max_queue_size`` batches; batches keep their order. Each process gets a copy of the
    dataset when an epoch starts.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    # What a subclass that does not call super().__init__() gets.
    workers = 1
    use_multiprocessing = False
    max_queue_size = 10

    def __getitem__(self, index: int) -> Any:
        """Batch ``index``: x, (x,), (x, y) or (x, y, sample_weight)."""
        raise NotImplementedError(f"{type(self).__name__} must define `__getitem__(index)`")

    @property
    def num_batches(self) -> int | None:
        """Batches an epoch, None for no end; by default ``len(self)``."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(f"{type(self).__name__} must define the property `num_batches` (or `__len__`)")

    def __iter__(self) -> Iterator[Any]:
        """Batches in order, in this thread."""
        for index in indices(self):
            yield self[index]

    def on_epoch_begin(self) -> None:
        """Called as each epoch begins."""

    def on_epoch_end(self) -> None:
        """Called as each epoch ends."""


def indices(dataset: PyDataset) -> Iterator[int]:
    """The numbers of a dataset's batches."""
    count = dataset.num_batches
    return iter(itertools.count() if count is None else range(count))
