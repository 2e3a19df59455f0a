"""Correlation of targets and predictions."""

from __future__ import annotations

from typing import Any

from kcompile.keras import config, ops
from kcompile.keras.losses.base import matched
from kcompile.keras.metrics.base import NamedMetric


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Covariance over the product of standard deviations, along an axis."""
    scores = []
    for y in matched(y_true, y_pred):
        centred = ops.subtract(y, ops.mean(y, axis=axis, keepdims=True))
        scores.append(ops.divide(centred, ops.std(centred, axis=axis, keepdims=True)))
    return ops.mean(ops.multiply(*scores), axis=axis)


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Lin's coefficient along an axis: correlation that falls where mean or scale differ too."""
    y_true, y_pred = matched(y_true, y_pred)
    mean_true, mean_pred = (ops.mean(y, axis=axis, keepdims=True) for y in (y_true, y_pred))
    # Targets are centred by the predictions' mean, as Keras does: it falls out of the sum.
    products = ops.multiply(ops.subtract(y_true, mean_pred), ops.subtract(y_pred, mean_pred))
    spread = ops.add(ops.var(y_true, axis=axis, keepdims=True), ops.var(y_pred, axis=axis, keepdims=True))
    spread = ops.add(ops.add(spread, ops.square(ops.subtract(mean_true, mean_pred))), config.epsilon())
    return ops.mean(ops.divide(ops.multiply(products, 2.0), spread), axis=axis)


class PearsonCorrelation(NamedMetric):
    """Pearson's coefficient of correlation."""

    saved = ("axis",)

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1):
        super().__init__(pearson_correlation, name, dtype, axis=axis)


class ConcordanceCorrelation(NamedMetric):
    """Lin's coefficient of concordance."""

    saved = ("axis",)

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1):
        super().__init__(concordance_correlation, name, dtype, axis=axis)
