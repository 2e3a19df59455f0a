"""`Source`: what gives the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Batch = tuple[Any, Any, Any]


class Source:
    """Base: iterating gives the batches of one epoch as tensors (x, y, sample_weight)."""

    @property
    def num_batches(self) -> int | None:
        """Batches an epoch, None where there is no end or it is not known."""
        return None

    def __iter__(self) -> Iterator[Batch]:
        raise NotImplementedError(f"{type(self).__name__} must define `__iter__`")

    def on_epoch_begin(self) -> None:
        """Called as an epoch begins."""

    def on_epoch_end(self) -> None:
        """Called as an epoch ends."""
