"""`keras.metrics`."""

from __future__ import annotations

from typing import Any

from kcompile.keras import losses
from kcompile.keras.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
)
from kcompile.keras.metrics.base import Mean, MeanMetricWrapper, Metric, Sum

CLASSES: tuple[type[Metric], ...] = (
    Mean, Sum, Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy,
)  # fmt: skip
FUNCTIONS: tuple[Any, ...] = (
    accuracy, binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, *losses.FUNCTIONS,
)  # fmt: skip


def get(identifier: Any) -> Any:
    """The metric (an object or a function) for a name, a config, a class or a callable; None stays None."""
    from kcompile.keras.saving.lookup import find_function

    if identifier is None or isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, type):
        return identifier()
    return find_function(identifier, FUNCTIONS, "metric", {**losses.ALIASES, **{c.__name__: c for c in CLASSES}})


__all__ = [
    "CLASSES", "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "Mean", "MeanMetricWrapper", "Metric",
    "SparseCategoricalAccuracy", "Sum", "get",
]  # fmt: skip
