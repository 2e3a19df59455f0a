"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.config import standardize_data_format
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.convolutional import spatial
from kcompile.keras.layers.signature import InputSpec


class BasePooling(Layer):
    """What pooling over windows shares."""

    rank = 2
    pool: Any = None

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.pool_size = spatial(pool_size, self.rank, "pool_size")
        self.strides = self.pool_size if strides is None else spatial(strides, self.rank, "strides")
        self.padding = padding.lower()
        if self.padding not in ("valid", "same"):
            raise ValueError(f"`padding` must be 'valid' or 'same'. Received: padding={padding}")
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return type(self).pool(inputs, self.pool_size, self.strides, self.padding, self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class BaseGlobalPooling(Layer):
    """What pooling over all positions shares."""

    rank = 2
    reduce: Any = None

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format, self.keepdims = standardize_data_format(data_format), keepdims
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return type(self).reduce(inputs, axis=self._axes(), keepdims=self.keepdims)

    def _axes(self) -> tuple[int, ...]:
        first = 1 if self.data_format == "channels_last" else 2
        return tuple(range(first, first + self.rank))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class MaxPooling1D(BasePooling):
    """Largest value in windows along one axis."""

    rank, pool = 1, staticmethod(ops.max_pool)


class MaxPooling2D(BasePooling):
    """Largest value in windows of images."""

    rank, pool = 2, staticmethod(ops.max_pool)


class MaxPooling3D(BasePooling):
    """Largest value in windows of volumes."""

    rank, pool = 3, staticmethod(ops.max_pool)


class AveragePooling1D(BasePooling):
    """Mean of windows along one axis."""

    rank, pool = 1, staticmethod(ops.average_pool)


class AveragePooling2D(BasePooling):
    """Mean of windows of images."""

    rank, pool = 2, staticmethod(ops.average_pool)


class AveragePooling3D(BasePooling):
    """Mean of windows of volumes."""

    rank, pool = 3, staticmethod(ops.average_pool)


class GlobalMaxPooling1D(BaseGlobalPooling):
    """Largest value over time."""

    rank, reduce = 1, staticmethod(ops.max)


class GlobalMaxPooling2D(BaseGlobalPooling):
    """Largest value over an image."""

    rank, reduce = 2, staticmethod(ops.max)


class GlobalMaxPooling3D(BaseGlobalPooling):
    """Largest value over a volume."""

    rank, reduce = 3, staticmethod(ops.max)


class GlobalAveragePooling1D(BaseGlobalPooling):
    """Mean over time; over the steps that a mask leaves."""

    rank, reduce = 1, staticmethod(ops.mean)

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(data_format, keepdims, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return super().call(inputs)
        axis = self._axes()[0]
        shares = ops.expand_dims(ops.cast(mask, inputs.dtype), 2 if axis == 1 else 1)
        total = ops.sum(inputs * shares, axis=axis, keepdims=self.keepdims)
        return total / ops.sum(shares, axis=axis, keepdims=self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class GlobalAveragePooling2D(BaseGlobalPooling):
    """Mean over an image."""

    rank, reduce = 2, staticmethod(ops.mean)


class GlobalAveragePooling3D(BaseGlobalPooling):
    """Mean over a volume."""

    rank, reduce = 3, staticmethod(ops.mean)


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
