"""Losses of classes by margins."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.losses.base import NamedLoss, converted


def _as_signs(y_true: Any) -> Any:
    """Labels 0 and 1 as -1 and 1; targets that hold anything else stay as they are."""
    binary = ops.all(ops.logical_or(ops.equal(y_true, 0), ops.equal(y_true, 1)))
    return ops.where(binary, ops.subtract(ops.multiply(y_true, 2.0), 1.0), y_true)


def _margins(y_true: Any, y_pred: Any) -> Any:
    y_true, y_pred = converted(y_true, y_pred)
    return ops.maximum(ops.subtract(1.0, ops.multiply(_as_signs(y_true), y_pred)), 0.0)


def hinge(y_true: Any, y_pred: Any) -> Any:
    """Mean over the last axis of max(1 - y_true * y_pred, 0); labels are -1 and 1 (or 0 and 1)."""
    return ops.mean(_margins(y_true, y_pred), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """Mean over the last axis of max(1 - y_true * y_pred, 0)^2."""
    return ops.mean(ops.square(_margins(y_true, y_pred)), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """How far the output of the one-hot class is from being 1 above all others, at least 0."""
    y_true, y_pred = converted(y_true, y_pred)
    own = ops.sum(ops.multiply(y_true, y_pred), axis=-1)
    others = ops.max(ops.multiply(ops.subtract(1.0, y_true), y_pred), axis=-1)
    return ops.maximum(ops.add(ops.subtract(others, own), 1.0), 0.0)


class Hinge(NamedLoss):
    """Margins of labels -1 and 1."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "hinge",
        dtype: Any = None,
    ):
        super().__init__(hinge, reduction, name, dtype)


class SquaredHinge(NamedLoss):
    """Squared margins of labels -1 and 1."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "squared_hinge",
        dtype: Any = None,
    ):
        super().__init__(squared_hinge, reduction, name, dtype)


class CategoricalHinge(NamedLoss):
    """Margins of one-hot classes."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_hinge",
        dtype: Any = None,
    ):
        super().__init__(categorical_hinge, reduction, name, dtype)
