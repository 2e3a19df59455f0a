"""Accuracy: how often a prediction is right."""

from __future__ import annotations

from typing import Any

from kcompile.keras import config, ops
from kcompile.keras.losses.base import matched, squeeze_or_expand_to_same_rank
from kcompile.keras.metrics.base import NamedMetric


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the prediction is the label."""
    return _right(*matched(y_true, y_pred))


def _right(y_true: Any, y_pred: Any) -> Any:
    return ops.cast(ops.equal(y_true, y_pred), config.floatx())


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """1 where the probability lies on the label's side of the threshold."""
    y_true, y_pred = squeeze_or_expand_to_same_rank(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred))
    return _right(y_true, ops.cast(ops.greater(y_pred, threshold), y_true.dtype))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest output is at the one-hot label's 1."""
    return _right(
        ops.argmax(ops.convert_to_tensor(y_true), axis=-1), ops.argmax(ops.convert_to_tensor(y_pred), axis=-1)
    )


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest output is at the label's index."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if ops.ndim(y_true) == ops.ndim(y_pred) and ops.shape(y_true)[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    matches = _right(ops.cast(y_true, y_pred.dtype), ops.cast(ops.argmax(y_pred, axis=-1), y_pred.dtype))
    # A sequence of length 1 becomes no sequence, as in Keras.
    return ops.squeeze(matches, -1) if ops.ndim(matches) > 1 and ops.shape(matches)[-1] == 1 else matches


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """1 where the one-hot label's output is among the k largest."""
    return sparse_top_k_categorical_accuracy(ops.argmax(ops.convert_to_tensor(y_true), axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Any:
    """1 where the label is among the k largest outputs, or the first k of ids sorted by rank."""
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.convert_to_tensor(y_true, y_pred.dtype if from_sorted_ids else "int32")
    shape = ops.shape(y_true)
    if ops.ndim(y_pred) > 2:
        y_pred = ops.reshape(y_pred, (-1, ops.shape(y_pred)[-1]))
    y_true = ops.reshape(y_true, (-1,)) if len(shape) > 1 else y_true
    if from_sorted_ids:
        matches = ops.any(
            ops.equal(ops.expand_dims(y_true, 1), ops.getitem(y_pred, (slice(None), slice(0, k)))), axis=1
        )
    else:
        matches = ops.in_top_k(y_true, y_pred, k=k)
    matches = ops.cast(matches, config.floatx())
    return ops.reshape(matches, shape) if len(shape) > 1 else matches


class Accuracy(NamedMetric):
    """How often the prediction is the label."""

    def __init__(self, name: str = "accuracy", dtype: Any = None):
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(NamedMetric):
    """How often the probability lies on the label's side of the threshold."""

    saved = ("threshold",)

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5):
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(NamedMetric):
    """How often the largest output is at the one-hot label's 1."""

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None):
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(NamedMetric):
    """How often the largest output is at the label's index."""

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None):
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(NamedMetric):
    """How often the one-hot label's output is among the k largest."""

    saved = ("k",)

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None):
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)


class SparseTopKCategoricalAccuracy(NamedMetric):
    """How often the label is among the k largest outputs."""

    saved = ("k",)

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ):
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **({"from_sorted_ids": True} if self.from_sorted_ids else {})}
