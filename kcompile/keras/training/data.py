"""Data of any kind as batches, and epochs of them."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Generator, Iterator
from typing import Any

from kcompile.errors import printable
from kcompile.keras import backend, config, generators, tree
from kcompile.keras.distribution import distributions
from kcompile.keras.training import arguments
from kcompile.keras.training.arrays import ArrayData, numeric
from kcompile.keras.training.parquet import ParquetData, ParquetDataset
from kcompile.keras.training.py_dataset import PyDataset
from kcompile.keras.training.source import Batch, Source, packed
from kcompile.keras.training.sources import IterableData, PyDatasetData, is_loader


def make_data(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool | str = False,
    class_weight: dict[int, float] | None = None,
    steps: int | None = None,
) -> Source:
    """The source of what fit, evaluate or predict was given; what is one already stays.

    Raises ValueError for what can't be iterated, and for arguments that belong into a source's batches.
    """
    if isinstance(x, Source):
        return x
    arguments.optional_integers(1, batch_size=batch_size)
    arguments.one_of((True, False, "batch", None), shuffle=shuffle)
    dataset = isinstance(x, (PyDataset, ParquetDataset))
    if not dataset and not is_loader(x):
        x = numeric(x)
        if any(backend.is_array_like(a) or hasattr(a, "__array__") for a in tree.leaves(x)):
            own = distributions.own_rows()
            return ArrayData(x, numeric(y), numeric(sample_weight), batch_size, shuffle, class_weight, steps, own)
    if not dataset and (not hasattr(x, "__iter__") or isinstance(x, (str, bytes, set, frozenset))):
        hint = "; call the function, a generator is what it returns" if inspect.isgeneratorfunction(x) else ""
        raise ValueError(f"Unrecognized data type: x={printable(x)} (of type {type(x).__name__}){hint}")
    known = next((c.__name__ for c in (PyDataset, ParquetDataset) if isinstance(x, c)), "generator")
    kind = "torch DataLoader" if is_loader(x) else known
    for name, given in (("y", y), ("sample_weight", sample_weight)):
        if given is not None:
            raise ValueError(f"`{name}` must not be given where x is a {kind}: its batches are (x, y, sample_weight)")
    if isinstance(x, PyDataset):
        return PyDatasetData(x, bool(shuffle), class_weight)
    if class_weight is not None:
        raise ValueError(f"`class_weight` is not supported where x is a {kind}: let its batches hold sample weights")
    return ParquetData(x, batch_size, bool(shuffle)) if dataset else IterableData(x)


class Epochs:
    """Epoch after epoch of a source, in groups of ``group`` batches.

    With ``limit`` an epoch has that many batches and the next one goes on where it ended, from the
    start again where the source has no more. ``steps`` is an epoch's number of batches, None while it
    is not known. Closing it ends the source's workers. For a GPU, batches are copied to the ``device`` ahead of
    their turn.
    """

    def __init__(self, source: Source, limit: int | None = None, group: int = 1, device: Any = None):
        most = config.max_steps_per_epoch()
        if most is not None and (limit is None or most < limit):
            warnings.warn(f"Limiting steps_per_epoch to {most}", stacklevel=3)
            limit = most
        self.source, self.limit, self.group, self.device = source, limit, group, device
        self.steps = limit or source.num_batches
        self._batches: Iterator[Batch] | None = None
        self._begun: generators.States | None = None  # of the pass over the data that goes on over epochs
        self._taken = 0  # batches of it

    def epoch(self) -> Generator[tuple[int, list[Batch]], None, None]:
        """(number of the first, batches) for each group of one epoch."""
        self.source.on_epoch_begin()
        if self.limit is None:
            self.close()
        done = 0
        while self.limit is None or done < self.limit:
            wanted = self.group if self.limit is None else min(self.group, self.limit - done)
            batches = self._next(wanted, restart=done == 0)
            if batches:
                yield done, batches
            done += len(batches)
            if len(batches) < wanted:
                self._ended(done)
                break
        self.source.on_epoch_end()

    def _next(self, count: int, restart: bool) -> list[Batch]:
        fresh = self._batches is None
        if self._batches is None:
            self._begin(0)
        assert self._batches is not None
        batches = list(itertools.islice(self._batches, count))
        self._taken += len(batches)
        if not batches and restart and not fresh:
            self.close()
            return self._next(count, False)
        return batches

    def _begin(self, skip: int) -> None:
        """Begin a pass over the data, behind so many batches of it."""
        self._begun = None if self.limit is None else generators.states()
        self._batches, self._taken = self.source.batches(skip), skip
        if self.device is not None:
            self._batches = backend.devices().ahead(self._batches, self.device, tree.flatten, packed)

    def place(self) -> tuple[int, generators.States] | None:
        """Where in the data the next epoch begins, if not at their start: how many batches of the pass are behind it,
        and the states of the generators before the pass, from which it had its order."""
        return None if self._batches is None or self._begun is None else (self._taken, self._begun)

    def go_on(self, taken: int, begun: generators.States) -> None:
        """Go on from a `place`; the generators stay as they are. What can't be asked for by number is read and dropped."""
        now = generators.states()
        generators.set_states(*begun)
        self._begin(taken)
        generators.set_states(*now)

    def _ended(self, done: int) -> None:
        self.close()
        if self.limit is not None or done == 0:
            warnings.warn(
                f"Your input ran out of data after {done} batches of an epoch"
                + (f" of {self.limit}; `steps_per_epoch` times epochs is more than it gives" if self.limit else ""),
                stacklevel=4,
            )
        else:
            self.steps = done

    def close(self) -> None:
        """Stop reading; workers end."""
        if self._batches is not None and hasattr(self._batches, "close"):
            self._batches.close()
        self._batches = None
