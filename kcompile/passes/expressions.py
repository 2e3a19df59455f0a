"""Values read as sums of products, so that a formula is found in whatever way it was written.

``x * 0.5 * (1 + erf(x / sqrt(2)))`` and ``x / 2 + erf(0.7071 * x) * x * 0.5`` are the same sum:
half an x, and half an x times an erf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator

import numpy as np

from kcompile.ir import Constant, DType, Value
from kcompile.operators.arithmetic import Add, Divide, Multiply, Negative, Power, Reciprocal, Square, Subtract
from kcompile.operators.math import Rsqrt, Sqrt

# What is multiplied, each with its exponent. The empty product is the number 1.
Product = frozenset[tuple[Value, float]]
# Products and how often each is added.
Terms = dict[Product, float]

ARITHMETIC = (Add, Subtract, Multiply, Divide, Negative, Square, Power, Sqrt, Rsqrt, Reciprocal)
ONE: Product = frozenset()
# A formula of one activation or norm has no more terms, and is no deeper.
MOST_TERMS = 8
DEPTH = 5
# Constants of a formula have the digits that their author cared for, and those of their dtype.
DIGITS = 1e-5


def terms(value: Value, whole: Collection[Value] = (), depth: int = DEPTH) -> Terms:
    """``value`` as a sum of products; values in ``whole`` are not looked into, nor is what is no arithmetic."""
    number = scalar(value)
    if number is not None:
        return {ONE: number}
    itself: Terms = {power(value): 1.0}
    if value in whole or depth == 0 or not isinstance(value.op, ARITHMETIC):
        return itself
    found = _READ[type(value.op)](value, lambda i: terms(_operand(value, i), whole, depth - 1))
    return itself if found is None or len(found) > MOST_TERMS else found


def scalar(value: Value) -> float | None:
    """The number that a constant of one element holds."""
    if isinstance(value.op, Constant) and value.type.size == 1 and value.type.dtype.is_float:
        return float(np.asarray(value.op.value.data, np.float64).reshape(()))
    return None


def power(*factors: Value | tuple[Value, float]) -> Product:
    """The product of values, or of pairs of a value and its exponent."""
    exponents: dict[Value, float] = {}
    for factor in factors:
        value, exponent = factor if isinstance(factor, tuple) else (factor, 1.0)
        exponents[value] = exponents.get(value, 0.0) + exponent
    return frozenset((v, e) for v, e in exponents.items() if e)


def same(found: Terms, wanted: Terms, dtype: DType) -> bool:
    """Whether two sums are equal, numbers within `DIGITS` or the digits of ``dtype``."""
    digits = {"f16": 1e-3, "bf16": 8e-3}.get(dtype.name, DIGITS)
    return found.keys() == wanted.keys() and all(math.isclose(found[k], wanted[k], rel_tol=digits) for k in wanted)


def inside(value: Value, kind: type | tuple[type, ...], depth: int = 3) -> Iterator[Value]:
    """Values of an operator ``kind`` in the arithmetic that ends in ``value``, the nearest first."""
    level = [value]
    for _ in range(depth):
        operands = dict.fromkeys(v for x in level if isinstance(x.op, ARITHMETIC) for v in x.inputs if v is not None)
        yield from (v for v in operands if isinstance(v.op, kind))
        level = list(operands)


def _operand(value: Value, i: int) -> Value:
    found = value.inputs[i]
    assert found is not None
    return found


# ---- one operator each: its value and the terms of its operand i; None where it stays whole

Read = Callable[[Value, Callable[[int], Terms]], "Terms | None"]


def _sum(first: Terms, second: Terms, sign: float = 1.0) -> Terms:
    total = dict(first)
    for product, times in second.items():
        total[product] = total.get(product, 0.0) + sign * times
    return {p: n for p, n in total.items() if n}


def _product(first: Terms, second: Terms) -> Terms:
    total: Terms = {}
    for p, n in first.items():
        for q, k in second.items():
            total = _sum(total, {power(*p, *q): n * k})
    return total


def _inverse(found: Terms) -> Terms | None:
    if len(found) != 1:
        return None
    ((product, times),) = found.items()
    return {frozenset((v, -e) for v, e in product): 1 / times}


def _divide(value: Value, of: Callable[[int], Terms]) -> Terms:
    inverse = _inverse(of(1)) or {power((_operand(value, 1), -1.0)): 1.0}
    return _product(of(0), inverse)


def _power(value: Value, of: Callable[[int], Terms]) -> Terms | None:
    exponent = scalar(_operand(value, 1))
    if exponent in (2, 3):
        square = _product(of(0), of(0))
        return square if exponent == 2 else _product(square, of(0))
    return None if exponent is None else {power((_operand(value, 0), exponent)): 1.0}


_READ: dict[type, Read] = {
    Add: lambda v, of: _sum(of(0), of(1)),
    Subtract: lambda v, of: _sum(of(0), of(1), -1.0),
    Multiply: lambda v, of: _product(of(0), of(1)),
    Divide: _divide,
    Negative: lambda v, of: _sum({}, of(0), -1.0),
    Square: lambda v, of: _product(of(0), of(0)),
    Power: _power,
    Reciprocal: lambda v, of: _inverse(of(0)) or {power((_operand(v, 0), -1.0)): 1.0},
    Sqrt: lambda v, of: {power((_operand(v, 0), 0.5)): 1.0},
    Rsqrt: lambda v, of: {power((_operand(v, 0), -0.5)): 1.0},
}
