"""Products with a kernel: Einsum and MatMul as Dense, paddings taken into convolutions."""

from __future__ import annotations

from kcompile.ir import Constant, Value, Weight
from kcompile.operators.convolution import Conv
from kcompile.operators.einsum import Einsum
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.shape import Pad
from kcompile.passes.affine import channel_axis
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
    return result


@rule("pad-into-conv", like(Conv, like(Pad, "x", mode="constant"), "kernel", "?bias"))
def pad_into_conv(m: Match) -> Value:
    """Zeros around the image become the convolution's own padding (ZeroPadding2D in Keras's applications)."""
    conv, pad, rank = m.op("conv"), m.op("pad"), m.x.type.rank
    m.used_once("pad")
    require(pad.value == 0, "it pads with something else than zeros")
    require(conv.padding == "valid" or not isinstance(conv.padding, str), "the amount depends on the padded size")
    channels = channel_axis(conv, rank)
    spatial = [i for i in range(1, rank) if i != channels]
    outside = [pad.pads[0], pad.pads[channels]]
    require(all(pair == (0, 0) for pair in outside), "it pads the batch or the channels")
    pairs = [pad.pads[i] for i in spatial]
    require(all(isinstance(n, int) and n >= 0 for pair in pairs for n in pair), "it crops")
    own = [(0, 0)] * len(pairs) if conv.padding == "valid" else conv.padding
    both = tuple((a + c, b + d) for (a, b), (c, d) in zip(pairs, own, strict=True))
    return conv.replace(padding=both)(m.x, m.kernel, m.bias)
