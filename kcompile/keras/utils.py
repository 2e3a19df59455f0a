"""`keras.utils`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.keras import naming
from kcompile.keras.random_state import set_random_seed
from kcompile.keras.saving.registration import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from kcompile.keras.training.py_dataset import PyDataset

Sequence = PyDataset


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Integer labels as one-hot rows of float64."""
    labels = np.asarray(x, dtype="int64")
    shape = labels.shape[:-1] if labels.ndim > 1 and labels.shape[-1] == 1 else labels.shape
    flat = labels.reshape(-1)
    count = num_classes or int(flat.max()) + 1
    made = np.zeros((len(flat), count))
    made[np.arange(len(flat)), flat] = 1
    return made.reshape((*shape, count))


def clear_session(free_memory: bool = True) -> None:
    """Start automatic names anew."""
    naming.reset()


__all__ = [
    "CustomObjectScope", "PyDataset", "Sequence", "clear_session", "custom_object_scope", "get_custom_objects", "get_registered_name",
    "get_registered_object", "register_keras_serializable", "set_random_seed", "to_categorical",
]  # fmt: skip
