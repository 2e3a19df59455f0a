"""Seeded random graphs over most operators: `random_graph(seed)`.

A graph grows from an input by steps drawn from a table; a step that doesn't fit what is there is
passed over. Numbers stay of the order of 1 and away from jumps, so that rounding stays rounding.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from kcompile.errors import InferError
from kcompile.ir import Graph, Type, Value, constant, input_value, symbol, weight
from kcompile.ir.dims import evaluate
from kcompile.ir.types import bool_, f32, f64, i64
from kcompile.operators import activation as act
from kcompile.operators import arithmetic as ar
from kcompile.operators import math as mt
from kcompile.operators import reduction as red
from kcompile.operators.attention import Attention
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.operators.einsum import Einsum
from kcompile.operators.gradient import StopGradient
from kcompile.operators.image import Resize
from kcompile.operators.indexing import Embedding, Gather
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.logic import Cast, Clip, Greater, LogicalNot, NotEqual, Where
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

N, T = symbol("N"), symbol("T")
SIZES = ({"N": 1, "T": 6}, {"N": 3, "T": 9})
MOST_ELEMENTS = 4000
ACTIVATIONS = (
    act.Relu(), act.LeakyRelu(0.1), act.Elu(), act.Selu(), act.Gelu(), act.Gelu(True), act.Sigmoid(), act.Silu(),
    act.Softplus(), act.LogSigmoid(), act.HardSigmoid(), act.HardSilu(), act.HardTanh(), act.Softsign(), act.Mish(),
    mt.Tanh(), mt.Erf(), mt.Sin(), ar.Negative(), ar.Absolute(), Clip(-1.0, 1.0), Clip(0.0, None), Clip(0.0, 6.0),
    Clip(None, 0.5), StopGradient(),
)  # fmt: skip


class Grower:
    """The state of a graph that grows: values so far, inputs, weights, and the source of chance."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.inputs: dict[str, Value] = {}
        self.weights: dict[str, np.ndarray] = {}
        shape = self.pick((N, 6), (N, 4, 6), (N, T, 4), (N, 6, 5, 4), (N, 4, 4, 2), (N, T, 3))
        self.values = [self.input("x", Type(f32, shape))]

    # ---- chance

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def axis(self, v: Value) -> int:
        return int(self.rng.integers(v.type.rank)) - (v.type.rank if self.chance(0.3) else 0)

    # ---- leaves

    def input(self, name: str, type: Type) -> Value:
        return self.inputs.setdefault(f"{name}{type}", input_value(f"{name}{len(self.inputs)}", type))

    def weight(self, *shape: int, positive: bool = False, scale: float = 1.0) -> Value:
        label = f"layer{len(self.weights)}/w"
        data = self.rng.uniform(0.5, 1.5, shape) if positive else self.rng.normal(0, scale, shape)
        self.weights[label] = data.astype(np.float32)
        return weight(label, Type(f32, shape))

    def kernel(self, *shape: int) -> Value:
        return self.weight(*shape, scale=1 / np.sqrt(np.prod(shape[:-1])))

    def maybe(self, *shape: int, **kw) -> Value | None:
        return self.weight(*shape, **kw) if self.chance(0.6) else None

    def number(self, *values: float) -> Value:
        return constant(np.float32(self.pick(*values)))

    # ---- growing

    def fits(self, v: Value) -> bool:
        """Whether no size is 0 and the tensor is small."""
        for sizes in SIZES:
            shape = [evaluate(d, sizes) for d in v.type.shape]
            if min(shape, default=1) < 1 or np.prod(shape, dtype=int) > MOST_ELEMENTS:
                return False
        return v.type.rank < 6

    def grow(self) -> None:
        step = STEPS[self.rng.integers(len(STEPS))]
        base = self.values[-1] if self.chance(0.9) else self.pick(*self.values)
        try:
            made = step(self, base)
        except (InferError, Unfit):
            return
        self.values += [
            v for v in (made if isinstance(made, tuple) else (made,)) if self.fits(v) and v.type.dtype is f32
        ]

    def graph(self, name: str) -> Graph:
        outputs = [self.values[-1], *(self.pick(*self.values) for _ in range(self.pick(0, 0, 1)))]
        outputs = list(dict.fromkeys(outputs))
        return Graph(name, list(self.inputs.values()), outputs, weights=self.weights)


class Unfit(Exception):  # noqa: N818
    """Raised by a step that has nothing to do with such a value."""


def need(condition: bool) -> None:
    if not condition:
        raise Unfit


def last(v: Value) -> int:
    """The size of the last axis, which has to be known."""
    need(v.type.rank > 1 and isinstance(v.type.shape[-1], int))
    return v.type.shape[-1]


def random_graph(seed: int) -> Graph:
    g = Grower(seed)
    wanted, tries = int(g.rng.integers(2, 16)), 0
    while len(g.values) < wanted and tries < 60:
        g.grow()
        tries += 1
    return g.graph(f"g{seed}")


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


STEPS: tuple[Callable, ...] = (
    activate, activate, positive, bounded, affine, affine, affine, bound, choose, combine, combine, cast, formula,
    normalise, share, dense, dense, written_dense, conv, conv, split_conv, conv_transpose, heads, recur, embed, norm,
    norm, pool, resize, reduce, reduce, softmax, accumulate, transpose, transpose, reshape, reshape, ones, part, rows,
    cut, join, pad, repeat, flip, undo, undo, block, block, block, flatten,
)  # fmt: skip


def feed(graph: Graph, sizes: dict[str, int], seed: int) -> list[np.ndarray]:
    """Random inputs of a graph."""
    arrays = []
    for value in graph.inputs:
        rng = np.random.default_rng([seed, zlib.crc32(value.op.label.encode())])
        shape = [evaluate(d, sizes) for d in value.type.shape]
        if value.type.dtype.is_bool:
            arrays.append(rng.integers(0, 2, shape).astype(bool))
        elif value.type.dtype.is_integer:
            arrays.append(rng.integers(0, 5, shape))
        else:
            arrays.append(rng.normal(0, 1, shape).astype(np.float32))
    return arrays
