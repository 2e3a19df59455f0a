"""`keras.optimizers`."""

from __future__ import annotations

from typing import Any

from kcompile.keras.optimizers import schedules
from kcompile.keras.optimizers.adam import Adam
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.sgd import SGD

CLASSES: tuple[type[Optimizer], ...] = (SGD, Adam)


def get(identifier: Any) -> Optimizer:
    """The optimizer for a name (any case), a config, a class or an instance."""
    from kcompile.keras.saving.lookup import find

    if isinstance(identifier, str):
        identifier = identifier.lower()
    return find(identifier, CLASSES, "optimizer", {"sgd": SGD, "adam": Adam})


__all__ = ["CLASSES", "SGD", "Adam", "Optimizer", "get", "schedules"]
