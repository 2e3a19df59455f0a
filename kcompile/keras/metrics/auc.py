"""Areas under curves."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.keras import config, ops
from kcompile.keras.metrics.base import Metric
from kcompile.keras.metrics.thresholds import are_even, spread, update_counts
from kcompile.keras.saving.serialization import deserialize_keras_object

CURVES = {"roc": "ROC", "ROC": "ROC", "pr": "PR", "PR": "PR", "prgain": "PRGAIN", "PRGAIN": "PRGAIN"}
METHODS = {name: name.lower() for m in ("interpolation", "majoring", "minoring") for name in (m, m.capitalize())}


class AUC(Metric):
    """Area under the ROC curve, the precision-recall curve or its gain form, from counts at thresholds.

    With ``multi_label`` it is the mean over labels, weighted by ``label_weights``.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ):
        super().__init__(dtype, name)
        self.curve = _chosen(curve, CURVES, "curve")
        self.summation_method = _chosen(summation_method, METHODS, "summation method")
        self._init_from_thresholds = thresholds is not None
        if thresholds is None and num_thresholds <= 1:
            raise ValueError(f"Argument `num_thresholds` must be an integer > 1. Received: {num_thresholds}")
        inner = spread(num_thresholds)[1:-1] if thresholds is None else sorted(thresholds)
        self.num_thresholds = len(inner) + 2
        self._even = thresholds is None or are_even([0.0, *inner, 1.0])
        # The outer ones a little outside, so that 0 and 1 lie between.
        self._thresholds = np.array([0.0 - config.epsilon(), *inner, 1.0 + config.epsilon()])
        self.multi_label, self.num_labels, self._from_logits = multi_label, num_labels, from_logits
        self.label_weights = None if label_weights is None else np.array(label_weights, self.dtype)
        self._built = False
        if num_labels and not multi_label:
            raise ValueError("`num_labels` is needed only when `multi_label` is True.")
        if not multi_label or num_labels:
            self._build((None, num_labels) if multi_label else None)

    @property
    def thresholds(self) -> list[float]:
        return [float(t) for t in self._thresholds]

    def _build(self, shape: Any) -> None:
        if self.multi_label and len(shape) != 2:
            raise ValueError(f"`y_pred` must have rank 2 when `multi_label=True`, got shape {shape}")
        sizes = (self.num_thresholds, int(shape[1])) if self.multi_label else (self.num_thresholds,)
        self.true_positives = self.add_variable(sizes, name="true_positives")
        self.false_positives = self.add_variable(sizes, name="false_positives")
        self.true_negatives = self.add_variable(sizes, name="true_negatives")
        self.false_negatives = self.add_variable(sizes, name="false_negatives")
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_pred = ops.convert_to_tensor(y_pred)
        if not self._built:
            self._build(ops.shape(y_pred))
        counts = {
            "tp": self.true_positives, "fp": self.false_positives,
            "tn": self.true_negatives, "fn": self.false_negatives,
        }  # fmt: skip
        update_counts(
            counts,
            y_true,
            ops.sigmoid(y_pred) if self._from_logits else y_pred,
            self.thresholds,
            self._even,
            sample_weight,
            multi_label=self.multi_label,
            label_weights=None if self.multi_label else self.label_weights,
        )

    def result(self) -> Any:
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._averaged(self._precision_recall_areas())
        x, y = self._points()
        if self.summation_method == "interpolation":
            heights = ops.multiply(ops.add(_left(y), _right(y)), 0.5)
        else:
            choose = ops.minimum if self.summation_method == "minoring" else ops.maximum
            heights = choose(_left(y), _right(y))
        return self._averaged(ops.multiply(ops.subtract(_left(x), _right(x)), heights))

    def _points(self) -> tuple[Any, Any]:
        """The curve's x and y at each threshold."""
        tp, fp = self.true_positives.value, self.false_positives.value
        tn, fn = self.true_negatives.value, self.false_negatives.value
        recall = ops.divide_no_nan(tp, ops.add(tp, fn))
        if self.curve == "ROC":
            return ops.divide_no_nan(fp, ops.add(fp, tn)), recall
        if self.curve == "PR":
            return recall, ops.divide_no_nan(tp, ops.add(tp, fp))
        odds = ops.divide_no_nan(ops.add(tp, fn), ops.add(tn, fp))
        none = ops.equal(tp, 0.0)
        recall_gain, precision_gain = (
            ops.subtract(1.0, ops.multiply(odds, ops.divide_no_nan(wrong, tp))) for wrong in (fn, fp)
        )
        return ops.maximum(ops.where(none, 0.0, recall_gain), 0.0), ops.where(none, 1.0, precision_gain)

    def _precision_recall_areas(self) -> Any:
        """Areas between thresholds with true positives, not precision, interpolated (Davis & Goadrich 2006)."""
        tp, fn = self.true_positives.value, self.false_negatives.value
        p = ops.add(tp, self.false_positives.value)
        steps = ops.subtract(_left(tp), _right(tp))
        slope = ops.divide_no_nan(steps, ops.maximum(ops.subtract(_left(p), _right(p)), 0.0))
        intercept = ops.subtract(_right(tp), ops.multiply(slope, _right(p)))
        both = ops.logical_and(ops.greater(_left(p), 0.0), ops.greater(_right(p), 0.0))
        ratio = ops.where(both, ops.divide_no_nan(_left(p), ops.maximum(_right(p), 0.0)), 1.0)
        area = ops.multiply(slope, ops.add(steps, ops.multiply(intercept, ops.log(ratio))))
        return ops.divide_no_nan(area, ops.maximum(ops.add(_right(tp), _right(fn)), 0.0))

    def _averaged(self, areas: Any) -> Any:
        """The sum of areas between thresholds; over labels their mean."""
        total = ops.sum(areas, axis=0)
        if not self.multi_label:
            return total
        if self.label_weights is None:
            return ops.mean(total)
        weights = ops.convert_to_tensor(self.label_weights)
        return ops.divide_no_nan(ops.sum(ops.multiply(total, weights)), ops.sum(weights))

    def get_config(self) -> dict[str, Any]:
        weights = self.label_weights
        own = {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            # A list, where Keras writes a tensor that it then can't read.
            "label_weights": None if weights is None else weights.tolist(),
            "from_logits": self._from_logits,
        }
        if self._init_from_thresholds:
            own["thresholds"] = self.thresholds[1:-1]
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        weights = deserialize_keras_object(config.get("label_weights"))
        return cls(**{**config, "label_weights": weights})


def _chosen(given: Any, table: dict[str, str], what: str) -> str:
    if given not in table:
        raise ValueError(f'Invalid AUC {what} value: "{given}". Expected values are {sorted(set(table.values()))}')
    return table[given]


def _left(values: Any) -> Any:
    return ops.getitem(values, slice(0, -1))


def _right(values: Any) -> Any:
    return ops.getitem(values, slice(1, None))
