"""Masking, rescaling, normalisation of data, categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.keras import backend, ops
from kcompile.keras.layers.base import Layer


class Masking(Layer):
    """Masks the steps of [N, T, F] whose features all equal ``mask_value``; they become 0."""

    def __init__(self, mask_value: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.mask_value = mask_value
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any) -> Any:
        kept = ops.any(ops.not_equal(inputs, self.mask_value), axis=-1, keepdims=True)
        return ops.multiply(inputs, ops.cast(kept, inputs.dtype))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.any(ops.not_equal(inputs, self.mask_value), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}


class Rescaling(Layer):
    """inputs * scale + offset."""

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any) -> Any:
        inputs = ops.cast(inputs, self.compute_dtype)
        return ops.add(ops.multiply(inputs, self._of(self.scale)), self._of(self.offset))

    def _of(self, value: Any) -> Any:
        return value if isinstance(value, (int, float)) else np.asarray(value, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


class Normalization(Layer):
    """(x - mean) / deviation along an axis, the statistics given or taken from data by `adapt`."""

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        axes = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None):
            raise ValueError(
                f"When setting values directly, both `mean` and `variance` must be set. Received: mean={mean} and variance={variance}"
            )
        self.axis, self.invert = axes, invert
        self.input_mean, self.input_variance = mean, variance
        self.supports_masking = True
        self._shown: Any = None

    def build(self, input_shape: Any) -> None:
        rank = len(input_shape)
        kept = sorted(a % rank for a in self.axis)
        if any(input_shape[a] is None for a in kept):
            raise ValueError(
                f"All `axis` values to be kept must have a known shape. Received axis={self.axis}, {input_shape}"
            )
        self._kept, self._rank = kept, rank
        self._wide = tuple(input_shape[a] if a in kept else 1 for a in range(rank))
        shape = tuple(input_shape[a] for a in kept)
        if self.input_mean is None:
            self.adapt_mean = self.add_weight(shape, "zeros", trainable=False, name="mean")
            self.adapt_variance = self.add_weight(shape, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", dtype="int32", trainable=False, name="count")
        self.built = True

    def adapt(self, data: Any) -> None:
        """Take mean and variance from an array of samples."""
        array = backend.convert_to_numpy(data).astype(np.float64)
        if not self.built:
            self._ensure_built((None, *array.shape[1:]))
        if self.input_mean is not None:
            raise ValueError("Cannot `adapt` a Normalization layer that was given `mean` and `variance`.")
        over = tuple(a for a in range(array.ndim) if a not in self._kept)
        self.adapt_mean.assign(array.mean(over).reshape(self.adapt_mean.shape))
        self.adapt_variance.assign(array.var(over).reshape(self.adapt_variance.shape))

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, self.compute_dtype)
        if self.input_mean is not None:
            shape = tuple(self._wide[a] for a in self._kept)
            mean, variance = (
                np.broadcast_to(np.asarray(v, self.compute_dtype), shape).reshape(self._wide)
                for v in (self.input_mean, self.input_variance)
            )
            deviation: Any = np.maximum(np.sqrt(variance), 1e-7)
        else:
            mean = ops.reshape(self.adapt_mean, self._wide)
            deviation = ops.maximum(ops.sqrt(ops.reshape(self.adapt_variance, self._wide)), 1e-7)
        if self.invert:
            return ops.add(mean, ops.multiply(x, deviation))
        return ops.divide(ops.subtract(x, mean), deviation)

    def get_config(self) -> dict[str, Any]:
        def plain(v: Any) -> Any:
            return v if v is None or isinstance(v, (int, float)) else np.asarray(v).tolist()

        own = {"axis": self.axis, "invert": self.invert}
        return {**super().get_config(), **own, "mean": plain(self.input_mean), "variance": plain(self.input_variance)}


def encode(x: Any, count: int, mode: str, weights: Any, dtype: str) -> Any:
    """Integers as one-hot rows, as one row for all of the last axis (multi_hot), or as counts of them."""
    if mode == "one_hot" and ops.ndim(x) > 1 and ops.shape(x)[-1] == 1:
        x = ops.squeeze(x, -1)
    hot = ops.one_hot(ops.cast(x, "int32"), count, dtype=dtype)
    if mode == "one_hot":
        return hot
    if ops.ndim(x) == 0:
        return hot
    if mode == "multi_hot":
        return ops.max(hot, axis=-2)
    if weights is not None:
        hot = ops.multiply(hot, ops.expand_dims(ops.cast(weights, dtype), -1))
    return ops.sum(hot, axis=-2)


class CategoryEncoding(Layer):
    """Integers below ``num_tokens`` as one_hot, multi_hot or count."""

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if output_mode not in ("count", "one_hot", "multi_hot"):
            raise ValueError(f"Unknown arg for output_mode: {output_mode}")
        if num_tokens is None or num_tokens < 1:
            raise ValueError(f"`num_tokens` must be >= 1. Received: num_tokens={num_tokens}.")
        if sparse:
            raise ValueError("CategoryEncoding: sparse outputs are not supported; leave sparse=False")
        self.num_tokens, self.output_mode = num_tokens, output_mode
        self.built = True

    def call(self, inputs: Any, count_weights: Any = None) -> Any:
        if count_weights is not None and self.output_mode != "count":
            raise ValueError("`count_weights` is not used when `output_mode` is not `'count'`.")
        return encode(inputs, self.num_tokens, self.output_mode, count_weights, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}


class Discretization(Layer):
    """Numbers as the index of the bin that they fall in; boundaries given, or quantiles of data by `adapt`."""

    def __init__(
        self,
        bin_boundaries: Sequence[float] | None = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ):
        super().__init__(name=name, dtype=dtype)
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError("You need to set exactly one of `num_bins` and `bin_boundaries`.")
        if sparse:
            raise ValueError("Discretization: sparse outputs are not supported; leave sparse=False")
        if output_mode not in ("int", "one_hot", "multi_hot", "count"):
            raise ValueError(f"Unknown arg for output_mode: {output_mode}")
        self.bin_boundaries = None if bin_boundaries is None else [float(b) for b in bin_boundaries]
        self.num_bins, self.epsilon, self.output_mode = num_bins, epsilon, output_mode
        self.autocast = False
        self.built = True

    def adapt(self, data: Any) -> None:
        """Take the boundaries from an array: bins of equally many numbers."""
        if self.num_bins is None:
            raise ValueError("Cannot adapt a Discretization layer that was given `bin_boundaries`.")
        array = np.sort(backend.convert_to_numpy(data).astype(np.float64).ravel())
        shares = np.arange(1, self.num_bins) / self.num_bins
        self.bin_boundaries = [float(b) for b in np.unique(np.quantile(array, shares))]

    def call(self, inputs: Any) -> Any:
        if self.bin_boundaries is None:
            raise ValueError(
                f"layer {self.name!r}: call `adapt` before using a Discretization layer without boundaries"
            )
        edges = np.asarray(self.bin_boundaries, "float32")
        x = ops.expand_dims(ops.cast(inputs, "float32"), -1)
        index = ops.sum(ops.cast(ops.greater_equal(x, edges), "int32"), axis=-1)
        if self.output_mode == "int":
            return index
        return encode(index, len(self.bin_boundaries) + 1, self.output_mode, None, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "bin_boundaries": self.bin_boundaries,
            "num_bins": self.num_bins,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
            "sparse": False,
        }
