"""Products with a kernel: Einsum and MatMul as Dense, paddings taken into convolutions, several kernels as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.ir import Constant, Value, Weight
from kcompile.ir.shapes import normal_axis
from kcompile.operators.arithmetic import Multiply
from kcompile.operators.convolution import Conv
from kcompile.operators.einsum import Einsum
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.pooling import MaxPool
from kcompile.operators.reduction import Sum
from kcompile.operators.shape import Concat, ExpandDims, Pad, Reshape, Split, Squeeze, Transpose
from kcompile.passes.affine import channel_axis
from kcompile.passes.elementwise import NEVER_NEGATIVE
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule


@rule("dense-from-matmul", like(MatMul, "x", "kernel"))
def dense_from_matmul(m: Match) -> Value:
    kernel, x = m.kernel, m.x
    applies(isinstance(kernel.op, (Weight, Constant)) and kernel.type.rank == 2)
    applies(x.type.rank >= 2 and x.type.dtype.is_float)
    return Dense()(x, kernel, None)


@rule("einsum-to-matmul", like(Einsum))
def einsum_to_matmul(m: Match) -> Value:
    """Its decomposition, now rather than when the graph is written: the other rules know MatMul and Reshape."""
    result: Value = m.op("einsum").decompose(*m.einsum.inputs)
    # Of sizes that differ in name the einsum gives the larger, a product one of them.
    applies(result.type == m.type)
    return result


_RESHAPING = (Reshape, ExpandDims, Squeeze)


@rule(
    "inner-product",
    like(
        _RESHAPING,
        like(MatMul, like(_RESHAPING, "x", bind="row"), like(_RESHAPING, "y", bind="column")),
        bind="result",
    ),
)
def inner_product(m: Match) -> Value:
    """A product of each row of x with its row of y, written as matrices of one row and one column."""
    m.used_once("mat_mul", "row", "column")
    (*batch, depth), rest = m.x.type.shape, m.type.shape
    applies(m.x.type == m.y.type and m.row.type.shape == (*batch, 1, depth))
    applies(m.column.type.shape == (*batch, depth, 1) and rest in (tuple(batch), (*batch, 1)))
    return Sum((len(batch),), keepdims=rest != tuple(batch))(Multiply()(m.x, m.y))


@rule("pad-into-conv", like(Conv, like(Pad, "x", mode="constant"), "kernel", "?bias"))
def pad_into_conv(m: Match) -> Value:
    """Zeros around the image become the convolution's own padding (ZeroPadding2D in Keras's applications)."""
    return _with_padding(m, m.op("pad").pads)(m.x, m.kernel, m.bias)


@rule("pad-into-turned-conv", like(Conv, like(Transpose, like(Pad, "x", mode="constant")), "kernel", "?bias"))
def pad_into_turned_conv(m: Match) -> Value:
    """The same where the padded image is transposed first."""
    m.used_once("transpose")
    turn = m.op("transpose")
    return _with_padding(m, [m.op("pad").pads[i] for i in turn.perm])(turn(m.x), m.kernel, m.bias)


def _with_padding(m: Match, pads: Sequence[Any]) -> Conv:
    """The matched convolution with these amounts on its axes, batch and channels included, as padding of its own."""
    conv: Conv = m.op("conv")
    rank = m.type.rank
    m.used_once("pad")
    require(m.op("pad").value == 0, "it pads with something else than zeros")
    require(conv.padding == "valid" or not isinstance(conv.padding, str), "the amount depends on the padded size")
    channels = channel_axis(conv, rank)
    require(all(pair == (0, 0) for pair in (pads[0], pads[channels])), "it pads the batch or the channels")
    pairs = [pads[i] for i in range(1, rank) if i != channels]
    require(all(isinstance(n, int) and n >= 0 for pair in pairs for n in pair), "it crops")
    own: Any = [(0, 0)] * len(pairs) if conv.padding == "valid" else conv.padding
    return conv.replace(padding=tuple((a + c, b + d) for (a, b), (c, d) in zip(pairs, own, strict=True)))


@rule("pad-into-max-pool", like(MaxPool, like(Pad, "x", mode="constant")))
def pad_into_max_pool(m: Match) -> Value:
    """Where nothing is below the padded value, it never wins against the real cell that each window has."""
    pool, pad, rank = m.op("max_pool"), m.op("pad"), m.x.type.rank
    m.used_once("pad")
    lowest = isinstance(m.x.op, NEVER_NEGATIVE) and pad.value == 0
    require(lowest or pad.value == -math.inf, "a padded cell may be the largest")
    channels = channel_axis(pool, rank)
    pairs = [pad.pads[i] for i in range(1, rank) if i != channels]
    require(pad.pads[0] == pad.pads[channels] == (0, 0), "it pads the batch or the channels")
    fits = all(isinstance(n, int) and 0 <= n < k for pair, k in zip(pairs, pool.pool_size, strict=True) for n in pair)
    require(fits and pool.padding == "valid", "a window may hold padded cells alone")
    return pool.replace(padding=tuple(pairs))(m.x)


@rule("dense-of-dense", like(Dense, like(Dense, "x", "=first", "?=before", bind="inner"), "=second", "?=after"))
def dense_of_dense(m: Match) -> Value:
    """Two products with nothing between them as one, where that is less work."""
    m.used_once("inner", "first", "second")
    wide, narrow, units = (int(d) for d in (*m.first.type.shape, m.second.type.shape[1]))
    require(wide * units <= narrow * (wide + units), "the product of the kernels is larger than both")
    second = m.array("second")
    kernel = m.weight(m.first, m.array("first") @ second)
    if m.before is None:
        return Dense()(m.x, kernel, m.after)
    bias = m.array("before") @ second + m.array("after", 0.0)
    return Dense()(m.x, kernel, m.weight(m.before, bias))


@rule("grouped-conv", like(Concat))
def grouped_conv(m: Match) -> Value:
    """Convolutions of an image's equal parts, joined again, are one with groups."""
    convs = m.concat.inputs
    first = convs[0]
    applies(isinstance(first.op, Conv) and len(convs) > 1 and first.op.groups == 1)
    op, rank = first.op, m.type.rank
    channels = channel_axis(op, rank)
    applies(normal_axis(m.op("concat").axis, rank) == channels)
    alike = all(c.op == op and m.uses(c) == 1 and c.inputs[1].type == first.inputs[1].type for c in convs)
    parts = tuple(c.inputs[0] for c in convs)
    applies(alike and isinstance(parts[0].op, Split) and parts == parts[0].node.results)
    split = parts[0].op
    applies(normal_axis(split.axis, rank) == channels and len(set(split.sizes)) == 1)
    kernels, biases = ([c.inputs[i] if i < len(c.inputs) else None for c in convs] for i in (1, 2))
    applies(all(b is None for b in biases) or all(b is not None for b in biases))
    kernel = _side_by_side(m, kernels)
    bias = None if biases[0] is None else _side_by_side(m, biases)
    result: Value = op.replace(groups=len(convs))(parts[0].inputs[0], kernel, bias)
    return result


def _side_by_side(m: Match, values: Sequence[Any]) -> Value:
    """Weights joined along their last axis."""
    arrays = [m.known(v) for v in values]
    applies(all(a is not None for a in arrays))
    require(all(m.uses(v) == 1 for v in values), "a kernel or bias is used elsewhere")
    return m.weight(values[0], np.concatenate([np.asarray(a) for a in arrays], -1))
