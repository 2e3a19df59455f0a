"""Layers that change the colours of images."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.config import epsilon
from kcompile.keras.layers.image_base import (
    ImageLayer,
    RandomImageLayer,
    factor_range,
    moved_range,
    per_image,
    strict_range,
    value_range_of,
)

BYTES = (0, 255)


class _Colour(RandomImageLayer):
    """What colour layers share: a factor within the class's bounds, and the range of pixel values."""

    bounds = (-1.0, 1.0)
    sorted_range = True

    def __init__(self, factor: Any, value_range: Any = BYTES, seed: int | None = None, **kwargs: Any):
        super().__init__(seed=seed, **kwargs)
        self.factor = factor_range(factor, self.bounds)
        # Some of Keras's layers keep the range as it was given, which their configs show.
        self.value_range = value_range_of(value_range) if self.sorted_range else value_range

    def _held(self, images: Any) -> Any:
        return ops.clip(images, *self.value_range)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range}


class RandomContrast(_Colour):
    """While training, each image's distance from its channels' means times a number in [1 - lower, 1 + upper)."""

    bounds = (0.0, 1.0)
    sorted_range = False

    def _draw(self, images: Any, seed: Any) -> Any:
        return {"contrast_factor": self._uniform(images, seed, 1.0 - self.factor[0], 1.0 + self.factor[1], 1, 1, 1)}

    def _transform(self, images: Any, transformation: Any) -> Any:
        factor = ops.cast(transformation["contrast_factor"], self.compute_dtype)
        mean = ops.mean(images, (self.height_axis, self.width_axis), keepdims=True)
        return self._held((images - mean) * factor + mean)


class RandomBrightness(_Colour):
    """While training, each image with a share of the value range added."""

    def _draw(self, images: Any, seed: Any) -> Any:
        low, high = self.value_range
        return {"rgb_delta": self._uniform(images, seed, *self.factor, 1, 1, 1) * float(high - low)}

    def _transform(self, images: Any, transformation: Any) -> Any:
        return self._held(images + ops.cast(transformation["rgb_delta"], self.compute_dtype))


class RandomColorDegeneration(_Colour):
    """While training, each image moved a share of the way to its grey values."""

    def _draw(self, images: Any, seed: Any) -> Any:
        return {"factor": self._uniform(images, seed, *self.factor, 1, 1, 1)}

    def _transform(self, images: Any, transformation: Any) -> Any:
        grey = ops.image.rgb_to_grayscale(images, data_format=self.data_format)
        return self._held(images + ops.cast(transformation["factor"], self.compute_dtype) * (grey - images))


class RandomSaturation(_Colour):
    """While training, each image's saturation times f / (1 - f): 0 is grey, 0.5 as it was."""

    def _draw(self, images: Any, seed: Any) -> Any:
        share = self._uniform(images, seed, *self.factor)
        return {"factor": share / (1.0 - share + epsilon())}

    def _transform(self, images: Any, transformation: Any) -> Any:
        factor = per_image(ops.cast(transformation["factor"], self.compute_dtype))
        hue, saturation, value = ops.split(ops.image.rgb_to_hsv(images, self.data_format), 3, self.channel_axis)
        changed = ops.concatenate([hue, self._held(saturation * factor), value], self.channel_axis)
        return ops.image.hsv_to_rgb(changed, self.data_format)


class RandomHue(_Colour):
    """While training, each image's hues turned by up to half a circle times the factor, either way."""

    bounds = (0.0, 1.0)
    sorted_range = False

    def _draw(self, images: Any, seed: Any) -> Any:
        sign = ops.where(self._uniform(images, seed, 0.0, 1.0) > 0.5, -0.5, 0.5)
        return {"factor": sign * self._uniform(images, seed, *self.factor)}

    def _transform(self, images: Any, transformation: Any) -> Any:
        images = moved_range(images, self.value_range, (0, 1))
        hue, saturation, value = ops.split(ops.image.rgb_to_hsv(images, self.data_format), 3, self.channel_axis)
        hue = hue + per_image(ops.cast(transformation["factor"], self.compute_dtype))
        hue = ops.where(hue > 1.0, hue - 1.0, hue)
        hue = ops.where(hue < 0.0, hue + 1.0, hue)
        changed = ops.concatenate([hue, saturation, value], self.channel_axis)
        made = ops.clip(ops.image.hsv_to_rgb(changed, self.data_format), 0.0, 1.0)
        return moved_range(made, (0, 1), self.value_range)


class RandomInvert(_Colour):
    """While training, images turned into their negatives with a probability drawn from ``factor``."""

    bounds = (0.0, 1.0)
    sorted_range = False

    def __init__(self, factor: Any = 1.0, value_range: Any = BYTES, seed: int | None = None, **kwargs: Any):
        super().__init__(factor, value_range, seed, **kwargs)

    def _draw(self, images: Any, seed: Any) -> Any:
        return {"apply_inversion": self._happens(images, seed, self.factor)}

    def _transform(self, images: Any, transformation: Any) -> Any:
        return ops.where(per_image(transformation["apply_inversion"]), self.value_range[1] - images, images)


class RandomPosterization(_Colour):
    """While training, each image's bytes with their highest bits only: as many as drawn from the factor, 1 to 8."""

    bounds = (1, 8)

    def _draw(self, images: Any, seed: Any) -> Any:
        # The upper end is drawn only where it is the lower one too, as in Keras.
        return {"shift_factor": 8 - ops.floor(self._uniform(images, seed, *self.factor))}

    def _transform(self, images: Any, transformation: Any) -> Any:
        step = per_image(ops.power(2.0, ops.cast(transformation["shift_factor"], self.compute_dtype)))
        scaled = moved_range(images, self.value_range, BYTES)
        return moved_range(ops.floor(scaled / step) * step, BYTES, self.value_range)


class RandomGrayscale(RandomImageLayer):
    """While training, images turned grey with probability ``factor``; their three channels stay."""

    def __init__(self, factor: float = 0.5, data_format: str | None = None, seed: int | None = None, **kwargs: Any):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        if not 0 <= factor <= 1:
            raise ValueError(f"`factor` should be between 0 and 1. Received: factor={factor}")
        self.factor = factor

    def _draw(self, images: Any, seed: Any) -> Any:
        return ops.less(self._uniform(images, seed, 0.0, 1.0, 1, 1, 1), self.factor)

    def _transform(self, images: Any, transformation: Any) -> Any:
        grey = ops.image.rgb_to_grayscale(images, data_format=self.data_format)
        return ops.where(transformation, grey, images)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("seed")  # Keras does not write it
        return {**config, "factor": self.factor}


class Solarization(RandomImageLayer):
    """While training, bytes with a number added, and those above a threshold turned to their negatives."""

    def __init__(
        self,
        addition_factor: Any = 0.0,
        threshold_factor: Any = 0.0,
        value_range: Any = BYTES,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, **kwargs)
        self.addition_factor = strict_range(addition_factor, (0, 1), "addition_factor", least=0)
        self.threshold_factor = strict_range(threshold_factor, (0, 1), "threshold_factor", least=0)
        self.value_range = value_range_of(value_range)

    def _draw(self, images: Any, seed: Any) -> Any:
        # The lower end is not scaled to bytes, as in Keras.
        drawn = {
            name: self._uniform(images, seed, factor[0], factor[1] * 255, 1, 1, 1)
            for name, factor in (("additions", self.addition_factor), ("thresholds", self.threshold_factor))
        }
        return {name: ops.cast(x, self.compute_dtype) for name, x in drawn.items()}

    def _transform(self, images: Any, transformation: Any) -> Any:
        images = moved_range(images, self.value_range, BYTES) + transformation["additions"]
        images = ops.clip(images, *BYTES)
        images = ops.where(images < transformation["thresholds"], images, 255 - images)
        return moved_range(images, BYTES, self.value_range)

    def get_config(self) -> dict[str, Any]:
        own = {"addition_factor": self.addition_factor, "threshold_factor": self.threshold_factor}
        return {**super().get_config(), **own, "value_range": self.value_range}


class AutoContrast(ImageLayer):
    """Each channel of each image stretched to the whole value range, in training and after it.

    A channel of one value stays. With channels first Keras 3.15 takes the extremes over the wrong axes.
    """

    def __init__(self, value_range: Any = BYTES, **kwargs: Any):
        super().__init__(**kwargs)
        self.value_range = value_range_of(value_range)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        over = (self.height_axis, self.width_axis)
        low, high = ops.min(images, over, keepdims=True), ops.max(images, over, keepdims=True)
        flat = ops.equal(low, high)
        least, most = self.value_range
        stretched = (images - low) * ((most - least) / ops.where(flat, 1.0, high - low)) + least
        return ops.where(flat, images, ops.clip(stretched, least, most))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "value_range": self.value_range}


class Equalization(ImageLayer):
    """While training, each channel's values spread so that every part of the range is as frequent in the batch."""

    def __init__(self, value_range: Any = BYTES, bins: int = 256, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.value_range, self.bins = value_range_of(value_range), bins

    def _transform(self, images: Any, transformation: Any) -> Any:
        images = moved_range(images, self.value_range, BYTES)
        channels = ops.split(images, ops.shape(images)[self.channel_axis], self.channel_axis)
        made = ops.concatenate([self._equalized(c) for c in channels], self.channel_axis)
        return ops.cast(moved_range(made, BYTES, self.value_range), self.compute_dtype)

    def _equalized(self, channel: Any) -> Any:
        """Bytes by their rank: the share of the batch's pixels that are not above them, less that of the darkest."""
        bins = ops.cast(ops.clip(channel / 255.0 * (self.bins - 1), 0, self.bins - 1), "int32")
        ones = ops.ones_like(ops.reshape(bins, (-1,)))
        counts = ops.segment_sum(ones, ops.reshape(bins, (-1,)), self.bins)
        below = ops.cumsum(counts)
        total = below[self.bins - 1]
        darkest = ops.min(ops.where(below > 0, below, total))
        spread = total - darkest
        ranks = ops.cast(below - darkest, "float32") * 255.0 / ops.cast(ops.maximum(spread, 1), "float32")
        table = ops.clip(ops.round(ranks), 0.0, 255.0)
        return ops.where(spread > 0, ops.cast(ops.take(table, bins), self.compute_dtype), channel)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "value_range": self.value_range, "bins": self.bins}
