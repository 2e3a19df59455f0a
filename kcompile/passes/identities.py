"""Algebraic identities of elementwise operators.

None changes a result's dtype or shape: a constant that broadcasts x to something larger stays.
x + 0.0 is taken for x, although it turns -0.0 into 0.0; what would turn NaN or infinity into
something else (x * 0, x - x) is not done.
"""

from __future__ import annotations

import numpy as np

from kcompile.ir import Value, constant
from kcompile.ir.shapes import normal_axis
from kcompile.operators.activation import Celu, Elu, LeakyRelu, LogSoftmax, Relu, Softmax
from kcompile.operators.arithmetic import (
    Absolute,
    Add,
    Divide,
    FloorDivide,
    Multiply,
    Negative,
    Power,
    Reciprocal,
    Remainder,
    Square,
    Subtract,
)
from kcompile.operators.logic import Clip, Equal, LogicalAnd, LogicalNot, LogicalOr, NotEqual, Where
from kcompile.operators.math import Exp, Log, Rsqrt, Sqrt
from kcompile.operators.reduction import ArgMax, ArgMin
from kcompile.passes.elementwise import NEVER_NEGATIVE
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule


def _all(m: Match, name: str, number: float) -> None:
    data = m.known(getattr(m, name))
    assert data is not None
    # The first element tells for most, and some of these arrays are embeddings of a gigabyte.
    fits = data.size == 0 or (data.flat[0] == number and bool(np.all(data == number)))
    applies(fits)


def _same(m: Match, value: Value) -> Value:
    require(value.type == m.type, "a constant widens the result's shape")
    return value


@rule("add-zero", like((Add, Subtract), "x", "=c"))
def add_zero(m: Match) -> Value:
    _all(m, "c", 0)
    return _same(m, m.x)


@rule("multiply-one", like((Multiply, Divide, Power), "x", "=c"))
def multiply_one(m: Match) -> Value:
    _all(m, "c", 1)
    return _same(m, m.x)


@rule("power-two", like(Power, "x", "=c"))
def power_two(m: Match) -> Value:
    _all(m, "c", 2)
    return Square()(_same(m, m.x))


@rule("multiply-self", like(Multiply, "x", "x"))
def multiply_self(m: Match) -> Value:
    return Square()(m.x)


@rule("power-minus-one", like(Power, "x", "=c"))
def power_minus_one(m: Match) -> Value:
    applies(m.x.type.dtype.is_float)
    _all(m, "c", -1)
    return Reciprocal()(_same(m, m.x))


@rule("double-negative", like(Negative, like(Negative, "x", bind="inner")))
def double_negative(m: Match) -> Value:
    return m.x


@rule("add-negative", like(Add, "x", like(Negative, "y")))
def add_negative(m: Match) -> Value:
    m.used_once("negative")
    return Subtract()(m.x, m.y)


@rule("subtract-negative", like(Subtract, "x", like(Negative, "y")))
def subtract_negative(m: Match) -> Value:
    m.used_once("negative")
    return Add()(m.x, m.y)


@rule("absolute-negative", like(Absolute, like(Negative, "x")))
def absolute_negative(m: Match) -> Value:
    return Absolute()(m.x)


@rule("square-sign", like(Square, like((Absolute, Negative), "x", bind="inner")))
def square_sign(m: Match) -> Value:
    return Square()(m.x)


@rule("divide-one", like(Divide, "=c", "x"))
def divide_one(m: Match) -> Value:
    _all(m, "c", 1)
    require(m.x.type == m.type, "a constant widens the result's shape")
    return Reciprocal()(m.x)


@rule("multiply-reciprocal", like(Multiply, "x", like(Reciprocal, "y")))
def multiply_reciprocal(m: Match) -> Value:
    m.used_once("reciprocal")
    return Divide()(m.x, m.y)


@rule("reciprocal-sqrt", like(Reciprocal, like(Sqrt, "x")))
def reciprocal_sqrt(m: Match) -> Value:
    m.used_once("sqrt")
    return Rsqrt()(m.x)


@rule("keeps-positive", like((Relu, LeakyRelu, Elu, Celu, Absolute), like(NEVER_NEGATIVE, bind="inner"), bind="outer"))
def keeps_positive(m: Match) -> Value:
    """Activations that change negative numbers only, of a result that has none."""
    return m.inner


@rule("relu-of-leaky", like(Relu, like(LeakyRelu, "x")))
def relu_of_leaky(m: Match) -> Value:
    require(m.op("leaky_relu").negative_slope >= 0, "the slope turns negative numbers positive")
    return Relu()(m.x)


@rule("relu-of-clip", like(Relu, like(Clip, "x")))
def relu_of_clip(m: Match) -> Value:
    clip = m.op("clip")
    if clip.minimum is not None and clip.minimum >= 0:
        return m.clip
    require(clip.maximum is None or clip.maximum >= 0, "the bounds leave one value")
    m.used_once("clip")
    return Clip(0.0, clip.maximum)(m.x)


@rule("clip-of-relu", like(Clip, like(Relu, "x")))
def clip_of_relu(m: Match) -> Value:
    clip = m.op("clip")
    require(clip.maximum is None or clip.maximum >= 0, "the bounds leave one value")
    m.used_once("relu")
    low = max(clip.minimum or 0.0, 0.0)
    return Clip(low, clip.maximum)(m.x) if low or clip.maximum is not None else Relu()(m.x)


@rule("clip-of-clip", like(Clip, like(Clip, "x", bind="inner")))
def clip_of_clip(m: Match) -> Value:
    m.used_once("inner")
    outer, inner = m.op("clip"), m.op("inner")
    low = max((b for b in (outer.minimum, inner.minimum) if b is not None), default=None)
    high = min((b for b in (outer.maximum, inner.maximum) if b is not None), default=None)
    require(low is None or high is None or low <= high, "the ranges don't meet")
    return Clip(low, high)(m.x)


@rule("clip-unbounded", like(Clip, "x", minimum=None, maximum=None))
def clip_unbounded(m: Match) -> Value:
    return m.x


@rule("not-of-not-equal", like(LogicalNot, like(NotEqual, "x", "y")))
def not_of_not_equal(m: Match) -> Value:
    return Equal()(m.x, m.y)


@rule("where-not-equal", like(Where, like(NotEqual, "x", "y"), "a", "b"))
def where_not_equal(m: Match) -> Value:
    """ONNX has Equal, and NotEqual only as its opposite."""
    m.used_once("not_equal")
    return Where()(Equal()(m.x, m.y), m.b, m.a)


@rule("where-of-where", like(Where, "c", like(Where, "c", "x", "_", bind="inner"), "y", bind="outer"))
def where_of_where(m: Match) -> Value:
    """What the same condition chose before is known."""
    return _same(m, Where()(m.c, m.x, m.y))


@rule("where-else-where", like(Where, "c", "x", like(Where, "c", "_", "y", bind="inner"), bind="outer"))
def where_else_where(m: Match) -> Value:
    return _same(m, Where()(m.c, m.x, m.y))


@rule("negative-difference", like(Negative, like(Subtract, "x", "y")))
def negative_difference(m: Match) -> Value:
    m.used_once("subtract")
    return Subtract()(m.y, m.x)


@rule("not-not", like(LogicalNot, like(LogicalNot, "x", bind="inner")))
def not_not(m: Match) -> Value:
    return m.x


@rule("and-or-constant", like((LogicalAnd, LogicalOr), "x", "=c", bind="logical"))
def and_or_constant(m: Match) -> Value:
    _all(m, "c", isinstance(m.op("logical"), LogicalAnd))
    return _same(m, m.x)


@rule("where-constant", like(Where, "=condition", "x", "y"))
def where_constant(m: Match) -> Value:
    condition = m.array("condition")
    applies(bool(condition.all() or not condition.any()))
    return _same(m, m.x if condition.all() else m.y)


@rule("where-same", like(Where, "condition", "x", "x"))
def where_same(m: Match) -> Value:
    return _same(m, m.x)


@rule("where-not", like(Where, like(LogicalNot, "condition"), "x", "y"))
def where_not(m: Match) -> Value:
    return Where()(m.condition, m.y, m.x)


@rule("fold-integer-division", like((FloorDivide, Remainder), "=x", "=y", bind="division"))
def fold_integer_division(m: Match) -> Value:
    """In numpy, and not with the other constants: ONNX Runtime's own integer Div(-2**31, -1) ends the process."""
    x, y = m.array("x"), m.array("y")
    applies(m.type.dtype.is_integer)
    require(bool(np.all(y != 0)), "it divides by zero")
    with np.errstate(over="ignore"):
        return constant(x // y if isinstance(m.op("division"), FloorDivide) else x % y)


# ---- DEPLOY only: these move roundings about, or slopes where there is no gradient


@rule("root-of-square", like(Sqrt, like(Square, "x")))
def root_of_square(m: Match) -> Value:
    return Absolute()(m.x)


@rule("log-of-exp", like(Log, like(Exp, "x")))
def log_of_exp(m: Match) -> Value:
    """Without the overflow on the way."""
    return m.x


@rule("arg-max-of-softmax", like((ArgMax, ArgMin), like((Softmax, LogSoftmax), "x", bind="inner"), bind="outer"))
def arg_max_of_softmax(m: Match) -> Value:
    """Softmax keeps the order along its axis; what it rounds to equal numbers is told apart without it."""
    outer, rank = m.op("outer"), m.x.type.rank
    applies(normal_axis(outer.axis, rank) == normal_axis(m.op("inner").axis, rank))
    m.used_once("inner")
    return outer(m.x)


@rule("divide-constant", like(Divide, "x", "=c"))
def divide_constant(m: Match) -> Value:
    """As a multiplication by the reciprocal, which is rounded once."""
    require(m.type.dtype.name != "bf16", "bfloat16 has too few digits")
    require(m.uses(m.c) == 1 or m.c.type.size == 1, "the constant is used elsewhere")
    with np.errstate(all="ignore"):
        reciprocal = 1 / m.array("c")
    tiny = np.finfo(np.float16 if m.type.dtype.name == "f16" else np.float32).tiny
    require(bool(np.all(np.isfinite(reciprocal) & (np.abs(reciprocal) >= tiny))), "the reciprocal is no normal number")
    return Multiply()(m.x, m.weight(m.c, reciprocal))


@rule("subtract-constant", like(Subtract, "x", "=c"))
def subtract_constant(m: Match) -> Value:
    """As an addition, which the affine rules know: exact for floats."""
    applies(m.type.dtype.is_float)
    require(m.uses(m.c) == 1 or m.c.type.size == 1, "the constant is used elsewhere")
    return Add()(m.x, m.weight(m.c, -m.array("c")))


@rule("merge-adds", like(Add, like(Add, "x", "=a", bind="inner"), "=b"))
def merge_adds(m: Match) -> Value:
    total = _merged(m, m.array("a") + m.array("b"))
    return Add()(m.x, total)


@rule(
    "merge-scales",
    like((Multiply, Divide), like((Multiply, Divide), "x", "=a", bind="inner"), "=b", bind="outer"),
)
def merge_scales(m: Match) -> Value:
    """(x * a) / b as x * (a / b)."""
    applies(m.type.dtype.is_float)
    with np.errstate(all="ignore"):
        a = 1 / m.array("a") if isinstance(m.op("inner"), Divide) else m.array("a")
        b = 1 / m.array("b") if isinstance(m.op("outer"), Divide) else m.array("b")
        total = a * b
    tiny = np.finfo(np.float32 if m.type.dtype.bits >= 32 else np.float16).tiny
    normal = np.isfinite(total) & ((np.abs(total) >= tiny) | (total == 0))
    require(bool(normal.all()), "the product of the factors overflows or underflows")
    return Multiply()(m.x, _merged(m, total))


def _merged(m: Match, total: np.ndarray) -> Value:
    m.used_once("inner")
    require(m.inner.type == m.x.type == m.type, "a constant widens the result's shape")
    require(total.size <= max(m.a.type.size, m.b.type.size), "the merged constant is larger than either")
    like_this = m.a if total.shape == m.a.type.shape else m.b
    require(m.type.dtype.name != "bf16", "bfloat16 has too few digits")
    return m.weight(like_this, total)
