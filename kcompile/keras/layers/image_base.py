"""What image layers share: batches and single images, what is drawn for each image, ranges of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.errors import UnsupportedError
from kcompile.keras import ops, random
from kcompile.keras.config import standardize_data_format
from kcompile.keras.layers.base import Layer
from kcompile.keras.random_state import SeedGenerator

Range = tuple[float, float]


class ImageLayer(Layer):
    """A layer of images [N, H, W, C] or [H, W, C] (or channels first), alone or as ``{"images": ..., "labels": ...}``.

    Its output has the layer's compute dtype. Subclasses define ``_transform``; by default they act
    while training only (and ``training`` is True where nobody says, as in Keras).
    """

    def __init__(self, data_format: str | None = None, bounding_box_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.bounding_box_format = bounding_box_format
        last = self.data_format == "channels_last"
        self.height_axis, self.width_axis, self.channel_axis = (-3, -2, -1) if last else (-2, -1, -3)

    def call(self, data: Any, training: bool = True) -> Any:
        parts = data if isinstance(data, dict) else {"images": data}
        refused = parts.keys() - {"images", "labels"}
        if refused:
            raise UnsupportedError(
                f"layer {self.name!r} transforms images and labels, not {', '.join(sorted(refused))}; transform them "
                "in the data pipeline, with keras.ops.image"
            )
        rank = ops.ndim(parts["images"])
        if rank not in (3, 4):
            raise ValueError(
                "Expected image tensor to have rank 3 (single image) or 4 (batch of images). Received: "
                f"data.shape={ops.shape(parts['images'])}"
            )
        if rank == 3:
            parts = {k: ops.expand_dims(v, 0) for k, v in parts.items()}
        drawn = self.get_random_transformation(parts, training=training)
        done = {"images": self.transform_images(parts["images"], drawn, training=training)}
        if "labels" in parts:
            done["labels"] = self.transform_labels(parts["labels"], drawn, training=training)
        if rank == 3:
            done = {k: ops.squeeze(v, 0) for k, v in done.items()}
        return done if isinstance(data, dict) else done["images"]

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What ``transform_images`` does to each image of a batch; None where it needs no numbers."""
        return None

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        return self._transform(images, transformation) if training else images

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        return labels

    def _transform(self, images: Any, transformation: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines neither _transform nor transform_images")

    def get_config(self) -> dict[str, Any]:
        boxes = {} if self.bounding_box_format is None else {"bounding_box_format": self.bounding_box_format}
        return {**super().get_config(), "data_format": self.data_format, **boxes}


class RandomImageLayer(ImageLayer):
    """An image layer that draws numbers for each image; subclasses define ``_draw``."""

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed, self.generator = seed, SeedGenerator(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        images = data["images"] if isinstance(data, dict) else data
        return self._draw(images, self.generator if seed is None else seed)

    def _draw(self, images: Any, seed: Any) -> Any:
        """The transformation, its numbers drawn with ``seed``."""
        raise NotImplementedError(f"{type(self).__name__} does not define _draw")

    def _uniform(self, images: Any, seed: Any, low: float, high: float, *more: int) -> Any:
        """Numbers in [low, high) of shape [N, *more]."""
        count = ops.shape(images)[0] if ops.ndim(images) == 4 else 1
        return random.uniform((count, *more), low, high, "float32", seed)

    def _happens(self, images: Any, seed: Any, probability: Range) -> Any:
        """bool [N]: whether it happens to each image, with a probability drawn from a range."""
        threshold = self._uniform(images, seed, 0.0, 1.0)
        return ops.less(threshold, self._uniform(images, seed, *probability))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


def per_image(x: Any) -> Any:
    """[N, ...] numbers, one an image, as [N, 1, 1, 1]."""
    return ops.reshape(x, (-1, 1, 1, 1))


def factor_range(value: Any, bounds: Range, name: str = "factor") -> Range:
    """A factor as (lower, upper): a number f stands for -f to f as far as the bounds allow; ValueError outside."""
    message = (
        f"The `{name}` argument should be a number (or a list of two numbers) in the range [{bounds[0]}, {bounds[1]}]. "
        f"Received: {name}={value}"
    )
    if isinstance(value, (tuple, list)):
        if len(value) != 2 or value[0] > bounds[1] or value[1] < bounds[0]:
            raise ValueError(message)
        lower, upper = sorted(value)
        return lower, upper
    if not isinstance(value, (int, float)) or not bounds[0] <= value <= bounds[1]:
        raise ValueError(message)
    return max(-abs(value), bounds[0]), abs(value)


def strict_range(value: Any, bounds: Range, name: str, least: float | None = None) -> Range:
    """A factor as (lower, upper), both within the bounds; a number f stands for -f to f, or ``least`` to f."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    numbers = all(isinstance(v, (int, float)) for v in pair)
    if len(pair) > 2 or not numbers or not all(bounds[0] <= v <= bounds[1] for v in pair):
        raise ValueError(
            f"The `{name}` argument should be a number (or a list of two numbers) in the range [{bounds[0]}, {bounds[1]}]. "
            f"Received: {name}={value}"
        )
    if isinstance(value, (tuple, list)):
        lower, upper = sorted(pair)
        return lower, upper
    return (-abs(value) if least is None else least), abs(value)


def value_range_of(value: Any) -> list[float]:
    """(lowest, highest) pixel value, in order; ValueError for anything else."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"The `value_range` argument should be a list of two numbers. Received: value_range={value}")
    return sorted(value)


def moved_range(images: Any, old: Sequence[float], new: Sequence[float]) -> Any:
    """Values in one range taken to another."""
    if tuple(old) == tuple(new):
        return images
    return (images - old[0]) / (old[1] - old[0]) * (new[1] - new[0]) + new[0]
