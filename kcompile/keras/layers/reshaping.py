"""Layers that rearrange elements."""

from __future__ import annotations

import math
from typing import Any

from kcompile.ir.dims import floordiv, product
from kcompile.keras import ops
from kcompile.keras.config import standardize_data_format
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.signature import InputSpec


class Flatten(Layer):
    """All axes but the batch's become one, channels last."""

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Any) -> Any:
        rank = ops.ndim(inputs)
        if rank > 2 and self.data_format == "channels_first":
            inputs = ops.transpose(inputs, (0, *range(2, rank), 1))
        if rank < 2:
            return ops.expand_dims(inputs, -1)
        sizes = ops.shape(inputs)
        return ops.reshape(inputs, (sizes[0], product(sizes[1:])))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """The elements of each sample in another shape; one entry may be -1."""

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.target_shape = (target_shape,) if isinstance(target_shape, int) else tuple(target_shape)

    def build(self, input_shape: Any) -> None:
        known = input_shape[1:]
        if None not in known and -1 not in self.target_shape:
            have, want = math.prod(known), math.prod(self.target_shape)
            if have != want:
                raise ValueError(
                    "The total size of the tensor must be unchanged. Received: "
                    f"input_shape={tuple(known)}, target_shape={self.target_shape}"
                )
        self.built = True

    def call(self, inputs: Any) -> Any:
        sizes = ops.shape(inputs)
        target = list(self.target_shape)
        if -1 in target:
            rest = product(d for d in target if d != -1)
            target[target.index(-1)] = floordiv(product(sizes[1:]), rest)
        return ops.reshape(inputs, (sizes[0], *target))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}
