"""Images as files and arrays, through Pillow: `array_to_img`, `img_to_array`, `load_img`, `save_img`."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kcompile.errors import MissingError
from kcompile.keras import config

MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}


def pillow() -> Any:
    """`PIL.Image`; MissingError where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingError("reading and writing images needs Pillow: pip install pillow") from error
    return Image


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """A Pillow image of an array of 3 axes with 1, 3 or 4 channels; ``scale`` spreads its numbers over 0 to 255."""
    image = pillow()
    array = np.array(x, dtype=dtype or config.floatx())
    if array.ndim != 3:
        raise ValueError(f"an image has 3 axes (height, width, channels), got an array of shape {array.shape}")
    if config.standardize_data_format(data_format) == "channels_first":
        array = array.transpose(1, 2, 0)
    if scale:
        array = array - array.min()
        array = array / (array.max() or 1) * 255
    channels = array.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(f"an image has 1, 3 or 4 channels, got {channels}")
    if channels == 1:
        # More than 8 bits can hold are kept as whole numbers.
        return image.fromarray(array[:, :, 0].astype("int32" if array.max() > 255 else "uint8"))
    return image.fromarray(array.astype("uint8"))


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A Pillow image as an array of floatx with an axis of channels."""
    array = np.asarray(img, dtype=dtype or config.floatx())
    if array.ndim not in (2, 3):
        raise ValueError(f"Unsupported image shape: {array.shape}")
    array = array[:, :, None] if array.ndim == 2 else array
    return array.transpose(2, 0, 1) if config.standardize_data_format(data_format) == "channels_first" else array


def save_img(
    path: Any,
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Write an array as an image file; the format is the name's ending unless ``file_format`` says."""
    if file_format is None and isinstance(path, (str, Path)):
        file_format = Path(path).suffix.removeprefix(".")
    wanted = (file_format or "").lower().replace("jpg", "jpeg") or None
    image = array_to_img(x, data_format, scale)
    if image.mode == "RGBA" and wanted == "jpeg":
        warnings.warn("The JPEG format does not support RGBA images, converting to RGB.", stacklevel=2)
        image = image.convert("RGB")
    image.save(path, format=wanted, **kwargs)


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """A Pillow image from a file (or its bytes in a stream), in a colour mode, resized to (height, width)."""
    images = pillow()
    if not isinstance(path, (str, bytes, Path, io.BytesIO)):
        raise TypeError(f"path should be path-like or io.BytesIO, not {type(path)}")
    if color_mode not in MODES:
        raise ValueError(f'color_mode must be "grayscale", "rgb" or "rgba", got {color_mode!r}')
    with images.open(path) as opened:
        # Greys of more than 8 bits stay what they are.
        keep = opened.mode == MODES[color_mode] or (color_mode == "grayscale" and opened.mode in ("I;16", "I"))
        image = opened.copy() if keep else opened.convert(MODES[color_mode])
    if target_size is None or image.size == (target_size[1], target_size[0]):
        return image
    known = {k.lower(): v for k, v in images.Resampling.__members__.items()}
    if interpolation not in known:
        raise ValueError(f"Invalid interpolation method {interpolation}. Supported methods are {', '.join(known)}")
    size = (target_size[1], target_size[0])
    return image.resize(size, known[interpolation], box=_middle(image.size, size) if keep_aspect_ratio else None)


def _middle(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest box in the middle of an image with the sides' ratio of ``wanted``; all are (width, height)."""
    width = min(size[0], size[1] * wanted[0] // wanted[1])
    height = min(size[1], size[0] * wanted[1] // wanted[0])
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height
