"""`Source`: what gives the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcompile.keras import tree

Batch = tuple[Any, Any, Any]
Span = tuple[int, int]  # from a row up to another


class Rows(tuple[Any, Any, Any]):
    """A batch as a process has it that computes only some of its rows; ``whole`` is how many rows all have."""

    whole: int

    @classmethod
    def of(cls, batch: Batch, whole: int) -> Rows:
        """The batch, marked so."""
        made = cls(batch)
        made.whole = whole
        return made


def length(batch: Any) -> int:
    """The rows of a batch, over all processes; 0 where it has no tensor of rows."""
    if isinstance(batch, Rows):
        return batch.whole
    return max((len(a) for a in tree.leaves(batch) if a is not None and a.ndim), default=0)


def packed(batch: Any, leaves: Any) -> Any:
    """Other leaves in the form of a batch."""
    if isinstance(batch, Rows):
        return Rows.of(tree.pack_like(tuple(batch), leaves), batch.whole)
    return tree.pack_like(batch, leaves)


class Source:
    """Base: ``batches`` gives those of one pass over the data as tensors (x, y, sample_weight)."""

    @property
    def num_batches(self) -> int | None:
        """Batches an epoch, None where there is no end or it is not known."""
        return None

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """One pass from batch ``skip`` on. Its order is drawn now, so that what is drawn later can't change it."""
        raise NotImplementedError(f"{type(self).__name__} must define `batches`")

    def on_epoch_begin(self) -> None:
        """Called as an epoch begins."""

    def on_epoch_end(self) -> None:
        """Called as an epoch ends."""
