"""Which operators compute each element of the result from the same element of their operands."""

from __future__ import annotations

from kcompile.operators import activation, arithmetic, logic, math

UNARY = (
    arithmetic.Negative, arithmetic.Absolute, arithmetic.Sign, arithmetic.Square, arithmetic.Reciprocal,
    math.Exp, math.Expm1, math.Log, math.Log1p, math.Log2, math.Log10, math.Sqrt, math.Rsqrt,
    math.Sin, math.Cos, math.Tan, math.ArcSin, math.ArcCos, math.ArcTan, math.Sinh, math.Cosh, math.Tanh,
    math.ArcSinh, math.ArcCosh, math.ArcTanh, math.Erf, math.ErfInv, math.Floor, math.Ceil, math.Round, math.Trunc,
    math.IsNan, math.IsInf, math.IsFinite,
    logic.LogicalNot, logic.BitwiseNot, logic.Clip, logic.Cast,
    activation.Relu, activation.LeakyRelu, activation.Elu, activation.Selu, activation.Celu, activation.Gelu,
    activation.Silu, activation.Sigmoid, activation.LogSigmoid, activation.HardSigmoid, activation.SparseSigmoid,
    activation.HardSilu, activation.Softplus, activation.Softsign, activation.Mish, activation.HardTanh,
    activation.Threshold, activation.HardShrink, activation.SoftShrink, activation.TanhShrink,
    activation.Squareplus, activation.SparsePlus,
)  # fmt: skip

BINARY = (
    arithmetic.Add, arithmetic.Subtract, arithmetic.Multiply, arithmetic.Divide, arithmetic.FloorDivide,
    arithmetic.Remainder, arithmetic.Power, arithmetic.Minimum, arithmetic.Maximum, arithmetic.ArcTan2,
    logic.Equal, logic.NotEqual, logic.Less, logic.LessEqual, logic.Greater, logic.GreaterEqual,
    logic.LogicalAnd, logic.LogicalOr, logic.LogicalXor, logic.BitwiseAnd, logic.BitwiseOr, logic.BitwiseXor,
    logic.LeftShift, logic.RightShift,
)  # fmt: skip

# All of them broadcast their operands.
ELEMENTWISE = (*UNARY, *BINARY, logic.Where)

# Results that are never negative (or NaN), so that relu keeps them.
NEVER_NEGATIVE = (
    arithmetic.Absolute, arithmetic.Square, math.Exp, math.Sqrt, math.Cosh, activation.Relu, activation.Sigmoid,
    activation.HardSigmoid, activation.SparseSigmoid, activation.Softplus, activation.Softmax, activation.SparsePlus,
)  # fmt: skip
