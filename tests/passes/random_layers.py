"""Steps of random graphs: products, norms, reductions, and what moves elements."""

from __future__ import annotations

import numpy as np

from kcompile.ir import Type, Value, constant
from kcompile.ir.types import bool_, i64
from kcompile.operators import activation as act
from kcompile.operators import arithmetic as ar
from kcompile.operators import math as mt
from kcompile.operators import reduction as red
from kcompile.operators.attention import Attention
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.operators.einsum import Einsum
from kcompile.operators.image import Resize
from kcompile.operators.indexing import Embedding, Gather
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.logic import Where
from kcompile.operators.normalization import BatchNorm, GroupNorm, LayerNorm, RmsNorm
from kcompile.operators.pooling import AveragePool, MaxPool
from kcompile.operators.recurrent import Gru, Lstm, SimpleRnn
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
from tests.passes.growing import Grower, N, T, last, need
from tests.passes.random_formulas import ACTIVATIONS

# ---- steps: products


def dense(g: Grower, v: Value):
    n, units = last(v), g.pick(2, 3, 4, 6)
    y = Dense()(v, g.kernel(n, units), g.maybe(units))
    return Dense()(y, g.kernel(units, 4), g.maybe(4)) if g.chance(0.2) else y


def written_dense(g: Grower, v: Value):
    n, units = last(v), g.pick(2, 4)
    y = g.pick(MatMul(), Einsum(f"{'abcde'[: v.type.rank - 1]}y,yz->{'abcde'[: v.type.rank - 1]}z"))(
        v, g.kernel(n, units)
    )
    return ar.Add()(y, g.weight(units))


def conv(g: Grower, v: Value):
    spatial, n = v.type.rank - 2, last(v)
    need(spatial in (1, 2))
    groups = g.pick(1, 1, n)
    filters = n * g.pick(1, 2) if groups > 1 else g.pick(2, 4)
    window = tuple(g.pick(1, 2, 3) for _ in range(spatial))
    strides, dilations = (1,) * spatial, (1,) * spatial
    if g.chance(0.3):
        strides = tuple(g.pick(1, 2) for _ in range(spatial))
    elif g.chance(0.3):
        dilations = (2,) * spatial
    padding = g.pick("same", "valid", ((0, 1),) * spatial, "causal" if spatial == 1 else "same")
    return Conv(strides, padding, dilations, groups)(v, g.kernel(*window, n // groups, filters), g.maybe(filters))


def split_conv(g: Grower, v: Value):
    n = last(v)
    need(v.type.rank == 4 and n % 2 == 0)
    op = Conv((1, 1), "same", (1, 1))
    parts = Split((n // 2, n // 2), -1)(v)
    return Concat(-1)(*(op(p, g.kernel(2, 2, n // 2, 3), g.weight(3)) for p in parts))


def conv_transpose(g: Grower, v: Value):
    n, filters = last(v), g.pick(2, 3)
    need(v.type.rank == 4)
    op = ConvTranspose(g.pick((1, 1), (2, 2), (2, 1)), g.pick("same", "valid"), (1, 1))
    return op(v, g.kernel(3, 2, filters, n), g.maybe(filters))


def heads(g: Grower, v: Value):
    n = last(v)
    need(v.type.rank == 3)
    (batch, length, _), shape = v.type.shape, (2, 3)

    def project() -> Value:
        return Transpose((0, 2, 1, 3))(Reshape((batch, length, *shape))(Dense()(v, g.kernel(n, 6), g.maybe(6))))

    q, k, value = project(), project(), project()
    mask = g.pick(None, None, g.input("mask", Type(bool_, (batch, 1, 1, length))))
    if g.chance(0.5):
        y = Attention(g.pick(None, 0.5), g.chance(0.3))(q, k, value, mask)
    else:
        scores = g.pick(ar.Divide(), ar.Multiply())(MatMul()(q, Transpose((0, 1, 3, 2))(k)), g.number(2, 0.5))
        scores = scores if mask is None else Where()(mask, scores, constant(np.float32(-1e9)))
        y = MatMul()(act.Softmax(-1)(scores), value)
    return Dense()(Reshape((batch, length, 6))(Transpose((0, 2, 1, 3))(y)), g.kernel(6, n), g.maybe(n))


def recur(g: Grower, v: Value):
    n = last(v)
    need(v.type.rank == 3)
    op, gates = g.pick(
        (Lstm(), 4), (Gru(), 3), (SimpleRnn(), 1), (Lstm(reverse=True), 4), (Gru(reverse=True, aligned=True), 3)
    )
    bias = None if isinstance(op, Gru) else g.maybe(gates * 3)
    y, state, *_ = op(v, g.kernel(n, gates * 3), g.kernel(3, gates * 3), bias)
    if g.chance(0.3):
        other = type(op)(reverse=not op.reverse)(v, g.kernel(n, gates * 3), g.kernel(3, gates * 3), bias)
        return Concat(-1)(y, Flip((1,))(other[0]))
    return g.pick(y, y, state)


def embed(g: Grower, v: Value):
    ids = g.input("tokens", Type(i64, (N, T)))
    return Embedding()(g.weight(5, 4), ids)


# ---- steps: norms, pools, reductions


def norm(g: Grower, v: Value):
    n = last(v)
    gamma, beta = g.maybe(n), g.maybe(n)
    kind = g.pick("batch", "batch", "layer", "rms", "group")
    if kind == "batch":
        return BatchNorm(0.1)(v, gamma, beta, g.weight(n), g.weight(n, positive=True))
    if kind == "layer":
        return LayerNorm(0.1)(v, gamma, beta)
    if kind == "rms":
        return RmsNorm(0.1)(v, gamma)
    need(v.type.rank > 2 and n % 2 == 0)
    return GroupNorm(2, 0.1)(v, gamma, beta)


def pool(g: Grower, v: Value):
    spatial = v.type.rank - 2
    need(spatial in (1, 2))
    last(v)
    strides = tuple(g.pick(1, 2) for _ in range(spatial))
    v = Pad(((0, 0), *((1, 0),) * spatial, (0, 0)))(act.Relu()(v)) if g.chance(0.3) else v
    return g.pick(MaxPool, AveragePool)((2,) * spatial, strides, g.pick("same", "valid"))(v)


def resize(g: Grower, v: Value):
    need(v.type.rank == 4 and all(isinstance(d, int) for d in v.type.shape[1:]))
    return Resize((v.type.shape[1] * 2, v.type.shape[2]), g.pick("nearest", "bilinear"))(v)


def reduce(g: Grower, v: Value):
    need(v.type.rank > 1)
    axes = tuple(sorted({int(a) for a in g.rng.integers(1, v.type.rank, g.pick(1, 1, 2))}))
    kind = g.pick(red.Mean, red.Mean, red.Max, red.Min, red.Sum, red.LogSumExp)
    y = kind(axes, g.chance(0.4))(v)
    if kind in (red.Mean, red.Max, red.Min) and y.type.rank > 1 and g.chance(0.3):
        y = kind((y.type.rank - 1,), g.chance(0.5))(y)
    return ar.Multiply()(v, act.Sigmoid()(kind(axes, True)(v))) if g.chance(0.3) else y


def softmax(g: Grower, v: Value):
    return g.pick(act.Softmax, act.LogSoftmax)(g.pick(-1, g.axis(v)))(v)


def accumulate(g: Grower, v: Value):
    return red.CumulativeSum(g.axis(v))(mt.Tanh()(v))


def block(g: Grower, v: Value):
    """Convolution, batch norm, activation, in either order, perhaps padded before and scaled behind."""
    n = last(v)
    need(v.type.rank == 4)
    norm = BatchNorm(0.1)
    before = norm(v, None, g.maybe(n), g.weight(n), g.weight(n, positive=True)) if g.chance(0.3) else v
    before = Pad(((0, 0), (1, 1), (0, 1), (0, 0)))(before) if g.chance(0.3) else before
    y = Conv((1, 1), g.pick("valid", "same"), (1, 1))(before, g.kernel(2, 2, n, 4), g.maybe(4))
    if g.chance(0.6):
        y = norm(y, g.maybe(4), g.maybe(4), g.weight(4), g.weight(4, positive=True))
    y = g.pick(*ACTIVATIONS)(y) if g.chance(0.6) else y
    return (
        ar.Multiply()(y, act.Sigmoid()(Dense()(red.Mean((1, 2), True)(y), g.kernel(4, 4), None)))
        if g.chance(0.2)
        else y
    )


def flatten(g: Grower, v: Value):
    """An image to a vector, dense, perhaps an image again."""
    shape = v.type.shape
    need(v.type.rank > 2 and all(isinstance(d, int) for d in shape[1:]))
    size = int(np.prod(shape[1:]))
    y = Reshape((shape[0], size))(v)
    y = g.pick(*ACTIVATIONS)(y) if g.chance(0.5) else y
    y = norm(g, y) if g.chance(0.2) else y
    if g.chance(0.2):
        y = Concat(-1)(y, Dense()(y, g.kernel(size, 3), None))
    units = 12
    y = Dense()(y, g.kernel(last(y), units), g.maybe(units))
    return g.pick(y, Reshape((shape[0], 2, 2, 3))(g.pick(*ACTIVATIONS)(y)))


# ---- steps: moving elements


def transpose(g: Grower, v: Value):
    perm = tuple(int(i) for i in g.rng.permutation(v.type.rank))
    y = Transpose(perm)(v)
    if g.chance(0.3):
        y = Transpose(tuple(int(i) for i in np.argsort(perm)))(g.pick(*ACTIVATIONS)(y))
    return y


def reshape(g: Grower, v: Value):
    shape, n = v.type.shape, last(v)
    choices = [(*shape[:-1], 1, n), (1, *shape)]
    if v.type.rank > 2:
        choices += [(*shape[:-2], shape[-2] * n), (shape[0] * shape[1], *shape[2:])]
    if n % 2 == 0:
        choices += [(*shape[:-1], n // 2, 2), (*shape[:-1], 2, n // 2)]
    y = Reshape(g.pick(*choices))(v)
    return Reshape(shape)(g.pick(*ACTIVATIONS)(y)) if g.chance(0.3) else y


def ones(g: Grower, v: Value):
    rank = v.type.rank
    flat = [i for i, d in enumerate(v.type.shape) if d == 1 and i > 0]
    if flat and g.chance(0.5):
        return Squeeze((g.pick(*flat),))(v)
    y = ExpandDims((int(g.rng.integers(1, rank + 1)),))(v)
    if g.chance(0.4):
        wide = Expand(tuple(2 if d == 1 and i > 0 else d for i, d in enumerate(y.type.shape)))(y)
        return ar.Add()(wide, y) if g.chance(0.5) else wide
    return y


def part(g: Grower, v: Value):
    axis = g.axis(v) % v.type.rank
    need(axis > 0)
    entries = [(0, None, 1)] * v.type.rank
    entries[axis] = g.pick((0, -1, 1), (1, None, 1), (0, None, 2), (0, 2, 1), (1, 3, 1), (-1, None, -1), (-2, None, 1))
    return Slice(*zip(*entries, strict=True))(v)


def rows(g: Grower, v: Value):
    axis = g.axis(v) % v.type.rank
    size = v.type.shape[axis]
    need(axis > 0 and isinstance(size, int) and size > 1)
    indices = g.pick([0, 1], [size - 1, 0], [-1], list(range(size)), [0, 0])
    return Gather(axis)(v, constant(np.array(indices, np.int64)))


def cut(g: Grower, v: Value):
    axis = g.axis(v) % v.type.rank
    size = v.type.shape[axis]
    need(axis > 0 and isinstance(size, int) and size > 1)
    first, second = Split((1, size - 1), axis)(v)
    return g.pick(
        Concat(axis)(first, second), Concat(axis)(second, first), Concat(axis)(act.Relu()(first), second),
        ar.Add()(first, second), first, second,
    )  # fmt: skip


def join(g: Grower, v: Value):
    alike = [o for o in g.values if o.type == v.type]
    others = [g.pick(*alike) for _ in range(g.pick(1, 2))]
    axis = g.axis(v) % v.type.rank
    need(axis > 0)
    if g.chance(0.2):
        return red.Sum((axis,))(Concat(axis)(*(ExpandDims((axis,))(o) for o in (v, *others))))
    y = Concat(axis)(v, *others)
    if g.chance(0.3):
        return Slice(
            *zip(*[(0, v.type.shape[axis], 1) if i == axis else (0, None, 1) for i in range(v.type.rank)], strict=True)
        )(y)
    return Concat(axis)(y, v) if g.chance(0.2) else y


def pad(g: Grower, v: Value):
    mode = g.pick("constant", "constant", "edge")
    pads = tuple((0, 0) if i == 0 or g.chance(0.5) else (1, g.pick(0, 1)) for i in range(v.type.rank))
    y = Pad(pads, mode)(v)
    return Pad(pads, "constant")(y) if g.chance(0.2) else y


def repeat(g: Grower, v: Value):
    return Tile(tuple(1 if i == 0 else g.pick(1, 1, 2) for i in range(v.type.rank)))(v)


def flip(g: Grower, v: Value):
    axis = g.axis(v) % v.type.rank
    y = Flip((axis,))(v)
    return Flip((axis,))(g.pick(*ACTIVATIONS)(y)) if g.chance(0.3) else y
