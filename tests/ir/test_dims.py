"""Symbolic dims: exact arithmetic, one form for equal expressions, text that reads back, safe bounds."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kcompile.errors import ParseError, TraceError
from kcompile.ir.dim_text import parse_dim
from kcompile.ir.dims import (
    Dim,
    bounds,
    evaluate,
    floordiv,
    maximum,
    minimum,
    modulo,
    product,
    substitute,
    symbol,
    symbols_of,
)
from tests.ir.strategies import BINARY, SYMBOLS, build, compute, trees

N, T, H = symbol("N"), symbol("T"), symbol("H")
sizes = st.fixed_dictionaries({name: st.integers(0, 9) for name in SYMBOLS})
fast = settings(max_examples=300, deadline=None)


@fast
@given(trees, sizes)
def test_evaluates_as_python_integers_do(tree: object, given_sizes: dict[str, int]) -> None:
    try:
        dim, want = build(tree), compute(tree, given_sizes)
    except ZeroDivisionError:
        assume(False)
    assert evaluate(dim, given_sizes) == want
    low, high = bounds(dim)
    assert low <= want <= high
    assert substitute(dim, given_sizes) == want


@fast
@given(trees, sizes)
def test_text_reads_back(tree: object, given_sizes: dict[str, int]) -> None:
    try:
        dim = build(tree)
    except ZeroDivisionError:
        assume(False)
    assert parse_dim(str(dim)) == dim
    assert not isinstance(dim, Dim) or dim.symbols(), "without a symbol it is an int"


@fast
@given(trees, trees, trees)
def test_ring_laws_are_equality_of_objects(a: object, b: object, c: object) -> None:
    try:
        x, y, z = build(a), build(b), build(c)
    except ZeroDivisionError:
        assume(False)
    assert x + y == y + x and x * y == y * x
    assert hash((x + y) + z) == hash(x + (y + z)) and (x + y) + z == x + (y + z)
    assert x * (y + z) == x * y + x * z and (x * y) * z == x * (y * z)
    assert type(x - x) is int and x - x == 0
    assert substitute(x, {name: symbol(name) for name in symbols_of(x)}) == x


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (floordiv(2 * H + 1, 2), "H"),
        (floordiv(H - 1, 2) + 1, "(H+1)//2"),
        (floordiv(4 * H + 6, 4), "H+1"),
        (modulo(3 * H + 7, 3), "1"),
        (modulo(H, 3), "H%3"),
        (floordiv(H * T, T), "H"),
        (floordiv(6 * H * T, 4 * T), "(6*H*T)//(4*T)"),
        (floordiv(modulo(H, 3), 3), "0"),
        (maximum(H, H + 1), "H+1"),
        (minimum(H, H + 1), "H"),
        (maximum(H, 0), "H"),
        (maximum(H, 3), "max(3, H)"),
        (maximum(H, T), "max(H, T)"),
        (N - N, "0"),
        (-N, "-N"),
        (-(N // 2), "-(N//2)"),
        (2 * (N // 2) - 3, "2*(N//2)-3"),
        (product([N, 4, T]), "4*N*T"),
        (product([]), "1"),
        (N * N, "N*N"),
    ],
)
def test_form(dim: object, text: str) -> None:
    assert str(dim) == text
    assert parse_dim(text) == dim


BIG = 2**60 + 1


@pytest.mark.parametrize(
    ("dim", "expected"),
    [
        (N, (0, float("inf"))),
        (N + 3, (3, float("inf"))),
        (-N, (float("-inf"), 0)),
        (N % 5, (0, 4)),
        (BIG * (N % 2), (0, BIG)),
        (floordiv(N % 7, 2), (0, 3)),
        (floordiv(-(N % 7), 3), (-6, 4)),
        (floordiv(10, N), (0, 10)),
        (floordiv(-10, N), (-10, -1)),
        (floordiv(N, T - 5), (float("-inf"), float("inf"))),
        (modulo(N, -3), (float("-inf"), float("inf"))),
    ],
)
def test_bounds(dim: object, expected: tuple[float, float]) -> None:
    assert bounds(dim) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("compare", ["<", "<=", ">", ">=", "bool"])
def test_comparison_is_decided_by_bounds_or_refused(compare: str) -> None:
    apply = {
        "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
        "bool": lambda a, b: bool(a),
    }[compare]  # fmt: skip
    assert apply(N + 2, 1) is {"<": False, "<=": False}.get(compare, True)
    with pytest.raises(TraceError, match="not known before the model runs"):
        apply(N, 3)


@pytest.mark.parametrize("use", [int, float, range, lambda d: "abc"[d]])
def test_no_python_integer(use: object) -> None:
    with pytest.raises(TraceError, match="size N is not known"):
        use(N)  # type: ignore[operator]


@pytest.mark.parametrize("operation", BINARY.values(), ids=BINARY)
def test_other_integers_and_other_things(operation: object) -> None:
    assert operation(N, np.int64(3)) == operation(N, 3)  # type: ignore[operator]
    assert operation(N, True) == operation(N, 1)  # type: ignore[operator]
    assert str(operation(N, np.int64(3))) == str(operation(N, 3))  # type: ignore[operator]
    for wrong in (1.5, "2", None):
        with pytest.raises(TypeError):
            operation(N, wrong)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["", "2N", "a b", "a-b", "if", "None", "ﬁ"])
def test_names_are_identifiers(name: str) -> None:
    with pytest.raises(ParseError, match="identifier"):
        symbol(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "N+",
        "N**2",
        "N/2",
        "N//0",
        "N%0",
        "f(N)",
        "max(N)",
        "1.5",
        "'a'",
        "True",
        "N if T else H",
        "N;T",
        "\0",
        "(" * 500,
        "9" * 5000,
    ],
)
def test_what_is_no_dimension(text: str) -> None:
    with pytest.raises(ParseError, match=r"not a dimension|identifier"):
        parse_dim(text)


@pytest.mark.parametrize("operation", [floordiv, modulo])
@pytest.mark.parametrize("a", [7, N])
def test_division_by_zero(operation: object, a: object) -> None:
    with pytest.raises(ZeroDivisionError):
        operation(a, 0)  # type: ignore[operator]


def test_pickles_into_another_process() -> None:
    # Hashes of text differ between processes; a pickled dim must still be found in a dict there.
    dim = maximum(N // 2, T) * H
    code = (
        "import pickle, sys; from kcompile.ir.dim_text import parse_dim;"
        "d = pickle.loads(bytes.fromhex(sys.argv[1])); print({d: 1}[parse_dim(sys.argv[2])])"
    )
    argv = [sys.executable, "-c", code, pickle.dumps(dim).hex(), str(dim)]
    done = subprocess.run(
        argv, capture_output=True, text=True, env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.strip() == "1", done.stderr
