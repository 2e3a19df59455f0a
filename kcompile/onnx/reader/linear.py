"""Matrix products, Einsum, attention."""

from __future__ import annotations

import numpy as np

from kcompile.ir import Value, constant
from kcompile.onnx.reader.reading import Call, decline, like, reads, require, same_kernel
from kcompile.operators.arithmetic import Multiply
from kcompile.operators.attention import Attention
from kcompile.operators.einsum import Einsum
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.shape import Reshape, Transpose


@reads("MatMul")
def mat_mul(c: Call) -> Value:
    same_kernel("MatMul", c.type(0))
    return MatMul()(c[0], c[1])


@reads("Gemm")
def gemm(c: Call) -> Value:
    """alpha * A B + beta * C; what scales or transposes is folded into operands that are known."""
    require(c.version >= 7 and c.type(0).dtype.is_float, "a product of integers, or from before opset 7")
    require(c.attr("transA", 0) == 0 or c.content(0) is not None, "A is transposed and computed")
    a = Transpose((1, 0))(c[0]) if c.attr("transA", 0) else c[0]
    kernel = c[1]
    if c.attr("transB", 0):
        require(c.content(1) is not None, "B is transposed and computed")
        kernel = Transpose((1, 0))(kernel)
    if (alpha := c.attr("alpha", 1.0)) != 1:
        require(c.content(1) is not None, "B is scaled and computed")
        kernel = Multiply()(kernel, like(alpha, kernel))
    bias, beta = c.get(2), c.attr("beta", 1.0)
    if bias is not None and beta != 1:
        require(c.content(2) is not None, "C is scaled and computed")
        bias = Multiply()(bias, like(beta, bias))
    return Dense()(a, kernel, None if bias is None else _vector(c, bias, kernel))


def _vector(c: Call, bias: Value, kernel: Value) -> Value:
    """The bias as a vector, where the same row is added to each."""
    units = kernel.type.shape[1]
    if bias.type.shape == (units,):
        return bias
    if bias.type.shape == (1, units):
        require(c.content(2) is not None, "C is a computed matrix")
        return Reshape((units,))(bias)
    known = c.content(2)
    scalar = known is not None and known.size == 1 and isinstance(units, int) and c.attr("beta", 1.0) == 1
    if not scalar:
        return decline("C is no row")
    assert known is not None
    return constant(np.full(units, known.reshape(-1)[0]))


@reads("Einsum")
def einsum(c: Call) -> Value:
    same_kernel("Einsum", c.type(0))
    op, operands = Einsum(c.attr("equation", "")), [c[i] for i in range(len(c.operands))]
    result: Value = op(*operands)
    require(op.decompose(*operands).type == result.type, "sizes of other names")
    return result


@reads("Attention")
def attention(c: Call) -> Value:
    c.single()
    c.plain(qk_matmul_output_mode=0, softmax_precision=0)
    require(len([v for v in c.operands[3:] if v is not None]) <= (c.get(3) is not None), "a cache of keys and values")
    require(all(c.type(i).rank == 4 for i in range(3)), "the heads are not apart")
    mask, causal, cap = c.get(3), bool(c.attr("is_causal", 0)), c.attr("softcap", 0.0)
    # A query that sees nothing: ONNX gives zeros, the IR (as Keras) an even share.
    require(mask is None or not mask.type.dtype.is_bool, "a mask of booleans")
    require(mask is None or mask.type.rank == 4, "a mask of another rank")
    require(mask is None or not (causal or cap), "a mask beside causality or a softcap")
    # Causality begins at the first key and the first query in both, so lengths may differ.
    return Attention(c.attr("scale"), causal, cap or None)(c[0], c[1], c[2], mask)
