"""Comparison, boolean and bit operators, selection, clipping and conversion."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from kcompile.ir.op import Op
from kcompile.ir.shapes import broadcast
from kcompile.ir.types import DType, Type, bool_, u32, u64
from kcompile.operators.kernels import compute, kernel_dtype, torch_compute


class _Comparison(Op):
    """Two tensors of one dtype whose shapes broadcast; the result is bool."""

    onnx_type: ClassVar[str] = ""
    ordered: ClassVar[bool] = True
    torch_scalars = True

    def infer(self, x: Type, y: Type) -> Type:
        self.require(x.dtype is y.dtype, f"operands must have one dtype, got {x} and {y}")
        self.require(not (self.ordered and x.dtype.is_bool), f"operands must be numbers, got {x}")
        return Type(bool_, broadcast(x.shape, y.shape))

    def torch(self, t: Any, x: Any, y: Any) -> Any:
        return torch_compute(t, partial(self.apply, t), x, y, back=False)

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        raise NotImplementedError

    def onnx(self, o: Any, x: str, y: str) -> str:
        return compute(o, self.onnx_type, x, y, back=False)


class Equal(_Comparison, name="equal"):
    """Where x == y. ONNX Equal."""

    onnx_type = "Equal"
    ordered = False

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x == y


class NotEqual(_Comparison, name="not_equal"):
    """Where x != y. ONNX Not of Equal."""

    onnx_type = "Equal"
    ordered = False

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x != y

    def onnx(self, o: Any, x: str, y: str) -> str:
        return o.Not(super().onnx(o, x, y))


class Less(_Comparison, name="less"):
    """Where x < y. ONNX Less."""

    onnx_type = "Less"

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x < y


class LessEqual(_Comparison, name="less_equal"):
    """Where x <= y. ONNX LessOrEqual."""

    onnx_type = "LessOrEqual"

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x <= y


class Greater(_Comparison, name="greater"):
    """Where x > y. ONNX Greater."""

    onnx_type = "Greater"

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x > y


class GreaterEqual(_Comparison, name="greater_equal"):
    """Where x >= y. ONNX GreaterOrEqual."""

    onnx_type = "GreaterOrEqual"

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x >= y


class _Logical(Op):
    torch_name: ClassVar[str] = ""
    onnx_type: ClassVar[str] = ""

    def infer(self, *types: Type) -> Type:
        for type in types:
            self.require(type.dtype.is_bool, f"operands must be bool tensors, got {type}")
        return Type(bool_, broadcast(*(type.shape for type in types)))

    def torch(self, t: Any, *xs: Any) -> Any:
        return getattr(t, self.torch_name)(*xs)

    def onnx(self, o: Any, *xs: str) -> str:
        return o.node(self.onnx_type, *xs)


class LogicalAnd(_Logical, name="logical_and"):
    """Where x and y are both true. ONNX And."""

    torch_name = "logical_and"
    onnx_type = "And"


class LogicalOr(_Logical, name="logical_or"):
    """Where x or y is true. ONNX Or."""

    torch_name = "logical_or"
    onnx_type = "Or"


class LogicalXor(_Logical, name="logical_xor"):
    """Where exactly one of x and y is true. ONNX Xor."""

    torch_name = "logical_xor"
    onnx_type = "Xor"


class LogicalNot(_Logical, name="logical_not"):
    """Where x is false. ONNX Not."""

    torch_name = "logical_not"
    onnx_type = "Not"


class _Bitwise(Op):
    torch_name: ClassVar[str] = ""
    onnx_type: ClassVar[str] = ""

    def infer(self, *types: Type) -> Type:
        first = types[0]
        for type in types:
            self.require(type.dtype.is_integer, f"operands must be integer tensors, got {type}")
            self.require(type.dtype is first.dtype, f"operands must have one dtype, got {first} and {type}")
        return Type(first.dtype, broadcast(*(type.shape for type in types)))

    def torch(self, t: Any, *xs: Any) -> Any:
        return torch_compute(t, getattr(t, self.torch_name), *xs)

    def onnx(self, o: Any, *xs: str) -> str:
        return o.node(self.onnx_type, *xs)


class BitwiseAnd(_Bitwise, name="bitwise_and"):
    """The bits that x and y share. ONNX BitwiseAnd, from opset 18."""

    torch_name = "bitwise_and"
    onnx_type = "BitwiseAnd"


class BitwiseOr(_Bitwise, name="bitwise_or"):
    """The bits that x or y has. ONNX BitwiseOr, from opset 18."""

    torch_name = "bitwise_or"
    onnx_type = "BitwiseOr"


class BitwiseXor(_Bitwise, name="bitwise_xor"):
    """The bits that exactly one of x and y has. ONNX BitwiseXor, from opset 18."""

    torch_name = "bitwise_xor"
    onnx_type = "BitwiseXor"


class BitwiseNot(_Bitwise, name="bitwise_not"):
    """x with every bit turned. ONNX BitwiseNot, from opset 18."""

    torch_name = "bitwise_not"
    onnx_type = "BitwiseNot"


class LeftShift(_Bitwise, name="left_shift"):
    """x * 2**y, wrapping around; y from 0 to the number of bits less 1. ONNX BitShift of the unsigned bits."""

    torch_name = "bitwise_left_shift"

    def onnx(self, o: Any, *xs: str) -> str:
        x, y = xs
        unsigned = _unsigned(o.inputs[0].dtype)
        shifted = o.BitShift(o.cast(x, unsigned), o.cast(y, unsigned), direction="LEFT")
        return o.cast(shifted, o.inputs[0].dtype)


class RightShift(_Bitwise, name="right_shift"):
    """x // 2**y, keeping the sign; y from 0 to the number of bits less 1.

    ONNX BitShift has unsigned integers only: a negative x is shifted as -1 - x, its complement.
    """

    torch_name = "bitwise_right_shift"

    def onnx(self, o: Any, *xs: str) -> str:
        x, y = xs
        dtype = o.inputs[0].dtype
        unsigned = _unsigned(dtype)
        if dtype.kind == "uint":
            return o.cast(o.BitShift(o.cast(x, unsigned), o.cast(y, unsigned), direction="RIGHT"), dtype)
        zero, ones = o.like(0, dtype), o.like(-1, dtype)
        negative = compute(o, "Less", x, zero, back=False)
        positive = self._turn(o, negative, x, ones)
        shifted = o.BitShift(o.cast(positive, unsigned), o.cast(y, unsigned), direction="RIGHT")
        return self._turn(o, negative, o.cast(shifted, dtype), ones)

    def _turn(self, o: Any, negative: str, x: str, ones: str) -> str:
        return compute(o, "Sub", x, ones, form=lambda x, ones: o.Where(negative, o.Sub(ones, x), x))


def _unsigned(dtype: DType) -> DType:
    """The unsigned type with a BitShift kernel that holds the bits of ``dtype``."""
    return u64 if dtype.bits == 64 else u32


class Where(Op, name="where"):
    """x where the bool condition is true, else y; the three shapes broadcast. ONNX Where."""

    def infer(self, condition: Type, x: Type, y: Type) -> Type:
        self.require(condition.dtype.is_bool, f"the condition must be a bool tensor, got {condition}")
        self.require(x.dtype is y.dtype, f"x and y must have one dtype, got {x} and {y}")
        return Type(x.dtype, broadcast(condition.shape, x.shape, y.shape))

    def torch(self, t: Any, condition: Any, x: Any, y: Any) -> Any:
        return torch_compute(t, lambda x, y: t.where(condition, x, y), x, y)

    def onnx(self, o: Any, condition: str, x: str, y: str) -> str:
        return compute(o, "Where", x, y, form=lambda x, y: o.Where(condition, x, y))


class Clip(Op, name="clip"):
    """x held between two bounds, either of which may be None; NaN stays. ONNX Clip."""

    minimum: float | None = None
    maximum: float | None = None

    def infer(self, x: Type) -> Type:
        self.require(not x.dtype.is_bool, f"x must be a tensor of numbers, got {x}")
        if x.dtype.is_integer:
            for bound in (self.minimum, self.maximum):
                self.require(
                    bound is None or bound == int(bound), f"bound {bound} of the integer tensor {x} is no integer"
                )
        return x

    def torch(self, t: Any, x: Any) -> Any:
        if self.minimum is None and self.maximum is None:
            return x
        bounds = [self._bound(b, t.inputs[0].dtype) for b in (self.minimum, self.maximum)]
        return torch_compute(t, lambda x: t.clamp(x, *bounds), x)

    def onnx(self, o: Any, x: str) -> str:
        if self.minimum is None and self.maximum is None:
            return x
        wide = kernel_dtype("Clip", o.inputs[0].dtype)
        bounds = [None if b is None else self._bound(b, wide) for b in (self.minimum, self.maximum)]
        if wide.is_float:
            # Without a bound ONNX Runtime clips infinity to the largest finite number.
            bounds = [np.inf * sign if b is None else b for b, sign in zip(bounds, (-1, 1), strict=True)]
        names = [None if b is None else o.like(b, wide) for b in bounds]
        return compute(o, "Clip", x, form=lambda x: o.Clip(x, *names))

    def _bound(self, bound: float | None, dtype: DType) -> float | int | None:
        return bound if bound is None or dtype.is_float else int(bound)


class Cast(Op, name="cast"):
    """x as another dtype: floats to integers towards 0, anything but 0 to true. ONNX Cast."""

    dtype: DType

    def infer(self, x: Type) -> Type:
        return x.with_dtype(self.dtype)

    def torch(self, t: Any, x: Any) -> Any:
        return x.to(t.dtype(self.dtype))

    def onnx(self, o: Any, x: str) -> str:
        return x if o.inputs[0].dtype is self.dtype else o.cast(x, self.dtype)
