"""Random dims, attributes and graphs for the property tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from kcompile.errors import GraphError, TraceError
from kcompile.ir import Graph, Op, Type, constant, input_value, origin, weight
from kcompile.ir import dtype as ir_dtype
from kcompile.ir.dims import Dim, DimLike, floordiv, maximum, minimum, modulo, symbol
from kcompile.ir.types import ALL

SYMBOLS = ("N", "T", "height")
BINARY: dict[str, Callable] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": floordiv,
    "%": modulo,
    "max": maximum,
    "min": minimum,
}
# An expression as nested tuples, so that tests can also compute it with Python's integers.
trees = st.recursive(
    st.sampled_from(SYMBOLS) | st.integers(-7, 7),
    lambda inner: st.tuples(st.sampled_from(list(BINARY)), inner, inner),
    max_leaves=8,
)


def build(tree: object) -> DimLike:
    """The dim of an expression; ZeroDivisionError for a division by a literal 0."""
    if isinstance(tree, tuple):
        return BINARY[tree[0]](build(tree[1]), build(tree[2]))
    return symbol(tree) if isinstance(tree, str) else tree  # type: ignore[return-value]


def compute(tree: object, sizes: dict[str, int]) -> int:
    """The expression with Python's integers."""
    if isinstance(tree, tuple):
        a, b = compute(tree[1], sizes), compute(tree[2], sizes)
        return {"max": max, "min": min}[tree[0]](a, b) if tree[0] in ("max", "min") else BINARY[tree[0]](a, b)
    return sizes[tree] if isinstance(tree, str) else tree  # type: ignore[return-value]


class Mixed(Op, name="mixed"):
    """Takes anything, gives two results: for tests of the text form."""

    value: object = None
    region: Graph | None = None

    def infer(self, *types: Type | None) -> tuple[Type, Type]:
        return Type(ir_dtype("f32"), (2, symbol("N"))), Type(ir_dtype("i64"), ())


OPERATORS = {"mixed": Mixed}

names = st.text(min_size=0, max_size=6) | st.sampled_from(
    ["a/b", "0", "return", 'q"%', "x = 1", "a) : f32", "_", "\x1b[31m", "\u2028"]
)
names = names.filter(lambda s: s.isprintable() or "\ud800" not in s)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Of every dtype, empty ones and rank 0, with the numbers that text forms lose."""
    kind = draw(st.sampled_from(ALL))
    shape = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 0), (2, 3), (1, 1, 2), (5, 4)]))
    count = int(np.prod(shape))
    if kind.is_float:
        odd = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, 1 / 3, -2.5, 65504.0]
        data = draw(st.lists(st.sampled_from(odd), min_size=count, max_size=count))
    elif kind.is_bool:
        data = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    else:
        ends = np.iinfo(kind.numpy)
        data = draw(st.lists(st.integers(int(ends.min), int(ends.max)), min_size=count, max_size=count))
    with np.errstate(all="ignore"):
        array = np.array(data, dtype=object).astype(kind.numpy).reshape(shape)
    if kind.is_float and draw(st.integers(0, 9)) == 0:
        # NaNs with their sign and payload set.
        return np.frombuffer(b"\xff" * array.nbytes, kind.numpy).reshape(shape)
    return array


@st.composite
def dims(draw: st.DrawFn) -> Dim | int:
    try:
        return build(draw(trees))
    except (ZeroDivisionError, TraceError):
        return 3


numbers = st.none() | st.booleans() | st.integers() | st.floats() | names
attributes = st.recursive(
    numbers | arrays() | dims() | st.sampled_from(ALL) | st.just(Type(ir_dtype("bf16"), (symbol("N"), 2))),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@st.composite
def graphs(draw: st.DrawFn, depth: int = 1) -> Graph:
    """Inputs, weights, constants and `Mixed` operators at random, some with regions, absent operands and updates."""
    labels = draw(st.lists(names, max_size=3, unique=True))
    shape = st.lists(st.sampled_from([0, 1, 4, symbol("N"), symbol("N") // 2 + 1]), max_size=3)
    kinds = [Type(draw(st.sampled_from(ALL)), draw(shape)) for _ in labels]
    inputs = [input_value(label, kind) for label, kind in zip(labels, kinds, strict=True)]
    values = [*inputs, weight(draw(names), Type(ir_dtype("f32"), (3,))), constant(draw(arrays()))]
    for _ in range(draw(st.integers(0, 4))):
        operands = draw(st.lists(st.none() | st.sampled_from(values), max_size=3))
        region = draw(graphs(depth - 1)) if depth and draw(st.booleans()) else None
        with origin(draw(names)):
            values += Mixed(draw(attributes), region)(*operands)
    ends = draw(st.lists(st.sampled_from(values), max_size=3))
    heads = draw(st.lists(names, min_size=len(ends), max_size=len(ends), unique=True))
    updated = draw(st.lists(names, max_size=2, unique=True))
    updates = [(label, draw(st.sampled_from(values))) for label in updated]
    try:
        return Graph(draw(names), inputs, ends, heads, updates)
    except GraphError as error:  # pragma: no cover - a strategy that makes broken graphs is a fault of the test
        raise AssertionError(error) from error
