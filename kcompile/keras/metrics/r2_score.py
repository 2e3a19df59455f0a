"""The coefficient of determination."""

from __future__ import annotations

import warnings
from typing import Any

from kcompile.keras import ops
from kcompile.keras.losses.base import squeeze_or_expand_to_same_rank
from kcompile.keras.metrics.base import Metric
from kcompile.tracing.scope import current_tracer

AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")


class R2Score(Metric):
    """1 - (sum of squared errors) / (sum of squared deviations) for each of the outputs [N, K], then averaged.

    With ``num_regressors`` it is adjusted for that many independent variables.
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ):
        super().__init__(dtype, name)
        if class_aggregation not in AGGREGATIONS:
            raise ValueError(
                f"Invalid value for argument `class_aggregation`. Expected one of {AGGREGATIONS}. "
                f"Received: class_aggregation={class_aggregation}"
            )
        if num_regressors < 0:
            raise ValueError(f"Argument `num_regressors` must be >= 0. Received: num_regressors={num_regressors}")
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors
        self.num_samples = self.add_variable((), name="num_samples")
        self._built = False

    def _build(self, true_shape: tuple[Any, ...], pred_shape: tuple[Any, ...]) -> None:
        if len(true_shape) != 2 or len(pred_shape) != 2:
            raise ValueError(
                "R2Score expects 2D inputs with shape (batch_size, output_dim). Received input shapes: "
                f"y_pred.shape={pred_shape} and y_true.shape={true_shape}."
            )
        width = int(pred_shape[-1])
        self.squared_sum = self.add_variable([width], name="squared_sum")
        self.sum = self.add_variable([width], name="sum")
        self.total_mse = self.add_variable([width], name="residual")
        self.count = self.add_variable([width], name="count")
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = squeeze_or_expand_to_same_rank(
            ops.convert_to_tensor(y_true, self.dtype), ops.convert_to_tensor(y_pred, self.dtype)
        )
        if not self._built:
            self._build(ops.shape(y_true), ops.shape(y_pred))
        weights = ops.convert_to_tensor(1.0 if sample_weight is None else sample_weight, self.dtype)
        weights = ops.expand_dims(weights, 1) if ops.ndim(weights) == 1 else weights
        weights = ops.broadcast_to(weights, ops.shape(y_true))
        weighted = ops.multiply(y_true, weights)
        errors = ops.multiply(ops.square(ops.subtract(y_true, y_pred)), weights)
        self.add_to(self.sum, ops.sum(weighted, axis=0))
        self.add_to(self.squared_sum, ops.sum(ops.multiply(y_true, weighted), axis=0))
        self.add_to(self.total_mse, ops.sum(errors, axis=0))
        self.add_to(self.count, ops.sum(weights, axis=0))
        self.add_to(self.num_samples, ops.size(y_true))

    def result(self) -> Any:
        mean = ops.divide(self.sum.value, self.count.value)
        total = ops.subtract(self.squared_sum.value, ops.multiply(self.sum.value, mean))
        scores = ops.subtract(1.0, ops.divide(self.total_mse.value, total))
        scores = ops.where(ops.isinf(scores), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = ops.mean(scores)
        elif self.class_aggregation == "variance_weighted_average":
            scores = ops.divide(ops.sum(ops.multiply(total, scores)), ops.sum(total))
        return self._adjusted(scores) if self.num_regressors else scores

    def _adjusted(self, scores: Any) -> Any:
        """The score for so many regressors; as it is where there are too few samples."""
        left = ops.subtract(self.num_samples.value, float(self.num_regressors) + 1.0)
        if current_tracer() is None and float(left) <= 0:
            warnings.warn(
                f"R2Score: {self.num_regressors} regressors need more samples for an adjusted score; it is not adjusted",
                stacklevel=3,
            )
        rest = ops.multiply(ops.subtract(1.0, scores), ops.subtract(self.num_samples.value, 1.0))
        return ops.where(ops.greater(left, 0.0), ops.subtract(1.0, ops.divide(rest, left)), scores)

    def get_config(self) -> dict[str, Any]:
        own = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {**super().get_config(), **own}
