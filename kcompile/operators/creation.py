"""Tensors made from attributes and symbolic sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.ir.dims import Dim, DimLike, floordiv, maximum
from kcompile.ir.op import Op
from kcompile.ir.types import DType, Type, f32, i64
from kcompile.operators.kernels import compute, kernel_dtype

SMALL = 1024  # elements that a file may hold in place of a node that makes them


class Fill(Op, name="fill"):
    """A tensor of one value. ONNX Expand of a scalar, or an initialiser where it is small."""

    shape: tuple[DimLike, ...]
    value: float | int | bool
    dtype: DType = f32

    def infer(self) -> Type:
        for dim in self.shape:
            self.require(isinstance(dim, Dim) or dim >= 0, f"sizes must not be negative, got {self.shape}")
        return Type(self.dtype, self.shape)

    def torch(self, t: Any) -> Any:
        return t.full(t.shape(self.shape), self.value, dtype=t.dtype(self.dtype))

    def onnx(self, o: Any) -> str:
        size = o.outputs[0].size
        if isinstance(size, int) and size <= SMALL:
            return o.array(np.full(self.shape, self.value, self.dtype.numpy))
        wide = kernel_dtype("Expand", self.dtype)
        filled = o.Expand(o.like(self.value, wide), o.shape(self.shape))
        return filled if wide is self.dtype else o.cast(filled, self.dtype)


class Range(Op, name="range"):
    """start, start + step, ... before stop, as a vector; integers may have symbolic ends. ONNX Range."""

    start: DimLike | float
    stop: DimLike | float
    step: int | float = 1
    dtype: DType = i64

    def infer(self) -> Type:
        self.require(self.step != 0, "step must not be 0")
        self.require(not self.dtype.is_bool, "the dtype must be a number's")
        if isinstance(self.start, Dim) or isinstance(self.stop, Dim):
            self.require(
                self.dtype.is_integer or self.step == int(self.step),
                f"symbolic ends need a whole step, got {self.step}",
            )
            step = int(self.step)
            length = self.stop - self.start if step > 0 else self.start - self.stop
            return Type(self.dtype, (floordiv(maximum(length, 0) + (abs(step) - 1), abs(step)),))
        return Type(self.dtype, (len(np.arange(self.start, self.stop, self.step)),))

    def torch(self, t: Any) -> Any:
        if isinstance(self.start, Dim) or isinstance(self.stop, Dim):
            return t.arange(t.size(self.start), t.size(self.stop), self.step, dtype=t.dtype(self.dtype))
        values = np.arange(self.start, self.stop, self.step).astype(self.dtype.numpy)
        return t.tensor(values.tolist(), dtype=t.dtype(self.dtype))

    def onnx(self, o: Any) -> str:
        if not isinstance(self.start, Dim) and not isinstance(self.stop, Dim):
            return o.array(np.arange(self.start, self.stop, self.step).astype(self.dtype.numpy))
        ends = [o.squeeze(o.size(end), [0]) for end in (self.start, self.stop)]
        numbers = o.Range(*ends, o.like(self.step, i64))
        return numbers if self.dtype is i64 else o.cast(numbers, self.dtype)


class SizeOf(Op, name="size_of"):
    """A symbolic size as a scalar. ONNX Shape."""

    size: DimLike
    dtype: DType = i64

    def infer(self) -> Type:
        return Type(self.dtype, ())

    def torch(self, t: Any) -> Any:
        return t.scalar_tensor(t.size(self.size), dtype=t.dtype(self.dtype))

    def onnx(self, o: Any) -> str:
        scalar = o.squeeze(o.size(self.size), [0])
        return scalar if self.dtype is i64 else o.cast(scalar, self.dtype)


class Triangle(Op, name="triangle"):
    """The matrices of x [..., M, N] on and below a diagonal (above: ``upper``), 0 elsewhere. ONNX Trilu."""

    upper: bool = False
    diagonal: int = 0

    def infer(self, x: Type) -> Type:
        self.require(x.rank >= 2, f"x must be a matrix or several, got {x}")
        return x

    def torch(self, t: Any, x: Any) -> Any:
        return (t.triu if self.upper else t.tril)(x, self.diagonal)

    def onnx(self, o: Any, x: str) -> str:
        diagonal = o.like(self.diagonal, i64)
        return compute(o, "Trilu", x, form=lambda x: o.Trilu(x, diagonal, upper=int(self.upper)))
