"""Operators and the types of their operands ("": absent), of which rows are split: for `test_partition`.

Rows are those of an axis of size N, or of a multiple of it. A case may be a function of values as well.
"""

from __future__ import annotations

from typing import Any

from kcompile.ir import Graph, Value, constant, input_value, symbol
from kcompile.ir.types import f16, f32
from kcompile.operators import (
    activation,
    creation,
    image,
    linear,
    losses,
    normalization,
    pooling,
    random,
    shape,
    sorting,
)
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.attention import Attention
from kcompile.operators.control import Recompute
from kcompile.operators.convolution import Conv
from kcompile.operators.einsum import Einsum
from kcompile.operators.gradient import StopGradient
from kcompile.operators.indexing import Embedding, Gather, GatherElements, OneHot, ScatterNd
from kcompile.operators.linear import MatMul
from kcompile.operators.logic import Cast, LogicalNot
from kcompile.operators.recurrent import Gru, Lstm, SimpleRnn
from kcompile.operators.reduction import All, ArgMax, CumulativeSum, LogSumExp, Max, Mean, Sum
from kcompile.operators.reduction import Any as AnyOf
from kcompile.operators.shape import Concat, Expand, ExpandDims, Flip, Pad, Reshape, Slice, Squeeze, Tile, Transpose
from kcompile.operators.updates import AdamStep

N = symbol("N")


def again(function: Any) -> Any:
    """The function as a region that is computed again for its gradients."""

    def make(*operands: Value) -> Any:
        inputs = [input_value(f"own{i}", v.type) for i, v in enumerate(operands)]
        return Recompute(Graph("body", inputs, [function(*inputs)]))(*operands)

    return make


Cases = dict[str, tuple[Any, ...]]
PAIRS = Reshape((2 * N, 2))  # of x [N, 4]: two rows of each

# What needs no rows of other ranks, but for their sums.
APART: Cases = {
    "two": (Add(), "f32[N, 4]", "f32[N, 4]"),
    "one row for all": (Multiply(), "f32[N, 4]", "f32[1, 4]"),
    "a number a row": (Multiply(), "f32[4]", "f32[N, 1]"),
    "rows of the lesser rank": (Add(), "f32[N]", "f32[3, N]"),
    "rows elsewhere": (Add(), "f32[N, 1, 4]", "f32[3, 4]"),
    "pairs": (PAIRS, "f32[N, 4]"),
    "pairs with pairs": (lambda x, y: Multiply()(PAIRS(x), PAIRS(y)), "f32[N, 4]", "f32[N, 4]"),
    "pairs and their mean": (lambda x: Add()(PAIRS(x), Mean((0,), True)(PAIRS(x))), "f32[N, 4]"),
    "a gradient stopped": (lambda x: Multiply()(StopGradient()(x), x), "f32[N, 4]"),
    # ---- reductions
    "sum of all": (Sum(), "f32[N, 4]"),
    "sum over rows": (Sum((0,)), "f32[N, 4]"),
    "sum over rows, kept": (Sum((-2,), True), "f32[N, 4]"),
    "sum before rows": (Sum((0,)), "f32[3, N]"),
    "sum behind rows": (Sum((-1,)), "f32[3, N, 2]"),
    "sum before rows, kept": (Sum((0,), True), "f32[3, N]"),
    "largest of each row": (Max((-1,)), "f32[N, 4]"),
    "mean of all": (Mean(), "f32[N, 4]"),
    "mean over rows, kept": (Mean((1,), True), "f32[3, N]"),
    "mean of half precision": (
        lambda x: Multiply()(Mean((0,))(Add()(Cast(f16)(x), constant(3e4, f16))), constant(2**-14, f16)), "f32[N, 4]",
    ),
    "any": (AnyOf((0,)), "bool[N, 4]"),
    "all": (All(), "bool[N, 4]"),
    "all over rows": (lambda x: All((0,), True)(LogicalNot()(x)), "bool[N, 4]"),
    "logarithm of a sum of exponentials": (LogSumExp((1,)), "f32[N, 4]"),
    "where the largest is": (ArgMax(0), "f32[3, N]"),
    "where the largest is, kept": (ArgMax(0, True), "f32[3, N]"),
    "where the largest is behind": (ArgMax(-1), "f32[N, 3]"),
    "sums along": (CumulativeSum(-1), "f32[N, 4]"),
    "softmax": (activation.Softmax(-1), "f32[N, 4]"),
    "sorted": (sorting.Sort(-1), "f32[N, 4]"),
    "the best": (sorting.TopK(2, 0), "f32[4, N]"),
    # ---- products
    "rows by a matrix": (MatMul(), "f32[N, 4]", "f32[4, 3]"),
    "a matrix by columns": (MatMul(), "f32[3, 4]", "f32[4, N]"),
    "a batch by one matrix": (MatMul(), "f32[N, 3, 4]", "f32[4, 2]"),
    "rows by matrices": (MatMul(), "f32[N, 4]", "f32[2, 4, 3]"),
    "matrices by columns": (MatMul(), "f32[2, 3, 4]", "f32[4, N]"),
    "one by one": (MatMul(), "f32[N, 3, 4]", "f32[N, 4, 2]"),
    "one of a batch with all": (MatMul(), "f32[N, 3, 4]", "f32[1, 4, 2]"),
    "a matrix by a batch": (MatMul(), "f32[3, 4]", "f32[N, 4, 2]"),
    "batches of batches": (MatMul(), "f32[2, N, 3, 4]", "f32[N, 4, 2]"),
    "rows against rows": (MatMul(), "f32[3, N]", "f32[N, 4]"),
    "rows against a matrix of them": (MatMul(), "f32[2, 3, N]", "f32[N, 4]"),
    "rows by a vector": (MatMul(), "f32[N, 4]", "f32[4]"),
    "matrices by a vector": (MatMul(), "f32[N, 3, 4]", "f32[4]"),
    "dense": (linear.Dense(), "f32[N, 3, 4]", "f32[4, 2]", "f32[2]"),
    "einsum": (Einsum("ni,ij->jn"), "f32[N, 4]", "f32[4, 3]"),
    "einsum of two": (Einsum("ni,nj->nij"), "f32[N, 4]", "f32[N, 3]"),
    "einsum over rows": (Einsum("ni,in->i"), "f32[N, 4]", "f32[4, N]"),
    "einsum with one row for all": (Einsum("ni,nj->nij"), "f32[N, 4]", "f32[1, 3]"),
    "einsum over rows with one": (Einsum("ni,nj->ij"), "f32[1, 4]", "f32[N, 3]"),
    "einsum of a diagonal": (Einsum("nni->ni"), "f32[N, N, 2]"),
    "einsum of a trace": (Einsum("nn,n->"), "f32[N, N]", "f32[N]"),
    "einsum of small diagonals": (Einsum("nii->ni"), "f32[N, 3, 3]"),
    # ---- layers
    "attention": (Attention(), "f32[N, 2, 3, 4]", "f32[N, 2, 5, 4]", "f32[N, 2, 5, 4]"),
    "attention with a mask": (Attention(), *("f32[N, 2, 3, 4]",) * 3, "bool[N, 1, 1, 3]"),
    "attention with a mask for all": (Attention(), *("f32[N, 2, 3, 4]",) * 3, "f32[3, 3]"),
    "lstm": (Lstm(), "f32[N, 3, 4]", "f32[4, 8]", "f32[2, 8]", "f32[8]"),
    "lstm of columns": (Lstm(time_major=True), "f32[3, N, 4]", "f32[4, 8]", "f32[2, 8]"),
    "lstm that goes on": (Lstm(), "f32[N, 3, 4]", "f32[4, 8]", "f32[2, 8]", "", "f32[N, 2]", "f32[N, 2]"),
    "gru with a mask": (Gru(), "f32[N, 3, 4]", "f32[4, 6]", "f32[2, 6]", "", "", "bool[N, 3]"),
    "simple rnn": (SimpleRnn(), "f32[N, 3, 4]", "f32[4, 2]", "f32[2, 2]"),
    "batch normalisation": (normalization.BatchNormTraining(1.0), "f32[N, 3]", "f32[3]", "f32[3]"),
    "batch normalisation of channels": (normalization.BatchNormTraining(1.0, 1), "f32[N, 3, 2]", "", "f32[3]"),
    "batch normalisation of rows": (normalization.BatchNormTraining(1.0, 0), "f32[N, 3]"),
    "its moments": (
        lambda x: (y := normalization.BatchNormTraining()(x), Multiply()(y[1], x))[1], "f32[N, 3]",
    ),
    "normalisation as it was": (
        lambda x, *v: normalization.BatchNorm()(x, *v, *(creation.Fill((3,), s, f32)() for s in (0.5, 2.0))), "f32[N, 3]",
        "f32[3]", "f32[3]",
    ),
    "layer normalisation": (normalization.LayerNorm(), "f32[N, 4]", "f32[4]", "f32[4]"),
    "group normalisation": (normalization.GroupNorm(2), "f32[N, 3, 4]", "f32[4]"),
    "convolution": (Conv((1,), "same", (1,)), "f32[N, 5, 2]", "f32[3, 2, 4]", "f32[4]"),
    "pooling": (pooling.MaxPool((2,), (2,), "valid"), "f32[N, 4, 2]"),
    "larger images": (image.Resize((3, 3)), "f32[N, 2, 2, 1]"),
    "cross-entropy": (losses.SoftmaxCrossEntropy(), "f32[N, 4]", "f32[N, 4]"),
    "cross-entropy along axis 0": (losses.SoftmaxCrossEntropy(0), "f32[4, N]", "f32[4, N]"),
    "cross-entropy with one target": (losses.SoftmaxCrossEntropy(), "f32[N, 4]", "f32[1, 4]"),
    "sparse cross-entropy": (losses.SparseSoftmaxCrossEntropy(), "f32[N, 4]", "i64[N]"),
    "computed again": (again(lambda x, w: Add()(MatMul()(x, w), Mean((0,))(x))), "f32[N, 4]", "f32[4, 4]"),
    # ---- shapes
    "flat": (Reshape((4 * N,)), "f32[N, 4]"),
    "flat of channels": (Reshape((3, 2 * N)), "f32[3, N, 2]"),
    "cut": (Reshape((N, 2, 2)), "f32[N, 4]"),
    "turned": (Transpose((1, 2, 0)), "f32[N, 4, 2]"),
    "more axes": (ExpandDims((0, -1)), "f32[3, N]"),
    "more axes behind": (ExpandDims((2,)), "f32[N, 3]"),
    "fewer axes": (Squeeze((0, -1)), "f32[1, N, 1]"),
    "expanded rows": (Expand((3, N, 4)), "f32[N, 1]"),
    "expanded to rows": (lambda x, y: Multiply()(x, Expand((N, 4))(y)), "f32[N, 4]", "f32[4]"),
    "one row expanded": (lambda x, y: Multiply()(x, Expand((N, 4))(y)), "f32[N, 1]", "f32[1, 4]"),
    "a constant": (lambda x: Add()(x, creation.Fill((N, 4), 2.0, f32)()), "f32[N, 4]"),
    "one more than rows": (lambda x: Multiply()(Sum()(x), creation.Fill((N + 1,), 2.0, f32)()), "f32[N, 4]"),
    "joined": (Concat(-1), "f32[N, 4]", "f32[N, 2]"),
    "parted": (shape.Split((1, 3), 0), "f32[4, N]"),
    "a slice": (Slice((0, 1), (None, 3), (1, 1)), "f32[N, 4]"),
    "a slice of all rows": (Slice((0, 1), (N, 4), (1, 2)), "f32[N, 4]"),
    "repeated": (Tile((1, 2)), "f32[N, 4]"),
    "turned round": (Flip((-1,)), "f32[N, 4]"),
    "padded": (Pad(((0, 0), (1, 2))), "f32[N, 4]"),
    "triangles": (creation.Triangle(), "f32[N, 3, 3]"),
    "how many": (lambda x: Multiply()(Sum((0,))(x), Cast(f32)(creation.Shape(0, 1)(x))), "f32[N, 4]"),
    "rank 0 has no sizes": (lambda x: Concat(0)(creation.Shape(0, 0)(x), creation.Shape()(x)), "f32[N, 4]"),
    # ---- indices
    "taken by rows": (Gather(1), "f32[3, 4]", "i64[N, 2]"),
    "taken from rows": (Gather(1), "f32[N, 4]", "i64[3, 2]"),
    "taken from rows behind": (Gather(0), "f32[4, N]", "i64[3, 2]"),
    "taken from rows once": (Gather(0), "f32[4, N]", "i64[]"),
    "taken along": (GatherElements(1), "f32[N, 4]", "i64[N, 2]"),
    "one-hot": (OneHot(3), "i64[N]"),
    "one-hot before": (OneHot(3, 0), "i64[N, 2]"),
    "one-hot between": (OneHot(3, 1), "i64[2, N]"),
    "embedding": (Embedding(), "f32[5, 2]", "i64[N, 3]"),
    "added at places": (ScatterNd("add"), "f32[5, 2]", "i64[N, 1]", "f32[N, 2]"),
    # ---- noise
    "noise": (lambda x, s: Add()(x, random.RandomNormal((N, 4))(s)), "f32[N, 4]", "i64[2]"),
    "noise behind": (lambda x, s: Add()(x, random.RandomUniform((3, N))(s)), "f32[3, N]", "i64[2]"),
    "noise for all": (lambda x, s: Add()(x, random.RandomNormal((4,))(s)), "f32[N, 4]", "i64[2]"),
    "dropout": (random.Dropout(0.5), "f32[N, 4]", "i64[2]"),
    "dropout of nothing": (random.Dropout(0.0, 0, (N, 1)), "f32[N, 4]", "i64[2]"),
    "dropout of all": (random.Dropout(1.0), "f32[N, 4]", "i64[2]"),
    "dropout for all rows": (random.Dropout(0.5, 0, (1, None)), "f32[N, 4]", "i64[2]"),
    "dropout behind": (random.Dropout(0.5, 0, (1, None)), "f32[4, N]", "i64[2]"),
}  # fmt: skip

# What gets its operands whole.
TOGETHER: Cases = {
    "largest of all rows": (Max((0,)), "f32[N, 4]"),
    "which row is the largest": (ArgMax(0), "f32[N, 4]"),
    "sums up to each row": (CumulativeSum(0), "f32[N, 4]"),
    "softmax over rows": (activation.Softmax(0), "f32[N, 4]"),
    "sorted rows": (sorting.Sort(0), "f32[N, 4]"),
    "sorted rows by their name": (sorting.Sort(-2), "f32[N, 4]"),
    "as many rows or one": (Add(), "f32[N, 4]", "f32[M, 4]"),
    "squares of the batch": (lambda x: Reshape((N * N, 4))(Add()(x, ExpandDims((1,))(x))), "f32[N, 4]"),
    "all pairs": (Add(), "f32[N, 1]", "f32[1, N]"),
    "rows by columns": (MatMul(), "f32[N, 4]", "f32[4, N]"),
    "a vector by rows": (MatMul(), "f32[N]", "f32[N, 4]"),
    "a vector by columns": (MatMul(), "f32[4]", "f32[4, N]"),
    "rows of a vector": (MatMul(), "f32[3, N]", "f32[N]"),
    "einsum with what is whole": (lambda x: Einsum("ni,nj->ij")(x, CumulativeSum(0)(x)), "f32[N, 4]"),
    "dense over rows": (linear.Dense(), "f32[4, N]", "f32[N, N]", ""),
    "attention along rows": (Attention(), *("f32[1, 2, N, 4]",) * 3),
    "attention of rows in depth": (Attention(scale=0.5), *("f32[1, 2, 3, N]",) * 2, "f32[1, 2, 3, 4]"),
    "lstm along rows": (Lstm(), "f32[2, N, 4]", "f32[4, 8]", "f32[2, 8]"),
    "lstm of columns along rows": (Lstm(time_major=True), "f32[N, 2, 4]", "f32[4, 8]", "f32[2, 8]"),
    "layer normalisation over rows": (normalization.LayerNorm(1e-3, (0, 1)), "f32[N, 4]"),
    "group normalisation along rows": (normalization.GroupNorm(2), "f32[2, N, 4]"),
    "convolution along rows": (Conv((1,), "same", (1,)), "f32[2, N, 2]", "f32[3, 2, 4]"),
    "cross-entropy over rows": (losses.SoftmaxCrossEntropy(0), "f32[N, 4]", "f32[N, 4]"),
    "sparse cross-entropy over rows": (losses.SparseSoftmaxCrossEntropy(), "f32[4, N]", "i64[4]"),
    "gamma": (lambda a, s: random.RandomGamma((N, 4))(activation.Softplus()(a), s), "f32[N, 4]", "i64[2]"),
    "attention with a mask a row": (
        lambda x, y, mask: Attention()(CumulativeSum(2)(x), y, y, mask), "f32[1, 2, N, 4]", "f32[1, 2, 3, 4]", "f32[N, 3]",
    ),
    "squares of rows": (lambda x: Reshape((2, 2 * N))(x), "f32[N, 4]"),
    "rows behind": (Reshape((4, N)), "f32[N, 4]"),
    "joined rows": (Concat(0), "f32[N, 4]", "f32[N, 4]"),
    "joined with a constant": (lambda x: Concat(-2)(x, creation.Fill((1, 4), 2.0, f32)()), "f32[N, 4]"),
    "first rows": (Slice((0, 0), (3, None), (1, 1)), "f32[N, 4]"),
    "last rows": (Slice((1, 0), (None, None), (1, 1)), "f32[N, 4]"),
    "every other row": (Slice((0, 0), (None, None), (2, 1)), "f32[N, 4]"),
    "all rows but one": (Slice((0, 0), (-1, None), (1, 1)), "f32[N, 4]"),
    "repeated rows": (Tile((2, 1)), "f32[N, 4]"),
    "rows turned round": (Flip((-2,)), "f32[N, 4]"),
    "padded rows": (Pad(((1, 0), (0, 0))), "f32[N, 4]"),
    "a triangle of rows": (creation.Triangle(), "f32[N, 4]"),
    "taken rows": (Gather(-2), "f32[N, 4]", "i64[3]"),
    "taken along rows": (GatherElements(0), "f32[N, 4]", "i64[N, 4]"),
    "taken along, two rows": (GatherElements(1), "f32[N, 4]", "i64[2, 4]"),
    "taken along, of pairs": (lambda x, i: GatherElements(1)(PAIRS(x), i), "f32[N, 4]", "i64[N, 2]"),
    "set at places": (ScatterNd("max"), "f32[5, 2]", "i64[N, 1]", "f32[N, 2]"),
    "added to rows": (ScatterNd("add"), "f32[N, 2]", "i64[3, 1]", "f32[3, 2]"),
    "added to rows by rows": (ScatterNd("add"), "f32[N, 2]", "i64[N, 1]", "f32[N, 2]"),
    "added pieces of rows": (ScatterNd("add"), "f32[5, N]", "i64[3, 1]", "f32[3, N]"),
    "dropout of pairs": (lambda x, s: random.Dropout(0.5, 0, (7, None))(x, s), "f32[N, 4]", "i64[2]"),
}  # fmt: skip

# Operators of an update, the operators by which ranks talk for it (but to put out whole results), and the types of
# operands with the axes along which these are split.
UPDATES: Cases = {
    "adam": (AdamStep(), "", *(("f32[7, 4]", 0),) * 4, ("f32[]", None)),
    "adam along the other axis": (AdamStep(), "", *(("f32[7, 4]", 1),) * 4, ("f32[]", None)),
    "adam of a whole gradient": (AdamStep(), "own_part", ("f32[7]", 0), ("f32[7]", None), *(("f32[7]", 0),) * 2, ("f32[]", None)),
    "adam of a whole variable": (AdamStep(), "own_part", ("f32[7]", None), *(("f32[7]", 0),) * 3, ("f32[]", None)),
    "adam of what is whole": (AdamStep(), "", *(("f32[7]", None),) * 4, ("f32[]", None)),
    "along a gradient": (lambda v, g: Add()(v, Multiply()(g, constant(0.1, f32))), "", ("f32[7, 4]", 0), ("f32[7, 4]", 0)),
    "split otherwise": (Add(), "gather_parts own_part", ("f32[7, 4]", 0), ("f32[7, 4]", 1)),
    "norm": (lambda v: Sum()(Multiply()(v, v)), "all_reduce", ("f32[7, 4]", 0)),
    "norms of columns": (lambda v: Multiply()(v, Sum((0,), True)(v)), "all_reduce", ("f32[7, 4]", 0)),
    "a factor a row": (Multiply(), "", ("f32[7, 4]", 0), ("f32[7, 1]", 0)),
    "other lengths": (MatMul(), "gather_parts", ("f32[7, 4]", 0), ("f32[4, 5]", 1)),
    "as many as rows": (Concat(1), "gather_parts own_part", ("f32[7, 4]", 0), ("f32[7, 7]", 1)),
    "with an axis more": (Reshape((7, 2, 2)), "", ("f32[7, 4]", 0)),
    "in another shape": (Reshape((4, 7)), "gather_parts", ("f32[7, 4]", 0)),
}  # fmt: skip
