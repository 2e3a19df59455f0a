"""Normalisations written out in arithmetic, as the one operator that they are, with what scales and shifts them."""

from __future__ import annotations

from typing import NamedTuple

from kcompile.ir import Constant, Value, Weight
from kcompile.ir.shapes import normal_axes
from kcompile.operators.arithmetic import Add, Divide, Multiply, Power, Subtract
from kcompile.operators.math import Rsqrt, Sqrt
from kcompile.operators.normalization import LayerNorm, RmsNorm
from kcompile.operators.reduction import Mean
from kcompile.passes.expressions import ARITHMETIC, ONE, Terms, inside, power, same, terms
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, Skip, applies, require, rule


class _Spread(NamedTuple):
    """mean(squared^2) + epsilon over the last axes, found in a formula as ``value`` to the power of -1/2."""

    value: Value
    squared: Value
    epsilon: float
    axes: tuple[int, ...]


def _spread(value: Value) -> _Spread | None:
    if not isinstance(value.op, Add):
        return None
    mean = next(inside(value, Mean, 1), None)
    if mean is None or not mean.op.keepdims or mean.inputs[0] is None:  # type: ignore[attr-defined]
        return None
    found, square = terms(value, (mean,)), mean.inputs[0]
    axes = normal_axes(mean.op.axes, square.type.rank)  # type: ignore[attr-defined]
    trailing = axes == tuple(range(square.type.rank - len(axes), square.type.rank))
    epsilon = found.get(ONE, 0.0)
    if found != {power(mean): 1.0, ONE: epsilon} or not trailing or not axes or epsilon <= 0:
        return None
    squared = _root(square)
    return None if squared is None else _Spread(value, squared, epsilon, tuple(a - square.type.rank for a in axes))


def _root(square: Value) -> Value | None:
    """x of x * x, Square(x) or x^2."""
    inner = square.inputs[0] if isinstance(square.op, ARITHMETIC) else None
    if inner is None:
        return None
    return inner if terms(square, (inner,)) == {power((inner, 2.0)): 1.0} else None


@rule("norm", like((Multiply, Divide, Add, Subtract), bind="formula"))
def norm(m: Match) -> Value:
    """Layer norm and RMS norm, the scale before or behind, the shift joined with the mean or not.

    (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon), and the same without means.
    """
    for spread in _spreads(m.formula):
        if m.uses(spread.value) > 1:
            continue
        for x, mean in _operands(spread):
            whole = [v for v in (x, mean, spread.squared if mean is None else None) if v is not None]
            found = terms(m.formula, whole)
            y = _normalised(m, spread, x, mean, found)
            if y is not None:
                return y
    raise Skip


def _spreads(formula: Value) -> list[_Spread]:
    """The variances of whose roots something in the formula is made."""
    roots = dict.fromkeys(v.inputs[0] for v in inside(formula, (Sqrt, Rsqrt, Power)))
    return [s for v in roots if v is not None and (s := _spread(v)) is not None]


def _operands(spread: _Spread) -> list[tuple[Value, Value | None]]:
    """What may be normalised, with its mean for a layer norm."""
    found: list[tuple[Value, Value | None]] = []
    if isinstance(spread.squared.op, Subtract):
        x, mean = spread.squared.inputs
        if x is not None and mean is not None and _is_mean(mean, x, spread.axes):
            found.append((x, mean))
    return [*found, (spread.squared, None)]


def _is_mean(mean: Value, x: Value, axes: tuple[int, ...]) -> bool:
    op = mean.op
    kept = isinstance(op, Mean) and op.keepdims and mean.inputs[0] is x
    return kept and normal_axes(op.axes, x.type.rank) == normal_axes(axes, x.type.rank)  # type: ignore[attr-defined]


def _normalised(m: Match, spread: _Spread, x: Value, mean: Value | None, found: Terms) -> Value | None:
    """The norm whose terms these are: x * r * gamma - mean * r * gamma + beta for r the root's reciprocal."""
    root = (spread.value, -0.5)
    lead = [p for p in found if (x, 1.0) in p and root in p]
    if len(lead) != 1 or x.type != m.type:
        return None
    factors = lead[0] - {(x, 1.0), root}
    rest = [p for p in found if p != lead[0] and not (mean is not None and (mean, 1.0) in p)]
    gamma, beta = (next((v for p in parts for v, _ in p), None) for parts in ([factors], rest))
    wanted: Terms = {lead[0]: 1.0}
    if mean is not None:
        wanted[power(mean, root, *factors)] = -1.0
    if rest:
        wanted[rest[0]] = 1.0
    right = len(factors) < 2 and len(rest) < 2 and all(e == 1 for _, e in factors) and all(len(p) == 1 for p in rest)
    if not right or not same(found, wanted, m.type.dtype) or (mean is None and beta is not None):
        return None
    shape = x.type.shape[-len(spread.axes) :]
    if any(v is not None and v.type.shape != shape for v in (gamma, beta)):
        return None
    if mean is None:
        return RmsNorm(spread.epsilon, spread.axes)(x, gamma)
    return LayerNorm(spread.epsilon, spread.axes)(x, gamma, beta)


@rule("norm-scale", like(Multiply, like((LayerNorm, RmsNorm), "x", bind="norm"), "gamma"))
def norm_scale(m: Match) -> Value:
    """What a norm is multiplied by is its gamma."""
    m.used_once("norm")
    return m.op("norm")(m.x, _parameter(m, m.gamma))


@rule("norm-shift", like(Add, like(LayerNorm, "x", "?gamma", bind="norm"), "beta"))
def norm_shift(m: Match) -> Value:
    """What is added to a norm is its beta."""
    m.used_once("norm")
    return m.op("norm")(m.x, m.gamma, _parameter(m, m.beta))


def _parameter(m: Match, value: Value) -> Value:
    """A stored vector over the normalised axes; skips where it is none."""
    applies(isinstance(value.op, (Weight, Constant)))
    shape = m.type.shape[-len(m.op("norm").axes) :]
    require(value.type.shape == shape and m.norm.type == m.type, "it is not one number for each normalised one")
    return value
