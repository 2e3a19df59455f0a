"""Attention: masks that hide nothing, scales that the query's kernel takes."""

from __future__ import annotations

import math

import numpy as np

from kcompile.ir import Value
from kcompile.operators.attention import Attention
from kcompile.operators.linear import Dense
from kcompile.operators.shape import Reshape, Transpose
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule


@rule("drop-mask", like(Attention, "q", "k", "v", "=mask"))
def drop_mask(m: Match) -> Value:
    mask = m.array("mask")
    nothing = bool(np.all(mask if m.mask.type.dtype.is_bool else mask == 0))
    applies(nothing)
    result: Value = m.op("attention")(m.q, m.k, m.v, None)
    require(result.type == m.type, "the mask widens the result")
    return result


_QUERY = like(Transpose, like(Reshape, like(Dense, "x", "=kernel", "?=bias")))


@rule("fold-attention-scale", like(Attention, _QUERY, "k", "v", "?mask"))
def fold_attention_scale(m: Match) -> Value:
    """The scores' scale goes into the dense layer that makes the queries."""
    op, depth = m.op("attention"), m.transpose.type.shape[-1]
    applies(op.scale != 1 and (op.scale is not None or isinstance(depth, int)))
    m.used_once("transpose", "reshape", "dense")
    scale = op.scale if op.scale is not None else 1 / math.sqrt(max(depth, 1))
    kernel = m.weight(m.kernel, m.array("kernel") * scale)
    bias = None if m.bias is None else m.weight(m.bias, m.array("bias") * scale)
    q = Transpose(m.op("transpose").perm)(Reshape(m.reshape.type.shape)(Dense()(m.x, kernel, bias)))
    result: Value = op.replace(scale=1.0)(q, m.k, m.v, m.mask)
    return result
