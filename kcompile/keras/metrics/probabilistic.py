"""Metrics of probabilities."""

from __future__ import annotations

from typing import Any

from kcompile.keras.losses import probabilistic
from kcompile.keras.metrics.base import NamedMetric


class KLDivergence(NamedMetric):
    """Kullback-Leibler divergence of the prediction from the target."""

    def __init__(self, name: str = "kl_divergence", dtype: Any = None):
        super().__init__(probabilistic.kl_divergence, name, dtype)


class Poisson(NamedMetric):
    """Negative log-likelihood of counts under predicted rates, but for a constant."""

    def __init__(self, name: str = "poisson", dtype: Any = None):
        super().__init__(probabilistic.poisson, name, dtype)


class BinaryCrossentropy(NamedMetric):
    """Cross-entropy of independent yes-or-no labels."""

    saved = ("from_logits", "label_smoothing")

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ):
        super().__init__(
            probabilistic.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(NamedMetric):
    """Cross-entropy of one-hot classes."""

    saved = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ):
        super().__init__(
            probabilistic.categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(NamedMetric):
    """Cross-entropy of integer classes."""

    saved = ("from_logits", "ignore_class", "axis")

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ):
        super().__init__(
            probabilistic.sparse_categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )
