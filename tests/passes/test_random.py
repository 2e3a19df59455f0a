"""Random graphs: both pipelines keep what they compute, a second run changes nothing, and no file grows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcompile.ir import Graph, Type, Value, constant, input_value, symbol, weight
from kcompile.ir.types import f32
from kcompile.onnx.model import to_onnx
from kcompile.operators.activation import Relu, Softmax
from kcompile.operators.arithmetic import Add, Divide, Multiply, Negative, Square, Subtract
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.operators.image import Resize
from kcompile.operators.linear import Dense
from kcompile.operators.logic import Clip
from kcompile.operators.math import Tanh
from kcompile.operators.normalization import BatchNorm
from kcompile.operators.pooling import AveragePool, MaxPool
from kcompile.operators.reduction import Max, Mean
from kcompile.operators.shape import Concat, ExpandDims, Pad, Reshape, Slice, Squeeze, Transpose
from kcompile.passes.pipeline import DEPLOY, TRAIN, optimize
from kcompile.runtime.session import run
from tests.passes.growing import SIZES
from tests.passes.peers import node_types
from tests.passes.random_graphs import feed, random_graph
from tests.passes.support import evaluate, random_array, same_values
from tests.support import close, run_torch

N = symbol("N")
TOLERANCE = 1e-5


class Builder:
    """Draws one graph over images [N, h, w, c]."""

    def __init__(self, data: st.DataObject):
        self.data, self.count = data, 0

    def draw(self, *choices):
        return self.data.draw(st.sampled_from(choices))

    def weight(self, *shape: int, kind: str = "w") -> Value:
        self.count += 1
        return weight(f"{kind}{self.count}", Type(f32, shape))

    def affine(self, v: Value) -> Value:
        c = v.type.shape[-1]
        operand = self.draw(
            constant(np.float32(0.5)), self.weight(c), self.weight(*v.type.shape[1:]), constant(np.zeros(c, np.float32))
        )
        kind = self.draw(Add, Multiply, Subtract, Divide)
        return kind()(v, self.weight(c, kind="positive")) if kind is Divide else kind()(v, operand)

    def linear(self, v: Value) -> Value:
        *_, h, w, c = v.type.shape
        bias = self.draw(None, self.weight(c))
        groups = self.draw(1, c)
        padding = self.draw("same", "valid", ((0, 1), (1, 1))) if h > 3 and w > 3 else "same"
        if self.draw(True, False):
            conv = Conv((1, self.draw(1, 2)), padding, (1, 1), groups)
            return conv(v, self.weight(2, 3, c // groups, c), bias)
        if h < 6 and self.draw(True, False):
            return ConvTranspose((2, 1), "same", (1, 1))(v, self.weight(3, 2, c, c), bias)
        return Dense()(v, self.weight(c, c), bias)

    def norm(self, v: Value) -> Value:
        c = v.type.shape[-1]
        gamma, beta = self.draw((None, None), (self.weight(c), self.weight(c)))
        return BatchNorm(0.5)(v, gamma, beta, self.weight(c), self.weight(c, kind="var"))

    def move(self, v: Value) -> Value:
        batch, h, w, c = v.type.shape
        return self.draw(
            lambda: Transpose((0, 2, 1, 3))(v),
            lambda: Transpose((0, 1, 3, 2))(v),
            lambda: Reshape((batch, w, h, c))(v),
            lambda: Reshape((batch, h, w, c))(Relu()(Reshape((batch, h * w * c))(v))),
            lambda: Squeeze((1,))(ExpandDims((1,))(v)),
            lambda: Pad(((0, 0), (0, 1), (1, 0), (0, 0)))(v),
            lambda: Slice((0, 1, 0, 0), (None, None, None, None), (1, 1, 1, 1))(v) if h > 3 else v,
            lambda: Resize((h * 2, w), "nearest")(v) if h < 5 else v,
            lambda: MaxPool((2, 2), (2, 1), self.draw("same", "valid"))(v) if h > 3 and w > 3 else v,
            lambda: AveragePool((2, 2), (1, 1), "same")(v),
        )()

    def point(self, v: Value) -> Value:
        return self.draw(
            Relu(), Tanh(), Negative(), Clip(-1.0, 1.0), Clip(0.0, None), Square(), Softmax(self.draw(1, 2, -1))
        )(Tanh()(v))

    def join(self, v: Value, older: Value) -> Value:
        if older.type == v.type:
            return self.draw(Add()(v, older), Multiply()(older, Tanh()(v)))
        if older.type.shape[:-1] == v.type.shape[:-1]:
            return Concat(-1)(v, older)
        gate = Mean((1, 2), True)(older)
        return Multiply()(v, gate) if gate.type.shape[-1] == v.type.shape[-1] else v

    def graph(self) -> Graph:
        x = input_value("x", Type(f32, (N, 5, 4, self.draw(1, 2))))
        values = [x]
        for _ in range(self.data.draw(st.integers(1, 8))):
            v = values[-1]
            step = self.draw(self.affine, self.linear, self.linear, self.norm, self.move, self.point, None)
            values.append(step(v) if step else self.join(v, self.draw(*values)))
        last = values[-1]
        batch, h, w, c = last.type.shape
        end = self.draw(
            lambda: last,
            lambda: Mean((1, 2))(last),
            lambda: Dense()(Reshape((batch, h * w * c))(last), self.weight(h * w * c, 3), None),
            lambda: Max((2,))(last),
        )()
        outputs = [end, *([self.draw(*values)] if self.draw(True, False, False) else [])]
        graph = Graph("g", [x], outputs)
        return graph.replace(
            weights={k: random_array(k, v.type, {}) * np.float32(0.7) for k, v in graph.weight_values().items()}
        )


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_graphs(data: st.DataObject) -> None:
    graph = Builder(data).graph()
    for pipeline in (TRAIN, DEPLOY):
        once = optimize(graph, pipeline, evaluate=evaluate, verify=True).graph
        same_values(graph, once)
        assert optimize(once, pipeline, evaluate=evaluate).graph == once


def check(seed: int) -> None:
    """Both pipelines on `random_graph(seed)`, within 1e-5 of the range and what the graph itself magnifies roundings to."""
    graph = random_graph(seed)
    deployed, trained = (optimize(graph, p, evaluate=evaluate, verify=True).graph for p in (DEPLOY, TRAIN))
    assert optimize(deployed, DEPLOY, evaluate=evaluate).graph == deployed
    assert optimize(trained, TRAIN, evaluate=evaluate).graph == trained
    before, after = to_onnx(graph), to_onnx(deployed)
    assert len(node_types(after)) <= len(node_types(before)), (node_types(before), node_types(after))
    for salt, sizes in enumerate(SIZES):
        arrays = feed(graph, sizes, salt)
        named = dict(zip(graph.input_names, arrays, strict=True))
        expected, written = run_torch(graph, arrays), run(before.SerializeToString(), named)
        found = {"DEPLOY": run(after.SerializeToString(), named), "TRAIN": run_torch(trained, arrays)}
        for what, results in found.items():
            for got, want, twice in zip(results, expected, written, strict=True):
                # Two backends on the graph itself: what it makes of roundings.
                noise = 4 * float(np.max(np.abs(twice - want), initial=0))
                assert noise < 1e-2, noise
                close(got, want, 0.0, TOLERANCE * float(np.max(np.abs(want), initial=0.1)) + noise, f"{what}, {sizes}")


@pytest.mark.parametrize("start", range(0, 300, 20))
def test_graphs_of_most_operators(start: int) -> None:
    for seed in range(start, start + 20):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 11000, 100))
def test_ten_thousand_graphs_of_most_operators(start: int) -> None:
    for seed in range(start, start + 100):
        check(seed)
