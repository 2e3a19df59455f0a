"""Functions of `keras.ops.image` that read images at computed places."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from kcompile.ir.dims import product
from kcompile.keras import config
from kcompile.keras.ops import arrays, elementwise
from kcompile.keras.ops.common import kind, op, rank_of, run, shape_of, tensor
from kcompile.keras.ops.image_common import channels_last, check_rank, on_batch, one_of, rounded
from kcompile.keras.ops.image_filters import gaussian_blur
from kcompile.keras.random_state import draw_number, draw_seed
from kcompile.operators import random

_ORDERS = {"nearest": 0, "bilinear": 1}
_FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")


def _mirrored(index: Any, size: Any) -> Any:
    """Where an index comes to when it turns back at the outermost elements; a size of 1 has period 1, not 0."""
    turn = elementwise.subtract(size, 1)
    return elementwise.absolute(elementwise.mod(index + turn, elementwise.maximum(2 * turn, 1)) - turn)


def _inside(index: Any, size: Any, fill_mode: str) -> Any:
    """The index within [0, size) that an index outside stands for."""
    if fill_mode == "wrap":
        return elementwise.mod(index, size)
    if fill_mode == "mirror":
        return _mirrored(index, size)
    if fill_mode == "reflect":
        return elementwise.floor_divide(_mirrored(2 * index + 1, 2 * tensor(size, "int64") + 1) - 1, 2)
    return elementwise.maximum(elementwise.minimum(index, elementwise.subtract(size, 1)), 0)


def _corners(coordinate: Any, size: Any, order: int, fill_mode: str) -> list[tuple[Any, Any, Any]]:
    """(index, where it is valid, weight) of the elements next to a coordinate; None: everywhere, 1."""
    size = tensor(size, "int64")
    if order == 0:
        found = [(tensor(elementwise.round(coordinate), "int64"), None)]
    else:
        lower = elementwise.floor(coordinate)
        index, upper_weight = tensor(lower, "int64"), coordinate - lower
        found = [(index, 1.0 - upper_weight), (index + 1, upper_weight)]
    constant = fill_mode == "constant"
    return [
        (
            _inside(index, size, fill_mode),
            elementwise.logical_and(index >= 0, index < size) if constant else None,
            weight,
        )
        for index, weight in found
    ]


def _sample(
    rows: Any, first: Any, coordinates: Sequence[Any], sizes: Sequence[Any], order: int, fill_mode: str, fill: Any
) -> Any:
    """Rows [M, *rest] read between their places: coordinates broadcast to [*s], the result is [*s, *rest].

    Row ``first`` * product(sizes) + ... is the one at integer coordinates, row-major.
    """
    wide = (1,) * (rank_of(rows) - 1)

    def spread(x: Any) -> Any:
        return arrays.reshape(x, (*shape_of(x), *wide)) if wide else x

    axes = [_corners(c, s, order, fill_mode) for c, s in zip(coordinates, sizes, strict=True)]
    total: Any = None
    for corner in itertools.product(*axes):
        place, valid, weight = first, None, None
        for (index, inside, share), size in zip(corner, sizes, strict=True):
            place = place * size + index
            valid = inside if valid is None else elementwise.logical_and(valid, inside)
            weight = share if weight is None else elementwise.multiply(weight, share)
        value = arrays.take(rows, place, 0)
        value = value if valid is None else elementwise.where(spread(valid), value, fill)
        value = value if weight is None else elementwise.multiply(spread(weight), value)
        total = value if total is None else total + value
    return rounded(total, kind(rows))


@op
def map_coordinates(
    inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0
) -> Any:
    """An array of any rank R read at coordinates [R, *s]: [*s]; order 0 takes the nearest element, 1 interpolates."""
    one_of("fill_mode", fill_mode, _FILL_MODES)
    sizes = shape_of(inputs)
    parts = [coordinates[i] for i in range(len(coordinates))]
    if len(parts) != len(sizes):
        raise ValueError(
            "First dim of `coordinates` must be the same as the rank of `inputs`. Received inputs with shape: "
            f"{sizes} and coordinate leading dim of {len(parts)}"
        )
    if rank_of(parts[0]) < 1:
        raise ValueError(
            f"Invalid coordinates rank: expected at least rank 2. Received input with shape: {(len(parts),)}"
        )
    if order not in (0, 1):
        raise NotImplementedError("map_coordinates currently requires order<=1")
    fill = fill_value if kind(inputs).is_float else int(fill_value)
    zero = tensor(0, "int64")
    return _sample(arrays.ravel(inputs), zero, [tensor(p) for p in parts], sizes, order, fill_mode, fill)


def _warp(images: Any, x: Any, y: Any, interpolation: str, fill_mode: str, fill_value: Any) -> Any:
    """Images [N, H, W, C] with the pixel at (x, y) in each place of the coordinates [N or 1, H, W]."""
    count, height, width, channels = shape_of(images)
    rows = arrays.reshape(images, (product((count, height, width)), channels))
    first = arrays.reshape(arrays.arange(count, dtype="int64"), (count, 1, 1))
    fill = fill_value if kind(images).is_float else int(fill_value)
    return _sample(rows, first, (y, x), (height, width), _ORDERS[interpolation], fill_mode, fill)


def _grid(images: Any, dtype: str) -> tuple[Any, Any]:
    """x [1, 1, W] and y [1, H, 1] of the pixels of images [N, H, W, C]."""
    _, height, width, _ = shape_of(images)
    x, y = (arrays.arange(size, dtype=dtype) for size in (width, height))
    return arrays.reshape(x, (1, 1, width)), arrays.reshape(y, (1, height, 1))


def _projected(images: Any, transform: Any) -> tuple[Any, Any]:
    """Where the pixels come from under eight numbers [N, 8]: ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k)."""
    x, y = _grid(images, kind(transform).keras)
    a0, a1, a2, b0, b1, b2, c0, c1 = (arrays.expand_dims(column, 2) for column in arrays.split(transform, 8, 1))
    k = c1 * y + c0 * x + 1.0
    return (a1 * y + a0 * x + a2) / k, (b1 * y + b0 * x + b2) / k


@op
def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0,
    data_format: str | None = None,
) -> Any:
    """Images under a map from output to input pixels: transform [8] or [N, 8] is (a0, a1, a2, b0, b1, b2, c0, c1).

    The pixel (x, y) comes from ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k), k = c0 x + c1 y + 1, as
    documented; Keras's torch backend gets c0 and c1 wrong (it applies them to the channel's number).
    """
    one_of("interpolation", interpolation, tuple(_ORDERS))
    one_of("fill_mode", fill_mode, _FILL_MODES)
    check_rank(images)
    if rank_of(transform) not in (1, 2):
        raise ValueError(
            "Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of transforms). Received "
            f"input with shape: transform.shape={shape_of(transform)}"
        )
    numbers = tensor(transform, None if kind(transform).is_float else config.floatx())
    numbers = arrays.expand_dims(numbers, 0) if rank_of(numbers) == 1 else numbers

    def warped(batch: Any) -> Any:
        x, y = _projected(batch, numbers)
        return _warp(batch, x, y, interpolation, fill_mode, fill_value)

    return on_batch(lambda batch: channels_last(warped, batch, data_format), images)


# ---- perspective


def _onto_square(points: Any) -> list[Any]:
    """The rows of the matrix that takes (0, 0), (1, 0), (0, 1), (1, 1) to points [N, 4, 2], up to a factor.

    Heckbert, Fundamentals of Texture Mapping, 1989, section 2.2.3.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (
        [arrays.squeeze(v, -1) for v in arrays.split(arrays.squeeze(p, 1), 2, -1)] for p in arrays.split(points, 4, 1)
    )
    sx, sy = x0 - x1 - x2 + x3, y0 - y1 - y2 + y3
    dx1, dy1, dx2, dy2 = x1 - x3, y1 - y3, x2 - x3, y2 - y3
    w = dx1 * dy2 - dx2 * dy1
    g, h = sx * dy2 - sy * dx2, dx1 * sy - dy1 * sx
    return [
        [(x1 - x0) * w + g * x1, (x2 - x0) * w + h * x2, x0 * w],
        [(y1 - y0) * w + g * y1, (y2 - y0) * w + h * y2, y0 * w],
        [g, h, w],
    ]


def _adjugate(m: list[Any]) -> list[Any]:
    """The inverse of a matrix of rows, up to a factor."""
    (a, b, c), (d, e, f), (g, h, i) = m
    return [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]


def _homography(start: Any, end: Any) -> Any:
    """[N, 8]: the projective map that takes each of four end points to its start point."""
    to, back = _onto_square(start), _adjugate(_onto_square(end))
    matrix = [sum(to[i][k] * back[k][j] for k in range(3)) for i in range(3) for j in range(3)]
    return arrays.stack([v / matrix[8] for v in matrix[:8]], -1)


@op
def perspective_transform(
    images: Any,
    start_points: Any,
    end_points: Any,
    interpolation: str = "bilinear",
    fill_value: float = 0,
    data_format: str | None = None,
) -> Any:
    """Images pulled so that the four start points [4, 2] or [N, 4, 2], each (x, y), come to the end points."""
    one_of("interpolation", interpolation, tuple(_ORDERS))
    check_rank(images)
    for name, points in (("start_points", start_points), ("end_points", end_points)):
        if rank_of(points) not in (2, 3) or tuple(shape_of(points)[-2:]) != (4, 2):
            raise ValueError(
                f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. Received shape: "
                f"{shape_of(points)}"
            )
    if rank_of(start_points) != rank_of(end_points):
        raise ValueError(
            "start_points and end_points must have the same shape. Received start_points.shape="
            f"{shape_of(start_points)}, end_points.shape={shape_of(end_points)}"
        )
    start, end = (
        arrays.reshape(tensor(p, "float64" if kind(images).name == "f64" else "float32"), (-1, 4, 2))
        for p in (start_points, end_points)
    )

    def warped(batch: Any) -> Any:
        x, y = _projected(batch, _homography(start, end))
        return _warp(batch, x, y, interpolation, "constant", fill_value)

    return on_batch(lambda batch: channels_last(warped, batch, data_format), images)


@op
def elastic_transform(
    images: Any,
    alpha: float = 20.0,
    sigma: float = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    seed: Any = None,
    data_format: str | None = None,
) -> Any:
    """Images whose pixels are moved by random displacements, smooth over ``sigma`` pixels, times alpha (Simard 2003)."""
    one_of("interpolation", interpolation, tuple(_ORDERS))
    one_of("fill_mode", fill_mode, _FILL_MODES)
    window = int(6 * sigma) | 1
    computed = kind(images) if kind(images).is_float else kind(1.0)

    def displacement(batch: Any) -> Any:
        shape = (*shape_of(batch)[:3], 1)
        drawn = run(random.RandomNormal(shape, 0.0, float(sigma), computed, draw_number()), draw_seed(seed))
        return alpha * arrays.squeeze(gaussian_blur(drawn, (window, window), (sigma, sigma), "channels_last"), -1)

    def warped(batch: Any) -> Any:
        x, y = _grid(batch, computed.keras)
        return _warp(batch, x + displacement(batch), y + displacement(batch), interpolation, fill_mode, fill_value)

    return on_batch(lambda batch: channels_last(warped, batch, data_format), images)
