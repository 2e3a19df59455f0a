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
        type = o.outputs[0]
        if type.is_static and type.size <= SMALL:
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
        ends = self._symbolic()
        if ends is None:
            return Type(self.dtype, self._values().shape)
        step = self._whole_step()
        length = ends[1] - ends[0] if step > 0 else ends[0] - ends[1]
        return Type(self.dtype, (floordiv(maximum(length, 0) + (abs(step) - 1), abs(step)),))

    def torch(self, t: Any) -> Any:
        ends = self._symbolic()
        start, stop = (self.start, self.stop) if ends is None else t.shape(ends)
        step = self.step if ends is None else self._whole_step()
        # torch refuses a range that ends before it starts.
        stop = (t.sym_max if step > 0 else t.sym_min)(start, stop)
        return t.arange(start, stop, step, dtype=t.dtype(self.dtype))

    def onnx(self, o: Any) -> str:
        ends = self._symbolic()
        if ends is None:
            values = self._values()
            if values.size <= SMALL or values.dtype.kind == "f":
                return o.array(values)
            scalars = [o.like(int(v), i64) for v in (self.start, self.stop)]
        else:
            scalars = [o.squeeze(o.size(end), [0]) for end in ends]
        numbers = o.Range(*scalars, o.like(self._whole_step(), i64))
        return numbers if self.dtype is i64 else o.cast(numbers, self.dtype)

    def _symbolic(self) -> tuple[DimLike, DimLike] | None:
        """Start and stop where one of them is symbolic; the other must then be a whole number."""
        if not isinstance(self.start, Dim) and not isinstance(self.stop, Dim):
            return None
        return self._whole(self.start), self._whole(self.stop)

    def _whole(self, end: DimLike | float) -> DimLike:
        if isinstance(end, Dim):
            return end
        self.require(end == int(end), f"next to a symbolic end the other must be a whole number, got {end}")
        return int(end)

    def _whole_step(self) -> int:
        self.require(self.step == int(self.step), f"whole numbers need a whole step, got {self.step}")
        return int(self.step)

    def _values(self) -> np.ndarray:
        entries: Any = self.start, self.stop, self.step
        return np.arange(*entries).astype(self.dtype.numpy)


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


class Shape(Op, name="shape"):
    """The sizes of x's axes from ``start`` up to ``stop`` (None: all the rest) as an int64 vector. ONNX Shape."""

    start: int = 0
    stop: int | None = None

    def sizes(self, x: Type) -> tuple[DimLike, ...]:
        """The sizes themselves."""
        return x.shape[self.start : self.stop]

    def infer(self, x: Type) -> Type:
        return Type(i64, (len(self.sizes(x)),))

    def torch(self, t: Any, x: Any) -> Any:
        sizes = self.sizes(t.inputs[0])
        if not sizes:
            return t.zeros((0,), dtype=t.dtype(i64))
        return t.stack([t.scalar_tensor(t.size(d), dtype=t.dtype(i64)) for d in sizes])

    def onnx(self, o: Any, x: str) -> str:
        sizes = self.sizes(o.inputs[0])
        if not any(isinstance(d, Dim) for d in sizes):
            return o.ints([int(d) for d in sizes])
        first, last, _ = slice(self.start, self.stop).indices(o.inputs[0].rank)
        ends = {"start": first or None, "end": None if last == o.inputs[0].rank else last}
        return o.node("Shape", x, **ends)


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
