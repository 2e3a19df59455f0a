"""Graphs of any size, for curves of compile time: convolutional and dense residual blocks one behind the other."""

from __future__ import annotations

from kcompile.ir import Graph, Type, Value, input_value, symbol
from kcompile.ir.types import f32
from kcompile.operators.activation import Gelu, Relu
from kcompile.operators.arithmetic import Add
from kcompile.operators.normalization import LayerNorm
from kcompile.operators.shape import Transpose
from tests.passes.models import N, Net

PER_BLOCK = 7


def large(operators: int) -> Graph:
    """A graph of about ``operators`` operators."""
    net = Net()
    image = y = input_value("image", Type(f32, (N, 8, 8, 4)))
    rows = t = input_value("rows", Type(f32, (N, symbol("T"), 8)))
    blocks = operators // (2 * PER_BLOCK)
    for i in range(blocks):
        turned: Value = Transpose((0, 2, 1, 3))(Transpose((0, 2, 1, 3))(net.block(y, f"conv{i}", 4)))
        y = Relu()(Add()(y, turned))
        normal = LayerNorm(1e-3, (2,))(t, None, None)
        inner = Relu()(Gelu()(net.dense(normal, f"a{i}", 8)))
        t = Add()(Relu()(t), net.dense(inner, f"b{i}", 8))
    return net.graph("large", [image, rows], y, t)
