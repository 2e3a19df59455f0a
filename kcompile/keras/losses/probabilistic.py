"""Losses of probabilities: cross-entropies and their kin."""

from __future__ import annotations

from typing import Any

from kcompile.keras import config, ops
from kcompile.keras.losses.base import NamedLoss, converted


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """Cross-entropy of one-hot (or any) probabilities along an axis."""
    y_true, y_pred = _classes(y_true, y_pred, label_smoothing, axis)
    return ops.categorical_crossentropy(y_true, y_pred, from_logits=from_logits, axis=axis)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Cross-entropy in which each class weighs alpha * (1 - p)^gamma (Lin et al. 2018)."""
    y_true, y_pred = _classes(y_true, y_pred, label_smoothing, axis)
    y_pred = ops.softmax(y_pred, axis=axis) if from_logits else y_pred
    y_pred = ops.divide(y_pred, ops.sum(y_pred, axis=axis, keepdims=True))
    y_pred = ops.clip(y_pred, config.epsilon(), 1.0 - config.epsilon())
    weight = ops.multiply(ops.power(ops.subtract(1.0, y_pred), float(gamma)), ops.cast(alpha, y_pred.dtype))
    values = ops.multiply(weight, ops.multiply(y_true, ops.log(y_pred)))
    return ops.negative(ops.sum(values, axis=axis))


def _classes(y_true: Any, y_pred: Any, label_smoothing: float, axis: Any) -> tuple[Any, Any]:
    if isinstance(axis, bool):
        raise ValueError(f"`axis` must be of type `int`. Received: axis={axis} of type {type(axis)}")
    y_true, y_pred = converted(y_true, y_pred)
    if label_smoothing:
        # Keras divides by the last axis's size whichever axis the classes are on.
        classes = ops.cast(ops.shape(y_true)[-1], y_pred.dtype)
        y_true = ops.add(ops.multiply(y_true, 1.0 - label_smoothing), ops.divide(label_smoothing, classes))
    return y_true, y_pred


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """Cross-entropy of integer classes along an axis; ``ignore_class`` counts as 0 and is masked."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if ops.ndim(y_true) == ops.ndim(y_pred) and ops.shape(y_true)[axis] == 1:
        y_true = ops.squeeze(y_true, axis)
    if ignore_class is None:
        return ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=from_logits, axis=axis)
    keep = ops.not_equal(y_true, ops.cast(ignore_class, y_true.dtype))
    labels = ops.where(keep, y_true, ops.zeros((), y_true.dtype))
    outputs = ops.where(ops.expand_dims(keep, axis), y_pred, ops.zeros((), y_pred.dtype))
    values = ops.sparse_categorical_crossentropy(labels, outputs, from_logits=from_logits, axis=axis)
    values = ops.where(keep, values, ops.zeros((), values.dtype))
    values._keras_mask = keep
    return values


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """Mean of elementwise binary cross-entropies over an axis."""
    y_true, y_pred = _labels(y_true, y_pred, label_smoothing)
    return ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=from_logits), axis=axis)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Binary cross-entropy times (1 - p)^gamma of the label's probability p, so that easy samples count little."""
    y_true, y_pred = _labels(y_true, y_pred, label_smoothing)
    y_pred = ops.sigmoid(y_pred) if from_logits else y_pred
    values = ops.binary_crossentropy(y_true, y_pred)
    other = ops.subtract(1.0, y_true)
    certainty = ops.add(ops.multiply(y_true, y_pred), ops.multiply(other, ops.subtract(1.0, y_pred)))
    values = ops.multiply(ops.power(ops.subtract(1.0, certainty), float(gamma)), values)
    if apply_class_balancing:
        values = ops.multiply(ops.add(ops.multiply(y_true, alpha), ops.multiply(other, 1.0 - alpha)), values)
    return ops.mean(values, axis=axis)


def _labels(y_true: Any, y_pred: Any, label_smoothing: float) -> tuple[Any, Any]:
    y_true, y_pred = converted(y_true, y_pred)
    if label_smoothing:
        y_true = ops.add(ops.multiply(y_true, 1.0 - label_smoothing), 0.5 * label_smoothing)
    return y_true, y_pred


def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    """Sum over the last axis of p log(p / q)."""
    p, q = (ops.clip(y, config.epsilon(), 1.0) for y in converted(y_true, y_pred))
    return ops.sum(ops.multiply(p, ops.log(ops.divide(p, q))), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Any:
    """Mean over the last axis of rate - count * log(rate)."""
    y_true, y_pred = converted(y_true, y_pred)
    return ops.mean(ops.subtract(y_pred, ops.multiply(y_true, ops.log(ops.add(y_pred, config.epsilon())))), axis=-1)


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Any:
    """(1 - p^q) / q of the integer label's probability p (Zhang & Sabuncu 2018)."""
    y_pred = ops.convert_to_tensor(y_pred)
    hot = ops.one_hot(ops.cast(y_true, "int32"), ops.shape(y_pred)[-1], dtype=y_pred.dtype)
    p = ops.sum(ops.multiply(y_pred, hot), axis=-1)
    return ops.divide(ops.subtract(1.0, ops.power(p, float(q))), float(q))


class CategoricalCrossentropy(NamedLoss):
    """Cross-entropy of one-hot classes."""

    saved = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalFocalCrossentropy(NamedLoss):
    """Cross-entropy of one-hot classes that weighs hard ones more."""

    saved = ("from_logits", "label_smoothing", "axis", "alpha", "gamma")

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            categorical_focal_crossentropy,
            reduction,
            name,
            dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(NamedLoss):
    """Cross-entropy of integer classes."""

    saved = ("from_logits", "ignore_class")

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )


class BinaryCrossentropy(NamedLoss):
    """Cross-entropy of independent yes-or-no labels."""

    saved = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class BinaryFocalCrossentropy(NamedLoss):
    """Cross-entropy of yes-or-no labels that weighs hard ones more."""

    saved = ("from_logits", "label_smoothing", "axis", "apply_class_balancing", "alpha", "gamma")

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(
            binary_focal_crossentropy,
            reduction,
            name,
            dtype,
            apply_class_balancing=apply_class_balancing,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class KLDivergence(NamedLoss):
    """Kullback-Leibler divergence of the prediction from the target."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "kl_divergence",
        dtype: Any = None,
    ):
        super().__init__(kl_divergence, reduction, name, dtype)


class Poisson(NamedLoss):
    """Negative log-likelihood of counts under predicted rates, but for a constant."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "poisson",
        dtype: Any = None,
    ):
        super().__init__(poisson, reduction, name, dtype)


class CategoricalGeneralizedCrossEntropy(NamedLoss):
    """Between cross-entropy (q near 0) and absolute error (q near 1), for labels with errors."""

    saved = ("q",)

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ):
        if not 0 < q < 1:
            raise ValueError("q must be in the interval (0, 1)")
        super().__init__(categorical_generalized_cross_entropy, reduction, name, dtype, q=q)
