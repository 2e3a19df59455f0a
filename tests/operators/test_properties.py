"""Random shapes, sizes 0 and 1 among them, some symbolic: infer, torch and ONNX Runtime say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcompile.ir.dims import symbol
from kcompile.operators import arithmetic, logic, math
from kcompile.operators.creation import Triangle
from kcompile.operators.einsum import Einsum
from kcompile.operators.indexing import (
    Embedding,
    Gather,
    GatherElements,
    GatherNd,
    OneHot,
    ScatterElements,
    ScatterNd,
)
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.reduction import (
    All,
    Any,
    ArgMax,
    ArgMin,
    CumulativeMax,
    CumulativeProduct,
    CumulativeSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Product,
    Sum,
)
from kcompile.operators.registry import operators_of
from kcompile.operators.shape import (
    Concat,
    Expand,
    ExpandDims,
    Flip,
    Pad,
    Reshape,
    Slice,
    Split,
    Squeeze,
    Tile,
    Transpose,
)
from kcompile.operators.sorting import ArgSort, Sort, TopK
from tests.support import check_op

bounded = settings(
    max_examples=12, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
SIZES = st.sampled_from([0, 1, 1, 2, 3, 5])
SHAPES = st.lists(SIZES, min_size=0, max_size=4)
AXED = st.lists(SIZES, min_size=1, max_size=4)


def _floats(shape, seed=0):
    """Distinct values away from 0 and 1, where no function jumps, so that order and rounding are stable."""
    count = int(np.prod(shape))
    values = np.random.default_rng(seed).permutation(count) + 0.5
    return (0.05 + 0.9 * values / max(count, 1)).reshape(shape).astype(np.float32)


def _operand(kind, shape, seed=0):
    values = _floats(shape, seed)
    if kind == "float":
        return values
    return np.asarray(values > 0.5 if kind == "bool" else values * 7 + 1, bool if kind == "bool" else np.int32)


def _symbols(draw, arrays):
    """Some axes symbolic; equal sizes may share a name, as N is shared by all inputs of a model."""
    return {
        (i, axis): f"D{size}"
        for i, array in enumerate(arrays)
        for axis, size in enumerate(array.shape)
        if size != 1 and draw(st.booleans())
    }


def _broadcast_pair(draw, shape):
    """A shape that broadcasts with ``shape``: leading axes dropped, some sizes 1."""
    tail = shape[draw(st.integers(0, len(shape))) :]
    return [1 if draw(st.booleans()) else size for size in tail]


def _kind(op):
    if isinstance(op, (logic.LogicalAnd, logic.LogicalOr, logic.LogicalXor, logic.LogicalNot)):
        return "bool"
    name = op.name
    return "integer" if name.startswith("bitwise") or name.endswith("shift") else "float"


def _arity(cls):
    import inspect

    parameters = inspect.signature(cls.infer).parameters
    if cls in (logic.LogicalNot, logic.BitwiseNot):
        return 1
    return 2 if "types" in parameters else len(parameters) - 1


ELEMENTWISE = [
    cls()
    for module in (arithmetic, math, logic)
    for cls in operators_of(module)
    if cls not in (logic.Where, logic.Cast)
]


@pytest.mark.parametrize("op", ELEMENTWISE, ids=[op.name for op in ELEMENTWISE])
@settings(bounded, max_examples=5)
@given(data=st.data())
def test_elementwise(op, data):
    shape = data.draw(SHAPES)
    kind = _kind(op)
    arrays = [_operand(kind, shape)]
    if _arity(type(op)) == 2:
        arrays.append(_operand(kind, _broadcast_pair(data.draw, shape), seed=1))
    if op.name == "arc_cosh":
        arrays = [a + 1 for a in map(np.asarray, arrays)]
    check_op(op, *(np.asarray(a) for a in arrays), dims=_symbols(data.draw, arrays))


@bounded
@given(data=st.data())
def test_where(data):
    shape = data.draw(SHAPES)
    arrays = [
        _operand("bool", _broadcast_pair(data.draw, shape)), _operand("float", shape),
        _operand("float", _broadcast_pair(data.draw, shape), seed=1),
    ]  # fmt: skip
    check_op(logic.Where(), *arrays, expected=np.where(*arrays), dims=_symbols(data.draw, arrays))


REDUCTIONS = [Sum, Mean, Max, Min, Product, LogSumExp, Any, All]


@pytest.mark.parametrize("cls", REDUCTIONS, ids=[cls.name for cls in REDUCTIONS])
@bounded
@given(data=st.data())
def test_reductions(cls, data):
    shape = data.draw(SHAPES)
    axes = data.draw(st.none() | st.sets(st.integers(0, len(shape) - 1)).map(tuple) if shape else st.none())
    reduced = [shape[a] for a in (range(len(shape)) if axes is None else axes)]
    # No elements have no largest one, and ONNX Runtime's mean of none is 0.
    shape = [max(size, 1) for size in shape] if cls in (Max, Min, Mean) and 0 in reduced else shape
    x = _operand("bool" if cls in (Any, All) else "float", shape)
    check_op(cls(axes, data.draw(st.booleans())), x, dims=_symbols(data.draw, [x]))


ALONG = [
    lambda axis, size: ArgMax(axis), lambda axis, size: ArgMin(axis, True), lambda axis, size: CumulativeSum(axis),
    lambda axis, size: CumulativeSum(axis, True, True), lambda axis, size: CumulativeProduct(axis),
    lambda axis, size: CumulativeMax(axis), lambda axis, size: Sort(axis), lambda axis, size: ArgSort(axis, True),
    lambda axis, size: TopK(size // 2, axis), lambda axis, size: Flip((axis,)),
]  # fmt: skip


@pytest.mark.parametrize("make", ALONG, ids=lambda make: make(0, 2).name)
@bounded
@given(data=st.data())
def test_operators_along_an_axis(make, data):
    shape = data.draw(AXED)
    axis = data.draw(st.integers(0, len(shape) - 1))
    shape[axis] = max(shape[axis], 1)
    x = _floats(shape)
    check_op(make(data.draw(st.sampled_from([axis, axis - len(shape)])), shape[axis]), x, dims=_symbols(data.draw, [x]))


def _reshape(draw, shape):
    # A zero beside a free size can't be told apart from -1 times zero in ONNX: sizes of at least 1.
    shape = [max(size, 1) for size in shape]
    cut = draw(st.integers(0, len(shape)))
    merged = [int(np.prod(shape[:cut])), *shape[cut:]]
    return Reshape(tuple(merged)), shape, merged


def _expand(draw, shape):
    narrow = _broadcast_pair(draw, shape)
    return Expand(tuple(shape)), narrow, shape


def _transpose(draw, shape):
    perm = draw(st.permutations(range(len(shape))))
    return Transpose(tuple(perm)), shape, [shape[i] for i in perm]


def _expand_dims(draw, shape):
    axes = draw(st.sets(st.integers(0, len(shape) + 1), max_size=2))
    axes = tuple(a for a in axes if a < len(shape) + len(axes))
    return ExpandDims(axes), shape, list(np.expand_dims(np.empty(shape), axes).shape)


def _squeeze(draw, shape):
    ones = [i for i, size in enumerate(shape) if size == 1]
    axes = tuple(a for a in ones if draw(st.booleans()))
    return Squeeze(axes), shape, [s for i, s in enumerate(shape) if i not in axes]


def _tile(draw, shape):
    repeats = tuple(draw(st.integers(0, 3)) for _ in shape)
    return Tile(repeats), shape, [s * r for s, r in zip(shape, repeats, strict=True)]


MOVERS = [_reshape, _expand, _transpose, _expand_dims, _squeeze, _tile]


@pytest.mark.parametrize("make", MOVERS, ids=lambda make: make.__name__[1:])
@bounded
@given(data=st.data())
def test_movers(make, data):
    op, shape, wanted = make(data.draw, data.draw(SHAPES))
    x = _floats(shape)
    dims = {} if make in (_reshape, _expand) else _symbols(data.draw, [x])
    (result,) = check_op(op, x, dims=dims, opsets=(17, 20))
    assert list(result.shape) == wanted


@bounded
@given(sizes=st.lists(SIZES, min_size=1, max_size=3), data=st.data())
def test_reshape_and_expand_of_symbolic_sizes(sizes, data):
    n, t = symbol("N"), symbol("T")
    x = _floats((sizes[0], sizes[-1], 4))
    dims = {(0, 0): "N", (0, 1): "T"}
    check_op(Reshape((n * t, 4)), x, dims=dims, expected=x.reshape(sizes[0] * sizes[-1], 4))
    check_op(Reshape((n, t, 2, 2)), x, dims=dims, expected=x.reshape(*x.shape[:2], 2, 2))
    check_op(Expand((2, n, t, 4)), x, dims=dims, expected=np.broadcast_to(x, (2, *x.shape)))


@settings(bounded, max_examples=60)
@given(data=st.data())
def test_slice(data):
    shape = data.draw(AXED)
    entries = []
    for size in shape:
        step = data.draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        # ONNX has no place before the first element for a backward start to lie at.
        start = data.draw(st.integers(-size - 2 if step > 0 else min(-size, -1), size + 2))
        entries.append((start, data.draw(st.none() | st.integers(-size - 2, size + 2)), step))
    x = _floats(shape)
    wanted = x[tuple(slice(*entry) for entry in entries)]
    check_op(Slice(*zip(*entries, strict=True)), x, expected=wanted, dims=_symbols(data.draw, [x]))


@settings(bounded, max_examples=40)
@given(data=st.data())
def test_pad(data):
    shape = data.draw(AXED)
    mode = data.draw(st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap"]))
    if mode != "constant":
        shape = [max(size, 2) for size in shape]
    most = 1 if mode == "reflect" else 4
    pads = tuple((data.draw(st.integers(0, most)), data.draw(st.integers(0, most))) for _ in shape)
    x = _floats(shape)
    check_op(Pad(pads, mode), x, expected=np.pad(x, pads, mode=mode), dims=_symbols(data.draw, [x]))


@settings(bounded, max_examples=25)
@given(data=st.data())
def test_negative_pads_remove(data):
    shape = data.draw(AXED)
    pads = tuple((-data.draw(st.integers(0, s)), data.draw(st.integers(0, 2))) for s in shape)
    x = _floats(shape)
    kept = x[tuple(slice(-before, None) for before, _ in pads)]
    wanted = np.pad(kept, [(0, after) for _, after in pads])
    check_op(Pad(pads), x, expected=wanted, dims=_symbols(data.draw, [x]))


@settings(bounded, max_examples=25)
@given(data=st.data())
def test_concat_and_split(data):
    shape = data.draw(AXED)
    axis = data.draw(st.integers(0, len(shape) - 1))
    sizes = data.draw(st.lists(SIZES, min_size=1, max_size=3))
    parts = [_floats([*shape[:axis], size, *shape[axis + 1 :]], seed=i) for i, size in enumerate(sizes)]
    joined = np.concatenate(parts, axis)
    check_op(Concat(axis), *parts, expected=joined, dims=_symbols(data.draw, parts))
    check_op(Split(tuple(sizes), axis), joined, expected=parts, dims=_symbols(data.draw, [joined]))


def _indices(draw, size, shape, least=None):
    low = -size if least is None else least
    count = int(np.prod(shape))
    values = draw(st.lists(st.integers(low, size - 1), min_size=count, max_size=count))
    return np.array(values, draw(st.sampled_from([np.int32, np.int64]))).reshape(shape)


@settings(bounded, max_examples=25)
@given(data=st.data())
def test_gathering(data):
    shape = [max(size, 1) for size in data.draw(AXED)]
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = _floats(shape)
    arrays = [x, _indices(data.draw, shape[axis], data.draw(st.lists(SIZES, max_size=2)))]
    check_op(Gather(axis), *arrays, expected=np.take(*arrays, axis), dims=_symbols(data.draw, arrays))
    along = [x, _indices(data.draw, shape[axis], [*shape[:axis], data.draw(SIZES), *shape[axis + 1 :]])]
    check_op(GatherElements(axis), *along, expected=np.take_along_axis(*along, axis), dims=_symbols(data.draw, along))
    rows = [x, _indices(data.draw, shape[0], [data.draw(SIZES), 1])]
    check_op(GatherNd(), *rows, expected=x[rows[1][:, 0]], dims=_symbols(data.draw, rows[:1]))


@settings(bounded, max_examples=25)
@given(data=st.data())
def test_scattering(data):
    shape = [max(size, 1) for size in data.draw(AXED)]
    x, reduction = _floats(shape), data.draw(st.sampled_from(["add", "mul", "max", "min"]))
    indices = _indices(data.draw, shape[0], [data.draw(SIZES), *shape[1:]])
    check_op(ScatterElements(0, reduction), x, indices, _floats(indices.shape, seed=1), dims=_symbols(data.draw, [x]))
    rows = _indices(data.draw, shape[0], [data.draw(SIZES), 1])
    updates = _floats([len(rows), *shape[1:]], seed=2)
    check_op(ScatterNd(reduction), x, rows, updates, dims=_symbols(data.draw, [x]))


@settings(bounded, max_examples=20)
@given(data=st.data())
def test_classes_and_embeddings(data):
    ids = _indices(data.draw, 4, data.draw(st.lists(SIZES, max_size=3)), least=0)
    dims = _symbols(data.draw, [ids])
    axis = data.draw(st.integers(0, ids.ndim))
    check_op(OneHot(3, axis), ids, dims=dims)
    table = _floats((4, data.draw(SIZES)))
    named = {(1, a): name for (_, a), name in dims.items()}
    check_op(Embedding(), table, ids, expected=table[ids], dims=named)


@settings(bounded, max_examples=25)
@given(data=st.data())
def test_products(data):
    m, k, n, u = (data.draw(SIZES) for _ in range(4))
    batch = data.draw(st.lists(SIZES, max_size=2))
    a, b = _floats([*batch, m, k]), _floats([*_broadcast_pair(data.draw, batch), k, n], seed=1)
    check_op(MatMul(), a, b, expected=np.matmul(a, b), dims=_symbols(data.draw, [a]))
    kernel, bias = _floats((k, u), seed=2), _floats((u,), seed=3)
    check_op(Dense(), a, kernel, bias, expected=a @ kernel + bias, dims=_symbols(data.draw, [a]))
    check_op(Einsum("...mk,ku->u...m"), a, kernel, dims=_symbols(data.draw, [a]))
    check_op(Triangle(data.draw(st.booleans()), data.draw(st.integers(-2, 2))), a, dims=_symbols(data.draw, [a]))
