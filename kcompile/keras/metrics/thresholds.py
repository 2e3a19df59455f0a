"""Counts of true and false positives and negatives at thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kcompile.keras import config, ops
from kcompile.keras.losses.base import squeeze_or_expand_to_same_rank
from kcompile.tracing.variable import Variable

# Stands for a prediction below every threshold.
LOWEST = -1e10


def parsed(thresholds: Any, default: float = 0.5) -> list[float]:
    """Thresholds as a list; raises ValueError outside of [0, 1]."""
    if thresholds is None:
        return [default]
    given = list(thresholds) if isinstance(thresholds, (list, tuple)) else [thresholds]
    wrong = [t for t in given if t is None or t < 0 or t > 1]
    if wrong:
        raise ValueError(f"Threshold values must be in [0, 1]. Received: {wrong}")
    return given


def spread(count: int) -> list[float]:
    """So many thresholds evenly from 0 to 1."""
    return [0.0, *((i + 1) * 1.0 / (count - 1) for i in range(count - 2)), 1.0]


def are_even(thresholds: Sequence[float]) -> bool:
    """True for at least 3 thresholds that are evenly spread over [0, 1]."""
    count = len(thresholds)
    if count < 3:
        return False
    even = np.arange(count, dtype=np.float32) / (count - 1)
    return bool(np.allclose(thresholds, even, atol=config.epsilon()))


def update_counts(
    counts: Mapping[str, Variable],
    y_true: Any,
    y_pred: Any,
    thresholds: Sequence[float],
    even: bool,
    sample_weight: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
    multi_label: bool = False,
    label_weights: Any = None,
) -> None:
    """Add a batch to the counts "tp", "fp", "tn", "fn" of shape [T], or [T, labels] where ``multi_label``.

    A prediction above a threshold is positive. ``even`` thresholds are counted by buckets: in
    time that does not grow with their number.
    """
    dtype = next(iter(counts.values())).dtype
    y_true, y_pred = ops.cast(y_true, dtype), ops.cast(y_pred, dtype)
    y_pred, y_true = squeeze_or_expand_to_same_rank(y_pred, y_true)
    weights = None
    if sample_weight is not None:
        weights = ops.expand_dims(ops.cast(sample_weight, dtype), -1)
        _, weights = squeeze_or_expand_to_same_rank(y_true, weights, expand_rank_1=False)
    if top_k is not None:
        y_pred = _only_largest(y_pred, top_k)
    if class_id is not None:
        if ops.ndim(y_pred) == 1:
            raise ValueError(f"class_id needs predictions [samples, classes], got shape {ops.shape(y_pred)}")
        y_true, y_pred = (ops.getitem(y, (..., slice(class_id, class_id + 1))) for y in (y_true, y_pred))
    weights = _joint_weights(weights, label_weights, y_pred, dtype)
    if not multi_label:
        y_true, y_pred = ops.reshape(y_true, (-1,)), ops.reshape(y_pred, (-1,))
        weights = None if weights is None else ops.reshape(weights, (-1,))
    positive = ops.cast(ops.cast(y_true, "bool"), dtype)
    negative = ops.subtract(1.0, positive)
    if weights is not None:
        positive, negative = ops.multiply(positive, weights), ops.multiply(negative, weights)
    above = _by_buckets if even else _by_comparison
    true, false = above(positive, negative, y_pred, thresholds)
    found = {
        "tp": lambda: true,
        "fp": lambda: false,
        "tn": lambda: ops.subtract(ops.sum(negative, axis=0), false),
        "fn": lambda: ops.subtract(ops.sum(positive, axis=0), true),
    }
    for kind, variable in counts.items():
        variable.assign(ops.add(variable.value, found[kind]()))


def _joint_weights(weights: Any, label_weights: Any, y_pred: Any, dtype: str) -> Any:
    """Samples' and labels' weights in the predictions' shape, or None."""
    shape = ops.shape(y_pred)
    if weights is not None:
        weights = ops.broadcast_to(weights, shape)
    if label_weights is None:
        return weights
    labels = ops.broadcast_to(ops.expand_dims(ops.cast(label_weights, dtype), 0), shape)
    return labels if weights is None else ops.multiply(weights, labels)


def _only_largest(y_pred: Any, k: int) -> Any:
    """Predictions of which all but a sample's k largest are below every threshold."""
    _, places = ops.top_k(y_pred, k)
    kept = ops.sum(ops.one_hot(places, ops.shape(y_pred)[-1], dtype=y_pred.dtype), axis=-2)
    return ops.add(ops.multiply(y_pred, kept), ops.multiply(ops.subtract(1.0, kept), LOWEST))


def _by_comparison(positive: Any, negative: Any, y_pred: Any, thresholds: Sequence[float]) -> tuple[Any, Any]:
    column = (len(thresholds), *(1,) * ops.ndim(y_pred))
    limits = ops.reshape(ops.convert_to_tensor(np.array(thresholds), y_pred.dtype), column)
    chosen = ops.cast(ops.greater(ops.expand_dims(y_pred, 0), limits), y_pred.dtype)
    return tuple(ops.sum(ops.multiply(chosen, ops.expand_dims(labels, 0)), axis=1) for labels in (positive, negative))


def _by_buckets(positive: Any, negative: Any, y_pred: Any, thresholds: Sequence[float]) -> tuple[Any, Any]:
    """Each prediction falls between two thresholds; those above one are a running sum from the end."""
    count = len(thresholds)
    buckets = ops.subtract(ops.ceil(ops.multiply(ops.clip(y_pred, 0.0, 1.0), float(count - 1))), 1.0)
    if thresholds[0] < 0.0 or thresholds[-1] > 1.0:
        # Outer thresholds a little outside of [0, 1]: a prediction of 0 is above the lowest.
        buckets = ops.relu(buckets)
    buckets = ops.cast(buckets, "int32")
    if ops.ndim(y_pred) == 1:
        rows = (ops.segment_sum(labels, buckets, count) for labels in (positive, negative))
    else:
        rows = (_sums_by_label(labels, buckets, count) for labels in (positive, negative))
    return tuple(ops.flip(ops.cumsum(ops.flip(r, axis=0), axis=0), axis=0) for r in rows)


def _sums_by_label(values: Any, buckets: Any, count: int) -> Any:
    """Sums of values [N, labels] by bucket: [count, labels]."""
    labels = ops.shape(values)[-1]
    places = ops.add(buckets, ops.multiply(ops.arange(labels, dtype="int32"), count))
    sums = ops.segment_sum(ops.reshape(values, (-1,)), ops.reshape(places, (-1,)), count * labels)
    return ops.transpose(ops.reshape(sums, (labels, count)))
