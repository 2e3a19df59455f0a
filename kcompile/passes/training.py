"""Rewrites for graphs that are trained: the same function with the same gradients, in fewer and better kernels."""

from __future__ import annotations

import math

from kcompile.ir import Value
from kcompile.operators.activation import LogSoftmax, Softmax
from kcompile.operators.arithmetic import Add, Divide
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.logic import Clip
from kcompile.operators.math import Log
from kcompile.operators.reduction import Sum
from kcompile.operators.shape import Reshape
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, rule


@rule("log-of-softmax", like(Log, like(Clip, like(Divide, like(Softmax, "x"), like(Sum, "softmax", keepdims=True)))))
def log_of_softmax(m: Match) -> Value:
    """A cross-entropy's logarithm of probabilities that a softmax made, from the logits.

    Softmax sums to 1 already, and its gradient is blind to a common factor of all probabilities. The
    clip keeps its bounds: beyond them the gradient is 0, as it was.
    """
    softmax, clip, rank = m.op("softmax"), m.op("clip"), m.type.rank
    applies(m.op("sum").axes in ((softmax.axis,), (softmax.axis % rank,)))
    applies(clip.minimum is not None and clip.minimum > 0 and clip.maximum is not None)
    return Clip(math.log(clip.minimum), math.log(clip.maximum))(LogSoftmax(softmax.axis)(m.x))


@rule("dense-from-any-matrix", like(MatMul, "x", "kernel"))
def dense_from_any_matrix(m: Match) -> Value:
    """A product with one matrix, a kernel that is reshaped say, takes the bias in."""
    applies(m.x.type.rank > 2 and m.kernel.type.rank == 2 and m.x.type.dtype.is_float)
    return Dense()(m.x, m.kernel, None)


@rule("bias-before-reshape", like(Add, like(Reshape, like(Dense, "x", "kernel")), "bias"))
def bias_before_reshape(m: Match) -> Value:
    """A bias [heads, depth] on a dense layer's result split into heads: its own bias."""
    shape, rank = m.bias.type.shape, m.bias.type.rank
    applies(m.type == m.reshape.type and rank > 0 and shape == m.type.shape[-rank:])
    applies(m.dense.type.shape[:-1] == m.type.shape[:-rank])
    m.used_once("reshape", "dense")
    return Reshape(m.type.shape)(Dense()(m.x, m.kernel, Reshape(m.dense.type.shape[-1:])(m.bias)))
