"""Adaptive pooling layers: outputs of a fixed size whatever the input's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.config import standardize_data_format
from kcompile.keras.layers.base import Layer


class BaseAdaptivePooling(Layer):
    """What adaptive pooling over 1 to 3 axes shares; sizes may be free."""

    rank = 2
    pool: Any = None

    def __init__(self, output_size: int | Sequence[int], data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(output_size, (int, tuple, list)):
            raise TypeError(f"`output_size` must be an integer or {self.rank} of them. Received: {output_size!r}")
        self.output_size = (output_size,) * self.rank if isinstance(output_size, int) else tuple(output_size)
        if len(self.output_size) != self.rank:
            raise ValueError(
                f"For {self.rank}D input, `output_size` tuple must have length {self.rank}. Received: {output_size}"
            )
        self.data_format = standardize_data_format(data_format)

    def call(self, inputs: Any) -> Any:
        return type(self).pool(inputs, self.output_size, self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_size": self.output_size, "data_format": self.data_format}


class AdaptiveAveragePooling1D(BaseAdaptivePooling):
    """Means of so many windows along one axis."""

    rank, pool = 1, staticmethod(ops.adaptive_average_pool)


class AdaptiveAveragePooling2D(BaseAdaptivePooling):
    """Means of so many windows of images."""

    rank, pool = 2, staticmethod(ops.adaptive_average_pool)


class AdaptiveAveragePooling3D(BaseAdaptivePooling):
    """Means of so many windows of volumes."""

    rank, pool = 3, staticmethod(ops.adaptive_average_pool)


class AdaptiveMaxPooling1D(BaseAdaptivePooling):
    """Largest values of so many windows along one axis."""

    rank, pool = 1, staticmethod(ops.adaptive_max_pool)


class AdaptiveMaxPooling2D(BaseAdaptivePooling):
    """Largest values of so many windows of images."""

    rank, pool = 2, staticmethod(ops.adaptive_max_pool)


class AdaptiveMaxPooling3D(BaseAdaptivePooling):
    """Largest values of so many windows of volumes."""

    rank, pool = 3, staticmethod(ops.adaptive_max_pool)
