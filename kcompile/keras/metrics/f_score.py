"""F-scores: harmonic means of precision and recall."""

from __future__ import annotations

from typing import Any

from kcompile.keras import config, ops
from kcompile.keras.metrics.base import Metric
from kcompile.tracing.variable import Variable

AVERAGES = (None, "micro", "macro", "weighted")


class FBetaScore(Metric):
    """(1 + beta^2) P R / (beta^2 P + R) of one-hot or multi-label predictions [N, K], for each class or averaged.

    Without a threshold a sample's largest outputs are its predicted classes.
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ):
        super().__init__(dtype, name)
        if average not in AVERAGES:
            raise ValueError(f"Invalid `average` argument value. Expected one of: {AVERAGES}. Received: {average}")
        if not isinstance(beta, float) or beta <= 0.0:
            raise ValueError(f"Invalid `beta` argument value. It should be a Python float > 0. Received: {beta!r}")
        if threshold is not None and (not isinstance(threshold, float) or not 0.0 < threshold <= 1.0):
            raise ValueError(
                "Invalid `threshold` argument value. It should be a Python float with 0 < threshold <= 1. "
                f"Received: {threshold!r}"
            )
        self.average, self.beta, self.threshold = average, beta, threshold
        self.axis = None if average == "micro" else 0
        self._built = False

    def _build(self, true_shape: tuple[Any, ...], pred_shape: tuple[Any, ...]) -> None:
        if len(true_shape) != 2 or len(pred_shape) != 2:
            raise ValueError(
                "FBetaScore expects 2D inputs with shape (batch_size, output_dim). Received input shapes: "
                f"y_pred.shape={pred_shape} and y_true.shape={true_shape}."
            )
        shape = () if self.average == "micro" else (int(pred_shape[-1]),)
        self.true_positives, self.false_positives, self.false_negatives, self.intermediate_weights = (
            self.add_variable(shape, dtype=self.dtype, name=name)
            for name in ("true_positives", "false_positives", "false_negatives", "intermediate_weights")
        )
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = ops.convert_to_tensor(y_true, self.dtype), ops.convert_to_tensor(y_pred, self.dtype)
        if not self._built:
            self._build(ops.shape(y_true), ops.shape(y_pred))
        if self.threshold is None:
            largest = ops.greater_equal(y_pred, ops.max(y_pred, axis=-1, keepdims=True))
            chosen = ops.logical_and(largest, ops.greater(ops.absolute(y_pred), 1e-9))
        else:
            chosen = ops.greater(y_pred, self.threshold)
        chosen = ops.cast(chosen, self.dtype)
        self._count(self.true_positives, ops.multiply(chosen, y_true), sample_weight)
        self._count(self.false_positives, ops.multiply(chosen, ops.subtract(1.0, y_true)), sample_weight)
        self._count(self.false_negatives, ops.multiply(ops.subtract(1.0, chosen), y_true), sample_weight)
        self._count(self.intermediate_weights, y_true, sample_weight)

    def _count(self, variable: Variable, values: Any, sample_weight: Any) -> None:
        if sample_weight is not None:
            values = ops.multiply(values, ops.expand_dims(ops.convert_to_tensor(sample_weight, self.dtype), 1))
        self.add_to(variable, ops.sum(values, axis=self.axis))

    def result(self) -> Any:
        right, least = self.true_positives.value, config.epsilon()
        precision, recall = (
            ops.divide(right, ops.add(ops.add(right, wrong.value), least))
            for wrong in (self.false_positives, self.false_negatives)
        )
        both = ops.add(ops.add(ops.multiply(precision, self.beta**2), recall), least)
        score = ops.multiply(ops.divide(ops.multiply(precision, recall), both), 1 + self.beta**2)
        if self.average == "weighted":
            weights = self.intermediate_weights.value
            return ops.sum(ops.multiply(score, ops.divide(weights, ops.add(ops.sum(weights), least))))
        return score if self.average is None else ops.mean(score)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "beta": self.beta, "threshold": self.threshold}


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall."""

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score", dtype: Any = None
    ):
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in super().get_config().items() if k != "beta"}
