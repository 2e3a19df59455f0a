"""Losses of whole masks, of embeddings and of sequences."""

from __future__ import annotations

from typing import Any

from kcompile.keras import config, ops
from kcompile.keras.losses.base import NamedLoss, converted


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Any:
    """1 - 2 |A and B| / (|A| + |B|) over axes (all, the batch's too, where None)."""
    y_true, y_pred = converted(y_true, y_pred)
    both = ops.sum(ops.multiply(y_true, y_pred), axis=axis)
    sizes = ops.add(ops.sum(y_true, axis=axis), ops.sum(y_pred, axis=axis))
    return ops.subtract(1.0, ops.divide(ops.multiply(both, 2.0), ops.add(sizes, config.epsilon())))


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Any:
    """1 - |A and B| / (|A and B| + alpha |A without B| + beta |B without A|), A the target (Salehi et al. 2017)."""
    y_true, y_pred = converted(y_true, y_pred)
    both = ops.sum(ops.multiply(y_true, y_pred), axis=axis)
    missed = ops.sum(ops.multiply(ops.subtract(1.0, y_pred), y_true), axis=axis)
    wrong = ops.sum(ops.multiply(y_pred, ops.subtract(1.0, y_true)), axis=axis)
    whole = ops.add(ops.add(both, ops.multiply(missed, alpha)), ops.multiply(wrong, beta))
    return ops.subtract(1.0, ops.divide(both, ops.add(whole, config.epsilon())))


def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> Any:
    """Circle loss (Sun et al. 2020) of normalised embeddings y_pred [N, D] with integer labels y_true [N].

    Embeddings of one label come near each other, others apart; references are the batch itself
    unless given. A sample whose loss is 0 is masked.
    """
    y_pred, y_true = ops.convert_to_tensor(y_pred), ops.cast(y_true, "int32")
    others = y_pred if ref_embeddings is None else ops.convert_to_tensor(ref_embeddings)
    labels = y_true if ref_labels is None else ops.cast(ref_labels, "int32")
    distances = ops.maximum(ops.subtract(1.0, ops.matmul(y_pred, ops.transpose(others))), 0.0)
    rows, columns = ops.reshape(y_true, (-1, 1)), ops.reshape(labels, (1, -1))
    same = ops.equal(rows, columns)
    different = ops.logical_not(same)
    if remove_diagonal:
        itself = ops.eye(ops.shape(rows)[0], ops.shape(columns)[1], dtype="bool")
        same = ops.logical_and(same, ops.logical_not(itself))
    near = ops.multiply(ops.add(distances, margin), ops.subtract(distances, margin))
    far_weight = ops.maximum(ops.subtract(1.0 + margin, distances), 0.0)
    far = ops.multiply(far_weight, ops.subtract(1.0 - margin, distances))
    positive = ops.logsumexp(ops.where(same, ops.multiply(near, float(gamma)), float("-inf")), axis=1)
    negative = ops.logsumexp(ops.where(different, ops.multiply(far, float(gamma)), float("-inf")), axis=1)
    values = ops.softplus(ops.add(positive, negative))
    values._keras_mask = ops.greater(values, 0.0)
    return values


def ctc(y_true: Any, y_pred: Any) -> Any:
    """Connectionist temporal classification of labels [N, S] (0 is no label) under logits [N, T, C]."""
    if ops.ndim(y_true) != 2:
        raise ValueError(f"ctc: `y_true` must be integers of shape [N, S], got shape {ops.shape(y_true)}")
    if ops.ndim(y_pred) != 3:
        raise ValueError(f"ctc: `y_pred` must be logits of shape [N, T, C], got shape {ops.shape(y_pred)}")
    labels = ops.cast(y_true, "int32")
    batch, steps, _ = ops.shape(y_pred)
    lengths = ops.sum(ops.cast(ops.not_equal(labels, 0), "int32"), axis=-1)
    return ops.ctc_loss(labels, y_pred, lengths, ops.full((batch,), ops.cast(steps, "int32"), "int32"), mask_index=0)


class Dice(NamedLoss):
    """One minus the Dice coefficient of masks."""

    saved = ("axis",)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "dice",
        axis: Any = None,
        dtype: Any = None,
    ):
        super().__init__(dice, reduction, name, dtype, axis=axis)


class Tversky(NamedLoss):
    """One minus the Tversky index of masks: Dice with weights for both kinds of error."""

    saved = ("alpha", "beta", "axis")

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "tversky",
        axis: Any = None,
        dtype: Any = None,
    ):
        super().__init__(tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)


class Circle(NamedLoss):
    """Circle loss of normalised embeddings and integer labels."""

    saved = ("gamma", "margin", "remove_diagonal")

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "circle",
        dtype: Any = None,
    ):
        super().__init__(circle, reduction, name, dtype, gamma=gamma, margin=margin, remove_diagonal=remove_diagonal)


class CTC(NamedLoss):
    """Connectionist temporal classification; label 0 is the blank."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "ctc",
        dtype: Any = None,
    ):
        super().__init__(ctc, reduction, name, dtype)
