"""Layers that shift, turn, zoom, shear and tilt images while training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kcompile.keras import ops
from kcompile.keras.layers.image_base import RandomImageLayer, Range, factor_range, per_image, strict_range


class _Warp(RandomImageLayer):
    """What layers of affine maps share: how pixels are read between and outside of the image's."""

    def __init__(
        self, fill_mode: str, interpolation: str, seed: int | None, fill_value: float, data_format: Any, **kwargs: Any
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        for name, value, known in (
            ("fill_mode", fill_mode, ("reflect", "wrap", "constant", "nearest")),
            ("interpolation", interpolation, ("nearest", "bilinear")),
        ):
            if value not in known:
                raise NotImplementedError(f"Unknown `{name}` {value}. Expected of one {known}.")
        self.fill_mode, self.interpolation, self.fill_value = fill_mode, interpolation, fill_value

    def _sizes(self, images: Any) -> tuple[Any, Any]:
        """Height and width as numbers to compute with."""
        height, width = (ops.shape(images)[a] for a in (self.height_axis, self.width_axis))
        return ops.cast(height, "float32"), ops.cast(width, "float32")

    def _matrix(self, images: Any, transformation: Any) -> Any:
        """[N, 8], as `keras.ops.image.affine_transform` takes it."""
        raise NotImplementedError(f"{type(self).__name__} does not define _matrix")

    def _transform(self, images: Any, transformation: Any) -> Any:
        return ops.image.affine_transform(
            images,
            self._matrix(images, transformation),
            interpolation=self.interpolation,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            data_format=self.data_format,
        )

    def get_config(self) -> dict[str, Any]:
        own = {"fill_mode": self.fill_mode, "interpolation": self.interpolation, "fill_value": self.fill_value}
        return {**super().get_config(), **own}


def _rows(*numbers: Any) -> Any:
    """[N, 8] of six columns [N] (or single numbers), the last two 0."""
    like = next(n for n in numbers if ops.is_tensor(n))
    columns = [n if ops.is_tensor(n) else ops.full_like(like, n) for n in (*numbers, 0.0, 0.0)]
    return ops.stack(columns, 1)


class RandomTranslation(_Warp):
    """While training, each image shifted by a share of its height and width."""

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._height_range = strict_range(height_factor, (-1.0, 1.0), "height_factor")
        self._width_range = strict_range(width_factor, (-1.0, 1.0), "width_factor")

    def _draw(self, images: Any, seed: Any) -> Any:
        height, width = self._sizes(images)
        down = self._uniform(images, seed, *self._height_range, 1) * height
        across = self._uniform(images, seed, *self._width_range, 1) * width
        return {"translations": ops.concatenate([across, down], 1)}

    def _matrix(self, images: Any, transformation: Any) -> Any:
        moved = transformation["translations"]
        return _rows(1.0, 0.0, -moved[:, 0], 0.0, 1.0, -moved[:, 1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomRotation(_Warp):
    """While training, each image turned around its middle by a share of a full circle."""

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor_range(factor, (-1, 1))

    def _draw(self, images: Any, seed: Any) -> Any:
        lower, upper = (2 * math.pi * f for f in self.factor)
        angle = self._uniform(images, seed, lower, upper)
        height, width = self._sizes(images)
        x, y = 0.5 * (width - 1.0), 0.5 * (height - 1.0)
        cos, sin = ops.cos(angle), ops.sin(angle)
        return {"rotation_matrix": _rows(cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos)}

    def _matrix(self, images: Any, transformation: Any) -> Any:
        return transformation["rotation_matrix"]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


class RandomZoom(_Warp):
    """While training, each image zoomed around its middle: factor 0.2 shows 20 % more, -0.2 20 % less.

    Without ``width_factor`` height and width are zoomed alike.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        least = math.nextafter(-1.0, 0.0)  # -1 itself would show nothing
        self._height_range = strict_range(height_factor, (least, 1.0), "height_factor")
        self._width_range = None if width_factor is None else strict_range(width_factor, (least, 1.0), "width_factor")

    def _draw(self, images: Any, seed: Any) -> Any:
        across = down = self._zoom(images, seed, self._height_range)
        if self._width_range is not None:
            across = self._zoom(images, seed, self._width_range)
        return {"height_zoom": down, "width_zoom": across}

    def _zoom(self, images: Any, seed: Any, factor: Range) -> Any:
        return self._uniform(images, seed, 1.0 + factor[0], 1.0 + factor[1], 1)

    def _matrix(self, images: Any, transformation: Any) -> Any:
        height, width = self._sizes(images)
        across, down = (ops.squeeze(transformation[k], 1) for k in ("width_zoom", "height_zoom"))
        x, y = ((size - 1.0) / 2.0 * (1.0 - zoom) for size, zoom in ((width, across), (height, down)))
        return _rows(across, 0.0, x, 0.0, down, y)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomShear(_Warp):
    """While training, each image sheared: rows shifted by x_factor times their number, columns by y_factor."""

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.x_factor, self.y_factor = _shear_range(x_factor, "x_factor"), _shear_range(y_factor, "y_factor")

    def _draw(self, images: Any, seed: Any) -> Any:
        sign = ops.where(self._uniform(images, seed, 0.0, 1.0, 1) > 0.5, -1.0, 1.0)
        y = self._uniform(images, seed, *self.y_factor, 1)
        x = self._uniform(images, seed, *self.x_factor, 1)
        return {"shear_factor": ops.concatenate([x, y], 1) * sign}

    def _matrix(self, images: Any, transformation: Any) -> Any:
        shear = ops.cast(transformation["shear_factor"], "float32")
        return _rows(1.0, shear[:, 0], 0.0, shear[:, 1], 1.0, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "x_factor": self.x_factor, "y_factor": self.y_factor}


def _shear_range(value: Any, name: str) -> tuple[float, float]:
    """As documented, from 0 to 1; also (-f, f), which Keras writes to configs for f and then refuses to read."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] == -value[1]:
        value = value[1]
    return strict_range(value, (0.0, 1.0), name)


class RandomPerspective(RandomImageLayer):
    """While training, images seen from aside: each corner is moved by up to ``scale`` / 2 of its coordinates."""

    def __init__(
        self,
        factor: Any = 1.0,
        scale: float = 1.0,
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        if not 0.0 <= scale <= 1.0:
            raise ValueError(f"The `scale` argument should be a number in the range [0,1]. Received: scale={scale}")
        if interpolation not in ("nearest", "bilinear"):
            raise NotImplementedError(
                f"Unknown `interpolation` {interpolation}. Expected of one ('nearest', 'bilinear')."
            )
        self.factor, self.scale = factor_range(factor, (0, 1)), scale
        self.interpolation, self.fill_value = interpolation, fill_value

    def _draw(self, images: Any, seed: Any) -> Any:
        happens = self._happens(images, seed, self.factor)
        moved = self._uniform(images, seed, -0.5 * self.scale, 0.5 * self.scale, 4, 2)
        height, width = (ops.cast(ops.shape(images)[a], "float32") - 1.0 for a in (self.height_axis, self.width_axis))
        x = ops.multiply(width, np.array([0, 1, 0, 1], "float32"))
        y = ops.multiply(height, np.array([0, 0, 1, 1], "float32"))
        corners = ops.broadcast_to(ops.expand_dims(ops.stack([x, y], 1), 0), ops.shape(moved))
        return {"apply_perspective": happens, "start_points": corners, "end_points": corners + corners * moved}

    def _transform(self, images: Any, transformation: Any) -> Any:
        pulled = ops.image.perspective_transform(
            images,
            transformation["start_points"],
            transformation["end_points"],
            interpolation=self.interpolation,
            fill_value=self.fill_value,
            data_format=self.data_format,
        )
        return ops.where(per_image(transformation["apply_perspective"]), pulled, images)

    def get_config(self) -> dict[str, Any]:
        own = {"factor": self.factor, "scale": self.scale}
        return {**super().get_config(), **own, "interpolation": self.interpolation, "fill_value": self.fill_value}
