"""Intersection over union of segmentations, from a confusion matrix."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from kcompile.keras import config, ops
from kcompile.keras.metrics.base import Metric


class IoU(Metric):
    """Mean over some classes of TP / (TP + FP + FN); classes that never occur don't count.

    Labels and predictions are class numbers, or scores along ``axis`` where not ``sparse``.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        super().__init__(dtype or "int32", name)
        if max(target_class_ids) >= num_classes:
            raise ValueError(f"Target class id {max(target_class_ids)} is out of range, which is [0, {num_classes}).")
        self.num_classes, self.ignore_class, self.axis = num_classes, ignore_class, axis
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        self.target_class_ids = list(target_class_ids)
        self.total_cm = self.add_variable((num_classes, num_classes), dtype=self.dtype, name="total_confusion_matrix")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true = y_true if self.sparse_y_true else ops.argmax(ops.convert_to_tensor(y_true), axis=self.axis)
        y_pred = y_pred if self.sparse_y_pred else ops.argmax(ops.convert_to_tensor(y_pred), axis=self.axis)
        labels, found = (ops.reshape(ops.convert_to_tensor(y, self.dtype), (-1,)) for y in (y_true, y_pred))
        weights = ops.convert_to_tensor(1 if sample_weight is None else self._whole(sample_weight), self.dtype)
        weights = ops.reshape(weights, (-1,)) if ops.ndim(weights) > 1 else weights
        weights = ops.broadcast_to(weights, ops.shape(labels))
        counts = ops.logical_and(self._known(labels), self._known(found))
        if self.ignore_class is not None:
            counts = ops.logical_and(counts, ops.not_equal(labels, self.ignore_class))
        zero = ops.zeros((), self.dtype)
        places = ops.stack([ops.cast(ops.where(counts, y, zero), "int64") for y in (labels, found)], axis=1)
        matrix = ops.scatter(places, ops.where(counts, weights, zero), (self.num_classes, self.num_classes))
        self.add_to(self.total_cm, matrix)

    def _known(self, classes: Any) -> Any:
        return ops.logical_and(ops.greater_equal(classes, 0), ops.less(classes, self.num_classes))

    def _whole(self, sample_weight: Any) -> Any:
        if "float" in str(getattr(sample_weight, "dtype", "")) and "int" in self.dtype:
            warnings.warn(f"{self.name}: weights are rounded down to integers, since its dtype is int", stacklevel=3)
        return sample_weight

    def result(self) -> Any:
        matrix = self.total_cm.value
        right = ops.sum(ops.multiply(matrix, ops.eye(self.num_classes, dtype=self.dtype)), axis=0)
        union = ops.subtract(ops.add(ops.sum(matrix, axis=0), ops.sum(matrix, axis=1)), right)
        right, union = (
            ops.cast(ops.take(x, ops.convert_to_tensor(self.target_class_ids, "int32"), axis=0), "float32")
            for x in (right, union)
        )
        valid = ops.greater(union, 1e-9)
        scores = ops.where(valid, ops.divide(right, ops.add(union, config.epsilon())), 0.0)
        return ops.divide(ops.sum(scores), ops.add(ops.sum(ops.cast(valid, "float32")), config.epsilon()))

    # What subclasses' configs hold beside name and dtype.
    saved: tuple[str, ...] = (
        "num_classes", "target_class_ids", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis",
    )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{k: getattr(self, k) for k in self.saved}}


class BinaryIoU(IoU):
    """IoU of two classes, told apart by a threshold."""

    saved = ("target_class_ids", "threshold")

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_pred = ops.convert_to_tensor(y_pred, "float32")
        chosen = ops.cast(ops.greater_equal(y_pred, self.threshold), self.dtype)
        super().update_state(y_true, chosen, sample_weight)


class MeanIoU(IoU):
    """IoU averaged over all classes."""

    saved: tuple[str, ...] = ("num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


class OneHotIoU(IoU):
    """IoU where labels are one-hot and predictions are scores."""

    saved = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(MeanIoU):
    """IoU averaged over all classes where labels are one-hot and predictions are scores."""

    saved = ("num_classes", "ignore_class", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
