"""Counts of right and wrong predictions, precision, recall, and one at a given value of another."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.metrics.base import Metric
from kcompile.keras.metrics.thresholds import LOWEST, are_even, parsed, spread, update_counts

_NAMES = {"tp": "true_positives", "fp": "false_positives", "tn": "true_negatives", "fn": "false_negatives"}


class _Count(Metric):
    """Base of the four counts; ``kind`` says which."""

    kind = ""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None):
        super().__init__(dtype, name)
        self.init_thresholds, self.thresholds = thresholds, parsed(thresholds)
        self.accumulator = self.add_variable((len(self.thresholds),), name="accumulator")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        even = are_even(self.thresholds)
        update_counts({self.kind: self.accumulator}, y_true, y_pred, self.thresholds, even, sample_weight)

    def result(self) -> Any:
        return _one_or_all(self.accumulator.value)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds}


class TruePositives(_Count):
    """Positives that are predicted as such."""

    kind = "tp"


class TrueNegatives(_Count):
    """Negatives that are predicted as such."""

    kind = "tn"


class FalsePositives(_Count):
    """Negatives that are predicted as positives."""

    kind = "fp"


class FalseNegatives(_Count):
    """Positives that are predicted as negatives."""

    kind = "fn"


class _Share(Metric):
    """Base of precision and recall: TP over TP plus ``other``."""

    other = ""

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(dtype, name)
        self.init_thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        self.thresholds = parsed(thresholds, 0.5 if top_k is None else LOWEST)
        shape = (len(self.thresholds),)
        self.true_positives = self.add_variable(shape, name="true_positives")
        setattr(self, _NAMES[self.other], self.add_variable(shape, name=_NAMES[self.other]))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        counts = {"tp": self.true_positives, self.other: getattr(self, _NAMES[self.other])}
        even = are_even(self.thresholds)
        update_counts(counts, y_true, y_pred, self.thresholds, even, sample_weight, self.top_k, self.class_id)

    def result(self) -> Any:
        right, wrong = self.true_positives.value, getattr(self, _NAMES[self.other]).value
        return _one_or_all(ops.divide_no_nan(right, ops.add(right, wrong)))

    def get_config(self) -> dict[str, Any]:
        own = {"thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **own}


class Precision(_Share):
    """The share of predicted positives that are positive."""

    other = "fp"


class Recall(_Share):
    """The share of positives that are predicted as such."""

    other = "fn"


class _OperatingPoint(Metric):
    """Base of metrics that give the best value of one rate among thresholds where another is at least ``value``."""

    argument = ""

    def __init__(self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any):
        super().__init__(dtype, name)
        if value < 0 or value > 1:
            raise ValueError(
                f"Argument `{self.argument}` must be in the range [0, 1]. Received: {self.argument}={value}"
            )
        if num_thresholds <= 0:
            raise ValueError(f"Argument `num_thresholds` must be an integer > 0. Received: {num_thresholds}")
        self.value, self.num_thresholds, self.class_id = value, num_thresholds, class_id
        self.thresholds = [0.5] if num_thresholds == 1 else spread(num_thresholds)
        shape = (len(self.thresholds),)
        self.true_positives = self.add_variable(shape, name="true_positives")
        self.false_positives = self.add_variable(shape, name="false_positives")
        self.true_negatives = self.add_variable(shape, name="true_negatives")
        self.false_negatives = self.add_variable(shape, name="false_negatives")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        counts = {kind: getattr(self, name) for kind, name in _NAMES.items()}
        even = len(self.thresholds) > 1
        update_counts(counts, y_true, y_pred, self.thresholds, even, sample_weight, class_id=self.class_id)

    def _recall(self) -> Any:
        return _rate(self.true_positives.value, self.false_negatives.value)

    def _specificity(self) -> Any:
        return _rate(self.true_negatives.value, self.false_positives.value)

    def _precision(self) -> Any:
        return _rate(self.true_positives.value, self.false_positives.value)

    def _best(self, constrained: Any, wanted: Any) -> Any:
        return ops.max(ops.where(ops.greater_equal(constrained, self.value), wanted, 0.0))

    def get_config(self) -> dict[str, Any]:
        own = {"class_id": self.class_id, "num_thresholds": self.num_thresholds, self.argument: self.value}
        return {**super().get_config(), **own}


class SensitivityAtSpecificity(_OperatingPoint):
    """The best sensitivity (recall) where specificity is at least the given one."""

    argument = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity

    def result(self) -> Any:
        return self._best(self._specificity(), self._recall())


class SpecificityAtSensitivity(_OperatingPoint):
    """The best specificity where sensitivity (recall) is at least the given one."""

    argument = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity

    def result(self) -> Any:
        return self._best(self._recall(), self._specificity())


class PrecisionAtRecall(_OperatingPoint):
    """The best precision where recall is at least the given one."""

    argument = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = recall

    def result(self) -> Any:
        return self._best(self._recall(), self._precision())


class RecallAtPrecision(_OperatingPoint):
    """The best recall where precision is at least the given one."""

    argument = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = precision

    def result(self) -> Any:
        return self._best(self._precision(), self._recall())


def _rate(right: Any, wrong: Any) -> Any:
    return ops.divide_no_nan(right, ops.add(right, wrong))


def _one_or_all(values: Any) -> Any:
    """The value of the only threshold, or those of all."""
    return ops.getitem(values, 0) if ops.shape(values)[0] == 1 else values
