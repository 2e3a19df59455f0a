"""Layers that resize, cut out and mirror images."""

from __future__ import annotations

from typing import Any

from kcompile.ir import Dim
from kcompile.ir.dims import floordiv
from kcompile.keras import ops, random
from kcompile.keras.layers.image_base import ImageLayer, RandomImageLayer
from kcompile.keras.random_state import make_seed


class Resizing(ImageLayer):
    """Images at another height and width, in training and after it; see `keras.ops.image.resize`."""

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.height, self.width, self.interpolation = height, width, interpolation
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio
        self.fill_mode, self.fill_value, self.antialias = fill_mode, fill_value, bool(antialias)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        return ops.image.resize(images, (self.height, self.width), data_format=self.data_format, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "antialias": self.antialias,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width, **self._options()}


class CenterCrop(ImageLayer):
    """The middle of images, in training and after it; smaller images are resized to cover the size first."""

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format=data_format, **kwargs)
        self.height, self.width = height, width

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        sizes = ops.shape(images)
        edges = [(sizes[a] - size, a) for a, size in ((self.height_axis, self.height), (self.width_axis, self.width))]
        if any(not isinstance(edge, Dim) and edge < 0 for edge, _ in edges):
            return _covering(self, images)
        # A size that is not known yet is taken to be large enough, as in Keras.
        for (edge, axis), size in zip(edges, (self.height, self.width), strict=True):
            start = floordiv(edge, 2)
            images = images[_along(images, axis, slice(start, start + size))]
        return images

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


def _along(images: Any, axis: int, part: slice) -> tuple[slice, ...]:
    rank = ops.ndim(images)
    return tuple(part if i == axis % rank else slice(None) for i in range(rank))


def _covering(layer: Any, images: Any) -> Any:
    """The largest window of the target's ratio from the middle, resized."""
    size = (layer.height, layer.width)
    return ops.image.resize(images, size, crop_to_aspect_ratio=True, data_format=layer.data_format)


class RandomCrop(RandomImageLayer):
    """While training, the same random window of all images of a batch.

    At inference, and of images that are no larger than the window: the largest part of the window's ratio,
    resized. So Keras documents it; Keras 3.15 itself does nothing at inference, which leaves another shape
    than ``compute_output_shape`` says.
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, data_format=data_format, name=name, **kwargs)
        self.height, self.width = height, width
        self.seed = make_seed() if seed is None else seed  # Keras's config always has one

    def _draw(self, images: Any, seed: Any) -> Any:
        height, width = (ops.shape(images)[a] for a in (self.height_axis, self.width_axis))
        if isinstance(height, Dim) or isinstance(width, Dim):
            raise ValueError(
                "RandomCrop requires the input to have a fully defined height and width. Received: "
                f"images.shape={ops.shape(images)}"
            )
        if height <= self.height or width <= self.width:
            return None
        tops, lefts = (
            random.uniform((), 0.0, float(size - kept + 1), seed=seed)
            for size, kept in ((height, self.height), (width, self.width))
        )
        return ops.cast(tops, "int32"), ops.cast(lefts, "int32")

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        if transformation is None or not training:
            return _covering(self, images)
        for start, size, axis in zip(
            transformation, (self.height, self.width), (self.height_axis, self.width_axis), strict=True
        ):
            images = ops.take(images, ops.add(ops.arange(size), start), axis)
        return images

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


class RandomFlip(RandomImageLayer):
    """While training, each image mirrored or not: "horizontal", "vertical", or "horizontal_and_vertical" (both at once)."""

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        known = ("horizontal", "vertical", "horizontal_and_vertical")
        if mode not in known:
            raise ValueError(f"RandomFlip: `mode` must be one of {known}. Received: mode={mode}")
        self.mode = mode

    def _draw(self, images: Any, seed: Any) -> Any:
        return {"flips": ops.less_equal(self._uniform(images, seed, 0.0, 1.0, 1, 1, 1), 0.5)}

    def _transform(self, images: Any, transformation: Any) -> Any:
        sides = (("horizontal", self.width_axis), ("vertical", self.height_axis))
        axes = [axis for side, axis in sides if side in self.mode]
        return ops.where(transformation["flips"], ops.flip(images, axes), images)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}
