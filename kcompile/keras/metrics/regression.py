"""Metrics of numbers: differences between targets and predictions."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.losses import regression
from kcompile.keras.losses.base import squeeze_or_expand_to_same_rank
from kcompile.keras.metrics.base import Mean, NamedMetric


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """The cosine of the angle between two vectors along an axis: 1 where they point the same way."""
    return ops.negative(regression.cosine_similarity(y_true, y_pred, axis))


class MeanSquaredError(NamedMetric):
    """Mean of squared differences."""

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None):
        super().__init__(regression.mean_squared_error, name, dtype)


class MeanAbsoluteError(NamedMetric):
    """Mean of absolute differences."""

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None):
        super().__init__(regression.mean_absolute_error, name, dtype)


class MeanAbsolutePercentageError(NamedMetric):
    """Mean of absolute differences in per cent of the target."""

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None):
        super().__init__(regression.mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(NamedMetric):
    """Mean of squared differences of logarithms."""

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None):
        super().__init__(regression.mean_squared_logarithmic_error, name, dtype)


class LogCoshError(NamedMetric):
    """Logarithm of the hyperbolic cosine of the difference."""

    def __init__(self, name: str = "logcosh", dtype: Any = None):
        super().__init__(regression.log_cosh, name, dtype)


class CosineSimilarity(NamedMetric):
    """Cosine of the angle between target and prediction."""

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1):
        super().__init__(cosine_similarity, name, dtype, axis=axis)


class RootMeanSquaredError(Mean):
    """Root of the mean of squared differences."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None):
        super().__init__(name, dtype)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        y_true, y_pred = squeeze_or_expand_to_same_rank(
            ops.convert_to_tensor(y_true, self.dtype), ops.convert_to_tensor(y_pred, self.dtype)
        )
        super().update_state(ops.square(ops.subtract(y_pred, y_true)), sample_weight)

    def result(self) -> Any:
        return ops.sqrt(super().result())
