"""Activations against real Keras's, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kcompile.errors import InferError
from kcompile.ir import Type
from kcompile.ir.types import i32
from kcompile.operators.activation import (
    Celu,
    Elu,
    Gelu,
    Glu,
    HardShrink,
    HardSigmoid,
    HardSilu,
    HardTanh,
    LeakyRelu,
    LogSigmoid,
    LogSoftmax,
    Mish,
    Relu,
    Selu,
    Sigmoid,
    Silu,
    Softmax,
    Softplus,
    SoftShrink,
    Softsign,
    Sparsemax,
    SparsePlus,
    SparseSigmoid,
    Squareplus,
    TanhShrink,
    Threshold,
)  # fmt: skip
from tests.operators.gradients import check_gradients
from tests.oracle import arrays, keras
from tests.support import check_op

K = keras.activations


def projection(x: Any, axis: int) -> torch.Tensor:
    """relu(x - t), with t such that it sums to 1: the root found by bisection, then exactly from its support."""
    x = torch.as_tensor(x)
    low, high = x.detach().amax(axis, keepdim=True) - 1, x.detach().amax(axis, keepdim=True)
    for _ in range(60):
        middle = (low + high) / 2
        over = torch.relu(x.detach() - middle).sum(axis, keepdim=True) > 1
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    support = (x.detach() > low).to(x.dtype)
    return torch.relu(x - ((x * support).sum(axis, keepdim=True) - 1) / support.sum(axis, keepdim=True))


CASES = [
    (Relu(), K.relu),
    (LeakyRelu(), K.leaky_relu),
    (LeakyRelu(0.01), lambda x: K.leaky_relu(x, 0.01)),
    (Elu(), K.elu),
    (Elu(0.3), lambda x: K.elu(x, 0.3)),
    (Selu(), K.selu),
    (Celu(), K.celu),
    (Celu(0.5), lambda x: K.celu(x, 0.5)),
    (Gelu(), lambda x: K.gelu(x, approximate=False)),
    (Gelu(approximate=True), lambda x: K.gelu(x, approximate=True)),
    (Sigmoid(), K.sigmoid),
    (Silu(), K.silu),
    (LogSigmoid(), K.log_sigmoid),
    (HardSigmoid(), K.hard_sigmoid),
    (SparseSigmoid(), K.sparse_sigmoid),
    (HardSilu(), K.hard_silu),
    (HardTanh(), K.hard_tanh),
    (Softplus(), K.softplus),
    (Softsign(), K.softsign),
    (Mish(), K.mish),
    (Threshold(0.4, -7.0), lambda x: K.threshold(x, 0.4, -7.0)),
    (HardShrink(), K.hard_shrink),
    (HardShrink(1.2), lambda x: K.hard_shrink(x, 1.2)),
    (SoftShrink(), K.soft_shrink),
    (SoftShrink(1.2), lambda x: K.soft_shrink(x, 1.2)),
    (TanhShrink(), K.tanh_shrink),
    (Squareplus(), K.squareplus),
    (Squareplus(1.0), lambda x: K.squareplus(x, 1.0)),
    (SparsePlus(), K.sparse_plus),
    (Softmax(), K.softmax),
    (Softmax(axis=1), lambda x: K.softmax(x, axis=1)),
    (LogSoftmax(axis=-2), lambda x: K.log_softmax(x, axis=-2)),
    (Glu(), K.glu),
    (Glu(axis=1), lambda x: K.glu(x, axis=1)),
    # Not Keras's, whose results don't sum to 1 (3.15 sums the cumulative sums).
    (Sparsemax(), lambda x: projection(x, -1)),
    (Sparsemax(axis=0), lambda x: projection(x, 0)),
]
SHAPES = [(3, 4, 6), (1, 2, 2), (0, 4, 6)]
OPSETS = (17, 20, 23)
IDS = [repr(op) for op, _ in CASES]


def sample(shape: tuple[int, ...], dtype: str = "float32", scale: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(1).normal(size=shape) * scale).astype(dtype)


@pytest.mark.parametrize(("op", "reference"), CASES, ids=IDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(op, reference, shape):
    x = sample(shape)
    expected = None if 0 in shape else arrays(reference(x))
    check_op(op, x, expected=expected, dims={(0, 0): "N"} if getattr(op, "axis", 1) else {}, opsets=OPSETS)


@pytest.mark.parametrize(("op", "reference"), CASES, ids=IDS)
def test_far_from_zero(op, reference):
    x = np.array([[-1000.0, -100.0, -30.0, -17.0, -1.0, 0.0], [0.0, 1.0, 17.0, 30.0, 100.0, 1000.0]], np.float32)
    check_op(op, x, expected=arrays(reference(x)), opsets=OPSETS)


@pytest.mark.parametrize(("op", "reference"), CASES, ids=IDS)
def test_double(op, reference):
    x = sample((2, 4, 6), "float64")
    # ONNX Runtime has no double kernel of Erf.
    runs = not (isinstance(op, Gelu) and not op.approximate)
    check_op(op, x, expected=arrays(reference(x)), opsets=OPSETS, onnx=runs, rtol=1e-12)


@pytest.mark.parametrize(("op", "reference"), CASES, ids=IDS)
def test_half(op, reference):
    # Half precision has 1e-3 between neighbours; ONNX Runtime computes in float32 between casts.
    check_op(op, sample((2, 4, 6), "float16"), opsets=OPSETS, rtol=4e-3)


@pytest.mark.parametrize(("op", "reference"), CASES, ids=IDS)
def test_gradients(op, reference):
    check_gradients(op, lambda x: reference(x), sample((3, 4, 6)))


@pytest.mark.parametrize("op", [Relu(), Softmax(), Glu()], ids=repr)
def test_integers_are_refused(op):
    with pytest.raises(InferError, match=f"{op.name}: x must be a float tensor"):
        op.infer(Type(i32, (2, 4)))


def test_odd_glu_is_refused():
    with pytest.raises(InferError, match=r"glu: axis -1 .* even"):
        check_op(Glu(), sample((2, 3)))


@pytest.mark.parametrize("op", [Softmax(axis=2), Sparsemax(axis=-3)], ids=repr)
def test_axis_out_of_range(op):
    with pytest.raises(InferError, match="outside"):
        check_op(op, sample((2, 3)))
