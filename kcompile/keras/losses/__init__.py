"""`keras.losses`."""

from __future__ import annotations

from typing import Any

from kcompile.keras.losses.base import Loss, LossFunctionWrapper
from kcompile.keras.losses.classes import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from kcompile.keras.losses.functions import (
    binary_crossentropy,
    categorical_crossentropy,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)

CLASSES: tuple[type[Loss], ...] = (
    BinaryCrossentropy, CategoricalCrossentropy, MeanAbsoluteError, MeanSquaredError, SparseCategoricalCrossentropy,
)  # fmt: skip
FUNCTIONS: tuple[Any, ...] = (
    binary_crossentropy, categorical_crossentropy, mean_absolute_error, mean_squared_error,
    sparse_categorical_crossentropy,
)  # fmt: skip
ALIASES = {
    "mse": mean_squared_error, "MSE": mean_squared_error, "mae": mean_absolute_error, "MAE": mean_absolute_error,
    "bce": binary_crossentropy, "BCE": binary_crossentropy,
}  # fmt: skip
_CLASS_NAMES = {c.__name__: c for c in CLASSES}


def get(identifier: Any) -> Any:
    """The loss (a function or an object) for a name, a config, a class or a callable; None stays None."""
    from kcompile.keras.saving.lookup import find_function

    if identifier is None:
        return None
    if isinstance(identifier, type):
        return identifier()
    return find_function(identifier, FUNCTIONS, "loss", {**ALIASES, **_CLASS_NAMES})


__all__ = [
    "CLASSES", "BinaryCrossentropy", "CategoricalCrossentropy", "Loss", "LossFunctionWrapper", "MeanAbsoluteError",
    "MeanSquaredError", "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy", "get",
    "mean_absolute_error", "mean_squared_error", "sparse_categorical_crossentropy",
]  # fmt: skip
