"""Resizing against torch's interpolate, as real Keras's torch backend calls it."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError, UnsupportedError
from kcompile.ir import Graph, Type, input_value, symbol
from kcompile.ir.types import f32
from kcompile.onnx.model import to_onnx
from kcompile.operators.image import DepthToSpace, Resize, SpaceToDepth
from tests.operators.cases import Case, normal, table
from tests.operators.gradients import check_gradients
from tests.oracle import arrays, keras
from tests.support import check_op, close, run_onnx, run_torch

SIZES = [(10, 14), (15, 21), (4, 3), (7, 9), (5, 7), (1, 1), (20, 3), (49, 98)]
MODES = ["nearest", "bilinear", "bicubic"]


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("antialias", [False, True], ids=["plain", "antialias"])
@pytest.mark.parametrize("spatial", [(5, 7), (1, 1), (2, 3)], ids=str)
def test_values(size, mode, antialias, spatial):
    x = random(2, *spatial, 3)
    expected = arrays(keras.ops.image.resize(x, size, mode, antialias=antialias))[0]
    opsets = (20,) if antialias else (17, 20)
    for first, data_format in ((1, "channels_last"), (2, "channels_first")):
        op = Resize(size, mode, antialias, data_format)
        for dims in ({(0, 0): "N"}, {(0, first): "H", (0, first + 1): "W"}):
            check_op(op, x, expected=expected, dims=dims, opsets=opsets)
        x, expected = np.moveaxis(x, -1, 1).copy(), np.moveaxis(expected, -1, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", [(1, 1), (4, 5)])
def test_a_multiple_of_a_symbolic_size(mode, before):
    height, width = symbol("H"), symbol("W")
    x = input_value("x", Type(f32, (2, height, width, 3)))
    graph = Graph("g", [x], [Resize((2 * height, 3 * width), mode)(x)])
    assert [n.op_type for n in to_onnx(graph).graph.node] == ["Transpose", "Resize", "Transpose"]
    data = random(2, *before, 3)
    expected = arrays(keras.ops.image.resize(data, (2 * before[0], 3 * before[1]), mode))[0]
    for results in (run_torch(graph, [data]), run_onnx(graph, [data])):
        close(results[0], expected)


def test_antialias_needs_opset_18():
    with pytest.raises(UnsupportedError, match=r"resize.*antialias is not in opset 17"):
        check_op(Resize((4, 6), antialias=True), random(1, 2, 3, 3), opsets=(17,))


def test_no_images():
    for mode in MODES:
        check_op(Resize((4, 6), mode), random(0, 2, 3, 3), dims={(0, 0): "N"})


@pytest.mark.parametrize("mode", MODES)
def test_gradients(mode):
    op = Resize((7, 4), mode)
    check_gradients(op, lambda x: keras.ops.image.resize(x, (7, 4), mode), random(2, 5, 6, 3))


@pytest.mark.parametrize(
    ("op", "x", "message"),
    [
        (Resize((2, 2), "lanczos3"), random(1, 2, 2, 1), "mode must be one of nearest"),
        (Resize((2, 2)), random(2, 2, 1), "rank 4"),
        (Resize((2, 2)), random(1, 2, 2, 1).astype(np.int32), "float tensor"),
        (Resize((2, 2, 2)), random(1, 2, 2, 1), "size must be"),
    ],
)
def test_refusals(op, x, message):
    with pytest.raises(InferError, match=f"resize: .*{message}"):
        check_op(op, x)


def blocks(x, block, perm, channels_outside=False):
    """SpaceToDepth or DepthToSpace as numpy says it."""
    n, c, h, w = x.shape
    if perm == "space":
        y = x.reshape(n, c, h // block, block, w // block, block).transpose(0, 3, 5, 1, 2, 4)
        return y.reshape(n, c * block**2, h // block, w // block)
    inner = c // block**2
    if channels_outside:
        y = x.reshape(n, inner, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
    else:
        y = x.reshape(n, block, block, inner, h, w).transpose(0, 3, 4, 1, 5, 2)
    return y.reshape(n, inner, h * block, w * block)


@table(
    [
        Case(SpaceToDepth(2), normal(2, 3, 4, 6), expected=lambda x: blocks(x, 2, "space"), dims={(0, 0): "N"}),
        Case(SpaceToDepth(3), normal(1, 1, 3, 6), expected=lambda x: blocks(x, 3, "space"), dims={(0, 1): "C"}),
        Case(SpaceToDepth(2), normal(0, 3, 4, 2), expected=lambda x: blocks(x, 2, "space")),
        Case(SpaceToDepth(2), normal(2, 3, 4, 6, dtype="float64"), expected=lambda x: blocks(x, 2, "space")),
        Case(DepthToSpace(2), normal(2, 12, 3, 1), expected=lambda x: blocks(x, 2, "depth"),
             dims={(0, 0): "N", (0, 2): "H"}),
        Case(DepthToSpace(2, True), normal(2, 12, 3, 1), expected=lambda x: blocks(x, 2, "depth", True)),
        Case(DepthToSpace(1), normal(2, 3, 3, 1), expected=lambda x: x),
    ]
)  # fmt: skip
def test_blocks(case):
    case.check()


@pytest.mark.parametrize(
    ("op", "shape", "message"),
    [
        (SpaceToDepth(2), (1, 2, 3, 4), "the block 2 doesn't divide"),
        (SpaceToDepth(2), (2, 3, 4), "rank 4"),
        (SpaceToDepth(0), (1, 2, 3, 4), "above 0"),
        (DepthToSpace(2), (1, 6, 3, 4), "don't make blocks of 2"),
    ],
)
def test_blocks_refused(op, shape, message):
    with pytest.raises(InferError, match=message):
        check_op(op, random(*shape))
