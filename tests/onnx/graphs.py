"""Graphs that the tests of ONNX files share."""

from __future__ import annotations

import numpy as np

from kcompile.ir import Graph, Type, Value, dtype, input_value, origin, symbol, weight
from kcompile.operators.activation import Gelu, Relu, Softmax
from kcompile.operators.arithmetic import Add
from kcompile.operators.linear import Dense
from kcompile.operators.normalization import LayerNorm
from kcompile.operators.recurrent import Gru, Lstm
from kcompile.operators.reduction import Mean
from kcompile.operators.shape import Reshape, Transpose

F32 = dtype("f32")
N, T = symbol("N"), symbol("T")


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def leaf(label: str, *shape: int) -> Value:
    return weight(label, Type(F32, shape))


def medium() -> Graph:
    """A dense block, heads split and joined, a norm, an LSTM and a GRU; batch and length free."""
    shapes = {
        "up/kernel": (6, 8), "up/bias": (8,), "norm/gamma": (8,), "norm/beta": (8,), "lstm/kernel": (8, 12),
        "lstm/recurrent": (3, 12), "gru/kernel": (8, 9), "gru/recurrent": (3, 9), "gru/bias": (2, 9),
    }  # fmt: skip
    x = input_value("x", Type(F32, (N, T, 6)))
    w = {name: leaf(name, *shape) for name, shape in shapes.items()}
    with origin("up"):
        y = Gelu()(Dense()(x, w["up/kernel"], w["up/bias"]))
    with origin("heads"):
        split = Transpose((0, 2, 1, 3))(Reshape((N, T, 2, 4))(y))
        joined = Reshape((N, T, 8))(Transpose((0, 2, 1, 3))(Softmax()(split)))
    with origin("norm"):
        z = LayerNorm(epsilon=1e-3, axes=(2,))(Add()(y, joined), w["norm/gamma"], w["norm/beta"])
    with origin("lstm"):
        sequence, state, _ = Lstm()(z, w["lstm/kernel"], w["lstm/recurrent"], None, None, None, None)
    with origin("gru"):
        _, other = Gru()(z, w["gru/kernel"], w["gru/recurrent"], w["gru/bias"], None, None)
    with origin("pool"):
        pooled = Mean(axes=(1,))(Relu()(sequence))
    arrays = {name: array(*shape) * 0.5 for name, shape in shapes.items()}
    return Graph("medium", [x], [Add()(pooled, other), state], ["pooled", "state"], weights=arrays)
