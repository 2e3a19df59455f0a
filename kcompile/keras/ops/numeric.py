"""Elementwise functions of `keras.ops` that are made of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.keras.ops import core, reductions
from kcompile.keras.ops import elementwise as ew
from kcompile.keras.ops.common import float_dtype, kind, op, run, tensor
from kcompile.operators import arithmetic
from kcompile.tracing.tensor import promoted


def _float(x: Any) -> Any:
    return tensor(x, float_dtype(kind(x)))


def _both_float(x1: Any, x2: Any) -> tuple[Any, Any]:
    target = float_dtype(promoted(x1, x2))
    return tensor(x1, target), tensor(x2, target)


def _both(x1: Any, x2: Any) -> tuple[Any, Any]:
    target = promoted(x1, x2)
    return tensor(x1, target), tensor(x2, target)


@op
def cbrt(x: Any) -> Any:
    """The cube root, of negative numbers too."""
    x = _float(x)
    return ew.multiply(ew.sign(x), ew.power(ew.absolute(x), 1.0 / 3.0))


@op
def exp2(x: Any) -> Any:
    """2 to the power of x."""
    return ew.exp(ew.multiply(_float(x), math.log(2.0)))


@op
def erfc(x: Any) -> Any:
    """1 - erf(x)."""
    return ew.subtract(1.0, ew.erf(x))


@op
def fabs(x: Any) -> Any:
    """|x| as a float."""
    return ew.absolute(_float(x))


@op
def rad2deg(x: Any) -> Any:
    """Radians as degrees."""
    return ew.multiply(_float(x), 180.0 / math.pi)


@op
def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), and 1 at 0."""
    x = ew.multiply(_float(x), math.pi)
    zero = ew.equal(x, 0.0)
    return ew.where(zero, 1.0, ew.divide(ew.sin(x), ew.where(zero, 1.0, x)))


@op
def i0(x: Any) -> Any:
    """The modified Bessel function of order 0, to 2e-7 of its value (Abramowitz & Stegun 9.8.1 and 9.8.2)."""
    size = ew.absolute(_float(x))
    small = _polynomial(
        ew.square(ew.divide(size, 3.75)),
        (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813),
    )
    far = ew.maximum(size, 3.75)
    series = _polynomial(
        ew.divide(3.75, far),
        (0.39894228, 0.01328592, 0.00225319, -0.00157565, 0.00916281, -0.02057706, 0.02635537, -0.01647633, 0.00392377),
    )
    large = ew.divide(ew.multiply(ew.exp(far), series), ew.sqrt(far))
    return ew.where(ew.less(size, 3.75), small, large)


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """The sum of coefficients[i] * x**i, by Horner's rule."""
    result: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        result = ew.add(ew.multiply(result, x), c)
    return result


# ---- of two numbers


@op
def fmax(x1: Any, x2: Any) -> Any:
    """The larger of two; the other where one is NaN."""
    x1, x2 = _both(x1, x2)
    return ew.where(ew.isnan(x1), x2, ew.where(ew.isnan(x2), x1, ew.maximum(x1, x2)))


@op
def fmin(x1: Any, x2: Any) -> Any:
    """The smaller of two; the other where one is NaN."""
    x1, x2 = _both(x1, x2)
    return ew.where(ew.isnan(x1), x2, ew.where(ew.isnan(x2), x1, ew.minimum(x1, x2)))


@op
def fmod(x1: Any, x2: Any) -> Any:
    """The remainder with the dividend's sign, as C's."""
    x1, x2 = _both(x1, x2)
    return ew.multiply(ew.sign(x1), ew.mod(ew.absolute(x1), ew.absolute(x2)))


@op
def heaviside(x1: Any, x2: Any) -> Any:
    """0 where x1 is negative, x2 where it is 0, 1 above; NaN stays."""
    x1, x2 = _both_float(x1, x2)
    step = ew.where(ew.less(x1, 0.0), 0.0, ew.where(ew.equal(x1, 0.0), x2, 1.0))
    return ew.where(ew.isnan(x1), x1, step)


@op
def hypot(x1: Any, x2: Any) -> Any:
    """sqrt(x1^2 + x2^2) without overflow."""
    x1, x2 = (ew.absolute(x) for x in _both_float(x1, x2))
    large, small = ew.maximum(x1, x2), ew.minimum(x1, x2)
    ratio = ew.divide_no_nan(small, large)
    return ew.multiply(large, ew.sqrt(ew.add(1.0, ew.square(ratio))))


@op
def ldexp(x1: Any, x2: Any) -> Any:
    """x1 * 2**x2."""
    x1 = _float(x1)
    return ew.multiply(x1, ew.power(tensor(2.0, kind(x1)), tensor(x2, kind(x1))))


@op
def logaddexp2(x1: Any, x2: Any) -> Any:
    """log2(2**x1 + 2**x2) without overflow."""
    x1, x2 = _both_float(x1, x2)
    apart = ew.negative(ew.absolute(ew.subtract(x1, x2)))
    return ew.add(ew.maximum(x1, x2), ew.divide(ew.log1p(exp2(apart)), math.log(2.0)))


@op
def gcd(x1: Any, x2: Any) -> Any:
    """The greatest common divisor of integers, by Euclid's algorithm."""
    target = promoted(x1, x2)
    x1, x2 = ew.add(ew.absolute(tensor(x1, target)), ew.multiply(x2, 0)), ew.absolute(tensor(x2, target))
    x2 = ew.add(x2, ew.multiply(x1, 0))

    def step(a: Any, b: Any) -> tuple[Any, Any]:
        # An integer modulo 0 is an error in torch; where b is 0, a is the divisor already.
        ended = ew.equal(b, 0)
        rest = ew.mod(a, ew.where(ended, 1, b))
        return ew.where(ended, a, b), ew.where(ended, 0, rest)

    found, _ = core.while_loop(lambda a, b: reductions.any(ew.not_equal(b, 0)), step, (x1, x2))
    return found


@op
def lcm(x1: Any, x2: Any) -> Any:
    """The least common multiple of integers; 0 where one of them is 0."""
    divisor = gcd(x1, x2)
    part = ew.floor_divide(ew.absolute(x1), ew.maximum(divisor, 1))
    return tensor(ew.multiply(part, ew.absolute(x2)), kind(divisor))


# ---- tests and repairs


@op
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all |x1 - x2| <= atol + rtol * |x2|."""
    return reductions.all(ew.isclose(x1, x2, rtol, atol, equal_nan))


@op
def isposinf(x: Any) -> Any:
    """True where x is plus infinity."""
    return ew.equal(x, math.inf) if kind(x).is_float else ew.not_equal(x, x)


@op
def isneginf(x: Any) -> Any:
    """True where x is minus infinity."""
    return ew.equal(x, -math.inf) if kind(x).is_float else ew.not_equal(x, x)


@op
def isreal(x: Any) -> Any:
    """True everywhere: there are no complex tensors here."""
    return ew.logical_or(ew.equal(x, x), True)


@op
def signbit(x: Any) -> Any:
    """True where the sign is negative, that of -0 too."""
    if not kind(x).is_float:
        return ew.less(x, 0)
    return ew.logical_or(ew.less(x, 0.0), ew.equal(run(arithmetic.Reciprocal(), x), -math.inf))


@op
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with numbers in place of NaN and the infinities, by default 0 and the dtype's largest."""
    of = kind(x)
    if not of.is_float:
        return tensor(x)
    limit = float(np.finfo(np.float32 if of.name == "bf16" else of.numpy).max)
    x = ew.where(ew.isnan(x), nan, x)
    x = ew.where(ew.equal(x, math.inf), limit if posinf is None else posinf, x)
    return ew.where(ew.equal(x, -math.inf), -limit if neginf is None else neginf, x)


# ---- what complex numbers have, of real ones


@op
def real(x: Any) -> Any:
    """x itself: there are no complex tensors here."""
    return tensor(x)


conj = conjugate = real


@op
def angle(x: Any) -> Any:
    """0 for positive numbers, pi for negative ones."""
    x = _float(x)
    return ew.where(ew.isnan(x), x, ew.where(ew.less(x, 0.0), math.pi, 0.0))


# ---- windows of signals, symmetric, of so many points


def _window(x: Any, *weights: float) -> Any:
    """A sum of cosines of these weights, their signs alternating, over x points (a number or a scalar tensor)."""
    count = int(x)
    turn = 2 * np.pi * np.arange(count) / max(count - 1, 1)
    values = sum((-1) ** i * w * np.cos(i * turn) for i, w in enumerate(weights))
    return tensor(np.asarray(values, np.float32) if count != 1 else np.ones(1, np.float32))


def hanning(x: Any) -> Any:
    """The Hann window of x points."""
    return _window(x, 0.5, 0.5)


def hamming(x: Any) -> Any:
    """The Hamming window of x points."""
    return _window(x, 0.54, 0.46)


def blackman(x: Any) -> Any:
    """The Blackman window of x points."""
    return _window(x, 0.42, 0.5, 0.08)


def bartlett(x: Any) -> Any:
    """The triangular window of x points."""
    return tensor(np.bartlett(int(x)).astype(np.float32))


def kaiser(x: Any, beta: Any) -> Any:
    """The Kaiser window of x points with the form parameter beta."""
    return tensor(np.kaiser(int(x), float(beta)).astype(np.float32))


__all__ = [
    "allclose", "angle", "bartlett", "blackman", "cbrt", "conj", "conjugate", "erfc", "exp2", "fabs", "fmax", "fmin",
    "fmod", "gcd", "hamming", "hanning", "heaviside", "hypot", "i0", "isneginf", "isposinf", "isreal", "kaiser", "lcm",
    "ldexp", "logaddexp2", "nan_to_num", "rad2deg", "real", "signbit", "sinc",
]  # fmt: skip
