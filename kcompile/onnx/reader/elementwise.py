"""Operators that work element by element: arithmetic, comparison, logic, activations."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from kcompile.ir import Op, Value, constant
from kcompile.ir.dims import product
from kcompile.onnx.reader.reading import Call, Reading, decline, reads, require, same_kernel
from kcompile.operators import activation, arithmetic, logic, math
from kcompile.operators.shape import Reshape

_SAME: dict[str, type[Op]] = {
    "Abs": arithmetic.Absolute, "Neg": arithmetic.Negative, "Sign": arithmetic.Sign,
    "Reciprocal": arithmetic.Reciprocal, "Exp": math.Exp, "Log": math.Log, "Sqrt": math.Sqrt, "Sin": math.Sin,
    "Cos": math.Cos, "Tan": math.Tan, "Asin": math.ArcSin, "Acos": math.ArcCos, "Atan": math.ArcTan,
    "Sinh": math.Sinh, "Cosh": math.Cosh, "Tanh": math.Tanh, "Asinh": math.ArcSinh, "Acosh": math.ArcCosh,
    "Atanh": math.ArcTanh, "Erf": math.Erf, "Floor": math.Floor, "Ceil": math.Ceil, "Round": math.Round,
    "IsNaN": math.IsNan, "Not": logic.LogicalNot, "Relu": activation.Relu, "Sigmoid": activation.Sigmoid,
    "Softplus": activation.Softplus, "Softsign": activation.Softsign, "HardSwish": activation.HardSilu,
    "Mish": activation.Mish, "BitwiseNot": logic.BitwiseNot,
}  # fmt: skip
_BINARY: dict[str, type[Op]] = {
    "Add": arithmetic.Add, "Sub": arithmetic.Subtract, "Mul": arithmetic.Multiply, "Equal": logic.Equal,
    "Less": logic.Less, "LessOrEqual": logic.LessEqual, "Greater": logic.Greater,
    "GreaterOrEqual": logic.GreaterEqual, "And": logic.LogicalAnd, "Or": logic.LogicalOr, "Xor": logic.LogicalXor,
    "BitwiseAnd": logic.BitwiseAnd, "BitwiseOr": logic.BitwiseOr, "BitwiseXor": logic.BitwiseXor,
}  # fmt: skip


def _unary(op: Op, c: Call) -> Value:
    same_kernel(c.op_type, c.type(0))
    return op(c[0])


def _binary(op: Op, c: Call) -> Value:
    # Broadcasting was an attribute, and of another kind, before opset 7.
    require(c.version >= 7 and "broadcast" not in c.attributes, "broadcasting by attribute")
    same_kernel(c.op_type, c.type(1))
    return op(c[0], c[1])


UNARY = tuple(Reading((name,), partial(_unary, op())) for name, op in _SAME.items())
BINARY = tuple(Reading((name,), partial(_binary, op())) for name, op in _BINARY.items())


@reads("Div")
def div(c: Call) -> Value:
    require(c.type(0).dtype.is_float, "ONNX rounds a quotient of integers towards 0, the IR down")
    return _binary(arithmetic.Divide(), c)


@reads("Pow")
def power(c: Call) -> Value:
    exponent = c[1]
    if exponent.type.dtype is not c.type(0).dtype:
        known = c.array(1, "an exponent of another type")
        exact = known.astype(c.type(0).dtype.numpy)
        require(bool((exact == known).all()), "the exponent has no exact value in the type of the base")
        exponent = constant(exact)
    same_kernel("Pow", c.type(0))
    return arithmetic.Power()(c[0], exponent)


@reads("Mod")
def mod(c: Call) -> Value:
    require(c.attr("fmod", 0) == 0 and c.type(0).dtype.is_integer, "C's fmod")
    divisor = c.array(1, "a divisor that may be 0")
    require(not np.isin(divisor, (0, -1)).any(), "the divisor is 0 or -1 somewhere")
    return _binary(arithmetic.Remainder(), c)


@reads("Max", "Min", "Sum", "Mean")
def variadic(c: Call) -> Value:
    """Of one tensor it is the tensor; of two an operator of the IR; of more it would be more than one node."""
    if len(c.operands) == 1:
        return c[0]
    require(len(c.operands) == 2 and c.op_type != "Mean", f"{len(c.operands)} operands")
    op = {"Max": arithmetic.Maximum(), "Min": arithmetic.Minimum(), "Sum": arithmetic.Add()}[c.op_type]
    require(c.version >= 8, "no broadcasting before opset 8")
    same_kernel("Add" if c.op_type == "Sum" else c.op_type, c.type(0))
    return op(c[0], c[1])


@reads("Where")
def where(c: Call) -> Value:
    same_kernel("Where", c.type(1))
    return logic.Where()(c[0], c[1], c[2])


@reads("IsInf")
def is_inf(c: Call) -> Value:
    c.plain(detect_negative=1, detect_positive=1)
    require(c.version >= 20 or c.type(0).dtype.name != "f16", "float16 needs opset 20")
    return math.IsInf()(c[0])


@reads("Clip")
def clip(c: Call) -> Value:
    same_kernel("Clip", c.type(0))
    if c.version < 11:
        bounds = [c.attr(name) for name in ("min", "max")]
    else:
        bounds = [None if c.get(i) is None else c.array(i, "a bound").reshape(-1)[0].item() for i in (1, 2)]
    return logic.Clip(*bounds)(c[0])


@reads("Cast")
def cast(c: Call) -> Value:
    c.ignore("saturate", "round_mode")  # of 8-bit floats
    return logic.Cast(c.dtype(c.attr("to", 0)))(c[0])


@reads("CastLike")
def cast_like(c: Call) -> Value:
    c.ignore("saturate", "round_mode")
    return logic.Cast(c.type(1).dtype)(c[0])


# ---- activations with attributes


@reads("LeakyRelu")
def leaky_relu(c: Call) -> Value:
    return activation.LeakyRelu(c.attr("alpha", 0.01))(c[0])


@reads("Elu")
def elu(c: Call) -> Value:
    return activation.Elu(c.attr("alpha", 1.0))(c[0])


@reads("Celu")
def celu(c: Call) -> Value:
    return activation.Celu(c.attr("alpha", 1.0))(c[0])


@reads("Selu")
def selu(c: Call) -> Value:
    fits = _close(c.attr("alpha"), 1.6732632) and _close(c.attr("gamma"), 1.0507010)
    require(fits, "other constants than those of self-normalising networks")
    return activation.Selu()(c[0])


@reads("HardSigmoid")
def hard_sigmoid(c: Call) -> Value:
    slope = c.attr("alpha", 0.2)
    require(c.attr("beta", 0.5) == 0.5, "beta is not 0.5")
    for op in (activation.HardSigmoid(), activation.SparseSigmoid()):
        if _close(slope, op.slope):
            return op(c[0])
    return decline(f"a slope of {slope}")


@reads("Gelu")
def gelu(c: Call) -> Value:
    approximate = c.attr("approximate", "none")
    require(approximate in ("none", "tanh"), f"approximate {approximate}")
    return activation.Gelu(approximate == "tanh")(c[0])


@reads("Swish")
def swish(c: Call) -> Value:
    c.plain(alpha=1.0)
    return activation.Silu()(c[0])


@reads("Shrink")
def shrink(c: Call) -> Value:
    threshold, bias = c.attr("lambd", 0.5), c.attr("bias", 0.0)
    require(c.type(0).dtype.is_float and threshold >= 0, "a shrinking of integers, or of a negative threshold")
    require(bias in (0.0, threshold), "the bias is neither 0 nor the threshold")
    return (activation.HardShrink if bias == 0 else activation.SoftShrink)(threshold)(c[0])


@reads("Softmax", "LogSoftmax")
def softmax(c: Call) -> Value:
    op = activation.Softmax if c.op_type == "Softmax" else activation.LogSoftmax
    rank, shape = c.type(0).rank, c.type(0).shape
    axis = c.attr("axis", -1 if c.version >= 13 else 1)
    if c.version >= 13 or axis % rank == rank - 1:
        return op(axis)(c[0])
    # Until opset 12 it was one softmax over all axes from the given one on.
    axis %= rank
    flat = Reshape((product(shape[:axis]), product(shape[axis:])))(c[0])
    return Reshape(shape)(op(1)(flat))


def _close(a: Any, b: float) -> bool:
    return a is None or abs(a - b) <= 1e-6 * abs(b)
