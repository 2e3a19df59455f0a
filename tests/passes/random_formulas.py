"""Steps of random graphs: elementwise operators and formulas."""

from __future__ import annotations

import numpy as np

from kcompile.ir import Value, constant
from kcompile.ir.dims import evaluate
from kcompile.ir.types import bool_, f32, f64, i64
from kcompile.operators import activation as act
from kcompile.operators import arithmetic as ar
from kcompile.operators import math as mt
from kcompile.operators import reduction as red
from kcompile.operators.gradient import StopGradient
from kcompile.operators.logic import Cast, Clip, Greater, LogicalNot, NotEqual, Where
from tests.passes.growing import SIZES, Grower, last, need

ACTIVATIONS = (
    act.Relu(), act.LeakyRelu(0.1), act.Elu(), act.Selu(), act.Gelu(), act.Gelu(True), act.Sigmoid(), act.Silu(),
    act.Softplus(), act.LogSigmoid(), act.HardSigmoid(), act.HardSilu(), act.HardTanh(), act.Softsign(), act.Mish(),
    mt.Tanh(), mt.Erf(), mt.Sin(), ar.Negative(), ar.Absolute(), Clip(-1.0, 1.0), Clip(0.0, None), Clip(0.0, 6.0),
    Clip(None, 0.5), StopGradient(),
)  # fmt: skip


# ---- steps: elementwise


def activate(g: Grower, v: Value):
    return g.pick(*ACTIVATIONS)(v)


def positive(g: Grower, v: Value):
    return g.pick(mt.Exp(), mt.Sqrt(), mt.Log(), ar.Reciprocal(), mt.Rsqrt(), mt.Log1p())(
        ar.Add()(ar.Square()(mt.Tanh()(v)), g.number(0.5, 1.0))
    )


def bounded(g: Grower, v: Value):
    return g.pick(mt.Exp(), ar.Square(), mt.Expm1(), mt.Sinh())(mt.Tanh()(v))


def operand(g: Grower, v: Value) -> Value:
    kind = g.pick("number", "one", "vector", "cells", "ones")
    if kind == "number":
        return g.number(0.5, 2.0, -1.5, 3.0)
    if kind == "one":
        return g.number(0.0, 1.0, 1.0)
    shape = v.type.shape[1:] if kind == "cells" else v.type.shape[-1:]
    need(all(isinstance(d, int) for d in shape))
    return constant(np.ones(shape, np.float32)) if kind == "ones" else g.weight(*shape, positive=True)


def affine(g: Grower, v: Value):
    op = g.pick(ar.Add(), ar.Multiply(), ar.Subtract(), ar.Divide())
    y = operand(g, v)
    if isinstance(op, ar.Divide):
        need(not (isinstance(y.op.name, str) and y.op.name == "constant" and not np.all(y.op.value.data)))
    return op(v, y)


def bound(g: Grower, v: Value):
    return g.pick(ar.Maximum(), ar.Minimum())(*g.pick((v, g.number(0, -0.5, 0.5)), (g.number(0, 0.5), v)))


def choose(g: Grower, v: Value):
    seen = g.input("seen", v.type.with_dtype(bool_))
    seen = LogicalNot()(seen) if g.chance(0.3) else seen
    if g.chance(0.2):
        seen = NotEqual()(g.input("ids", v.type.with_dtype(i64)), g.input("other", v.type.with_dtype(i64)))
    first = Where()(seen, v, mt.Tanh()(v)) if g.chance(0.3) else v
    return Where()(seen, first, g.pick(g.number(0, 1), ar.Negative()(v)))


def combine(g: Grower, v: Value):
    other = g.pick(*g.values)
    for sizes in SIZES:  # two free sizes with different names broadcast in the types, and not here
        shapes = [[evaluate(d, sizes) for d in o.type.shape] for o in (v, other)]
        need(all(a == b or 1 in (a, b) for a, b in zip(*(s[::-1] for s in shapes), strict=False)))
    return g.pick(ar.Add(), ar.Subtract(), ar.Multiply(), ar.Maximum())(
        *g.pick((v, mt.Tanh()(other)), (mt.Tanh()(other), v))
    )


def cast(g: Grower, v: Value):
    return Cast(f32)(
        g.pick(ar.Negative(), mt.Tanh(), ar.Square())(Cast(f64)(mt.Tanh()(v))) if g.chance(0.5) else Cast(f64)(v)
    )


def undo(g: Grower, v: Value):
    """Operators that cancel or merge with their neighbour."""
    two, small = constant(np.float32(2)), mt.Tanh()(v)
    return g.pick(
        lambda: ar.Negative()(ar.Negative()(v)),
        lambda: mt.Log()(mt.Exp()(small)),
        lambda: mt.Sqrt()(ar.Square()(v)),
        lambda: mt.Exp()(act.LogSoftmax()(v)),
        lambda: ar.Add()(v, ar.Negative()(small)),
        lambda: ar.Subtract()(v, ar.Negative()(small)),
        lambda: ar.Negative()(ar.Subtract()(v, small)),
        lambda: ar.Power()(small, two),
        lambda: ar.Multiply()(v, ar.Reciprocal()(ar.Add()(ar.Square()(small), two))),
        lambda: ar.Reciprocal()(mt.Sqrt()(ar.Add()(ar.Square()(v), two))),
        lambda: Where()(g.input("seen", v.type.with_dtype(bool_)), v, v),
        lambda: Where()(LogicalNot()(LogicalNot()(g.input("seen", v.type.with_dtype(bool_)))), v, small),
        lambda: Where()(constant(np.array(g.chance(0.5))), v, small),
        lambda: Where()(
            Greater()(g.values[0], constant(np.float32(0))), g.values[0], ar.Multiply()(g.values[0], g.number(0.1, 2))
        ),
        lambda: g.pick(act.Relu(), Clip(-0.5, 0.5))(g.pick(act.LeakyRelu(0.1), Clip(-1.0, 1.0), act.Relu())(v)),
        lambda: Cast(f32)(red.ArgMax(-1)(act.Softmax(-1)(g.values[0]))),
    )()


# ---- steps: formulas


def formula(g: Grower, v: Value):
    half, one = constant(np.float32(0.5)), constant(np.float32(1))
    erf = mt.Erf()(
        g.pick(ar.Divide()(v, constant(np.float32(2**0.5))), ar.Multiply()(v, constant(np.float32(0.5**0.5))))
    )
    six, three = constant(np.float32(6)), constant(np.float32(3))
    gate = Clip(0.0, 6.0)(ar.Add()(v, three))
    small = mt.Tanh()(v)
    return g.pick(
        ar.Multiply()(ar.Multiply()(v, half), ar.Add()(one, erf)),
        ar.Multiply()(v, ar.Multiply()(ar.Add()(erf, one), half)),
        ar.Multiply()(v, act.Sigmoid()(v)),
        ar.Divide()(v, ar.Add()(one, mt.Exp()(ar.Negative()(small)))),
        mt.Log()(ar.Add()(mt.Exp()(small), one)),
        ar.Multiply()(v, mt.Tanh()(act.Softplus()(v))),
        ar.Divide()(ar.Multiply()(v, gate), six),
        ar.Multiply()(ar.Divide()(gate, six), v),
        ar.Maximum()(v, ar.Multiply()(v, constant(np.float32(0.1)))),
    )


def normalise(g: Grower, v: Value):
    """Layer norm and RMS norm, written out."""
    n = last(v)
    mean = red.Mean((-1,), True)(v)
    centred = g.pick(ar.Subtract()(v, mean), v)
    variance = red.Mean((-1,), True)(g.pick(ar.Square()(centred), ar.Multiply()(centred, centred)))
    root = ar.Add()(variance, constant(np.float32(0.1)))
    y = g.pick(ar.Divide()(centred, mt.Sqrt()(root)), ar.Multiply()(centred, mt.Rsqrt()(root)))
    y = ar.Multiply()(y, g.weight(n, positive=True)) if g.chance(0.5) else y
    return ar.Add()(y, g.weight(n)) if g.chance(0.5) else y


def share(g: Grower, v: Value):
    """Softmax and its logarithm, written out."""
    axis = g.axis(v) if g.chance(0.3) else -1
    x = mt.Tanh()(v)
    low = g.pick(x, ar.Subtract()(x, red.Max((axis,), True)(x)))
    total = red.Sum((axis,), True)(mt.Exp()(low))
    return g.pick(
        ar.Divide()(mt.Exp()(low), total), ar.Subtract()(low, mt.Log()(total)), mt.Log()(act.Softmax(axis)(x))
    )
