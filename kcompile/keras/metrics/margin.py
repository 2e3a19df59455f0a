"""Margins of classes."""

from __future__ import annotations

from typing import Any

from kcompile.keras.losses.margin import categorical_hinge, hinge, squared_hinge
from kcompile.keras.metrics.base import NamedMetric


class Hinge(NamedMetric):
    """Margins of labels -1 and 1."""

    def __init__(self, name: str = "hinge", dtype: Any = None):
        super().__init__(hinge, name, dtype)


class SquaredHinge(NamedMetric):
    """Squared margins of labels -1 and 1."""

    def __init__(self, name: str = "squared_hinge", dtype: Any = None):
        super().__init__(squared_hinge, name, dtype)


class CategoricalHinge(NamedMetric):
    """Margins of one-hot classes."""

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None):
        super().__init__(categorical_hinge, name, dtype)
