"""Normalisations against real Keras's layers and the formulas in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcompile.engine.lower import lower
from kcompile.errors import InferError
from kcompile.ir import Graph, Type, constant, input_value, symbol
from kcompile.ir.types import f32
from kcompile.onnx.model import to_onnx
from kcompile.operators.normalization import BatchNorm, BatchNormTraining, GroupNorm, LayerNorm, RmsNorm
from tests.operators.gradients import check_gradients, compare_gradients
from tests.oracle import keras, layer
from tests.support import check_op, close, run_onnx

OPSETS = (17, 20, 23)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(0.3, 2, size=shape).astype(np.float32)


def along(vector: np.ndarray | None, axis: int, rank: int, default: float) -> np.ndarray:
    if vector is None:
        return np.full([1] * rank, default)
    return vector.astype(np.float64).reshape([-1 if i == axis % rank else 1 for i in range(rank)])


SHAPES = [
    ((5, 4), -1),
    ((2, 3, 4), -1),
    ((2, 3, 5, 4), -1),
    ((2, 4, 3, 5), 1),
    ((2, 3, 4, 3, 5), 2),
    ((1, 1), 1),
    ((0, 4), -1),
]


@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
def test_batch_norm(shape, axis, scaled, shifted):
    x, size, rank = random(*shape), shape[axis], len(shape)
    gamma, beta = positive(size) if scaled else None, random(size) if shifted else None
    mean, variance = random(size) * 3, positive(size)
    m, v = along(mean, axis, rank, 0), along(variance, axis, rank, 1)
    y = (x - m) / np.sqrt(v + 0.1) * along(gamma, axis, rank, 1) + along(beta, axis, rank, 0)
    operands = (x, gamma, beta, mean, variance)
    check_op(BatchNorm(0.1, axis), *operands, expected=y.astype(np.float32), dims={(0, 0): "N"}, opsets=OPSETS)


@pytest.mark.parametrize("axis", [1, 2])
def test_batch_norm_of_known_statistics_is_two_nodes_at_most(axis):
    x = input_value("x", Type(f32, (symbol("N"), 4, 4)))
    vectors = [constant(v) for v in (positive(4), random(4), random(4), positive(4))]
    graph = Graph("g", [x], [BatchNorm(0.1, axis)(x, *vectors)])
    assert len(to_onnx(graph).graph.node) == (1 if axis == 1 else 2)
    data = random(3, 4, 4)
    g, b, m, v = (along(c.op.value.data, axis, 3, 0) for c in vectors)
    close(run_onnx(graph, [data])[0], ((data - m) / np.sqrt(v + 0.1) * g + b).astype(np.float32))


@pytest.mark.parametrize(("shape", "axis"), SHAPES[:-1], ids=str)
@pytest.mark.parametrize("scaled", [True, False])
def test_batch_norm_training(shape, axis, scaled):
    x, size, rank = random(*shape) + 2, shape[axis], len(shape)
    gamma, beta = (positive(size), random(size)) if scaled else (None, None)
    others = tuple(i for i in range(rank) if i != axis % rank)
    wide = x.astype(np.float64)
    mean, variance = wide.mean(others, keepdims=True), wide.var(others, keepdims=True)
    y = (wide - mean) / np.sqrt(variance + 0.1) * along(gamma, axis, rank, 1) + along(beta, axis, rank, 0)
    expected = [a.astype(np.float32) for a in (y, mean.reshape(-1), variance.reshape(-1))]
    op = BatchNormTraining(0.1, axis)
    check_op(op, x, gamma, beta, expected=expected, dims={(0, 0): "N"}, opsets=OPSETS, atol=1e-5)


def test_batch_norm_training_far_from_zero():
    # A variance as mean(x^2) - mean(x)^2 would have no digit left.
    x = random(64, 3) + 3000
    expected = x.astype(np.float64)
    results = check_op(BatchNormTraining(), x, None, None, rtol=2e-3)
    close(results[2], expected.var(0).astype(np.float32))


@pytest.mark.parametrize("axis", [1, -1])
def test_batch_norm_training_gradients(axis):
    def reference(x, gamma, beta):
        others = [i for i in range(3) if i != axis % 3]
        mean, variance = x.mean(others, keepdim=True), x.var(others, keepdim=True, correction=0)
        shape = [-1 if i == axis % 3 else 1 for i in range(3)]
        y = (x - mean) / (variance + 0.1).sqrt() * gamma.reshape(shape) + beta.reshape(shape)
        return y, mean.flatten().detach(), variance.flatten().detach()

    check_gradients(BatchNormTraining(0.1, axis), reference, random(4, 3, 3), positive(3), random(3))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((3, 5), (-1,)),
        ((2, 3, 5), (-1,)),
        ((2, 3, 5), (1, 2)),
        ((1, 1), (1,)),
        ((2, 3, 4, 5), (-3, -2, -1)),
        ((0, 5), (-1,)),
    ],
    ids=str,
)
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
def test_layer_norm(shape, axes, scaled, shifted):
    x, inner = random(*shape) + 3, shape[min(a % len(shape) for a in axes) :]
    gamma, beta = positive(*inner) if scaled else None, random(*inner) if shifted else None
    wide = x.astype(np.float64)
    mean, variance = wide.mean(axes, keepdims=True), wide.var(axes, keepdims=True)
    y = (wide - mean) / np.sqrt(variance + 0.1) * (gamma if scaled else 1) + (beta if shifted else 0)
    expected = y.astype(np.float32)
    check_op(LayerNorm(0.1, axes), x, gamma, beta, expected=expected, dims={(0, 0): "N"}, opsets=OPSETS)


def test_layer_norm_as_keras():
    x, gamma, beta = random(2, 3, 5), positive(5), random(5)
    expected = layer(keras.layers.LayerNormalization(epsilon=1e-3), [gamma, beta], x)
    check_op(LayerNorm(1e-3), x, gamma, beta, expected=expected)


def test_layer_norm_over_a_symbolic_axis():
    check_op(LayerNorm(0.1, (1, 2)), random(2, 3, 4), dims={(0, 0): "N", (0, 1): "T"}, opsets=OPSETS)


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 5), (-1,)), ((2, 3, 5), (1, 2)), ((1, 1), (1,)), ((0, 5), (1,))], ids=str
)
@pytest.mark.parametrize("scaled", [True, False])
def test_rms_norm(shape, axes, scaled):
    x, inner = random(*shape), shape[axes[0] % len(shape) :]
    gamma = positive(*inner) if scaled else None
    wide = x.astype(np.float64)
    y = wide / np.sqrt((wide**2).mean(axes, keepdims=True) + 0.1) * (gamma if scaled else 1)
    check_op(RmsNorm(0.1, axes), x, gamma, expected=y.astype(np.float32), dims={(0, 0): "N"}, opsets=OPSETS)


@pytest.mark.parametrize(
    ("shape", "axis", "groups"),
    [
        ((3, 6), -1, 2),
        ((2, 5, 6), -1, 3),
        ((2, 3, 4, 6), -1, 6),
        ((2, 6, 3, 4), 1, 2),
        ((2, 3, 6, 4), 2, 1),
        ((1, 1, 1, 2), -1, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("scaled", [True, False])
def test_group_norm(shape, axis, groups, scaled):
    x = random(*shape)
    gamma, beta = (positive(shape[axis]), random(shape[axis])) if scaled else (None, None)
    kind = keras.layers.GroupNormalization(groups, axis=axis, epsilon=0.1, center=scaled, scale=scaled)
    expected = layer(kind, [gamma, beta] if scaled else [], x)
    first = 2 if axis == 1 else 1
    for dims in ({(0, 0): "N"}, {(0, 0): "N", (0, first): "T"} if len(shape) > 2 else {}):
        check_op(GroupNorm(groups, 0.1, axis), x, gamma, beta, expected=expected, dims=dims, opsets=OPSETS, atol=1e-5)


def test_group_norm_of_no_images():
    check_op(GroupNorm(2), random(0, 3, 4), random(4), random(4), dims={(0, 0): "N"}, opsets=OPSETS)


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (LayerNorm(1e-2), keras.layers.LayerNormalization(epsilon=1e-2)),
        (GroupNorm(2, 1e-2), keras.layers.GroupNormalization(2, epsilon=1e-2)),
        (RmsNorm(1e-2), keras.layers.RMSNormalization(epsilon=1e-2)),
    ],
    ids=["layer", "group", "rms"],
)
def test_gradients(op, kind):
    x, gamma, beta = random(3, 5, 4), positive(4), random(4)
    kind.build(x.shape)

    def reference(x, *weights):
        return kind.stateless_call(list(weights), [], x)[0]

    check_gradients(op, reference, x, *((gamma,) if op.name == "rms_norm" else (gamma, beta)))


def test_batch_norm_gradients():
    mean, variance = (torch.from_numpy(v) for v in (random(4), positive(4)))
    x, gamma, beta = (input_value(name, Type(f32, shape)) for name, shape in (("x", (3, 4)), ("g", (4,)), ("b", (4,))))
    y = BatchNorm(0.1)(x, gamma, beta, constant(mean.numpy()), constant(variance.numpy()))

    def reference(x, gamma, beta):
        return (x - mean) / (variance + 0.1).sqrt() * gamma + beta

    compare_gradients(lower(Graph("g", [x, gamma, beta], [y])), reference, random(3, 4), positive(4), random(4))


@pytest.mark.parametrize(
    ("op", "operands", "message"),
    [
        (LayerNorm(axes=(0,)), (random(2, 3), None, None), "must be the last ones"),
        (LayerNorm(), (random(2, 3), random(2), None), "sizes 3 and 2 differ"),
        (LayerNorm(), (random(2, 3).astype(int), None, None), "float tensor"),
        (GroupNorm(2), (random(2, 3), None, None), "3 channels don't divide into 2 groups"),
        (GroupNorm(2, axis=0), (random(2, 3), None, None), "axis 0 is the batch"),
        (BatchNorm(), (random(2, 3), None, None, random(3), positive(3).astype(int)), "variance must have"),
        (RmsNorm(), (random(2, 3), random(3, 1)), "gamma must have the shape"),
    ],
)  # fmt: skip
def test_refusals(op, operands, message):
    with pytest.raises(InferError, match=f"{op.name}.*{message}"):
        check_op(op, *operands)
