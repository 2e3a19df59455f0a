"""Elementwise functions of floats: the result has the operand's type, or bool for the predicates."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from kcompile.ir.op import Op
from kcompile.ir.types import Type, bool_, f16, f32
from kcompile.operators.kernels import compute, kernel_dtype


class _Float(Op):
    """A function that torch and ONNX both have under some name."""

    torch_name: ClassVar[str] = ""
    onnx_type: ClassVar[str] = ""

    def infer(self, x: Type) -> Type:
        self.require(x.dtype.is_float, f"x must be a float tensor, got {x}")
        return x

    def torch(self, t: Any, x: Any) -> Any:
        return getattr(t, self.torch_name)(x)

    def onnx(self, o: Any, x: str) -> str:
        return compute(o, self.onnx_type, x)


class _Composed(_Float):
    """A function that ONNX writes in several nodes (`_nodes`)."""

    def onnx(self, o: Any, x: str) -> str:
        dtype = kernel_dtype("Add", o.inputs[0].dtype)
        return compute(o, "Add", x, form=lambda x: self._nodes(o, x, lambda v: o.like(v, dtype)))

    def _nodes(self, o: Any, x: str, number: Any) -> str:
        raise NotImplementedError


class _Predicate(_Float):
    def infer(self, x: Type) -> Type:
        return super().infer(x).with_dtype(bool_)

    def onnx(self, o: Any, x: str) -> str:
        return compute(o, self.onnx_type, x, back=False)


class Exp(_Float, name="exp"):
    """e to the power of x. ONNX Exp."""

    torch_name = "exp"
    onnx_type = "Exp"


class Log(_Float, name="log"):
    """The natural logarithm. ONNX Log."""

    torch_name = "log"
    onnx_type = "Log"


class Sqrt(_Float, name="sqrt"):
    """The square root. ONNX Sqrt."""

    torch_name = "sqrt"
    onnx_type = "Sqrt"


class Sin(_Float, name="sin"):
    """The sine of x in radians. ONNX Sin."""

    torch_name = "sin"
    onnx_type = "Sin"


class Cos(_Float, name="cos"):
    """The cosine of x in radians. ONNX Cos."""

    torch_name = "cos"
    onnx_type = "Cos"


class Tan(_Float, name="tan"):
    """The tangent of x in radians. ONNX Tan."""

    torch_name = "tan"
    onnx_type = "Tan"


class ArcSin(_Float, name="arc_sin"):
    """The angle whose sine is x, from -pi/2 to pi/2. ONNX Asin."""

    torch_name = "asin"
    onnx_type = "Asin"


class ArcCos(_Float, name="arc_cos"):
    """The angle whose cosine is x, from 0 to pi. ONNX Acos."""

    torch_name = "acos"
    onnx_type = "Acos"


class ArcTan(_Float, name="arc_tan"):
    """The angle whose tangent is x, from -pi/2 to pi/2. ONNX Atan."""

    torch_name = "atan"
    onnx_type = "Atan"


class Sinh(_Float, name="sinh"):
    """The hyperbolic sine. ONNX Sinh."""

    torch_name = "sinh"
    onnx_type = "Sinh"


class Cosh(_Float, name="cosh"):
    """The hyperbolic cosine. ONNX Cosh."""

    torch_name = "cosh"
    onnx_type = "Cosh"


class Tanh(_Float, name="tanh"):
    """The hyperbolic tangent. ONNX Tanh."""

    torch_name = "tanh"
    onnx_type = "Tanh"


class ArcSinh(_Float, name="arc_sinh"):
    """The inverse of the hyperbolic sine. ONNX Asinh."""

    torch_name = "asinh"
    onnx_type = "Asinh"


class ArcCosh(_Float, name="arc_cosh"):
    """The inverse of the hyperbolic cosine, for x of at least 1. ONNX Acosh."""

    torch_name = "acosh"
    onnx_type = "Acosh"


class ArcTanh(_Float, name="arc_tanh"):
    """The inverse of the hyperbolic tangent, for x between -1 and 1. ONNX Atanh."""

    torch_name = "atanh"
    onnx_type = "Atanh"


class Erf(_Float, name="erf"):
    """The Gauss error function. ONNX Erf."""

    torch_name = "erf"
    onnx_type = "Erf"


class Floor(_Float, name="floor"):
    """The largest whole number that is not above x. ONNX Floor."""

    torch_name = "floor"
    onnx_type = "Floor"


class Ceil(_Float, name="ceil"):
    """The smallest whole number that is not below x. ONNX Ceil."""

    torch_name = "ceil"
    onnx_type = "Ceil"


class Round(_Float, name="round"):
    """The nearest whole number, a half to the even one. ONNX Round."""

    torch_name = "round"
    onnx_type = "Round"


class Expm1(_Composed, name="expm1"):
    """e to the power of x, less 1, exact near 0. ONNX: tanh(x / 2) * (exp(x) + 1), which never cancels."""

    torch_name = "expm1"

    def _nodes(self, o: Any, x: str, number: Any) -> str:
        return o.Mul(o.Tanh(o.Mul(x, number(0.5))), o.Add(o.Exp(x), number(1)))


class Log1p(_Composed, name="log1p"):
    """The natural logarithm of 1 + x, exact near 0. ONNX: log(u) plus what rounding u = 1 + x lost, divided by u."""

    torch_name = "log1p"

    def _nodes(self, o: Any, x: str, number: Any) -> str:
        sum_, one = o.Add(x, number(1)), number(1)
        kept = o.Sub(sum_, one)
        log = o.Log(sum_)
        # Nothing lost: no correction, which would be 0 / 0 at -1 and inf - inf at infinity.
        return o.Where(o.Equal(kept, x), log, o.Add(log, o.Div(o.Sub(x, kept), sum_)))


class Log2(_Composed, name="log2"):
    """The logarithm to base 2. ONNX: Log divided by log(2)."""

    torch_name = "log2"

    def _nodes(self, o: Any, x: str, number: Any) -> str:
        return o.Div(o.Log(x), number(math.log(2)))


class Log10(_Composed, name="log10"):
    """The logarithm to base 10. ONNX: Log divided by log(10)."""

    torch_name = "log10"

    def _nodes(self, o: Any, x: str, number: Any) -> str:
        return o.Div(o.Log(x), number(math.log(10)))


class Rsqrt(_Composed, name="rsqrt"):
    """1 / sqrt(x). ONNX Reciprocal of Sqrt."""

    torch_name = "rsqrt"

    def _nodes(self, o: Any, x: str, number: Any) -> str:
        return o.Reciprocal(o.Sqrt(x))


class Trunc(_Composed, name="trunc"):
    """x without its fraction, towards 0. ONNX: the sign times Floor of the absolute value."""

    torch_name = "trunc"

    def _nodes(self, o: Any, x: str, number: Any) -> str:
        return o.Mul(o.Sign(x), o.Floor(o.Abs(x)))


class ErfInv(_Composed, name="erf_inv"):
    """The inverse of the error function, for x between -1 and 1.

    ONNX: Giles, "Approximating the erfinv function" (2012), single precision: relative error below 5e-7.
    """

    torch_name = "erfinv"

    def _nodes(self, o: Any, x: str, number: Any) -> str:
        one = number(1)
        w = o.Neg(o.Log(o.Mul(o.Sub(one, x), o.Add(one, x))))
        middle = self._polynomial(o, o.Sub(w, number(2.5)), _ERFINV_MIDDLE, number)
        tail = self._polynomial(o, o.Sub(o.Sqrt(w), number(3)), _ERFINV_TAIL, number)
        inner = o.Mul(x, o.Where(o.Less(w, number(5)), middle, tail))
        return o.Where(o.Equal(o.Abs(x), one), o.Mul(x, number(math.inf)), inner)

    def _polynomial(self, o: Any, w: str, coefficients: tuple[float, ...], number: Any) -> str:
        result = number(coefficients[0])
        for c in coefficients[1:]:
            result = o.Add(o.Mul(result, w), number(c))
        return result


_ERFINV_MIDDLE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
    -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_ERFINV_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
    0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


class IsNan(_Predicate, name="is_nan"):
    """Where x is not a number. ONNX IsNaN."""

    torch_name = "isnan"
    onnx_type = "IsNaN"


class IsInf(_Predicate, name="is_inf"):
    """Where x is infinite. ONNX IsInf."""

    torch_name = "isinf"
    onnx_type = "IsInf"

    def onnx(self, o: Any, x: str) -> str:
        # IsInf-10 has no float16.
        x = o.cast(x, f32) if o.inputs[0].dtype is f16 and o.opset < 20 else x
        return super().onnx(o, x)


class IsFinite(_Predicate, name="is_finite"):
    """Where x is neither infinite nor NaN. ONNX: |x| < infinity, which NaN is not."""

    torch_name = "isfinite"

    def onnx(self, o: Any, x: str) -> str:
        infinity = o.like(math.inf, kernel_dtype("Less", o.inputs[0].dtype))
        return compute(o, "Less", x, back=False, form=lambda x: o.Less(o.Abs(x), infinity))
