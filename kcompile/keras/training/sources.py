"""Batches out of iterables: generators, torch DataLoaders, PyDatasets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import Any

from kcompile.errors import UsageError, printable
from kcompile.keras import tree
from kcompile.keras.training.arrays import as_tensor, class_weights, plain
from kcompile.keras.training.py_dataset import PyDataset, indices
from kcompile.keras.training.source import Batch, Source
from kcompile.keras.training.workers import load


class IterableData(Source):
    """Batches from an iterable; one that can't be started again (a generator) runs on over epochs."""

    def __init__(self, source: Iterable[Any]):
        self.source = source
        started = iter(source)
        self._running: Iterator[Any] | None = started if started is source else None

    @property
    def num_batches(self) -> int | None:
        try:
            return len(self.source)  # type: ignore[arg-type]
        except TypeError:  # no length, or one that it can't tell (a DataLoader of an IterableDataset)
            return None

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        given = self._running if self._running is not None else iter(self.source)
        for _ in itertools.islice(given, skip):
            pass
        return map(self._batch, given)

    def _batch(self, data: Any) -> Batch:
        # A torch DataLoader collates each batch into a list.
        return tensors(tuple(data) if is_loader(self.source) and isinstance(data, list) else data)


class PyDatasetData(Source):
    """Batches of a `PyDataset`; ``shuffle`` changes the order of the batches each epoch."""

    def __init__(self, dataset: PyDataset, shuffle: bool = False, class_weight: dict[int, float] | None = None):
        self.dataset, self.shuffle, self.class_weight = dataset, shuffle, class_weight

    @property
    def num_batches(self) -> int | None:
        return self.dataset.num_batches

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        order = indices(self.dataset)
        if self.shuffle and self.num_batches is not None:
            shuffled = list(order)
            random.shuffle(shuffled)
            order = iter(shuffled)
        return self._read(itertools.islice(order, skip, None))

    def _read(self, order: Iterator[int]) -> Iterator[Batch]:
        batches = load(self.dataset, order)
        try:
            for index, batch in batches:
                yield tensors(self._weighted(self._checked(index, batch)))
        finally:
            batches.close()  # type: ignore[attr-defined]

    def _checked(self, index: int, batch: Any) -> Any:
        batch = tuple(batch) if isinstance(batch, list) else batch
        known = isinstance(batch, (tuple, dict)) or hasattr(batch, "shape")
        if not known or (isinstance(batch, tuple) and not 1 <= len(batch) <= 3):
            what = f"a tuple of {len(batch)}" if isinstance(batch, tuple) else type(batch).__name__
            raise UsageError(
                f"{type(self.dataset).__name__}[{index}] must give x, (x,), (x, y) or (x, y, sample_weight), gave {what}"
            )
        return batch

    def _weighted(self, batch: Any) -> Any:
        if self.class_weight is None or not isinstance(batch, tuple) or len(batch) < 2:
            return batch
        if len(batch) == 3:
            raise ValueError("You cannot specify `class_weight` and `sample_weight` at the same time.")
        return (*batch, class_weights(plain(batch[1]), self.class_weight))

    def on_epoch_begin(self) -> None:
        self.dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.dataset.on_epoch_end()


def unpack(data: Any) -> Batch:
    """(x, y, sample_weight) of what a generator or a step is given."""
    if data is None or isinstance(data, (list, str)) or (isinstance(data, tuple) and not 1 <= len(data) <= 3):
        told = f"{type(data).__name__} of {len(data)}" if isinstance(data, (tuple, list)) else printable(repr(data))
        raise ValueError(f"a batch must be x, (x,), (x, y) or (x, y, sample_weight), got {told}")
    if isinstance(data, tuple):
        return (*data, None, None)[:3]  # type: ignore[return-value]
    return data, None, None


def tensors(data: Any) -> Batch:
    """A batch as an iterable gives it, in torch."""
    parts = zip(("x", "y", "sample_weight"), unpack(data), strict=True)
    x, y, weight = (
        tree.map_structure(lambda a, name=name: None if a is None else as_tensor(plain(a), name), part)
        for name, part in parts
    )
    return x, y, weight


def is_loader(x: Any) -> bool:
    """True for torch's DataLoader and what derives from it; torch need not be there."""
    return any(c.__name__ == "DataLoader" and c.__module__.startswith("torch.") for c in type(x).__mro__)
