"""Elementwise arithmetic.

Binary operators take two tensors of one dtype whose shapes broadcast (numpy's rule) and give the
broadcast shape. Integers wrap around.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from kcompile.ir.op import Op
from kcompile.ir.shapes import broadcast
from kcompile.ir.types import DType, Type, i64
from kcompile.operators.kernels import compute, kernel_dtype, torch_compute


class _Binary(Op):
    onnx_type: ClassVar[str] = ""
    floats_only: ClassVar[bool] = False

    def infer(self, x: Type, y: Type) -> Type:
        self.require(x.dtype is y.dtype, f"operands must have one dtype, got {x} and {y}")
        self.require(not x.dtype.is_bool, f"operands must be numbers, got {x}")
        if self.floats_only:
            self.require(x.dtype.is_float, f"operands must be float tensors, got {x}")
        return Type(x.dtype, broadcast(x.shape, y.shape))

    def torch(self, t: Any, x: Any, y: Any) -> Any:
        return torch_compute(t, partial(self.apply, t), x, y)

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        raise NotImplementedError

    def onnx(self, o: Any, x: str, y: str) -> str:
        return compute(o, self.onnx_type, x, y)


class _Unary(Op):
    onnx_type: ClassVar[str] = ""
    floats_only: ClassVar[bool] = False

    def infer(self, x: Type) -> Type:
        self.require(not x.dtype.is_bool, f"x must be a tensor of numbers, got {x}")
        if self.floats_only:
            self.require(x.dtype.is_float, f"x must be a float tensor, got {x}")
        return x

    def torch(self, t: Any, x: Any) -> Any:
        return torch_compute(t, partial(self.apply, t), x)

    def apply(self, t: Any, x: Any) -> Any:
        raise NotImplementedError

    def onnx(self, o: Any, x: str) -> str:
        return compute(o, self.onnx_type, x)


class Add(_Binary, name="add"):
    """x + y. ONNX Add."""

    onnx_type = "Add"
    torch_scalars = True

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x + y


class Subtract(_Binary, name="subtract"):
    """x - y. ONNX Sub."""

    onnx_type = "Sub"
    torch_scalars = True

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x - y


class Multiply(_Binary, name="multiply"):
    """x * y. ONNX Mul."""

    onnx_type = "Mul"
    torch_scalars = True

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x * y


class Divide(_Binary, name="divide"):
    """x / y of floats. ONNX Div."""

    onnx_type = "Div"
    floats_only = True
    torch_scalars = True

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x / y


class FloorDivide(_Binary, name="floor_divide"):
    """The whole number at or below x / y, as Python's ``//``; an integer divided by 0 is 0 in ONNX, an error in torch.

    ONNX Mod and Div: floats as C's fmod defines it, so that 1 // 0.1 is 9.
    """

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return t.floor_divide(x, y)

    def onnx(self, o: Any, x: str, y: str) -> str:
        dtype = o.inputs[0].dtype
        if dtype.is_float:
            return compute(o, "Div", x, y, form=lambda x, y: self._floats(o, x, y))
        if dtype.name == "u64":
            return self._integers(o, *_divisible(o, x, y, dtype), dtype)
        # int64 also for int32: ONNX Runtime dies of -2**31 / -1 in int32.
        wide = dtype is not i64
        x, y = (o.cast(x, i64), o.cast(y, i64)) if wide else (x, y)
        result = self._integers(o, *_divisible(o, x, y, i64), i64)
        return o.cast(result, dtype) if wide else result

    def _integers(self, o: Any, x: str, y: str, dtype: DType) -> str:
        whole = compute(o, "Sub", x, o.Mod(x, y, fmod=0), dtype=dtype)
        return compute(o, "Div", whole, y, dtype=dtype)

    def _floats(self, o: Any, x: str, y: str) -> str:
        dtype = _computed(o)
        zero = o.like(0, dtype)
        rest = o.Mod(x, y, fmod=1)
        quotient = o.Div(o.Sub(x, rest), y)
        below = o.cast(_opposite(o, rest, y, zero), dtype)
        return o.Where(o.Equal(y, zero), o.Div(x, y), o.Round(o.Sub(quotient, below)))


class Remainder(_Binary, name="remainder"):
    """x - y * (x // y), with the sign of y, as Python's ``%``; an integer modulo 0 is 0 in ONNX, an error in torch.

    ONNX Mod; for floats with fmod and a correction of the sign.
    """

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return t.remainder(x, y)

    def onnx(self, o: Any, x: str, y: str) -> str:
        dtype = o.inputs[0].dtype
        if dtype.is_float:
            return compute(o, "Div", x, y, form=lambda x, y: self._floats(o, x, y))
        x, y = _divisible(o, x, y, dtype)
        return o.Mod(x, y, fmod=0)

    def _floats(self, o: Any, x: str, y: str) -> str:
        zero = o.like(0, _computed(o))
        rest = o.Mod(x, y, fmod=1)
        return o.Where(_opposite(o, rest, y, zero), o.Add(rest, y), rest)


class Power(_Binary, name="power"):
    """x to the power of y; integer exponents of integers must not be negative. ONNX Pow."""

    onnx_type = "Pow"
    torch_scalars = True

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return x**y


class Minimum(_Binary, name="minimum"):
    """The smaller of x and y; NaN where either is NaN. ONNX Min."""

    onnx_type = "Min"

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return t.minimum(x, y)


class Maximum(_Binary, name="maximum"):
    """The larger of x and y; NaN where either is NaN. ONNX Max."""

    onnx_type = "Max"

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return t.maximum(x, y)


class ArcTan2(_Binary, name="arc_tan2"):
    """The angle of the point x up and y to the right, in radians from -pi to pi (numpy's arctan2).

    ONNX: Atan of the quotient, moved to the quadrant; a negative zero counts as zero.
    """

    floats_only = True

    def apply(self, t: Any, x: Any, y: Any) -> Any:
        return t.atan2(x, y)

    def onnx(self, o: Any, x: str, y: str) -> str:
        return compute(o, "Div", x, y, form=lambda x, y: self._angle(o, x, y))

    def _angle(self, o: Any, up: str, right: str) -> str:
        dtype = _computed(o)
        zero, pi, half = (o.like(v, dtype) for v in (0, np.pi, np.pi / 2))
        # Two infinities: the angle of their signs.
        both = o.Equal(o.Min(o.Abs(up), o.Abs(right)), o.like(np.inf, dtype))
        up, right = o.Where(both, o.Sign(up), up), o.Where(both, o.Sign(right), right)
        turned = o.Where(o.Less(right, zero), o.Where(o.Less(up, zero), o.Neg(pi), pi), zero)
        upright = o.Mul(o.Sign(up), half)
        return o.Where(o.Equal(right, zero), upright, o.Add(o.Atan(o.Div(up, right)), turned))


class Negative(_Unary, name="negative"):
    """-x. ONNX Neg."""

    onnx_type = "Neg"

    def apply(self, t: Any, x: Any) -> Any:
        return t.neg(x)


class Absolute(_Unary, name="absolute"):
    """|x|. ONNX Abs."""

    onnx_type = "Abs"

    def apply(self, t: Any, x: Any) -> Any:
        return t.abs(x)


class Sign(_Unary, name="sign"):
    """-1, 0 or 1; 0 for NaN. ONNX Sign."""

    onnx_type = "Sign"

    def apply(self, t: Any, x: Any) -> Any:
        return t.sign(x)


class Square(_Unary, name="square"):
    """x * x. ONNX Mul, which takes half the time of Pow."""

    def apply(self, t: Any, x: Any) -> Any:
        return t.square(x)

    def onnx(self, o: Any, x: str) -> str:
        return compute(o, "Mul", x, form=lambda x: o.Mul(x, x))


class Reciprocal(_Unary, name="reciprocal"):
    """1 / x of floats. ONNX Reciprocal."""

    onnx_type = "Reciprocal"
    floats_only = True

    def apply(self, t: Any, x: Any) -> Any:
        return t.reciprocal(x)


def _computed(o: Any) -> DType:
    """The dtype that ``compute`` hands on for a float operator."""
    return kernel_dtype("Div", o.inputs[0].dtype)


def _opposite(o: Any, rest: str, y: str, zero: str) -> str:
    """Where a remainder is not 0 and has the other sign than the divisor."""
    return o.And(o.Not(o.Equal(rest, zero)), o.Xor(o.Less(rest, zero), o.Less(y, zero)))


def _divisible(o: Any, x: str, y: str, dtype: DType) -> tuple[str, str]:
    """Dividend and divisor with the same quotient, without the pairs that kill ONNX Runtime: 0, and -1 of the least."""
    known = o.value_of(y)
    if known is None or (known == 0).any():
        none = compute(o, "Equal", y, o.like(0, dtype), dtype=dtype, back=False)
        x = _where(o, none, o.like(0, dtype), x, dtype)
        y = _where(o, none, o.like(1, dtype), y, dtype)
    if dtype.kind == "int" and (known is None or (known == -1).any()):
        minus = compute(o, "Equal", y, o.like(-1, dtype), dtype=dtype, back=False)
        x = _where(o, minus, compute(o, "Neg", x, dtype=dtype), x, dtype)
        y = _where(o, minus, o.like(1, dtype), y, dtype)
    return x, y


def _where(o: Any, condition: str, x: str, y: str, dtype: DType) -> str:
    return compute(o, "Where", x, y, dtype=dtype, form=lambda x, y: o.Where(condition, x, y))
