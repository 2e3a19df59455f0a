"""Layers that blur, sharpen and erase parts of images while training."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.keras import ops, random
from kcompile.keras.layers.image_base import RandomImageLayer, factor_range, per_image, value_range_of


class RandomSharpness(RandomImageLayer):
    """While training, each image moved from its smoothed self (factor 0) over itself (0.5) to twice as far (1)."""

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor, self.value_range = factor_range(factor, (0, 1)), value_range_of(value_range)

    def _draw(self, images: Any, seed: Any) -> Any:
        return {"factor": self._uniform(images, seed, *self.factor)}

    def _transform(self, images: Any, transformation: Any) -> Any:
        channels = ops.shape(images)[self.channel_axis]
        kernel = np.ones((3, 3, channels, 1))
        kernel[1, 1] = 5.0
        weights = ops.convert_to_tensor(kernel / 13.0, self.compute_dtype)
        smooth = ops.depthwise_conv(images, weights, 1, "same", self.data_format)
        blurred = 1.0 - 2.0 * per_image(ops.cast(transformation["factor"], self.compute_dtype))
        return ops.clip(images + blurred * (smooth - images), *self.value_range)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range}


class RandomGaussianBlur(RandomImageLayer):
    """While training, images blurred with a probability drawn from ``factor``, by one width a batch."""

    def __init__(
        self,
        factor: Any = 1.0,
        kernel_size: Any = 3,
        sigma: Any = 1.0,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor, self.sigma = factor_range(factor, (0, 1)), factor_range(sigma, (0, 1), "sigma")
        sizes = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * 2
        if len(sizes) != 2 or any(s % 2 == 0 for s in sizes):
            raise ValueError(f"kernel_size must be an odd number. Received: kernel_size={kernel_size}")
        self.kernel_size, self.value_range = sizes, value_range

    def _draw(self, images: Any, seed: Any) -> Any:
        happens = self._happens(images, seed, self.factor)
        widths = random.uniform((2,), self.sigma[0], self.sigma[1], "float32", seed)
        return {"should_apply_blur": happens, "blur_factor": ops.cast(widths, self.compute_dtype) + 1e-6}

    def _transform(self, images: Any, transformation: Any) -> Any:
        blurred = ops.image.gaussian_blur(
            images, self.kernel_size, transformation["blur_factor"], data_format=self.data_format
        )
        made = ops.where(per_image(transformation["should_apply_blur"]), blurred, images)
        return ops.clip(made, *self.value_range)

    def get_config(self) -> dict[str, Any]:
        own = {"factor": self.factor, "kernel_size": self.kernel_size, "sigma": self.sigma}
        return {**super().get_config(), **own, "value_range": self.value_range}


def box_masks(layer: RandomImageLayer, images: Any, seed: Any, down: Any, across: Any) -> Any:
    """bool [N, H, W, 1] (or channels first): a box at a random place, its sides shares [N] of height and width."""
    masks = []
    for axis, share in ((layer.height_axis, down), (layer.width_axis, across)):
        length = ops.shape(images)[axis]
        side = share * ops.cast(length, "float32")
        start = layer._uniform(images, seed, 0.0, 1.0) * (ops.cast(length, "float32") - side)
        start, stop = per_image(start), per_image(start + side)
        shape = [1, 1, 1, 1]
        shape[axis] = length
        places = ops.reshape(ops.arange(length, dtype="float32"), shape)
        masks.append(ops.logical_and(places >= start, places < stop))
    return ops.logical_and(*masks)


class RandomErasing(RandomImageLayer):
    """While training, a box of each image filled with noise, or with ``fill_value`` (Zhong et al. 2017).

    ``factor`` is the range of the probability, ``scale`` that of the box's share of the image.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor, self.scale = factor_range(factor, (0, 1)), factor_range(scale, (0, 1), "scale")
        if isinstance(fill_value, (tuple, list)) and len(fill_value) != 3:
            raise ValueError(
                f"The `fill_value` argument should be a number (or a list of three numbers). Received: {fill_value}"
            )
        self.fill_value, self.value_range = fill_value, value_range

    def _draw(self, images: Any, seed: Any) -> Any:
        shares = ops.sqrt(self._uniform(images, seed, *self.scale, 2))
        masks = box_masks(self, images, seed, shares[:, 1], shares[:, 0])
        return {
            "apply_erasing": self._happens(images, seed, self.factor),
            "batch_masks": masks,
            "fill_value": ops.clip(self._fill(images, seed), *self.value_range),
        }

    def _fill(self, images: Any, seed: Any) -> Any:
        if self.fill_value is None:
            return random.normal(ops.shape(images), 0.0, float(self.value_range[1]), self.compute_dtype, seed)
        shape = [1, 1, 1]
        shape[self.channel_axis] = -1
        return ops.reshape(ops.convert_to_tensor(np.ravel(self.fill_value), self.compute_dtype), shape)

    def _transform(self, images: Any, transformation: Any) -> Any:
        erased = ops.logical_and(transformation["batch_masks"], per_image(transformation["apply_erasing"]))
        return ops.where(erased, ops.cast(transformation["fill_value"], self.compute_dtype), images)

    def get_config(self) -> dict[str, Any]:
        own = {"factor": self.factor, "scale": self.scale, "fill_value": self.fill_value}
        return {**super().get_config(), **own, "value_range": self.value_range}
