"""Resizing of images; their positions as channels, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.errors import UnsupportedError
from kcompile.ir import Op, Type
from kcompile.ir.dims import Dim, DimLike, floordiv, modulo
from kcompile.ir.types import f32, i64
from kcompile.operators.kernels import compute
from kcompile.operators.shape import Reshape, Transpose
from kcompile.operators.windows import (
    image_shape,
    onnx_first,
    onnx_last,
    spatial_shape,
    torch_first,
    torch_last,
)

_MODES = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}


def _check_blocks(op: Any, x: Type) -> None:
    fits = x.dtype.is_float and x.rank == 4 and op.block > 0
    op.require(fits, f"x must be a float tensor of rank 4 and the block above 0, got {x}")


class SpaceToDepth(Op, name="space_to_depth"):
    """x [N, C, H, W] as [N, b * b * C, H / b, W / b]: each block of b x b positions as channels; ONNX SpaceToDepth.

    The position within the block counts before the channel.
    """

    block: int

    def infer(self, x: Type) -> Type:
        _check_blocks(self, x)
        n, c, *sizes = x.shape
        fits = all(isinstance(d, Dim) or d % self.block == 0 for d in sizes)
        self.require(fits, f"the block {self.block} doesn't divide height and width of {x}")
        return x.with_shape((n, c * self.block**2, *(floordiv(d, self.block) for d in sizes)))

    def decompose(self, x: Any) -> Any:
        n, c, h, w = x.type.shape
        b = self.block
        parts = Reshape((n, c, floordiv(h, b), b, floordiv(w, b), b))(x)
        return Reshape(self.infer(x.type).shape)(Transpose((0, 3, 5, 1, 2, 4))(parts))

    def onnx(self, o: Any, x: str) -> str:
        return compute(o, "SpaceToDepth", x, form=lambda x: o.SpaceToDepth(x, blocksize=self.block))


class DepthToSpace(Op, name="depth_to_space"):
    """x [N, b * b * C, H, W] as [N, C, H * b, W * b]: channels as positions of blocks; ONNX DepthToSpace.

    The inverse of `SpaceToDepth`; with ``channels_outside`` the channel counts before the position.
    """

    block: int
    channels_outside: bool = False

    def infer(self, x: Type) -> Type:
        _check_blocks(self, x)
        n, c, h, w = x.shape
        fits = isinstance(c, Dim) or c % self.block**2 == 0
        self.require(fits, f"the channels of {x} don't make blocks of {self.block}")
        return x.with_shape((n, floordiv(c, self.block**2), h * self.block, w * self.block))

    def decompose(self, x: Any) -> Any:
        n, c, h, w = x.type.shape
        b = self.block
        rest = floordiv(c, b * b)
        order, perm = (
            ((rest, b, b), (0, 1, 4, 2, 5, 3)) if self.channels_outside else ((b, b, rest), (0, 3, 4, 1, 5, 2))
        )
        return Reshape(self.infer(x.type).shape)(Transpose(perm)(Reshape((n, *order, h, w))(x)))

    def onnx(self, o: Any, x: str) -> str:
        mode = "CRD" if self.channels_outside else None
        return compute(o, "DepthToSpace", x, form=lambda x: o.DepthToSpace(x, blocksize=self.block, mode=mode))


class Resize(Op, name="resize"):
    """x [N, H, W, C] (or [N, C, H, W]) at another height and width; ONNX Resize.

    As the torch backend of Keras has it: pixel centres at half coordinates and edges repeated for
    bilinear and bicubic (a = -0.75, with ``antialias`` -0.5 and a kernel as wide as the shrinking);
    nearest takes floor((i + 0.5) * input / output).
    """

    size: tuple[DimLike, DimLike]
    mode: str = "bilinear"
    antialias: bool = False
    data_format: str = "channels_last"

    def infer(self, x: Type) -> Type:
        self.require(x.dtype.is_float and x.rank == 4, f"x must be a float tensor of rank 4, got {x}")
        self.require(self.mode in _MODES, f"mode must be one of {', '.join(_MODES)}, got {self.mode!r}")
        known = self.data_format in ("channels_last", "channels_first")
        self.require(known, f"data_format must be 'channels_last' or 'channels_first', got {self.data_format!r}")
        self.require(len(self.size) == 2, f"size must be (height, width), got {self.size}")
        channels = x.shape[3] if self.data_format == "channels_last" else x.shape[1]
        return x.with_shape(image_shape(x.shape[0], self.size, channels, self.data_format))

    def torch(self, t: Any, x: Any) -> Any:
        smooth = self.mode != "nearest"
        y = t.nn.functional.interpolate(
            torch_first(x, 4, self.data_format),
            size=t.shape(self.size),
            mode=self.mode if smooth else "nearest-exact",
            align_corners=False if smooth else None,
            antialias=self.antialias and smooth,
        )
        return torch_last(y, 4, self.data_format)

    def onnx(self, o: Any, x: str) -> str:
        before = spatial_shape(o.inputs[0], self.data_format)
        if self.mode == "nearest":
            return self._nearest(o, x, before)
        x = onnx_first(o, x, 4, self.data_format)
        attributes: dict[str, Any] = {}
        if self.antialias:
            if o.opset < 18:
                raise UnsupportedError(f"antialias is not in opset {o.opset}; it needs --opset 18 or later")
            attributes = {"antialias": 1, "exclude_outside": 1}
        if self.mode == "bicubic":
            attributes["cubic_coeff_a"] = -0.5 if self.antialias else -0.75
        y = o.Resize(
            x,
            None,
            *self._scales_or_sizes(o, before),
            mode=_MODES[self.mode],
            coordinate_transformation_mode="half_pixel",
            **attributes,
        )
        return onnx_last(o, y, 4, self.data_format)

    def _scales_or_sizes(self, o: Any, before: Any) -> tuple[str | None, str | None]:
        """Scales where they are whole numbers (they hold for any size), else sizes."""
        if all(_whole(b, a) for a, b in zip(before, self.size, strict=True)):
            factors = [1.0, 1.0, *(floordiv(b, a) for a, b in zip(before, self.size, strict=True))]
            return o.array(np.array(factors, np.float32), "scales"), None
        type = o.inputs[0]
        channels = type.shape[3] if self.data_format == "channels_last" else type.shape[1]
        return None, o.shape([type.shape[0], channels, *self.size])

    def _nearest(self, o: Any, x: str, before: Any) -> str:
        if all(_whole(b, a) for a, b in zip(before, self.size, strict=True)):
            y = o.Resize(
                onnx_first(o, x, 4, self.data_format),
                None,
                *self._scales_or_sizes(o, before),
                mode="nearest",
                # Of whole multiples the same as half_pixel, in a quarter of the time.
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
            return onnx_last(o, y, 4, self.data_format)
        # Any other ratio rounds differently in ONNX Runtime, so rows and columns are picked by index.
        first = 1 if self.data_format == "channels_last" else 2
        for axis, (a, b) in enumerate(zip(before, self.size, strict=True), first):
            if a != b:
                x = o.Gather(x, _nearest_indices(o, a, b), axis=axis)
        return x


def _whole(size: DimLike, divisor: DimLike) -> bool:
    """Whether ``size`` is a known multiple of ``divisor``."""
    return divisor != 0 and modulo(size, divisor) == 0 and isinstance(floordiv(size, divisor), int)


def _nearest_indices(o: Any, before: DimLike, after: DimLike) -> str:
    """floor((i + 0.5) * before / after) for each i, in float32 as torch computes it."""
    if not isinstance(before, Dim) and not isinstance(after, Dim):
        places = (np.arange(after, dtype=np.float32) + np.float32(0.5)) * (np.float32(before) / np.float32(after))
        return o.ints(np.minimum(places.astype(np.int64), before - 1).tolist())
    sizes = [o.size(before), o.size(after)]
    steps = o.Range(o.ints(0), o.squeeze(sizes[1], [0]), o.ints(1))
    ratio = o.Div(*(o.cast(s, f32) for s in sizes))
    places = o.Floor(o.Mul(o.Add(o.cast(steps, f32), o.like(0.5, f32)), ratio))
    return o.Min(o.cast(places, i64), o.Sub(sizes[0], o.ints(1)))
