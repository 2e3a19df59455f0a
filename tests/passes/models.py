"""Whole models built straight from operators, for the pipeline's tests: name -> graph with random weights."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from kcompile.ir import Graph, Type, Value, constant, input_value, origin, symbol, weight
from kcompile.ir.types import f32
from kcompile.operators.activation import Gelu, Relu, Sigmoid, Softmax
from kcompile.operators.arithmetic import Add, Divide, Multiply, Subtract
from kcompile.operators.attention import Attention
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.operators.einsum import Einsum
from kcompile.operators.image import Resize
from kcompile.operators.linear import Dense, MatMul
from kcompile.operators.logic import Where
from kcompile.operators.math import Erf, Exp, Sqrt
from kcompile.operators.normalization import BatchNorm, LayerNorm
from kcompile.operators.pooling import AveragePool, MaxPool
from kcompile.operators.reduction import Max, Mean, Sum
from kcompile.operators.shape import Concat, Expand, Pad, Reshape, Slice, Transpose

N = symbol("N")


class Net:
    """Layers with their weights, in Keras's manner and layout."""

    def __init__(self) -> None:
        self.weights: dict[str, np.ndarray] = {}

    def weight(self, label: str, *shape: int, positive: bool = False) -> Value:
        seed = np.random.default_rng(zlib.crc32(label.encode()))
        data = seed.uniform(0.5, 1.5, shape) if positive else seed.normal(0, 0.5, shape)
        self.weights[label] = data.astype(np.float32)
        return weight(label, Type(f32, shape))

    def conv(self, x: Value, name: str, filters: int, size: int = 3, stride: int = 1, groups: int = 1, **kw) -> Value:
        spatial = x.type.rank - 2
        depth = x.type.shape[-1] // groups
        kernel = self.weight(f"{name}/kernel", *[size] * spatial, depth, filters)
        bias = self.weight(f"{name}/bias", filters) if kw.pop("bias", True) else None
        op = Conv((stride,) * spatial, kw.pop("padding", "same"), (1,) * spatial, groups, **kw)
        with origin(name):
            return op(x, kernel, bias)

    def conv_transpose(self, x: Value, name: str, filters: int, size: int = 3, stride: int = 2) -> Value:
        kernel = self.weight(f"{name}/kernel", size, size, filters, x.type.shape[-1])
        with origin(name):
            op = ConvTranspose((stride, stride), "same", (1, 1))
            return op(x, kernel, self.weight(f"{name}/bias", filters))

    def norm(self, x: Value, name: str, epsilon: float = 0.1) -> Value:
        size = x.type.shape[-1]
        gamma, beta, mean = (self.weight(f"{name}/{k}", size) for k in ("gamma", "beta", "mean"))
        with origin(name):
            return BatchNorm(epsilon)(x, gamma, beta, mean, self.weight(f"{name}/var", size, positive=True))

    def dense(self, x: Value, name: str, units: int, bias: bool = True) -> Value:
        kernel = self.weight(f"{name}/kernel", x.type.shape[-1], units)
        with origin(name):
            return Dense()(x, kernel, self.weight(f"{name}/bias", units) if bias else None)

    def block(self, x: Value, name: str, filters: int, **kw) -> Value:
        return Relu()(self.norm(self.conv(x, name, filters, bias=False, **kw), f"{name}_bn"))

    def graph(self, name: str, inputs: list[Value], *outputs: Value) -> Graph:
        return Graph(name, inputs, outputs, weights=self.weights)


def _image(*shape) -> Value:
    return input_value("x", Type(f32, (N, *shape)))


def _pool(x: Value) -> Value:
    return MaxPool((2, 2), (2, 2))(x)


def digits(flatten: bool = False) -> Graph:
    net, x = Net(), _image(8, 8, 1)
    y = net.block(net.block(x, "a", 4), "b", 6)
    y = net.block(_pool(y), "c", 6)
    y = Reshape((N, 96))(y) if flatten else Mean((1, 2))(y)
    return net.graph("digits", [x], Softmax()(net.dense(y, "head", 10)))


def unet() -> Graph:
    net, x = Net(), _image(8, 8, 3)
    a = net.block(x, "a", 4)
    b = net.block(_pool(a), "b", 6)
    up = Resize((8, 8), "nearest")(b)
    y = net.block(Concat(-1)(a, up), "c", 4)
    return net.graph("unet", [x], Sigmoid()(net.conv(y, "head", 1, size=1)))


def resnet() -> Graph:
    net, x = Net(), _image(9, 7, 3)
    scaled = Subtract()(Divide()(x, constant(np.float32(3.0))), net.weight("mean", 3))
    y = net.block(Pad(((0, 0), (1, 1), (1, 1), (0, 0)))(scaled), "stem", 4, padding="valid", stride=2)
    y = MaxPool((3, 3), (2, 2), "same")(y)
    short = net.norm(net.conv(y, "short", 6, size=1, stride=2), "short_bn")
    main = net.norm(net.conv(net.block(y, "m1", 5, stride=2), "m2", 6), "m2_bn")
    y = Relu()(Add()(short, main))
    return net.graph("resnet", [x], net.dense(Max((1, 2))(y), "head", 3))


def mobilenet() -> Graph:
    """Depthwise blocks with squeeze and excitation, H and W free."""
    net = Net()
    x = _image(symbol("H"), symbol("W"), 4)
    y = net.block(x, "dw", 4, groups=4)
    y = net.block(y, "pw", 8, size=1)
    s = Reshape((N, 1, 1, 8))(Mean((1, 2))(y))
    s = Sigmoid()(net.conv(Relu()(net.conv(s, "se1", 2, size=1)), "se2", 8, size=1))
    y = net.block(Multiply()(y, s), "dw2", 16, groups=8)
    return net.graph("mobilenet", [x], net.dense(Mean((1, 2))(y), "head", 3))


def decoder() -> Graph:
    net, x = Net(), input_value("x", Type(f32, (N, 5)))
    y = Relu()(net.norm(net.dense(x, "d", 2 * 3 * 4), "bn"))
    y = Reshape((N, 2, 3, 4))(y)
    y = Relu()(net.norm(net.conv_transpose(y, "t1", 4), "t1_bn"))
    return net.graph("decoder", [x], Sigmoid()(net.conv_transpose(y, "t2", 1)))


def preactivated() -> Graph:
    """DenseNet's order: batch norm stands before, on joined images."""
    net, x = Net(), _image(6, 5, 3)
    a = net.conv(x, "a", 4)
    b = net.conv(Relu()(net.norm(a, "bn1")), "b", 3)
    y = net.norm(Concat(-1)(a, b), "bn2")
    y = net.conv(y, "c", 4, size=1, padding="valid")
    y = AveragePool((2, 2), (2, 2))(y)
    return net.graph("preactivated", [x], net.dense(Reshape((N, 24))(y), "head", 2))


def sequence() -> Graph:
    """One-dimensional convolutions, then layer norm and dense layers over a free length."""
    net, T = Net(), symbol("T")
    x = input_value("x", Type(f32, (N, T, 3)))
    y = net.block(net.block(x, "a", 4, padding="causal"), "b", 4)
    y = LayerNorm(0.1)(y, net.weight("ln/gamma", 4), net.weight("ln/beta", 4))
    y = net.dense(Add()(y, net.dense(y, "d", 4)), "e", 4)
    return net.graph("sequence", [x], net.dense(Mean((1,))(y), "head", 2))


def tabular() -> Graph:
    net, x = Net(), input_value("x", Type(f32, (N, 6)))
    y = net.norm(Relu()(Add()(MatMul()(x, net.weight("k1", 6, 5)), net.weight("b1", 5))), "bn")
    y = net.dense(y, "d2", 4, bias=False)
    y = Multiply()(Add()(y, constant(np.float32(0.5))), Expand((N, 4))(constant(np.ones((1, 4), np.float32))))
    return net.graph("tabular", [x], Softmax()(net.dense(y, "d3", 3)))


def transformer() -> Graph:
    """One encoder block in Keras's manner: projections to heads by einsum, biases behind them, a free length."""
    net, T = Net(), symbol("T")
    x = input_value("x", Type(f32, (N, T, 6)))

    def heads(name: str) -> Value:
        projected = Einsum("abc,cde->abde")(x, net.weight(f"{name}/kernel", 6, 2, 3))
        return Transpose((0, 2, 1, 3))(Add()(projected, net.weight(f"{name}/bias", 2, 3)))

    y = Transpose((0, 2, 1, 3))(Attention()(heads("q"), heads("k"), heads("v"), None))
    y = Add()(Einsum("abcd,cde->abe")(y, net.weight("o/kernel", 2, 3, 6)), net.weight("o/bias", 6))
    y = LayerNorm(0.1)(Add()(x, y), net.weight("ln/gamma", 6), net.weight("ln/beta", 6))
    y = Add()(y, net.dense(Gelu()(net.dense(y, "up", 8)), "down", 6))
    return net.graph("transformer", [x], net.dense(Slice((0, 0, 0), (None, 1, None), (1, 1, 1))(y), "head", 2))


def written() -> Graph:
    """The same in arithmetic: layer norm, scaled and masked attention, gelu; nothing but primitives."""
    net, x = Net(), input_value("x", Type(f32, (N, 5, 6)))

    def number(value: float) -> Value:
        return constant(np.float32(value))

    def layer_norm(v: Value, name: str) -> Value:
        centred = Subtract()(v, Mean((-1,), True)(v))
        root = Sqrt()(Add()(Mean((-1,), True)(Multiply()(centred, centred)), number(0.1)))
        scaled = Multiply()(net.weight(f"{name}/gamma", 6), Divide()(centred, root))
        return Add()(scaled, net.weight(f"{name}/beta", 6))

    def heads(v: Value, name: str) -> Value:
        return Transpose((0, 2, 1, 3))(Reshape((N, 5, 2, 3))(net.dense(v, name, 6)))

    y = layer_norm(x, "ln1")
    scores = Divide()(MatMul()(heads(y, "q"), Transpose((0, 1, 3, 2))(heads(y, "k"))), number(3**0.5))
    scores = Where()(constant(np.tri(5, dtype=bool)), scores, number(-1e9))
    exponentials = Exp()(Subtract()(scores, Max((-1,), True)(scores)))
    weights = Divide()(exponentials, Sum((-1,), True)(exponentials))
    y = Reshape((N, 5, 6))(Transpose((0, 2, 1, 3))(MatMul()(weights, heads(y, "v"))))
    x1 = Add()(x, net.dense(y, "o", 6))
    y = net.dense(layer_norm(x1, "ln2"), "up", 8)
    y = Multiply()(Multiply()(number(0.5), y), Add()(number(1), Erf()(Divide()(y, number(2**0.5)))))
    return net.graph("written", [x], Add()(x1, net.dense(y, "down", 6)))


MODELS: dict[str, Callable[[], Graph]] = {
    "digits": digits, "digits_flat": lambda: digits(True), "unet": unet, "resnet": resnet, "mobilenet": mobilenet,
    "decoder": decoder, "preactivated": preactivated, "sequence": sequence, "tabular": tabular,
    "transformer": transformer, "written": written,
}  # fmt: skip
