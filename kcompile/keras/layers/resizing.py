"""Layers that pad, crop, repeat and reorder."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.config import standardize_data_format
from kcompile.keras.layers.base import Layer
from kcompile.keras.layers.signature import InputSpec


class Permute(Layer):
    """The axes of each sample in another order, counted from 1."""

    def __init__(self, dims: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                "Invalid permutation argument `dims` for Permute Layer. The set of indices in `dims` must be consecutive "
                f"and start from 1. Received dims={dims}"
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.transpose(inputs, (0, *self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(Layer):
    """[N, F] as [N, n, F]."""

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(n, int):
            raise TypeError(f"Expected an integer value for `n`, got {type(n)}.")
        self.n = n
        self.input_spec = InputSpec(ndim=2)
        self.built = True

    def call(self, inputs: Any) -> Any:
        sizes = ops.shape(inputs)
        return ops.broadcast_to(ops.expand_dims(inputs, 1), (sizes[0], self.n, sizes[1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


def pairs(value: Any, rank: int, name: str) -> tuple[tuple[int, int], ...]:
    """(before, after) for each spatial axis; raises ValueError otherwise."""
    if isinstance(value, int):
        found = ((value, value),) * rank
    elif rank == 1 and len(value) == 2 and all(isinstance(v, int) for v in value):
        found = (tuple(value),)
    elif len(value) == rank:
        found = tuple((v, v) if isinstance(v, int) else tuple(v) for v in value)
    else:
        raise ValueError(f"`{name}` should have {rank} elements. Received: {value}.")
    if any(len(p) != 2 or min(p) < 0 for p in found):
        raise ValueError(f"`{name}` entries must be non-negative integers or pairs of them. Received: {value}")
    return found  # type: ignore[return-value]


class _Edges(Layer):
    """What padding and cropping share: an amount for each side of each spatial axis."""

    rank, argument, has_format = 2, "padding", True

    def __init__(self, amount: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.amounts = pairs(amount, self.rank, self.argument)
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self.built = True

    def _all(self) -> list[tuple[int, int]]:
        """Amounts for all axes."""
        still = [(0, 0)]
        last = self.data_format == "channels_last"
        return [*still, *self.amounts, *still] if last else [*still, *still, *self.amounts]

    def get_config(self) -> dict[str, Any]:
        shown: Any = self.amounts[0] if self.rank == 1 else self.amounts
        own = {self.argument: shown, **({"data_format": self.data_format} if self.has_format else {})}
        return {**super().get_config(), **own}


class _ZeroPadding(_Edges):
    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any):
        super().__init__(padding, data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        return ops.pad(inputs, self._all())


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after the steps."""

    rank = 1


class ZeroPadding2D(_ZeroPadding):
    """Zeros around images."""

    rank = 2


class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes."""

    rank = 3


class _Cropping(_Edges):
    argument = "cropping"

    def __init__(self, cropping: Any = 1, data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        kept = []
        for (before, after), size in zip(self._all(), ops.shape(inputs), strict=True):
            if isinstance(size, int) and before + after >= size > 0 and before + after:
                raise ValueError(
                    f"layer {self.name!r}: cropping {self.amounts} leaves nothing of an input of shape {ops.shape(inputs)}"
                )
            kept.append(slice(before, -after if after else None))
        return inputs[tuple(kept)]


class Cropping1D(_Cropping):
    """Steps cut off at both ends."""

    rank, has_format = 1, False

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any):
        super().__init__(cropping, "channels_last", **kwargs)


class Cropping2D(_Cropping):
    """Edges of images cut off."""

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)


class Cropping3D(_Cropping):
    """Edges of volumes cut off."""

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)


class UpSampling1D(Layer):
    """Each step repeated ``size`` times."""

    def __init__(self, size: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = int(size)
        self.input_spec = InputSpec(ndim=3)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.repeat(inputs, self.size, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class UpSampling2D(Layer):
    """Images ``size`` times as large, by nearest, bilinear or bicubic interpolation."""

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.interpolation = interpolation.lower()
        if self.interpolation not in ("nearest", "bilinear", "bicubic"):
            raise ValueError(f"`interpolation` must be nearest, bilinear or bicubic. Received: {interpolation}")
        self.input_spec = InputSpec(ndim=4)
        self.built = True

    def call(self, inputs: Any) -> Any:
        first = 1 if self.data_format == "channels_last" else 2
        sizes = ops.shape(inputs)
        wanted = (sizes[first] * self.size[0], sizes[first + 1] * self.size[1])
        return ops.image.resize(inputs, wanted, self.interpolation, data_format=self.data_format)

    def get_config(self) -> dict[str, Any]:
        own = {"size": self.size, "data_format": self.data_format, "interpolation": self.interpolation}
        return {**super().get_config(), **own}


class UpSampling3D(Layer):
    """Each cell of a volume repeated along each axis."""

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.size = (size,) * 3 if isinstance(size, int) else tuple(size)
        self.input_spec = InputSpec(ndim=5)
        self.built = True

    def call(self, inputs: Any) -> Any:
        first = 1 if self.data_format == "channels_last" else 2
        for i, count in enumerate(self.size):
            inputs = ops.repeat(inputs, count, first + i)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}
