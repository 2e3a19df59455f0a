"""Functions of `keras.ops.image` that weigh each pixel's neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.keras import config
from kcompile.keras.ops import arrays, elementwise, neural, reductions
from kcompile.keras.ops.common import float_dtype, kind, op, rank_of, shape_of, tensor
from kcompile.keras.ops.image_common import channels_last, check_rank, on_batch


def _gaussian(size: int, sigma: Any, dtype: str) -> Any:
    """[size] weights of a normal distribution around the middle, which sum to 1."""
    places = (arrays.arange(size, dtype=dtype) - (size - 1) / 2) / tensor(sigma, dtype)
    weights = elementwise.exp(-0.5 * elementwise.square(places))
    return weights / reductions.sum(weights)


def _each_channel(images: Any, kernel: Any, padding: str = "valid") -> Any:
    """Every channel of images [N, H, W, C] filtered by one kernel [h, w]."""
    height, width = shape_of(kernel)
    spread = arrays.broadcast_to(arrays.reshape(kernel, (height, width, 1, 1)), (height, width, shape_of(images)[3], 1))
    return neural.depthwise_conv(images, spread, 1, padding, "channels_last")


@op
def gaussian_blur(
    images: Any, kernel_size: Sequence[int] = (3, 3), sigma: Any = (1.0, 1.0), data_format: str | None = None
) -> Any:
    """Images smoothed by a normal distribution over a (height, width) of pixels; outside is black.

    As in Keras's backends, and other than documented, sigma[0] is across and sigma[1] down.
    """
    height, width = (int(s) for s in kernel_size)
    name = kind(images).keras
    down, across = _gaussian(height, sigma[1], name), _gaussian(width, sigma[0], name)
    kernel = arrays.expand_dims(down, 1) * arrays.expand_dims(across, 0)
    pads = ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0))

    def blurred(batch: Any) -> Any:
        return _each_channel(arrays.pad(batch, pads), kernel)

    return on_batch(lambda batch: channels_last(blurred, batch, data_format), images)


@op
def sobel_edges(images: Any, data_format: str | None = None) -> Any:
    """Differences (down, across) between a pixel's neighbours, in a last axis of 2: [N, H, W, C, 2]."""
    across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])

    def differences(kernel: Any) -> Any:
        weights = tensor(kernel, kind(images))
        return channels_last(lambda batch: _each_channel(batch, weights, "same"), images, data_format)

    return arrays.stack([differences(across.T), differences(across)], -1)


@op
def ssim(
    image1: Any,
    image2: Any,
    max_val: float = 1.0,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    data_format: str | None = None,
) -> Any:
    """The structural similarity of pairs of images [N, H, W, C]: [N], 1 for equal ones (Wang et al. 2004)."""
    for images in (image1, image2):
        check_rank(images)
    given = kind(image1)
    computed = float_dtype(given)
    data_format = config.standardize_data_format(data_format)
    single = rank_of(image1) == 3
    first, second = (tensor(arrays.expand_dims(x, 0) if single else x, computed) for x in (image1, image2))
    if data_format == "channels_first":
        first, second = (arrays.transpose(x, (0, 2, 3, 1)) for x in (first, second))
    weights = _gaussian(filter_size, filter_sigma, computed.keras)
    kernel = arrays.expand_dims(weights, 1) * arrays.expand_dims(weights, 0)
    mean1, mean2 = _each_channel(first, kernel), _each_channel(second, kernel)
    squares, product = mean1 * mean1 + mean2 * mean2, mean1 * mean2
    variances = _each_channel(first * first + second * second, kernel) - squares
    covariance = _each_channel(first * second, kernel) - product
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    similar = (2.0 * product + c1) * (2.0 * covariance + c2) / ((squares + c1) * (variances + c2))
    result = reductions.mean(similar, (1, 2, 3))
    return tensor(arrays.squeeze(result, 0) if single else result, given)
