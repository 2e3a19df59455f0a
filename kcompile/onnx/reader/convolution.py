"""Convolution, pooling, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.ir import Value
from kcompile.ir.dims import DimLike, floordiv, modulo
from kcompile.onnx.reader.reading import Call, decline, reads, require
from kcompile.operators import convolution, pooling
from kcompile.operators.image import Resize
from kcompile.operators.shape import Transpose
from kcompile.operators.windows import resolve_padding


def _padding(c: Call, window: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Any:
    """The padding as the IR has it."""
    auto, count = c.attr("auto_pad", "NOTSET"), len(window)
    if auto == "NOTSET":
        pads = c.attr("pads", [0] * (2 * count))
        require(min(pads, default=0) >= 0 and len(pads) == 2 * count, f"pads {pads}")
        return tuple(zip(pads[:count], pads[count:], strict=True)) if any(pads) else "valid"
    if auto in ("VALID", "SAME_UPPER"):
        return "valid" if auto == "VALID" else "same"
    require(auto == "SAME_LOWER", f"auto_pad {auto}")
    pairs = resolve_padding("same", c.type(0).shape[2:], window, strides, dilations)
    require(all(isinstance(v, int) for pair in pairs for v in pair), "SAME_LOWER at a size that is not known")
    return tuple((after, before) for before, after in pairs)


def _kernel(c: Call) -> tuple[Value, tuple[int, ...]]:
    """(the kernel as the IR has it, its window)."""
    rank = c.type(1).rank
    require(c.type(1).is_static, "a kernel whose shape is not known")
    window = tuple(int(d) for d in c.type(1).shape[2:])  # type: ignore[arg-type]
    require(tuple(c.attr("kernel_shape", window)) == window, "kernel_shape is not that of the kernel")
    # [K, C, *window] to [*window, C, K]; the other way about for a transposed one.
    perm = (*range(2, rank), 1, 0)
    moved = [i for i in perm if c.type(1).shape[i] != 1]
    # The emitter turns a computed kernel back, unless a pass has made a Reshape of the Transpose.
    require(c.content(1) is not None or moved != sorted(moved), "a computed kernel of one row")
    return Transpose(perm)(c[1]), window


def _steps(c: Call, name: str, count: int) -> tuple[int, ...]:
    return tuple(c.attr(name, [1] * count))


@reads("Conv")
def conv(c: Call) -> Value:
    kernel, window = _kernel(c)
    strides, dilations = (_steps(c, name, len(window)) for name in ("strides", "dilations"))
    padding = _padding(c, window, strides, dilations)
    fields = strides, padding, dilations, c.attr("group", 1)
    return c.on_image(lambda layout: convolution.Conv(*fields, layout), kernel, c.get(2))


@reads("ConvTranspose")
def conv_transpose(c: Call) -> Value:
    require(c.attr("group", 1) == 1, "groups of a transposed convolution")
    require("output_shape" not in c.attributes, "output_shape")
    require(c.attr("auto_pad", "NOTSET") in ("NOTSET", "VALID"), "auto_pad")
    kernel, window = _kernel(c)
    strides, dilations = (_steps(c, name, len(window)) for name in ("strides", "dilations"))
    pads = c.attr("pads", [0] * (2 * len(window)))
    pairs = tuple(zip(pads[: len(window)], pads[len(window) :], strict=True))
    extra = c.attr("output_padding", [0] * len(window))
    fields = strides, pairs, dilations, tuple(extra) if any(extra) else None
    return c.on_image(lambda layout: convolution.ConvTranspose(*fields, layout), kernel, c.get(2))


@reads("MaxPool", "AveragePool")
def pool(c: Call) -> Value:
    c.single()
    c.ignore("storage_order")  # of indices
    window = tuple(c.attr("kernel_shape"))
    strides, dilations = (_steps(c, name, len(window)) for name in ("strides", "dilations"))
    require(set(dilations) == {1}, "dilations of a pooling")
    padding = _padding(c, window, strides, dilations)
    require(c.attr("ceil_mode", 0) == 0 or _even(c, window, strides, padding), "sizes are rounded up")
    if c.op_type == "MaxPool":
        return c.on_image(lambda layout: pooling.MaxPool(window, strides, padding, layout))
    require(padding == "valid" or not c.attr("count_include_pad", 0), "padded cells are counted")
    return c.on_image(lambda layout: pooling.AveragePool(window, strides, padding, layout))


def _even(c: Call, window: tuple[int, ...], strides: tuple[int, ...], padding: Any) -> bool:
    """Whether the windows fill every axis, so that rounding up or down makes no difference."""
    pairs = [(0, 0)] * len(window) if padding == "valid" else padding
    return padding != "same" and all(
        isinstance(d, int) and (d + before + after - k) % s == 0
        for d, k, s, (before, after) in zip(c.type(0).shape[2:], window, strides, pairs, strict=True)
    )


@reads("Resize", "Upsample")
def resize(c: Call) -> Value:
    require(c.type(0).rank == 4, "a resize of other than images")
    before = c.type(0).shape
    after = _resized(c, before)
    require(after[:2] == before[:2], "a resize of the batch or the channels")
    whole = all(_whole(a, b) for a, b in zip(before[2:], after[2:], strict=True))
    mode = _mode(c, whole, before, after)
    return c.on_image(lambda layout: Resize((after[2], after[3]), mode, False, layout))


def _mode(c: Call, whole: bool, before: Any, after: Any) -> str:
    """The IR's name for the interpolation, which has to agree with it in every cell."""
    mode = c.attr("mode", "nearest")
    if c.op_type == "Upsample":
        require(mode == "nearest" and whole, "an Upsample that is not a repetition")
        return "nearest"
    c.plain(antialias=0, exclude_outside=0, keep_aspect_ratio_policy="stretch", extrapolation_value=0.0)
    c.ignore("nearest_mode", "cubic_coeff_a")  # of the other modes
    require("axes" not in c.attributes and c.version >= 11, "a resize along given axes, or from before opset 11")
    place, rounding = c.attr("coordinate_transformation_mode", "half_pixel"), c.attr("nearest_mode")
    if mode == "nearest":
        fits = (place, rounding) in (
            ("asymmetric", "floor"), ("half_pixel", None), ("half_pixel", "round_prefer_floor"),
            ("half_pixel", "round_prefer_ceil"),
        )  # fmt: skip
        # Of a whole multiple all of these repeat each cell.
        require(whole and fits, f"nearest, {place}, {rounding}")
        return "nearest"
    # PyTorch's variant differs where the result is one cell wide.
    wider = whole and all(a != b for a, b in zip(before[2:], after[2:], strict=True))
    require(place == "half_pixel" or (place == "pytorch_half_pixel" and wider), f"coordinates {place}")
    require(mode == "linear" or abs(c.attr("cubic_coeff_a", -0.75) + 0.75) < 1e-6, "another cubic")
    return "bilinear" if mode == "linear" else "bicubic"


def _resized(c: Call, before: Any) -> tuple[DimLike, ...]:
    if c.op_type == "Upsample" or c.get(3) is None:
        place = 1 if c.op_type == "Upsample" or c.version < 11 else 2
        scales = c.array(place, "scales") if c.version >= 9 else np.asarray(c.attr("scales"))
        require(scales.size == 4 and bool((scales == np.round(scales)).all()), "scales that are no whole numbers")
        return tuple(d * int(s) for d, s in zip(before, scales.tolist(), strict=True))
    sizes = tuple(c.sizes(3, "sizes"))
    return sizes if len(sizes) == 4 else decline("sizes of some axes")


def _whole(before: DimLike, after: DimLike) -> bool:
    return before != 0 and modulo(after, before) == 0 and isinstance(floordiv(after, before), int)
