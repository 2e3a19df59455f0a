"""Pooling against windows taken one by one in numpy, and against real Keras's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.operators.pooling import AveragePool, MaxPool
from tests.operators.gradients import check_gradients
from tests.oracle import arrays, keras
from tests.support import check_op


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def pooled(x: np.ndarray, window, strides, padding, function) -> np.ndarray:
    """Channels last; each window's real cells go through ``function``."""
    spatial = x.shape[1:-1]
    if padding == "same":
        sizes = [-(-n // s) for n, s in zip(spatial, strides, strict=True)]
        totals = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(sizes, strides, window, spatial, strict=True)]
        before = [t // 2 for t in totals]
    else:
        pads = [(0, 0)] * len(spatial) if padding == "valid" else padding
        before = [b for b, _ in pads]
        sizes = [(n + b + a - k) // s + 1 for n, (b, a), k, s in zip(spatial, pads, window, strides, strict=True)]
    y = np.empty((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    for place in itertools.product(*map(range, sizes)):
        starts = [i * s - b for i, s, b in zip(place, strides, before, strict=True)]
        cells = tuple(slice(max(a, 0), a + k) for a, k in zip(starts, window, strict=True))
        y[(slice(None), *place)] = function(x[(slice(None), *cells)], tuple(range(1, x.ndim - 1)))
    return y


# spatial sizes, window, strides, padding
CASES = [
    ((7,), (2,), (2,), "valid"),
    ((7,), (3,), (2,), "same"),
    ((8,), (3,), (2,), "same"),
    ((7,), (4,), (1,), "same"),
    ((5, 7), (2, 2), (2, 2), "valid"),
    ((5, 7), (2, 2), (2, 2), "same"),
    ((6, 8), (3, 3), (2, 2), "same"),
    ((5, 7), (2, 3), (1, 1), "same"),
    ((5, 6), (3, 2), (3, 1), "valid"),
    ((1, 1), (2, 2), (2, 2), "same"),
    ((5, 6), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((5, 6), (3, 3), (2, 2), ((0, 2), (2, 1))),
    ((4, 5, 3), (2, 2, 2), (2, 1, 2), "same"),
    ((4, 5, 3), (3, 2, 3), (1, 2, 1), "valid"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("kind", "function"), [(MaxPool, np.max), (AveragePool, np.mean)], ids=["max", "average"])
@pytest.mark.parametrize("batch", [1, 3])
def test_pool(case, data_format, kind, function, batch):
    spatial, window, strides, padding = case
    x = random(batch, *spatial, 4)
    expected, first = pooled(x, window, strides, padding, function), 1
    if data_format == "channels_first":
        x, expected, first = np.moveaxis(x, -1, 1).copy(), np.moveaxis(expected, -1, 1), 2
    for symbols in ({}, {(0, first + i): "ABC"[i] for i in range(len(spatial))}):
        op = kind(window, strides, padding, data_format)
        check_op(op, x, expected=expected, dims={(0, 0): "N", **symbols}, opsets=(17, 20, 23))


@pytest.mark.parametrize(("kind", "name"), [(MaxPool, "max_pool"), (AveragePool, "average_pool")])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pool_as_keras(kind, name, padding):
    # Sizes at which Keras's backends agree: no padding is needed.
    x = random(2, 6, 8, 3)
    expected = arrays(getattr(keras.ops, name)(x, (2, 2), (2, 2), padding))
    check_op(kind((2, 2), (2, 2), padding), x, expected=expected)


@pytest.mark.parametrize("kind", [MaxPool, AveragePool])
def test_pool_of_no_images(kind):
    check_op(kind((2, 2), (2, 2), "same"), random(0, 5, 6, 3), dims={(0, 0): "N"})


@pytest.mark.parametrize("kind", [MaxPool, AveragePool])
def test_large_negative_numbers(kind):
    # A zero in the padding must not win.
    x = random(2, 5, 5, 3) - 1000
    function = np.max if kind is MaxPool else np.mean
    check_op(kind((2, 2), (2, 2), "same"), x, expected=pooled(x, (2, 2), (2, 2), "same", function))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_gradients(padding):
    x = random(2, 6, 8, 3)
    check_gradients(MaxPool((2, 2), (2, 2), padding), lambda x: keras.ops.max_pool(x, 2, 2, padding), x)
    check_gradients(AveragePool((2, 2), (2, 2), padding), lambda x: keras.ops.average_pool(x, 2, 2, padding), x)


@pytest.mark.parametrize(
    ("op", "x", "message"),
    [
        (MaxPool((3, 3), (1, 1)), random(2, 2, 5, 1), "a window of 3 cells doesn't fit into 2"),
        (MaxPool((3,), (1,)), random(2, 2, 5, 1), "pool_size must be 2 positive"),
        (AveragePool((3, 3), (0, 1)), random(2, 2, 5, 1), "strides must be 2 positive"),
        (AveragePool((3, 3), (1, 1), "causal"), random(2, 2, 5, 1), "got 'causal'"),
        (AveragePool((3, 3), (1, 1)), random(2, 2, 5, 1).astype(int), "float tensor"),
        (MaxPool((3, 3), (1, 1), data_format="NCHW"), random(2, 2, 5, 1), "data_format must be"),
    ],
)
def test_refusals(op, x, message):
    with pytest.raises(InferError, match=f"{op.name}: .*{message}"):
        check_op(op, x)
