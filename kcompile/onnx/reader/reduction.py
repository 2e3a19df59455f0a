"""Reductions, arg-extrema, sorting, cumulative sums."""

from __future__ import annotations

from kcompile.ir import Value
from kcompile.onnx.reader.movement import reduced
from kcompile.onnx.reader.reading import Call, reads, require, same_kernel
from kcompile.operators import reduction, sorting

_REDUCTIONS = {
    "ReduceSum": reduction.Sum, "ReduceMean": reduction.Mean, "ReduceMax": reduction.Max, "ReduceMin": reduction.Min,
    "ReduceProd": reduction.Product, "ReduceLogSumExp": reduction.LogSumExp,
}  # fmt: skip


@reads(*_REDUCTIONS)
def reduce(c: Call) -> Value:
    same_kernel(c.op_type, c.type(0))
    axes, keepdims = reduced(c, 13 if c.op_type == "ReduceSum" else 18)
    return _REDUCTIONS[c.op_type](axes, keepdims)(c[0])


@reads("GlobalAveragePool", "GlobalMaxPool")
def global_pool(c: Call) -> Value:
    op = reduction.Mean if c.op_type == "GlobalAveragePool" else reduction.Max
    require(c.type(0).rank > 2 and c.type(0).dtype.is_float, "no spatial axes")
    spatial = c.type(0).rank - 2
    first = {"channels_first": 2, "channels_last": 1}
    return c.on_image(lambda layout: op(tuple(range(first[layout], first[layout] + spatial)), True))


@reads("ArgMax", "ArgMin")
def arg_extremum(c: Call) -> Value:
    c.plain(select_last_index=0)
    same_kernel(c.op_type, c.type(0))
    op = reduction.ArgMax if c.op_type == "ArgMax" else reduction.ArgMin
    return op(c.attr("axis", 0), bool(c.attr("keepdims", 1)))(c[0])


@reads("CumSum")
def cumulative_sum(c: Call) -> Value:
    same_kernel("CumSum", c.type(0))
    axis = c.ints(1, "the axis")[0]
    return reduction.CumulativeSum(axis, bool(c.attr("exclusive", 0)), bool(c.attr("reverse", 0)))(c[0])


@reads("TopK")
def top_k(c: Call) -> tuple[Value, ...]:
    same_kernel("TopK", c.type(0))
    c.ignore("sorted")  # in order is one of the orders that "in any order" allows
    k = c.attr("k") if c.version < 10 else c.ints(1, "k")[0]
    return sorting.TopK(k, c.attr("axis", -1), bool(c.attr("largest", 1)))(c[0])
