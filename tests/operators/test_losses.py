"""Cross-entropies on logits against real Keras's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcompile.errors import InferError
from kcompile.operators.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy, SparseSoftmaxCrossEntropy
from tests.operators.gradients import check_gradients
from tests.oracle import arrays, keras
from tests.support import check_op

OPSETS = (17, 20, 23)
SHAPES = [(4, 3), (1, 3), (5, 1), (2, 3, 5), (0, 3), (2, 2, 3, 4)]


def logits(shape: tuple[int, ...]) -> np.ndarray:
    return (np.random.default_rng(2).normal(size=shape) * 30).astype(np.float32)


def targets(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).random(shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_cross_entropy(shape, axis):
    x, y = logits(shape), targets(shape)
    expected = arrays(keras.ops.categorical_crossentropy(y, x, from_logits=True, axis=axis))
    check_op(SoftmaxCrossEntropy(axis), x, y, expected=expected, dims={(0, 0): "N", (1, 0): "N"}, opsets=OPSETS)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_sparse_softmax_cross_entropy(shape, dtype):
    x = logits(shape)
    labels = np.random.default_rng(4).integers(0, shape[-1], shape[:-1]).astype(dtype)
    expected = arrays(keras.ops.sparse_categorical_crossentropy(labels, x, from_logits=True))
    dims = {(0, 0): "N", (1, 0): "N"}
    check_op(SparseSoftmaxCrossEntropy(), x, labels, expected=expected, dims=dims, opsets=OPSETS)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sigmoid_cross_entropy(shape):
    x, y = logits(shape), targets(shape)
    expected = arrays(keras.ops.binary_crossentropy(y, x, from_logits=True))
    check_op(SigmoidCrossEntropy(), x, y, expected=expected, dims={(0, 0): "N", (1, 0): "N"}, opsets=OPSETS)


@pytest.mark.parametrize(
    ("op", "y", "reference"),
    [
        (SoftmaxCrossEntropy(), targets((4, 3)), lambda x, y: -(y * x.log_softmax(-1)).sum(-1)),
        (
            SigmoidCrossEntropy(),
            targets((4, 3)),
            lambda x, y: -(y * x.sigmoid().log() + (1 - y) * (1 - x.sigmoid()).log()),
        ),
        (
            SparseSoftmaxCrossEntropy(),
            np.array([0, 2, 1, 1], np.int32),
            lambda x, y: -x.log_softmax(-1)[torch.arange(4), y.long()],
        ),
    ],
    ids=["softmax", "sigmoid", "sparse"],
)
def test_gradients(op, y, reference):
    check_gradients(op, reference, logits((4, 3)) / 30, y)


@pytest.mark.parametrize(
    ("op", "x", "y", "message"),
    [
        (SoftmaxCrossEntropy(), logits((4, 3)), targets((4, 3)).astype(np.float64), "one float dtype"),
        (SparseSoftmaxCrossEntropy(), logits((4, 3)), targets((4,)), "int32 or int64"),
        (SparseSoftmaxCrossEntropy(), logits((4, 3)), np.zeros((4, 3), np.int32), "leading axes"),
        (SigmoidCrossEntropy(), logits((4, 3)), targets((4,)), "must have the shape"),
        (SigmoidCrossEntropy(), logits((4, 3)), targets((4, 2)), "sizes 3 and 2 differ"),
    ],
)
def test_refusals(op, x, y, message):
    with pytest.raises(InferError, match=f"{op.name}.*{message}"):
        check_op(op, x, y)
