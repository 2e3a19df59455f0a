"""Functions of `keras.ops.image` that change colours."""

from __future__ import annotations

from typing import Any

from kcompile.keras.ops import arrays, elementwise
from kcompile.keras.ops.common import kind, op, shape_of, tensor
from kcompile.keras.ops.image_common import axes, check_rank

# Smallest spacing at 1 of each float dtype: what Keras takes for black.
_EPSILON = {"f64": 2.0**-52, "f32": 2.0**-23, "f16": 2.0**-10, "bf16": 2.0**-7}


@op
def rgb_to_grayscale(images: Any, data_format: str | None = None) -> Any:
    """The brightness of images of three channels in one: 0.2989 red + 0.587 green + 0.114 blue (ITU-R BT.601)."""
    check_rank(images)
    axis = axes(data_format)[2]
    channels = shape_of(images)[axis]
    if channels not in (1, 3):
        raise ValueError(
            f"Invalid channel size: expected 3 (RGB) or 1 (Grayscale). Received input with shape: images.shape={shape_of(images)}"
        )
    if channels == 1:
        return tensor(images)
    red, green, blue = arrays.split(images, 3, axis)
    return tensor(0.2989 * red + 0.587 * green + 0.114 * blue, kind(images))


def _planes(images: Any, data_format: str | None) -> tuple[list[Any], int]:
    check_rank(images)
    if not kind(images).is_float:
        raise ValueError(f"Invalid images dtype: expected float dtype. Received: images.dtype={kind(images).keras}")
    axis = axes(data_format)[2]
    return arrays.split(images, 3, axis), axis


@op
def rgb_to_hsv(images: Any, data_format: str | None = None) -> Any:
    """Red, green and blue in [0, 1] as hue (a share of the circle), saturation and value."""
    planes, axis = _planes(images, data_format)
    least = _EPSILON[kind(images).name]
    r, g, b = (elementwise.where(elementwise.absolute(p) < least, 0.0, p) for p in planes)
    value = elementwise.maximum(elementwise.maximum(r, g), b)
    spread = value - elementwise.minimum(elementwise.minimum(r, g), b)
    coloured, lit = spread > 0, value > 0
    saturation = elementwise.where(lit, spread / elementwise.where(lit, value, 1.0), 0.0)
    sixth = 1.0 / (6.0 * elementwise.where(coloured, spread, 1.0))
    hue = elementwise.where(elementwise.equal(value, g), sixth * (b - r) + 2 / 6, sixth * (r - g) + 4 / 6)
    hue = elementwise.where(elementwise.equal(value, r), sixth * (g - b), hue)
    hue = elementwise.where(coloured, hue, 0.0)
    return arrays.concatenate([elementwise.where(hue < 0, hue + 1.0, hue), saturation, value], axis)


@op
def hsv_to_rgb(images: Any, data_format: str | None = None) -> Any:
    """What `rgb_to_hsv` gives, back as red, green and blue."""
    (hue, saturation, value), axis = _planes(images, data_format)
    angle = elementwise.mod(hue, 1.0) * 6.0
    shares = (
        elementwise.absolute(angle - 3.0) - 1.0,
        2.0 - elementwise.absolute(angle - 2.0),
        2.0 - elementwise.absolute(angle - 4.0),
    )
    grey = 1.0 - saturation
    return arrays.concatenate([value * (grey + saturation * elementwise.clip(s, 0.0, 1.0)) for s in shares], axis)
