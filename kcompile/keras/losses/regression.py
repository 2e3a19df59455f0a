"""Losses of numbers: differences between targets and predictions."""

from __future__ import annotations

import math
from typing import Any

from kcompile.keras import config, ops
from kcompile.keras.losses.base import NamedLoss, matched


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """Mean of squared differences over the last axis."""
    y_true, y_pred = matched(y_true, y_pred)
    return ops.mean(ops.square(ops.subtract(y_true, y_pred)), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """Mean of absolute differences over the last axis."""
    y_true, y_pred = matched(y_true, y_pred)
    return ops.mean(ops.absolute(ops.subtract(y_true, y_pred)), axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """Mean of absolute differences as percentages of the target, over the last axis."""
    y_true, y_pred = matched(y_true, y_pred)
    size = ops.maximum(ops.absolute(y_true), config.epsilon())
    return ops.multiply(ops.mean(ops.absolute(ops.divide(ops.subtract(y_true, y_pred), size)), axis=-1), 100.0)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """Mean of squared differences of log(x + 1) over the last axis; what is not positive counts as 0."""
    logs = [ops.log(ops.add(ops.maximum(y, config.epsilon()), 1.0)) for y in matched(y_true, y_pred)]
    return ops.mean(ops.square(ops.subtract(*logs)), axis=-1)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Minus the cosine of the angle between two vectors along an axis: -1 where they point the same way."""
    y_true, y_pred = (ops.normalize(y, axis=axis) for y in matched(y_true, y_pred))
    return ops.negative(ops.sum(ops.multiply(y_true, y_pred), axis=axis))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """Mean over the last axis of d^2 / 2 up to delta, linear beyond."""
    y_true, y_pred = matched(y_true, y_pred)
    size = ops.absolute(ops.subtract(y_pred, y_true))
    near = ops.multiply(ops.square(size), 0.5)
    far = ops.subtract(ops.multiply(size, float(delta)), 0.5 * delta**2)
    return ops.mean(ops.where(ops.less_equal(size, float(delta)), near, far), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> Any:
    """Mean over the last axis of log(cosh(d)): d^2 / 2 near 0, |d| - log 2 far from it."""
    y_true, y_pred = matched(y_true, y_pred)
    x = ops.subtract(y_pred, y_true)
    return ops.mean(ops.subtract(ops.add(x, ops.softplus(ops.multiply(x, -2.0))), math.log(2.0)), axis=-1)


class MeanSquaredError(NamedLoss):
    """Mean of squared differences."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
        dtype: Any = None,
    ):
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(NamedLoss):
    """Mean of absolute differences."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: Any = None,
    ):
        super().__init__(mean_absolute_error, reduction, name, dtype)


class MeanAbsolutePercentageError(NamedLoss):
    """Mean of absolute differences in per cent of the target."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
        dtype: Any = None,
    ):
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


class MeanSquaredLogarithmicError(NamedLoss):
    """Mean of squared differences of logarithms."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ):
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


class CosineSimilarity(NamedLoss):
    """Minus the cosine of the angle between target and prediction."""

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: Any = None,
    ):
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)


class Huber(NamedLoss):
    """Squared near 0, linear beyond ``delta``."""

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: Any = None,
    ):
        super().__init__(huber, reduction, name, dtype, delta=delta)


class LogCosh(NamedLoss):
    """Logarithm of the hyperbolic cosine of the difference."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "log_cosh",
        dtype: Any = None,
    ):
        super().__init__(log_cosh, reduction, name, dtype)
