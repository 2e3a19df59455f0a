"""What the functions of `keras.ops.image` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcompile.ir import DType
from kcompile.keras import config
from kcompile.keras.ops import arrays, elementwise
from kcompile.keras.ops.common import kind, rank_of, shape_of, tensor


def axes(data_format: str | None) -> tuple[int, int, int]:
    """(height, width, channels) axes, counted from the end, so that they hold with and without a batch axis."""
    return (-3, -2, -1) if config.standardize_data_format(data_format) == "channels_last" else (-2, -1, -3)


def on_batch(function: Callable[[Any], Any], images: Any) -> Any:
    """``function`` of images [N, ...]; one image without a batch axis is a batch of one."""
    check_rank(images)
    if rank_of(images) == 4:
        return function(tensor(images))
    return arrays.squeeze(function(arrays.expand_dims(images, 0)), 0)


def check_rank(images: Any) -> None:
    if rank_of(images) not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). Received input with "
            f"shape: images.shape={shape_of(images)}"
        )


def channels_last(function: Callable[[Any], Any], images: Any, data_format: str | None) -> Any:
    """``function`` of images [N, H, W, C], whatever the data format of ``images`` [N, ...] and of the result."""
    if config.standardize_data_format(data_format) == "channels_last":
        return function(images)
    return arrays.transpose(function(arrays.transpose(images, (0, 2, 3, 1))), (0, 3, 1, 2))


def rounded(x: Any, to: DType) -> Any:
    """Computed numbers in the dtype of the images that they came of; integers by rounding, not by cutting."""
    return tensor(elementwise.round(x) if kind(x).is_float and not to.is_float else x, to)


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"Invalid value for argument `{name}`. Expected of one {set(known)}. Received: {name}={value}")
