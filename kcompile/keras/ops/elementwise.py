"""Elementwise functions of `keras.ops`."""

from __future__ import annotations

import math as pymath
from typing import Any

from kcompile.keras.ops.common import common, float_dtype, kind, on_float, op, run, tensor
from kcompile.operators import arithmetic, logic, math

# Names defined below shadow Python's built-ins of the same name, as they do in keras.ops.


@op
def add(x1: Any, x2: Any) -> Any:
    """x1 + x2."""
    if kind(x1).is_bool and kind(x2).is_bool:
        return logical_or(x1, x2)
    return common(arithmetic.Add(), x1, x2)


@op
def subtract(x1: Any, x2: Any) -> Any:
    """x1 - x2."""
    return common(arithmetic.Subtract(), x1, x2)


@op
def multiply(x1: Any, x2: Any) -> Any:
    """x1 * x2."""
    if kind(x1).is_bool and kind(x2).is_bool:
        return logical_and(x1, x2)
    return common(arithmetic.Multiply(), x1, x2)


@op
def divide(x1: Any, x2: Any) -> Any:
    """x1 / x2 in floating point."""
    return common(arithmetic.Divide(), x1, x2, to_float=True)


@op
def true_divide(x1: Any, x2: Any) -> Any:
    """x1 / x2 in floating point; what Python's ``/`` is."""
    return divide(x1, x2)


@op
def divide_no_nan(x1: Any, x2: Any) -> Any:
    """x1 / x2, and 0 where x2 is 0."""
    zero = equal(x2, 0)
    return where(zero, 0.0, divide(x1, where(zero, 1.0, x2)))


@op
def floor_divide(x1: Any, x2: Any) -> Any:
    """The largest integer not above x1 / x2."""
    return common(arithmetic.FloorDivide(), x1, x2)


@op
def mod(x1: Any, x2: Any) -> Any:
    """The remainder with the divisor's sign."""
    if kind(x1).is_bool and kind(x2).is_bool:
        x1, x2 = tensor(x1, "int32"), tensor(x2, "int32")
    return common(arithmetic.Remainder(), x1, x2)


@op
def power(x1: Any, x2: Any) -> Any:
    """x1 to the power of x2."""
    return common(arithmetic.Power(), x1, x2)


@op
def minimum(x1: Any, x2: Any) -> Any:
    """The smaller of two, elementwise; NaN if either is."""
    return common(arithmetic.Minimum(), x1, x2)


@op
def maximum(x1: Any, x2: Any) -> Any:
    """The larger of two, elementwise; NaN if either is."""
    return common(arithmetic.Maximum(), x1, x2)


@op
def arctan2(x1: Any, x2: Any) -> Any:
    """The angle of the point (x2, x1)."""
    return common(arithmetic.ArcTan2(), x1, x2, to_float=True)


@op
def negative(x: Any) -> Any:
    """-x."""
    return run(arithmetic.Negative(), x)


@op
def absolute(x: Any) -> Any:
    """|x|."""
    return tensor(x) if kind(x).is_bool else run(arithmetic.Absolute(), x)


abs = absolute


@op
def sign(x: Any) -> Any:
    """-1, 0 or 1."""
    return run(arithmetic.Sign(), x)


@op
def square(x: Any) -> Any:
    """x * x."""
    return run(arithmetic.Square(), tensor(x, "int32") if kind(x).is_bool else x)


@op
def reciprocal(x: Any) -> Any:
    """1 / x."""
    return on_float(arithmetic.Reciprocal(), x)


def _float_function(name: str, operator: Any, doc: str) -> Any:
    def function(x: Any) -> Any:
        return on_float(operator(), x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} Integers are computed in floatx."
    return op(function)


exp = _float_function("exp", math.Exp, "e to the power of x.")
expm1 = _float_function("expm1", math.Expm1, "exp(x) - 1, exact near 0.")
log = _float_function("log", math.Log, "Natural logarithm.")
log1p = _float_function("log1p", math.Log1p, "log(1 + x), exact near 0.")
log2 = _float_function("log2", math.Log2, "Logarithm to base 2.")
log10 = _float_function("log10", math.Log10, "Logarithm to base 10.")
sqrt = _float_function("sqrt", math.Sqrt, "Square root.")
rsqrt = _float_function("rsqrt", math.Rsqrt, "1 / sqrt(x).")
sin = _float_function("sin", math.Sin, "Sine of radians.")
cos = _float_function("cos", math.Cos, "Cosine of radians.")
tan = _float_function("tan", math.Tan, "Tangent of radians.")
arcsin = _float_function("arcsin", math.ArcSin, "Inverse sine.")
arccos = _float_function("arccos", math.ArcCos, "Inverse cosine.")
arctan = _float_function("arctan", math.ArcTan, "Inverse tangent.")
sinh = _float_function("sinh", math.Sinh, "Hyperbolic sine.")
cosh = _float_function("cosh", math.Cosh, "Hyperbolic cosine.")
tanh = _float_function("tanh", math.Tanh, "Hyperbolic tangent.")
arcsinh = _float_function("arcsinh", math.ArcSinh, "Inverse hyperbolic sine.")
arccosh = _float_function("arccosh", math.ArcCosh, "Inverse hyperbolic cosine.")
arctanh = _float_function("arctanh", math.ArcTanh, "Inverse hyperbolic tangent.")
erf = _float_function("erf", math.Erf, "Gauss error function.")
erfinv = _float_function("erfinv", math.ErfInv, "Inverse of erf.")
floor = _float_function("floor", math.Floor, "The largest integer not above x.")
ceil = _float_function("ceil", math.Ceil, "The smallest integer not below x.")


@op
def round(x: Any, decimals: int = 0) -> Any:
    """The nearest number with so many decimals; halves go to the even one."""
    if not kind(x).is_float:
        return tensor(x)
    scale = 10.0**decimals
    return run(math.Round(), x) if decimals == 0 else divide(run(math.Round(), multiply(x, scale)), scale)


@op
def trunc(x: Any) -> Any:
    """The integer part."""
    return run(math.Trunc(), x) if kind(x).is_float else tensor(x)


@op
def deg2rad(x: Any) -> Any:
    """Degrees as radians."""
    return multiply(tensor(x, float_dtype(kind(x))), pymath.pi / 180.0)


def _test(name: str, operator: Any, integers: bool, doc: str) -> Any:
    def function(x: Any) -> Any:
        if not kind(x).is_float:
            same = equal(x, x)
            return same if integers else logical_not(same)
        return run(operator(), x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return op(function)


isnan = _test("isnan", math.IsNan, False, "True where x is not a number.")
isinf = _test("isinf", math.IsInf, False, "True where x is infinite.")
isfinite = _test("isfinite", math.IsFinite, True, "True where x is a finite number.")


def _comparison(name: str, operator: Any, doc: str) -> Any:
    def function(x1: Any, x2: Any) -> Any:
        return common(operator(), x1, x2)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return op(function)


equal = _comparison("equal", logic.Equal, "x1 == x2.")
not_equal = _comparison("not_equal", logic.NotEqual, "x1 != x2.")
less = _comparison("less", logic.Less, "x1 < x2.")
less_equal = _comparison("less_equal", logic.LessEqual, "x1 <= x2.")
greater = _comparison("greater", logic.Greater, "x1 > x2.")
greater_equal = _comparison("greater_equal", logic.GreaterEqual, "x1 >= x2.")


@op
def logical_not(x: Any) -> Any:
    """not x."""
    return run(logic.LogicalNot(), tensor(x, "bool"))


@op
def logical_and(x1: Any, x2: Any) -> Any:
    """x1 and x2."""
    return run(logic.LogicalAnd(), tensor(x1, "bool"), tensor(x2, "bool"))


@op
def logical_or(x1: Any, x2: Any) -> Any:
    """x1 or x2."""
    return run(logic.LogicalOr(), tensor(x1, "bool"), tensor(x2, "bool"))


@op
def logical_xor(x1: Any, x2: Any) -> Any:
    """Exactly one of x1 and x2."""
    return run(logic.LogicalXor(), tensor(x1, "bool"), tensor(x2, "bool"))


def _bitwise(name: str, operator: Any, logical: Any, doc: str) -> Any:
    def function(x: Any, y: Any) -> Any:
        if logical is not None and kind(x).is_bool and kind(y).is_bool:
            return logical(x, y)
        return common(operator(), x, y)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return op(function)


bitwise_and = _bitwise("bitwise_and", logic.BitwiseAnd, logical_and, "Bits set in both.")
bitwise_or = _bitwise("bitwise_or", logic.BitwiseOr, logical_or, "Bits set in either.")
bitwise_xor = _bitwise("bitwise_xor", logic.BitwiseXor, logical_xor, "Bits set in exactly one.")
bitwise_left_shift = left_shift = _bitwise("left_shift", logic.LeftShift, None, "x shifted left by y bits.")
bitwise_right_shift = right_shift = _bitwise("right_shift", logic.RightShift, None, "x shifted right by y bits.")


@op
def bitwise_invert(x: Any) -> Any:
    """All bits flipped."""
    return logical_not(x) if kind(x).is_bool else run(logic.BitwiseNot(), x)


bitwise_not = bitwise_invert


@op
def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """x1 where the condition holds, else x2."""
    if x1 is None or x2 is None:
        from kcompile.errors import UnsupportedError

        raise UnsupportedError("where with one argument gives a size that depends on the data; give x1 and x2")
    from kcompile.tracing.tensor import promoted

    target = promoted(x1, x2)
    return run(logic.Where(), tensor(condition, "bool"), tensor(x1, target), tensor(x2, target))


@op
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """x held between x_min and x_max; None leaves that side open."""
    if all(v is None or isinstance(v, (int, float)) for v in (x_min, x_max)) and kind(x).is_float:
        low, high = (None if v is None else float(v) for v in (x_min, x_max))
        return run(logic.Clip(low, high), x)
    if kind(x).is_bool:
        x = tensor(x, "int32")
    x = x if x_min is None else maximum(x, x_min)
    return x if x_max is None else minimum(x, x_max)


@op
def logaddexp(x1: Any, x2: Any) -> Any:
    """log(exp(x1) + exp(x2)) without overflow."""
    target = float_dtype(kind(add(x1, x2)))
    x1, x2 = tensor(x1, target), tensor(x2, target)
    return add(maximum(x1, x2), log1p(exp(negative(absolute(subtract(x1, x2))))))


@op
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """True where |x1 - x2| <= atol + rtol * |x2|."""
    close = logical_or(equal(x1, x2), less_equal(absolute(subtract(x1, x2)), add(atol, multiply(rtol, absolute(x2)))))
    finite = logical_and(isfinite(x1), isfinite(x2))
    close = logical_or(logical_and(close, finite), equal(x1, x2))
    return logical_or(close, logical_and(isnan(x1), isnan(x2))) if equal_nan else close


@op
def cast(x: Any, dtype: Any) -> Any:
    """x in another dtype."""
    return tensor(x, dtype)


def saturate_cast(x: Any, dtype: Any) -> Any:
    """x in another dtype, values outside of its range held at its ends."""
    import numpy as np

    from kcompile.ir import dtype as to_dtype

    target = to_dtype(dtype)
    if target.is_integer:
        info = np.iinfo(target.numpy)
        x = clip(x, info.min, info.max)
    return cast(x, target)


__all__ = [
    "abs",
    "absolute",
    "add",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "cast",
    "ceil",
    "clip",
    "cos",
    "cosh",
    "deg2rad",
    "divide",
    "divide_no_nan",
    "equal",
    "erf",
    "erfinv",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "left_shift",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "negative",
    "not_equal",
    "power",
    "reciprocal",
    "right_shift",
    "round",
    "rsqrt",
    "saturate_cast",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
    "where",
]  # fmt: skip
