"""Activations written out in arithmetic, as the one operator that they are.

Formulas are compared as sums of products (`expressions`), so that the order of operands, where a
factor stands, and whether something is divided or multiplied make no difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from kcompile.ir import Op, Value
from kcompile.ir.shapes import normal_axes
from kcompile.operators.activation import (
    Gelu,
    HardSigmoid,
    HardSilu,
    LeakyRelu,
    LogSigmoid,
    LogSoftmax,
    Mish,
    Relu,
    Sigmoid,
    Silu,
    Softmax,
    Softplus,
)
from kcompile.operators.arithmetic import (
    Absolute,
    Add,
    Divide,
    Maximum,
    Minimum,
    Multiply,
    Negative,
    Reciprocal,
    Subtract,
)
from kcompile.operators.gradient import StopGradient
from kcompile.operators.logic import Clip, Greater, Where
from kcompile.operators.math import Erf, Exp, Log, Log1p, Tanh
from kcompile.operators.reduction import LogSumExp, Max, Sum
from kcompile.passes.expressions import ONE, Terms, inside, power, same, scalar, terms
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, Skip, applies, require, rule

_PRODUCTS = (Multiply, Divide)


def _is(m: Match, value: Value, wanted: Terms, *whole: Value) -> bool:
    return same(terms(value, whole), wanted, m.type.dtype)


def _made(m: Match, op: Op, x: Value) -> Value:
    """The activation of x, where no constant of the formula widens it."""
    applies(x.type == m.type)
    result: Value = op(x)
    return result


Fits = Callable[[Value, Value], bool]


def _gate(m: Match, kind: type[Op] | tuple[type[Op], ...], fits: Fits) -> tuple[Value, Value, Terms]:
    """x and g of a product in which an operator ``kind`` makes g out of what ``fits`` x; and the product's terms."""
    for gate in inside(m.root, kind):
        if m.uses(gate) != 1:
            continue
        within = _first(gate)
        for x in (within, *inside(within, Op)):
            if x.type == m.type and fits(within, x):
                found = terms(m.root, (gate, x))
                if power(x, gate) in found:
                    return x, gate, found
    raise Skip


def _scaled(m: Match, value: Value, wanted: Terms, x: Value) -> bool:
    """Whether these are the terms of a product: nothing else is read any further."""
    return isinstance(value.op, _PRODUCTS) and _is(m, value, wanted, x)


@rule("gelu", like(_PRODUCTS, bind="product"))
def gelu(m: Match) -> Value:
    """x / 2 * (1 + erf(x / sqrt(2)))."""
    x, erf, found = _gate(m, Erf, lambda y, x: _scaled(m, y, {power(x): math.sqrt(0.5)}, x))
    applies(same(found, {power(x): 0.5, power(x, erf): 0.5}, m.type.dtype))
    return _made(m, Gelu(), x)


@rule("gelu-tanh", like(_PRODUCTS, bind="product"))
def gelu_tanh(m: Match) -> Value:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))."""
    linear, cubic = math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)
    x, tanh, found = _gate(m, Tanh, lambda y, x: _scaled(m, y, {power(x): linear, power((x, 3.0)): cubic}, x))
    applies(same(found, {power(x): 0.5, power(x, tanh): 0.5}, m.type.dtype))
    return _made(m, Gelu(approximate=True), x)


@rule("silu", like(Multiply, "x", like(Sigmoid, "x")))
def silu(m: Match) -> Value:
    m.used_once("sigmoid")
    return Silu()(m.x)


@rule("mish", like(Multiply, "x", like(Tanh, like(Softplus, "x"))))
def mish(m: Match) -> Value:
    m.used_once("tanh", "softplus")
    return Mish()(m.x)


@rule("sigmoid", like((Divide, Reciprocal), bind="quotient"))
def sigmoid(m: Match) -> Value:
    """Divided by 1 + exp(-x) is times sigmoid(x), which overflows nowhere; exp(x) / (1 + exp(x)) is sigmoid(x)."""
    below = m.quotient.inputs[-1]
    exp = next(inside(below, Exp, 1), None)
    applies(exp is not None and same(terms(below, (exp,)), {ONE: 1.0, power(exp): 1.0}, m.type.dtype))
    assert exp is not None
    above = m.quotient.inputs[0] if isinstance(m.quotient.op, Divide) else None
    x = _first(exp)
    if above is exp:
        return _made(m, Sigmoid(), x)
    applies(isinstance(x.op, Negative) and m.uses(exp) == 1)
    result = Sigmoid()(_first(x))
    result = result if above is None or scalar(above) == 1 else Multiply()(above, result)
    applies(result.type == m.type)
    return result


@rule("log-sigmoid", like(Log, like(Sigmoid, "x")))
def log_sigmoid(m: Match) -> Value:
    m.used_once("sigmoid")
    return LogSigmoid()(m.x)


@rule("softplus", like((Log, Log1p), bind="log"))
def softplus(m: Match) -> Value:
    """log(1 + exp(x)), log1p(exp(x))."""
    x = _first(m.log)
    if isinstance(m.log.op, Log1p):
        exp = x
    else:
        exp = next(inside(x, Exp, 1), x)
        applies(_is(m, x, {ONE: 1.0, power(exp): 1.0}, exp))
    applies(isinstance(exp.op, Exp))
    return _made(m, Softplus(), _first(exp))


@rule("softplus-stable", like(Add, like(Relu, "x"), like(Softplus, like(Negative, like(Absolute, "x")))))
def softplus_stable(m: Match) -> Value:
    """max(x, 0) + log(1 + exp(-|x|)): the form that overflows nowhere."""
    m.used_once("softplus", "relu")
    return Softplus()(m.x)


# ---- piecewise linear ones: at the bends they have other slopes than what they are made of


def _clipped(value: Value) -> tuple[Terms, float, float]:
    """What a Clip holds between its two bounds, and the bounds."""
    clip = value.op
    if not isinstance(clip, Clip) or clip.minimum is None or clip.maximum is None:
        raise Skip
    return terms(_first(value)), clip.minimum, clip.maximum


def _hard(m: Match, clip: Value, factor: float) -> Value:
    """x, where ``factor`` times the Clip is its hard sigmoid."""
    inner, low, high = _clipped(clip)
    x = next((v for product in inner for v, _ in product if len(product) == 1), None)
    applies(x is not None and low == 0 and math.isclose(high * factor, 1, rel_tol=1e-5))
    assert x is not None
    scaled = {p: n * factor for p, n in terms(_first(clip), (x,)).items()}
    applies(same(scaled, {ONE: 0.5, power(x): 1 / 6}, m.type.dtype))
    return x


@rule("hard-sigmoid", like((*_PRODUCTS, Clip), bind="product"))
def hard_sigmoid(m: Match) -> Value:
    """x / 6 + 1 / 2 clipped to [0, 1], or x + 3 clipped to [0, 6], over 6."""
    clip: Value = m.product if isinstance(m.product.op, Clip) else next(inside(m.product, Clip, 1), m.product)
    applies(clip is m.product or m.uses(clip) == 1)
    found = terms(m.product, (clip,))
    applies(found.keys() == {power(clip)})
    return _made(m, HardSigmoid(), _hard(m, clip, found[power(clip)]))


@rule("hard-silu", like(_PRODUCTS, bind="product"))
def hard_silu(m: Match) -> Value:
    """x times its hard sigmoid, the division by 6 anywhere."""
    x, gate, found = _gate(m, (Clip, HardSigmoid), lambda y, x: y is x or isinstance(y.op, (Add, Multiply, Divide)))
    applies(found.keys() == {power(x, gate)})
    factor = found[power(x, gate)]
    if isinstance(gate.op, HardSigmoid):
        applies(factor == 1 and _first(gate) is x)
    else:
        applies(_hard(m, gate, factor) is x)
    return _made(m, HardSilu(), x)


@rule("leaky-where", like(Where, like(Greater, "x", "=zero"), "x", like(Multiply, "x", "=slope")))
def leaky_where(m: Match) -> Value:
    """x where x > 0, else slope * x."""
    m.used_once("greater", "multiply")
    applies(scalar(m.zero) == 0)
    return _made(m, LeakyRelu(_slope(m)), m.x)


@rule("leaky-maximum", like(Maximum, "x", like(Multiply, "x", "=slope")))
def leaky_maximum(m: Match) -> Value:
    """max(x, slope * x) where the slope is from 0 to 1."""
    m.used_once("multiply")
    slope = _slope(m)
    require(0 <= slope <= 1, "with this slope the larger is the other")
    return _made(m, LeakyRelu(slope), m.x)


def _slope(m: Match) -> float:
    slope = scalar(m.slope)
    applies(slope is not None)
    assert slope is not None
    return slope


@rule("clip-from-bounds", like((Minimum, Maximum), "x", "=number", bind="limit"))
def clip_from_bounds(m: Match) -> Value:
    """The larger or smaller of x and a number; relu where the number is 0."""
    bound = scalar(m.number)
    applies(bound is not None and not math.isnan(bound))
    if isinstance(m.op("limit"), Minimum):
        return _made(m, Clip(None, bound), m.x)
    return _made(m, Relu() if bound == 0 else Clip(bound, None), m.x)


# ---- along an axis


def _along(m: Match, reduction: Value, x: Value) -> int | None:
    """The one axis of a reduction of x that keeps it with size 1."""
    op = reduction.op
    if not isinstance(op, (Sum, Max, LogSumExp)) or not op.keepdims or reduction.inputs[0] is not x:
        return None
    axes = normal_axes(op.axes, x.type.rank)
    return axes[0] if len(axes) == 1 else None


def _lowered(m: Match, x: Value, axis: int) -> Value:
    """x, or y where x is y less its maximum along the axis: what is exponentiated without overflow."""
    if isinstance(x.op, Subtract):
        y, top = x.inputs
        top = top.inputs[0] if top is not None and isinstance(top.op, StopGradient) else top
        if y is not None and top is not None and isinstance(top.op, Max) and _along(m, top, y) == axis:
            return y
    return x


@rule("softmax", like(Divide, like(Exp, "x"), like(Sum, like(Exp, "x"))))
def softmax(m: Match) -> Value:
    """exp(x) over its sum along one axis, with or without the maximum taken off x."""
    axis = _along(m, m.sum, m.exp)
    applies(axis is not None)
    assert axis is not None
    m.used_once("sum")
    require(m.uses(m.exp) == 2, "the exponentials are used elsewhere")
    return _made(m, Softmax(axis), _lowered(m, m.x, axis))


@rule("log-of-softmax", like(Log, like(Softmax, "x")))
def log_of_softmax(m: Match) -> Value:
    m.used_once("softmax")
    return LogSoftmax(m.op("softmax").axis)(m.x)


@rule("log-softmax", like(Subtract, "x", like((LogSumExp, Log), bind="log")))
def log_softmax(m: Match) -> Value:
    """x less the logarithm of the sum of its exponentials."""
    m.used_once("log")
    if isinstance(m.log.op, LogSumExp):
        axis = _along(m, m.log, m.x)
    else:
        total = _first(m.log)
        applies(isinstance(total.op, Sum) and isinstance(_first(total).op, Exp) and _first(_first(total)) is m.x)
        axis = _along(m, total, _first(total))
    applies(axis is not None)
    assert axis is not None
    return _made(m, LogSoftmax(axis), _lowered(m, m.x, axis))


@rule("exp-of-log-softmax", like(Exp, like(LogSoftmax, "x")))
def exp_of_log_softmax(m: Match) -> Value:
    return Softmax(m.op("log_softmax").axis)(m.x)


@rule("log-sum-exp", like(Log, like(Sum, like(Exp, "x"))))
def log_sum_exp(m: Match) -> Value:
    """Without overflow, and in one operator."""
    m.used_once("sum", "exp")
    op = m.op("sum")
    applies(not isinstance(m.x.op, Subtract))
    return LogSumExp(op.axes, op.keepdims)(m.x)


def _first(value: Value) -> Value:
    found = value.inputs[0]
    assert found is not None
    return found
