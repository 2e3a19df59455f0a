"""Convolutions against real Keras's, over one to three axes, in both data formats."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcompile.engine.lower import lower
from kcompile.errors import InferError
from kcompile.ir import Type, symbol
from kcompile.ir.types import f32, type_of
from kcompile.onnx.model import to_onnx
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.runtime.session import run
from tests.operators.gradients import check_gradients
from tests.oracle import arrays, keras
from tests.support import check_op, close, graph_of, run_torch, symbolic

LAST, FIRST = "channels_last", "channels_first"


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def image(batch: int, spatial: tuple[int, ...], channels: int, data_format: str) -> np.ndarray:
    return random(batch, *spatial, channels) if data_format == LAST else random(batch, channels, *spatial)


def named(rank: int, data_format: str, spatial: bool = True) -> dict[tuple[int, int], str]:
    """Symbolic names for the batch and the spatial axes of operand 0."""
    first = 1 if data_format == LAST else 2
    return {(0, 0): "N", **{(0, first + i): "ABC"[i] for i in range(rank - 2) if spatial}}


def with_bias(y: np.ndarray, bias: np.ndarray | None, data_format: str) -> np.ndarray:
    if bias is None:
        return y
    return y + (bias if data_format == LAST else bias.reshape(-1, *[1] * (y.ndim - 2)))


# spatial sizes, window, strides, padding, dilations, channels, groups, filters
CASES = [
    ((7,), (3,), (1,), "same", (1,), 4, 1, 5),
    ((8,), (3,), (2,), "same", (1,), 4, 1, 5),
    ((7,), (4,), (3,), "same", (1,), 4, 2, 6),
    ((7,), (3,), (1,), "causal", (2,), 4, 1, 5),
    ((7,), (3,), (2,), "causal", (1,), 4, 1, 5),
    ((9,), (2,), (1,), "valid", (3,), 1, 1, 1),
    ((5, 7), (3, 3), (1, 1), "same", (1, 1), 4, 1, 6),
    ((6, 8), (3, 3), (2, 2), "same", (1, 1), 4, 1, 6),
    ((5, 7), (2, 3), (2, 1), "same", (1, 1), 4, 4, 8),
    ((5, 8), (1, 1), (1, 1), "valid", (1, 1), 4, 1, 6),
    ((9, 8), (3, 2), (1, 1), "same", (2, 3), 4, 2, 6),
    ((9, 8), (3, 3), (3, 2), "valid", (1, 1), 4, 1, 6),
    ((1, 1), (3, 3), (2, 2), "same", (1, 1), 2, 1, 3),
    ((6, 3), (3, 3), (1, 1), "valid", (1, 1), 1, 1, 5),
    ((4, 5, 6), (3, 2, 3), (2, 2, 2), "same", (1, 1, 1), 2, 1, 3),
    ((4, 5, 6), (2, 2, 2), (1, 1, 1), "valid", (2, 1, 2), 2, 2, 4),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("data_format", [LAST, FIRST])
@pytest.mark.parametrize("batch", [1, 3])
def test_conv(case, data_format, batch):
    spatial, window, strides, padding, dilations, channels, groups, filters = case
    x = image(batch, spatial, channels, data_format)
    kernel = random(*window, channels // groups, filters)
    bias = random(filters) if batch > 1 else None
    shown = x
    if padding == "causal":  # Keras pads in the layer
        before = [(0, 0)] * 3
        before[1 if data_format == LAST else 2] = ((window[0] - 1) * dilations[0], 0)
        shown = np.pad(x, before)
    there = "valid" if padding == "causal" else padding
    y = arrays(keras.ops.conv(shown, kernel, strides, there, data_format, dilations))[0]
    op = Conv(strides, padding, dilations, groups, data_format)
    for dims in (named(x.ndim, data_format), named(x.ndim, data_format, spatial=False)):
        expected = with_bias(y, bias, data_format)
        check_op(op, x, kernel, bias, expected=expected, dims=dims, opsets=(17, 20, 23))


@pytest.mark.parametrize("dims", [{}, {(0, 1): "A", (0, 2): "B"}], ids=["static", "symbolic"])
def test_conv_explicit_padding(dims):
    x, kernel = random(2, 5, 6, 3), random(3, 2, 3, 4)
    padded = torch.nn.functional.pad(torch.from_numpy(x).permute(0, 3, 1, 2), (0, 2, 2, 1))
    y = torch.conv2d(padded, torch.from_numpy(kernel).permute(3, 2, 0, 1), stride=(2, 1)).permute(0, 2, 3, 1)
    check_op(Conv((2, 1), ((2, 1), (0, 2)), (1, 1)), x, kernel, None, expected=y.numpy(), dims=dims)


@pytest.mark.parametrize("size", [4, 5, 6, 7])
def test_conv_same_with_strides_and_dilations(size):
    # No framework has this pair: the definition, padded by hand.
    total = max((-(-size // 2) - 1) * 2 + 5 - size, 0)
    x, kernel = random(2, size, 3), random(3, 3, 4)
    padded = np.pad(x, ((0, 0), (total // 2, total - total // 2), (0, 0)))
    y = torch.conv1d(torch.from_numpy(padded).mT, torch.from_numpy(kernel).permute(2, 1, 0), stride=2, dilation=2).mT
    check_op(Conv((2,), "same", (2,)), x, kernel, None, expected=y.numpy(), dims={(0, 1): "T"})


@pytest.mark.parametrize("spatial", [(6, 8), (7, 9), (6, 9)], ids=str)
@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize("dims", [{}, {(0, 0): "N", (0, 1): "H", (0, 2): "W"}], ids=["static", "symbolic"])
def test_the_optimiser_of_onnx_runtime_keeps_asymmetric_padding(spatial, groups, dims):
    given = [random(2, *spatial, 16), random(3, 3, 16 // groups, 32)]
    for op in (Conv((2, 2), "same", (1, 1), groups), Conv((2, 2), ((0, 1), (1, 2)), (1, 1), groups)):
        graph = graph_of(op, *symbolic([type_of(a) for a in given], given, dims))
        model = to_onnx(graph).SerializeToString()
        feeds = dict(zip(graph.input_names, given, strict=True))
        close(run(model, feeds, level="all")[0], run_torch(graph, given)[0])


def test_conv_of_no_images():
    check_op(Conv((2, 2), "same", (1, 1)), random(0, 5, 6, 3), random(3, 3, 3, 4), random(4), dims={(0, 0): "N"})


def test_same_padding_of_an_even_size_is_static():
    half = symbol("H")
    op = Conv((2, 2), "same", (1, 1))
    graph = graph_of(op, Type(f32, (1, 2 * half, 4 * half, 3)), Type(f32, (3, 3, 3, 8)))
    assert graph.outputs[0].type.shape == (1, half, 2 * half, 8)
    assert op._pads(*(v.type for v in graph.inputs)) == ((0, 1), (0, 1))


@pytest.mark.parametrize("spatial", [(6,), (5, 6), (4, 5, 6)], ids=str)
def test_conv_runs_channels_last_without_a_copy(spatial):
    ones = tuple(1 for _ in spatial)
    x, kernel = torch.zeros(2, *spatial, 3), torch.zeros(*(3 for _ in spatial), 3, 8)
    graph = graph_of(Conv(ones, "same", ones), *(Type(f32, a.shape) for a in (x, kernel)))
    assert lower(graph)(x, kernel)[0].is_contiguous()


# spatial sizes, window, strides, padding, output_padding, dilations
TRANSPOSED = [
    ((5,), (3,), (2,), "same", None, (1,)),
    ((5,), (2,), (3,), "same", None, (1,)),
    ((5,), (2,), (3,), "valid", None, (1,)),
    ((5,), (4,), (2,), "same", None, (1,)),
    ((5,), (5,), (3,), "same", (1,), (1,)),
    ((5,), (3,), (2,), "valid", (1,), (1,)),
    ((4, 5), (3, 3), (2, 2), "same", None, (1, 1)),
    ((4, 5), (3, 2), (1, 2), "valid", None, (1, 1)),
    ((4, 5), (4, 3), (2, 3), "same", (1, 2), (1, 1)),
    ((4, 5), (3, 3), (1, 1), "same", None, (2, 2)),
    ((4, 5), (2, 3), (1, 1), "valid", None, (3, 2)),
    ((1, 1), (1, 1), (2, 2), "same", None, (1, 1)),
    ((3, 2, 4), (3, 3, 2), (2, 1, 2), "same", None, (1, 1, 1)),
    ((3, 2, 4), (3, 3, 2), (2, 1, 2), "valid", None, (1, 1, 1)),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
@pytest.mark.parametrize("data_format", [LAST, FIRST])
@pytest.mark.parametrize("batch", [1, 3])
def test_conv_transpose(case, data_format, batch):
    spatial, window, strides, padding, output_padding, dilations = case
    x, kernel = image(batch, spatial, 3, data_format), random(*window, 4, 3)
    bias = random(4) if batch > 1 else None
    y = arrays(keras.ops.conv_transpose(x, kernel, strides, padding, output_padding, data_format, dilations))[0]
    op = ConvTranspose(strides, padding, dilations, output_padding, data_format)
    expected = with_bias(y, bias, data_format)
    check_op(op, x, kernel, bias, expected=expected, dims=named(x.ndim, data_format), opsets=(17, 20, 23))


def test_conv_transpose_explicit_padding():
    x, kernel = random(2, 4, 5, 3), random(3, 3, 4, 3)
    whole = torch.conv_transpose2d(
        torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(kernel).permute(3, 2, 0, 1), stride=2
    )
    expected = whole[:, :, 1:-2, 2:].permute(0, 2, 3, 1).numpy()
    check_op(ConvTranspose((2, 2), ((1, 2), (2, 0)), (1, 1)), x, kernel, None, expected=expected)


def test_conv_transpose_of_no_images():
    check_op(ConvTranspose((2, 2), "same", (1, 1)), random(0, 5, 6, 3), random(3, 3, 4, 3), None, dims={(0, 0): "N"})


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("spatial", [(6,), (6, 5), (4, 5, 3)], ids=str)
def test_gradients(padding, spatial):
    window, strides, ones = ((n,) * len(spatial) for n in (3, 2, 1))
    x, kernel, bias = random(2, *spatial, 3), random(*window, 3, 4), random(4)

    def conv(x, kernel, bias):
        return keras.ops.conv(x, kernel, strides, padding) + bias

    def transposed(x, kernel, bias):
        return keras.ops.conv_transpose(x, kernel, strides, padding) + bias

    check_gradients(Conv(strides, padding, ones), conv, x, kernel, bias)
    check_gradients(ConvTranspose(strides, padding, ones), transposed, x, random(*window, 4, 3), bias)


@pytest.mark.parametrize(
    ("op", "x", "kernel", "message"),
    [
        (Conv((1, 1), "valid", (1, 1)), random(2, 3, 3, 3), random(5, 5, 3, 4), "5 cells doesn't fit into 3"),
        (Conv((1, 1), "valid", (1, 1)), random(2, 3, 3, 3), random(1, 1, 2, 4), "channels of x"),
        (Conv((1, 1), "valid", (1, 1)), random(2, 3, 3), random(1, 1, 2, 4), "must have rank 3"),
        (Conv((1,), "valid", (1, 1)), random(2, 3, 3, 3), random(1, 1, 3, 4), "strides must be 2 positive"),
        (Conv((1, 1), "causal", (1, 1)), random(2, 3, 3, 3), random(1, 1, 3, 4), "one spatial axis"),
        (Conv((1, 1), "full", (1, 1)), random(2, 3, 3, 3), random(1, 1, 3, 4), "padding must be 'valid'"),
        (Conv((1, 1), "valid", (1, 1), 3), random(2, 3, 3, 3), random(1, 1, 1, 4), "3 groups"),
        (ConvTranspose((1, 1), "causal", (1, 1)), random(2, 3, 3, 3), random(1, 1, 4, 3), "padding must be"),
        (ConvTranspose((1, 1), "valid", (1, 1)), random(2, 3, 3, 3), random(1, 1, 3, 4), "channels of x"),
    ],
)  # fmt: skip
def test_refusals(op, x, kernel, message):
    with pytest.raises(InferError, match=f"{op.name}.*{message}"):
        check_op(op, x, kernel)
