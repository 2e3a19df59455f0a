"""Fourier transforms of `keras.ops`. Complex tensors are pairs (real, imaginary), as in Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.ir import Dim
from kcompile.keras.ops import arranging, arrays
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import kind, op, rank_of, run, shape_of, tensor
from kcompile.keras.ops.scatter import segment_sum
from kcompile.operators.fourier import Fourier


def _parts(x: Any) -> tuple[Any, Any]:
    """The two parts of a complex tensor; raises ValueError for anything else."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError(f"Input `x` should be a tuple of two tensors - real and imaginary. Received: x={x}")
    real, imag = tensor(x[0]), tensor(x[1])
    if shape_of(real) != shape_of(imag):
        raise ValueError(
            "Both the real and imaginary parts should have the same shape. Received: "
            f"x[0].shape = {shape_of(real)}, x[1].shape = {shape_of(imag)}"
        )
    if not kind(real).is_float or not kind(imag).is_float:
        raise ValueError(f"At least one tensor in input `x` is not of type float. Received: x={x}.")
    return real, imag


def _transform(real: Any, imag: Any, inverse: bool = False) -> tuple[Any, Any]:
    result = run(Fourier(inverse), arrays.stack([real, imag], -1))
    return arrays.take(result, 0, -1), arrays.take(result, 1, -1)


def _of_length(x: Any, length: int) -> Any:
    """x cut, or filled up with zeros, to a length of its last axis."""
    size = shape_of(x)[-1]
    if size == length:
        return x
    if isinstance(size, Dim) or size < length:
        missing = length if isinstance(size, Dim) else length - size
        x = arrays.pad(x, (*[(0, 0)] * (rank_of(x) - 1), (0, missing)))
    return arrays.slice_axis(x, -1, 0, length)


@op
def fft(x: tuple[Any, Any]) -> tuple[Any, Any]:
    """The Fourier transform along the last axis."""
    return _transform(*_parts(x))


@op
def fft2(x: tuple[Any, Any]) -> tuple[Any, Any]:
    """The Fourier transform along the last two axes."""
    return _both_axes(*_parts(x), inverse=False)


@op
def ifft2(x: tuple[Any, Any]) -> tuple[Any, Any]:
    """The inverse Fourier transform along the last two axes."""
    return _both_axes(*_parts(x), inverse=True)


def _both_axes(real: Any, imag: Any, inverse: bool) -> tuple[Any, Any]:
    for _ in range(2):
        real, imag = (arrays.swapaxes(part, -1, -2) for part in _transform(real, imag, inverse))
    return real, imag


@op
def rfft(x: Any, fft_length: int | None = None) -> tuple[Any, Any]:
    """The Fourier transform of real numbers along the last axis: its first ``fft_length // 2 + 1`` terms."""
    x = tensor(x) if fft_length is None else _of_length(tensor(x), fft_length)
    bins = shape_of(x)[-1] // 2 + 1
    real, imag = _transform(x, arrays.zeros_like(x))
    return arrays.slice_axis(real, -1, 0, bins), arrays.slice_axis(imag, -1, 0, bins)


@op
def irfft(x: tuple[Any, Any], fft_length: int | None = None) -> Any:
    """The real numbers whose `rfft` this is: ``fft_length`` of them, by default an even count."""
    real, imag = _parts(x)
    length = 2 * (shape_of(real)[-1] - 1) if fft_length is None else fft_length
    real, imag = (_of_length(part, length // 2 + 1) for part in (real, imag))
    # The other half of a real signal's spectrum is the first one's mirror image.
    mirrored = [arrays.flip(arrays.slice_axis(part, -1, 1, (length + 1) // 2), -1) for part in (real, imag)]
    real = arrays.concatenate([real, mirrored[0]], -1)
    imag = arrays.concatenate([imag, ew.negative(mirrored[1])], -1)
    return _transform(real, imag, inverse=True)[0]


# ---- short-time transforms


def _window(window: Any, length: int, dtype: Any) -> Any:
    """The window [length] as a tensor: periodic where it is named, ones where it is None."""
    if window is None:
        return arrays.ones((length,), dtype)
    if isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ValueError(
                f'If a string is passed to `window`, it must be one of `"hann"`, `"hamming"`. Received: {window}'
            )
        weight = {"hann": 0.5, "hamming": 0.54}[window]
        values = weight - (1 - weight) * np.cos(2 * np.pi * np.arange(length) / length)
        return tensor(values, dtype)
    found = tensor(window, dtype)
    if shape_of(found) != (length,):
        raise ValueError(f"The shape of `window` must be equal to [{length}]. Received: window shape={shape_of(found)}")
    return found


def _centred(window: Any, length: int) -> Any:
    before = (length - shape_of(window)[0]) // 2
    return arrays.pad(window, ((before, length - shape_of(window)[0] - before),))


@op
def stft(
    x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann", center: bool = True
) -> tuple[Any, Any]:
    """The spectra [..., frames, fft_length // 2 + 1] of windowed stretches of x [..., T].

    With ``center`` a frame is about each multiple of the stride, the signal mirrored at its ends.
    """
    if kind(x).name not in ("f32", "f64"):
        raise TypeError(f"Invalid input type. Expected `float32` or `float64`. Received: input type={kind(x).keras}")
    if fft_length < sequence_length:
        raise ValueError(
            "`fft_length` must equal or larger than `sequence_length`. Received: "
            f"sequence_length={sequence_length}, fft_length={fft_length}"
        )
    x = tensor(x)
    weights = _centred(_window(window, sequence_length, kind(x)), fft_length)
    if center:
        half = fft_length // 2
        x = arrays.pad(x, (*[(0, 0)] * (rank_of(x) - 1), (half, half)), mode="reflect")
    return rfft(ew.multiply(arranging.extract_sequences(x, fft_length, sequence_stride), weights), fft_length)


@op
def istft(
    x: tuple[Any, Any],
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> Any:
    """The signal [..., T] whose `stft` this is: windowed frames added up, divided by what the windows add up to."""
    frames = irfft(x, fft_length)
    count = shape_of(frames)[-2]
    if window is not None:
        weights = _centred(_window(window, sequence_length, kind(frames)), fft_length)
        exact = center and sequence_length == fft_length
        frames = ew.multiply(frames, weights if exact else ew.divide(weights, _overlaps(weights, sequence_stride)))
    signal = _overlap_add(frames, sequence_stride)
    if window is not None and exact:
        squares = arrays.broadcast_to(ew.square(weights), (count, fft_length))
        # The margins that centring added, where no window may reach, are cut off below.
        signal = ew.divide_no_nan(signal, _overlap_add(squares, sequence_stride))
    start = fft_length // 2 if center else 0
    total = shape_of(signal)[-1]
    if length is None:
        return arrays.slice_axis(signal, -1, start, total - start if center else total)
    return _of_length(arrays.slice_axis(signal, -1, start, total), length)


def _overlaps(weights: Any, stride: int) -> Any:
    """What the squares of windows a stride apart add up to, far from the signal's ends."""
    size = shape_of(weights)[0]
    times = -(-size // stride)
    squares = arrays.reshape(_of_length(ew.square(weights), times * stride), (times, stride))
    summed = squares[0]
    for i in range(1, times):
        summed = ew.add(summed, squares[i])
    return _of_length(arrays.tile(summed, (times,)), size)


def _overlap_add(frames: Any, stride: int) -> Any:
    """Frames [..., F, L] laid a stride apart and added up: [..., (F - 1) * stride + L]."""
    *outer, count, size = shape_of(frames)
    starts = ew.multiply(arrays.arange(0, count, dtype="int64"), stride)
    places = ew.add(arrays.expand_dims(starts, 1), arrays.arange(0, size, dtype="int64"))
    rows = arrays.moveaxis(arrays.reshape(frames, (*outer, count * size)), -1, 0)
    summed = segment_sum(rows, arrays.reshape(places, (-1,)), (count - 1) * stride + size)
    return arrays.moveaxis(summed, 0, -1)


__all__ = ["fft", "fft2", "ifft2", "irfft", "istft", "rfft", "stft"]
