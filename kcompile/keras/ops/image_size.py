"""Functions of `keras.ops.image` that change the size of images: resize, crop, pad, cut into patches, scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kcompile.ir import Dim
from kcompile.ir import dtype as ir_dtype
from kcompile.ir.dims import floordiv, maximum, minimum
from kcompile.keras import config
from kcompile.keras.ops import arrays, elementwise, grids, neural, reductions
from kcompile.keras.ops.common import float_dtype, kind, normal_axis, op, rank_of, run, shape_of, tensor
from kcompile.keras.ops.image_common import axes, check_rank, on_batch, one_of, rounded
from kcompile.operators import image
from kcompile.tracing.tensor import promoted


@op
def resize(
    images: Any,
    size: Sequence[Any],
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Any:
    """Images [N, H, W, C] or [H, W, C] (or channels first) at another (height, width), in their own dtype.

    Where the ratio of the sides is to be kept, the middle is cut out first, or ``fill_value`` put around.
    Raises ValueError for an interpolation other than nearest, bilinear and bicubic.
    """
    one_of("interpolation", interpolation, ("nearest", "bilinear", "bicubic"))
    one_of("fill_mode", fill_mode, ("constant",))
    if pad_to_aspect_ratio and crop_to_aspect_ratio:
        raise ValueError("Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`.")
    if len(size) != 2:
        raise ValueError(f"Argument `size` must be a tuple of two elements (height, width). Received: size={size}")
    check_rank(images)
    data_format = config.standardize_data_format(data_format)
    given = kind(images)
    # As torch's interpolation is called: half precision and integers are computed in float32.
    x = tensor(images, given if given.name in ("f32", "f64") else "float32")
    if crop_to_aspect_ratio:
        x = _cut_to_ratio(x, size, data_format)
    elif pad_to_aspect_ratio:
        x = _fill_to_ratio(x, size, fill_value, data_format)
    smooth = interpolation != "nearest"
    operator = image.Resize((size[0], size[1]), interpolation, bool(antialias and smooth), data_format)
    x = on_batch(lambda batch: run(operator, batch), x)
    if interpolation == "bicubic" and given.name == "u8":
        x = elementwise.clip(x, 0, 255)
    return rounded(x, given)


def _ratio_sizes(height: Any, width: Any, size: Sequence[Any]) -> tuple[Any, Any]:
    """The height that fits the width, and the width that fits the height, at the ratio of ``size``."""
    return floordiv(width * size[0], size[1]), floordiv(height * size[1], size[0])


def _cut_to_ratio(x: Any, size: Sequence[Any], data_format: str) -> Any:
    down, across, _ = axes(data_format)
    height, width = shape_of(x)[down], shape_of(x)[across]
    for axis, old, fitting in zip((down, across), (height, width), _ratio_sizes(height, width, size), strict=True):
        kept = maximum(minimum(old, fitting), 1)
        start = floordiv(old - kept, 2)
        x = arrays.slice_axis(x, axis, start, start + kept)
    return x


def _fill_to_ratio(x: Any, size: Sequence[Any], value: float, data_format: str) -> Any:
    down, across, _ = axes(data_format)
    height, width = shape_of(x)[down], shape_of(x)[across]
    for axis, old, fitting in zip((down, across), (height, width), _ratio_sizes(height, width, size), strict=True):
        # Equal on both sides, so one short of the ratio where the difference is odd.
        x = _surrounded(x, axis, floordiv(maximum(old, fitting) - old, 2), value)
    return x


def _surrounded(x: Any, axis: int, width: Any, value: float) -> Any:
    """x with so many rows of a value before and after it along an axis."""
    sizes = list(shape_of(x))
    axis = normal_axis(axis, len(sizes))
    if not isinstance(width, Dim):
        return arrays.pad(x, [(width, width) if i == axis else (0, 0) for i in range(len(sizes))], "constant", value)
    sizes[axis] = width
    rows = arrays.full(sizes, value, kind(x))
    return arrays.concatenate([rows, x, rows], axis)


def _third(first: Any, second: Any, target: Any, size: Any, sign: int, names: tuple[str, str, str]) -> tuple[Any, Any]:
    """(amount before, amount after) an axis, the one of three that is None worked out of the others."""
    given = dict(zip(names, (first, second, target), strict=True))
    listed = ", ".join(f"{k}={v}" for k, v in given.items())
    if list(given.values()).count(None) != 1:
        raise ValueError(f"Must specify exactly two of {', '.join(names)}. Received: {listed}")
    for name, value in given.items():
        if value is not None and value < 0:
            raise ValueError(f"{name} must be >= 0. Received: {name}={value}")
    if target is not None:
        missing = sign * (target - size) - (second if first is None else first)
        first, second = (missing, second) if first is None else (first, missing)
    for name, value in zip(names, (first, second, size + sign * (first + second)), strict=True):
        if not isinstance(value, Dim) and value < 0:
            raise ValueError(f"{name} must be >= 0. Received: {name}={value}")
    return first, second


@op
def crop_images(
    images: Any,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Any:
    """Images without so many rows and columns at their edges; of edges and target two are given an axis."""
    check_rank(images)
    down, across, _ = axes(data_format)
    rows = (top_cropping, bottom_cropping, target_height, down, ("top_cropping", "bottom_cropping", "target_height"))
    columns = (left_cropping, right_cropping, target_width, across, ("left_cropping", "right_cropping", "target_width"))
    for before, after, target, axis, names in (rows, columns):
        size = shape_of(images)[axis]
        start, end = _third(before, after, target, size, -1, names)
        images = arrays.slice_axis(images, axis, start, size - end)
    return images


@op
def pad_images(
    images: Any,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Any:
    """Images with so many rows and columns of zeros at their edges; of edges and target two are given an axis."""
    check_rank(images)
    down, across, _ = axes(data_format)
    rank = rank_of(images)
    pads: list[tuple[Any, Any]] = [(0, 0)] * rank
    rows = (top_padding, bottom_padding, target_height, down, ("top_padding", "bottom_padding", "target_height"))
    columns = (left_padding, right_padding, target_width, across, ("left_padding", "right_padding", "target_width"))
    for before, after, target, axis, names in (rows, columns):
        pads[axis] = _third(before, after, target, shape_of(images)[axis], 1, names)
    return arrays.pad(images, pads)


@op
def extract_patches(
    images: Any,
    size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    dilation_rate: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """The pixels of each window of images in a row: [N, H', W', h * w * C]; of volumes where size has three entries."""
    if not isinstance(size, (int, tuple, list)):
        raise TypeError(
            f"Invalid `size` argument. Expected an int or a tuple. Received: size={size} of type {type(size).__name__}"
        )
    if not isinstance(size, int) and len(size) not in (2, 3):
        raise ValueError(
            f"Invalid `size` argument. Expected a tuple of length 2 or 3. Received: size={size} with length {len(size)}"
        )
    window = (size,) * 2 if isinstance(size, int) else tuple(size)
    return _patches(images, window, strides, dilation_rate, padding, data_format)


@op
def extract_patches_3d(
    volumes: Any,
    size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    dilation_rate: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """The cells of each window of volumes [N, D, H, W, C] in a row."""
    window = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(window) != 3:
        raise TypeError(f"Invalid `size` argument. Expected an int or a tuple of length 3. Received: size={size}")
    return _patches(volumes, window, strides, dilation_rate, padding, data_format)


def _patches(x: Any, window: tuple[int, ...], strides: Any, dilation: Any, padding: str, data_format: Any) -> Any:
    """A convolution that takes every element of its window to a channel of its own."""
    data_format = config.standardize_data_format(data_format)
    single = rank_of(x) == len(window) + 1
    x = arrays.expand_dims(x, 0) if single else x
    channels = shape_of(x)[-1 if data_format == "channels_last" else 1]
    count = math.prod(window) * channels
    kernel = arrays.reshape(grids.eye(count, dtype=kind(x).keras), (*window, channels, count))
    patches = neural.conv(x, kernel, strides or window, padding, data_format, dilation)
    return arrays.squeeze(patches, 0) if single else patches


# ---- scaling by weights

_METHODS = {
    **dict.fromkeys(("linear", "bilinear", "trilinear"), "linear"),
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), "cubic"),
    "lanczos3": "lanczos3",
    "lanczos5": "lanczos5",
}


@op
def scale_and_translate(
    images: Any,
    output_shape: Sequence[Any],
    scale: Any,
    translation: Any,
    spatial_dims: Sequence[int],
    method: str,
    antialias: bool = True,
) -> Any:
    """Images scaled and shifted along axes: what was at x comes to x * scale + translation.

    scale and translation have an entry for each of ``spatial_dims``; output_shape is the whole result's.
    Each output is a weighted sum of the inputs near by, weighted by the method's kernel (linear; cubic of
    Keys 1981 with a = -0.5; Lanczos), which widens with the shrinking where ``antialias``.
    """
    one_of("method", method, tuple(_METHODS))
    given = kind(images)
    target = float_dtype(promoted(scale, translation))
    scale, translation = tensor(scale, target), tensor(translation, target)
    x = tensor(images, float_dtype(given))
    for i, axis in enumerate(spatial_dims):
        axis = normal_axis(axis, rank_of(x))
        sizes = shape_of(x)[axis], output_shape[axis]
        weights = _weights(*sizes, scale[i], translation[i], _METHODS[method], antialias)
        x = arrays.moveaxis(arrays.tensordot(x, tensor(weights, kind(x)), [[axis], [0]]), -1, axis)
    if given.is_float:
        return x
    low, high = (tensor(f(images), "float32") for f in (reductions.min, reductions.max))
    return rounded(elementwise.clip(elementwise.round(x), low, high), given)


def _weights(before: Any, after: Any, scale: Any, translation: Any, method: str, antialias: bool) -> Any:
    """[before, after]: the share that each input has in each output."""
    name = ir_dtype(kind(scale)).keras
    inverse = elementwise.reciprocal(scale)
    places = (arrays.arange(after, dtype=name) + 0.5) * inverse - translation * inverse - 0.5
    rows = arrays.expand_dims(arrays.arange(before, dtype=name), 1)
    distance = elementwise.absolute(arrays.expand_dims(places, 0) - rows)
    if antialias:
        distance = distance / elementwise.maximum(inverse, 1.0)
    weights = _kernel(distance, method)
    total = reductions.sum(weights, 0, True)
    # A column that sums to next to nothing has no input near by.
    empty = elementwise.less_equal(elementwise.absolute(total), 1000 * 1.1920929e-07)
    weights = elementwise.where(empty, 0.0, weights / elementwise.where(empty, 1.0, total))
    inside = elementwise.logical_and(places >= -0.5, places <= elementwise.subtract(before, 0.5))
    return elementwise.where(arrays.expand_dims(inside, 0), weights, 0.0)


def _kernel(x: Any, method: str) -> Any:
    """The weight of an input at distance x >= 0."""
    if method == "linear":
        return elementwise.maximum(1.0 - x, 0.0)
    if method == "cubic":
        near = ((1.5 * x - 2.5) * x) * x + 1.0
        far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
        return elementwise.where(x >= 2.0, 0.0, elementwise.where(x >= 1.0, far, near))
    radius = float(method[-1])
    close = x <= 1e-3
    wave = elementwise.sin(x * math.pi) * elementwise.sin(x * (math.pi / radius)) * radius
    value = elementwise.where(close, 1.0, wave / elementwise.where(close, 1.0, x * x * math.pi**2))
    return elementwise.where(x > radius, 0.0, value)
