"""Symbolic dimensions: integer polynomials over named sizes, floor divisions and min/max.

A dimension of a shape is an ``int`` or a `Dim`. A `Dim` is kept in a canonical form, so that two
expressions that are equal as polynomials are equal as Python objects, and an expression without a
symbol left is always a plain ``int``. Every symbol stands for a size: an integer of at least 0.
"""

from __future__ import annotations

import keyword
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Union

from kcompile.errors import ParseError, TraceError

DimLike = Union[int, "Dim"]
Atom = tuple  # ("sym", name) or (function name, argument, argument)
Monomial = tuple  # sorted atoms; the empty tuple is the constant term

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "max": max,
    "min": min,
}


class Dim:
    """A size that is not known before the model runs; `symbol` makes the simplest one."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]):
        self.terms = terms
        self._hash = hash(terms)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __reduce__(self) -> tuple[Any, ...]:
        # Hashes of text differ from process to process, so the hash does not travel.
        return Dim, (self.terms,)

    def __add__(self, other: DimLike) -> DimLike:
        return _combine([*_terms(self), *_terms(other)])

    def __neg__(self) -> DimLike:
        return _combine((m, -c) for m, c in self.terms)

    def __sub__(self, other: DimLike) -> DimLike:
        return self + (-other)

    def __rsub__(self, other: DimLike) -> DimLike:
        return (-self) + other

    def __mul__(self, other: DimLike) -> DimLike:
        return _combine(
            (tuple(sorted(ma + mb, key=_sort_key)), ca * cb) for ma, ca in _terms(self) for mb, cb in _terms(other)
        )

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: DimLike) -> DimLike:
        return floordiv(self, other)

    def __rfloordiv__(self, other: DimLike) -> DimLike:
        return floordiv(other, self)

    def __mod__(self, other: DimLike) -> DimLike:
        return modulo(self, other)

    def __rmod__(self, other: DimLike) -> DimLike:
        return modulo(other, self)

    def __lt__(self, other: DimLike) -> bool:
        return not _at_least(self, other, "<")

    def __ge__(self, other: DimLike) -> bool:
        return _at_least(self, other, ">=")

    def __gt__(self, other: DimLike) -> bool:
        return _at_least(self, other + 1, ">")

    def __le__(self, other: DimLike) -> bool:
        return not _at_least(self, other + 1, "<=")

    def __bool__(self) -> bool:
        return _at_least(self, 1, "!= 0")

    def __index__(self) -> int:
        raise TraceError(
            f"the size {self} is not known before the model runs, so it can't be used as a Python "
            "integer; give the input a fixed size, or compute with it in keras.ops"
        )

    __int__ = __index__
    __float__ = __index__

    def __str__(self) -> str:
        return _show(self)

    def __repr__(self) -> str:
        return f"Dim({_show(self)})"

    @property
    def name(self) -> str | None:
        """The symbol's name where this is one bare symbol, else None."""
        if len(self.terms) == 1:
            monomial, coefficient = self.terms[0]
            if coefficient == 1 and len(monomial) == 1 and monomial[0][0] == "sym":
                return monomial[0][1]
        return None

    def symbols(self) -> set[str]:
        """Names of all symbols within."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if atom[0] == "sym":
                    found.add(atom[1])
                else:
                    for argument in atom[1:]:
                        found |= symbols_of(argument)
        return found

    def evaluate(
        self,
        sizes: Mapping[str, Any],
        functions: Mapping[str, Callable[[Any, Any], Any]] = FUNCTIONS,
    ) -> Any:
        """The value with each symbol replaced by ``sizes[name]``: ints, Dims or a tracer's proxies.

        ``functions`` gives ``//``, ``%``, ``max`` and ``min`` for values that need their own.
        Raises KeyError for a symbol without a size.
        """
        total: Any = None
        for monomial, coefficient in self.terms:
            product: Any = None
            for atom in monomial:
                if atom[0] == "sym":
                    factor = sizes[atom[1]]
                else:
                    a, b = (evaluate(x, sizes, functions) for x in atom[1:])
                    factor = functions[atom[0]](a, b)
                product = factor if product is None else product * factor
            if product is None:
                product = coefficient
            elif coefficient != 1:
                product = product * coefficient
            total = product if total is None else total + product
        return total


def symbol(name: str) -> Dim:
    """The size called ``name``: a Python identifier, no keyword; raises ParseError."""
    if not name.isidentifier() or keyword.iskeyword(name) or unicodedata.normalize("NFKC", name) != name:
        raise ParseError(f"a dimension's name must be an identifier, got {name!r}")
    return Dim((((("sym", name),), 1),))


def evaluate(dim: DimLike, sizes: Mapping[str, Any], functions: Mapping[str, Any] = FUNCTIONS) -> Any:
    """`Dim.evaluate` that also takes an int."""
    return dim.evaluate(sizes, functions) if isinstance(dim, Dim) else dim


def substitute(dim: DimLike, sizes: Mapping[str, DimLike]) -> DimLike:
    """``dim`` with some symbols replaced; the others stay."""
    if not isinstance(dim, Dim):
        return dim
    full = {name: sizes.get(name, symbol(name)) for name in dim.symbols()}
    return dim.evaluate(full, {"//": floordiv, "%": modulo, "max": maximum, "min": minimum})


def symbols_of(dim: DimLike) -> set[str]:
    """Names of the symbols in a dimension; empty for an int."""
    return dim.symbols() if isinstance(dim, Dim) else set()


def floordiv(a: DimLike, b: DimLike) -> DimLike:
    """``a // b``; terms that divide exactly leave the division: ``(2*H+1)//2`` is ``H``."""
    a, b = _size(a), _size(b)
    if isinstance(b, int):
        if b == 0:
            raise ZeroDivisionError("division of a size by zero")
        if isinstance(a, int):
            return a // b
        whole, rest = _split(a, b)
        return whole + _call("//", rest, b)
    exact = _exact(a, b)
    return _call("//", a, b) if exact is None else exact


def modulo(a: DimLike, b: DimLike) -> DimLike:
    """``a % b`` with multiples of ``b`` left out."""
    a, b = _size(a), _size(b)
    if isinstance(b, int):
        if isinstance(a, int):
            return a % b
        return _call("%", _split(a, b)[1], b)
    return 0 if _exact(a, b) is not None else _call("%", a, b)


def maximum(a: DimLike, b: DimLike) -> DimLike:
    """The larger of two sizes, decided by bounds where they tell."""
    return _extreme("max", a, b)


def minimum(a: DimLike, b: DimLike) -> DimLike:
    """The smaller of two sizes, decided by bounds where they tell."""
    return _extreme("min", a, b)


def product(dims: Iterable[DimLike]) -> DimLike:
    """Product of dimensions; 1 for none."""
    total: DimLike = 1
    for dim in dims:
        total = total * dim
    return total


def bounds(dim: DimLike) -> tuple[float, float]:
    """(least, greatest) value that ``dim`` can have, every symbol being at least 0."""
    if isinstance(dim, int):
        return dim, dim
    # Python's integers where finite: floats would round large sizes.
    low: float = 0
    high: float = 0
    for monomial, coefficient in dim.terms:
        a: float = 1
        b: float = 1
        for atom in monomial:
            c, d = (0, math.inf) if atom[0] == "sym" else _call_bounds(atom)
            corners = [_times(x, y) for x in (a, b) for y in (c, d)]
            a, b = min(corners), max(corners)
        ends = sorted((_times(a, coefficient), _times(b, coefficient)))
        low, high = low + ends[0], high + ends[1]
    return low, high


def _size(value: Any) -> DimLike:
    """A Dim or a Python int, whatever integer it was; TypeError for what is no integer."""
    if isinstance(value, Dim) or type(value) is int:
        return value
    if not hasattr(value, "__index__"):
        raise TypeError(f"a size can't be combined with {value!r}")
    return int(value)


def _terms(dim: DimLike) -> Iterable[tuple[Monomial, int]]:
    dim = _size(dim)
    if isinstance(dim, Dim):
        return dim.terms
    return (((), dim),) if dim else ()


def _sort_key(item: Any) -> str:
    return repr(item)


def _combine(terms: Iterable[tuple[Monomial, int]]) -> DimLike:
    sums: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        sums[monomial] = sums.get(monomial, 0) + coefficient
    kept = [(m, c) for m, c in sums.items() if c]
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    # Highest degree first, the constant last: the order in which people write polynomials.
    kept.sort(key=lambda t: (-len(t[0]), _sort_key(t[0])))
    return Dim(tuple(kept))


def _call(function: str, a: DimLike, b: DimLike) -> DimLike:
    if isinstance(a, int) and isinstance(b, int):
        return FUNCTIONS[function](a, b)
    low, high = bounds(a)
    if isinstance(b, int) and b > 0 and low >= 0 and high < b:
        return 0 if function == "//" else a
    return Dim(((((function, a, b),), 1),))


def _split(dim: Dim, divisor: int) -> tuple[DimLike, DimLike]:
    """(whole, rest) with ``dim == whole * divisor + rest`` and no multiple of the divisor in rest."""
    whole = [(m, c // divisor) for m, c in dim.terms]
    rest = [(m, c % divisor) for m, c in dim.terms]
    return _combine(whole), _combine(rest)


def _exact(a: DimLike, b: DimLike) -> DimLike | None:
    """The quotient where the one-term ``b`` divides every term of ``a``, else None."""
    if a == b:
        return 1
    if not isinstance(b, Dim) or len(b.terms) != 1:
        return None
    divisor, scale = b.terms[0]
    quotient = []
    for monomial, coefficient in _terms(a):
        left = list(monomial)
        for atom in divisor:
            if atom not in left:
                return None
            left.remove(atom)
        if coefficient % scale:
            return None
        quotient.append((tuple(left), coefficient // scale))
    return _combine(quotient)


def _extreme(function: str, a: DimLike, b: DimLike) -> DimLike:
    a, b = _size(a), _size(b)
    low, high = bounds(a - b)
    if low >= 0:
        return a if function == "max" else b
    if high <= 0:
        return b if function == "max" else a
    for whole, part in ((a, b), (b, a)):
        if _absorbs(whole, part, "min" if function == "max" else "max"):
            return whole
    a, b = sorted((a, b), key=str)
    return Dim(((((function, a, b),), 1),))


def _absorbs(whole: DimLike, part: DimLike, inner: str) -> bool:
    """True where ``part`` is ``inner(whole, ...)``: max(a, min(a, b)) and min(a, max(a, b)) are a."""
    if not isinstance(part, Dim) or len(part.terms) != 1:
        return False
    monomial, coefficient = part.terms[0]
    return coefficient == 1 and len(monomial) == 1 and monomial[0][0] == inner and whole in monomial[0][1:]


def _call_bounds(atom: Atom) -> tuple[float, float]:
    function, (alow, ahigh), (blow, bhigh) = atom[0], bounds(atom[1]), bounds(atom[2])
    if function == "max":
        return max(alow, blow), max(ahigh, bhigh)
    if function == "min":
        return min(alow, blow), min(ahigh, bhigh)
    if blow < 0:
        return -math.inf, math.inf
    # A divisor that can be 0 has no value there, so it is at least 1.
    blow, bhigh = max(blow, 1), max(bhigh, 1)
    if function == "%":
        return 0, bhigh - 1 if alow < 0 else min(bhigh - 1, ahigh)
    return _floor(alow, blow if alow < 0 else bhigh), _floor(ahigh, bhigh if ahigh < 0 else blow)


def _floor(a: float, b: float) -> float:
    if math.isinf(a):
        return a
    return a // b if not math.isinf(b) else (0 if a >= 0 else -1)


def _times(a: float, b: float) -> float:
    return 0 if a == 0 or b == 0 else a * b


def _at_least(a: DimLike, b: DimLike, sign: str) -> bool:
    low, high = bounds(a - b)
    if low >= 0:
        return True
    if high < 0:
        return False
    raise TraceError(
        f"whether the size {a} is {sign} {b} is not known before the model runs; "
        "give the input a fixed size, or use ops.cond / ops.where"
    )


def _show_atom(atom: Atom) -> str:
    if atom[0] == "sym":
        return atom[1]
    a, b = (str(x) for x in atom[1:])
    if atom[0] in ("max", "min"):
        return f"{atom[0]}({a}, {b})"
    a, b = (x if x.isidentifier() or x.isdigit() else f"({x})" for x in (a, b))
    return f"{a}{atom[0]}{b}"


def _show(dim: Dim) -> str:
    parts = []
    for monomial, coefficient in dim.terms:
        factors = [_show_atom(atom) for atom in monomial]
        # a//b and a%b bind like * and looser than a sign: bare only when alone.
        if len(factors) > 1 or coefficient != 1:
            factors = [f"({f})" if "//" in f or "%" in f else f for f in factors]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, str(abs(coefficient)))
        parts.append(("-" if coefficient < 0 else "+") + "*".join(factors))
    text = "".join(parts)
    return text[1:] if text.startswith("+") else text
