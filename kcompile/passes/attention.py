"""Masks that hide nothing."""

from __future__ import annotations

import numpy as np

from kcompile.ir import Value
from kcompile.operators.attention import Attention
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
