"""Operators that move elements about, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import parse_type, symbol
from kcompile.ir.dims import maximum, minimum
from kcompile.operators.shape import (
    Concat,
    Expand,
    ExpandDims,
    Flip,
    Pad,
    Reshape,
    Slice,
    Split,
    Squeeze,
    Tile,
    Transpose,
)
from tests.operators.cases import N0, Case, bools, normal, numbers, table

N, T, M = symbol("N"), symbol("T"), symbol("M")
ALL = ("bool", "int8", "int32", "int64", "uint8", "uint16", "float16", "float32", "float64")
NT = {(0, 0): "N", (0, 1): "T"}
MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def _sliced(*entries):
    return lambda x: x[tuple(slice(*entry) for entry in entries)]


def _slices(shape, *entries, dims=N0):
    starts, stops, steps = zip(*entries, strict=True)
    wanted = [(None if step < 0 and start == -1 else start, stop, step) for start, stop, step in entries]
    return Case(Slice(starts, stops, steps), normal(*shape), expected=_sliced(*wanted), dims=dims)


def _padded(pads, mode, value=0.0):
    options = {"constant_values": value} if mode == "constant" else {}
    return lambda x: np.pad(x, pads, mode=mode, **options)


CASES = [
    *[Case(Reshape((4, 3)), numbers(3, 4, dtype=d), expected=lambda x: x.reshape(4, 3)) for d in ALL],
    Case(Reshape((N * 4,)), normal(3, 4), expected=lambda x: x.reshape(-1), dims=N0),
    Case(Reshape((N, 2, 2)), normal(3, 4), expected=lambda x: x.reshape(3, 2, 2), dims=N0),
    Case(Reshape((N, T, 2, 2)), normal(3, 5, 4), expected=lambda x: x.reshape(3, 5, 2, 2), dims=NT),
    Case(Reshape((N * T, 4)), normal(3, 5, 4), expected=lambda x: x.reshape(15, 4), dims=NT),
    Case(Reshape((T, N, 4)), normal(3, 5, 4), expected=lambda x: x.reshape(5, 3, 4), dims=NT),
    Case(Reshape((N, 0, 7)), normal(3, 0), expected=lambda x: x.reshape(3, 0, 7), dims=N0),
    Case(Reshape((0, 4)), normal(3, 0), expected=lambda x: x.reshape(0, 4)),
    Case(Reshape((0, 4)), normal(4, 0), expected=lambda x: x.reshape(0, 4)),
    Case(Reshape((N * 4,)), normal(0, 4), expected=lambda x: x.reshape(-1), dims=N0),
    Case(Reshape(()), normal(1, 1), expected=lambda x: x.reshape(())),
    *[Case(Transpose((1, 0)), numbers(3, 4, dtype=d), expected=np.transpose, dims=N0) for d in ALL],
    Case(Transpose((2, 0, 1)), normal(2, 0, 3), expected=lambda x: x.transpose(2, 0, 1), dims=NT),
    Case(Transpose(()), normal(), expected=lambda x: x),
    *[
        Case(Expand((2, N, 4)), numbers(3, 1, dtype=d), expected=lambda x: np.broadcast_to(x, (2, 3, 4)), dims=N0)
        for d in ALL
    ],
    Case(Expand((N, 0)), normal(3, 1), expected=lambda x: np.broadcast_to(x, (3, 0)), dims=N0),
    Case(Expand((N,)), normal(3), expected=lambda x: x, dims=N0),
    Case(ExpandDims((0, -1)), normal(3, 4), expected=lambda x: x[None, ..., None], dims=NT),
    Case(ExpandDims((1, 2)), normal(3), expected=lambda x: x[:, None, None], dims=N0),
    Case(ExpandDims(()), normal(3), expected=lambda x: x, dims=N0),
    Case(Squeeze((0, -1)), normal(1, 3, 1), expected=np.squeeze, dims={(0, 1): "T"}),
    Case(Squeeze((1,)), normal(1, 1, 2), expected=lambda x: x[:, 0], dims=NT),
    Case(Squeeze(()), normal(1), expected=lambda x: x),
    *[
        Case(
            Concat(0),
            numbers(3, 4, dtype=d),
            numbers(2, 4, dtype=d),
            expected=lambda a, b: np.concatenate([a, b]),
            dims={**N0, (1, 0): "M"},
        )
        for d in ALL
    ],
    Case(
        Concat(-1),
        normal(3, 2),
        normal(3, 0),
        normal(3, 1),
        expected=lambda *xs: np.concatenate(xs, -1),
        dims={(i, 0): "N" for i in range(3)},
    ),
    Case(Concat(0), normal(3), expected=lambda x: x, dims=N0),
    *[Case(Split((1, 3), 1), numbers(3, 4, dtype=d), expected=lambda x: np.split(x, [1], 1), dims=N0) for d in ALL],
    Case(Split((2, 0, 2), -1), normal(3, 4), expected=lambda x: np.split(x, [2, 2], 1), dims=N0),
    Case(Split((2, N - 2), 0), normal(5, 4), expected=lambda x: np.split(x, [2]), dims=N0),
    Case(Split((4,), 1), normal(3, 4), expected=lambda x: [x], dims=N0),
    *[
        Case(Slice((0, 1), (2, -1), (1, 2)), numbers(3, 4, dtype=d), expected=_sliced((0, 2), (1, -1, 2)), dims=N0)
        for d in ALL
    ],
    _slices((5, 4), (1, None, 1), (0, None, 1)),
    _slices((5, 4), (0, -1, 1), (0, None, 1)),
    _slices((5, 4), (-3, None, 2), (1, 1, 1)),
    _slices((2, 4), (-3, None, 1), (-9, 9, 1)),
    _slices((5, 4), (-1, None, -1), (-1, None, -2)),
    _slices((5, 4), (3, 0, -2), (-1, -9, -1)),
    _slices((5, 4), (4, 1, 1), (2, -3, -1)),
    _slices((0, 4), (1, None, 1), (0, 2, 1)),
    _slices((1, 4), (1, None, 1), (0, -1, 1)),
    _slices((5, 7), (0, 3, 1), (2, -2, 3), dims=NT),
    Case(Slice((N - 2, 0), (N, None), (1, 1)), normal(5, 4), expected=lambda x: x[3:], dims=N0),
    Case(Slice((0, 0), (None, T), (1, 1)), normal(3, 5), expected=lambda x: x, dims={(0, 1): "T"}),
    *[Case(Tile((2, 3)), numbers(3, 4, dtype=d), expected=lambda x: np.tile(x, (2, 3)), dims=N0) for d in ALL],
    Case(Tile((1, 0)), normal(3, 4), expected=lambda x: np.tile(x, (1, 0)), dims=N0),
    Case(Tile((1, 1)), normal(0, 4), expected=lambda x: x, dims=N0),
    *[
        Case(Flip((-1,)), numbers(3, 4, dtype=d), expected=lambda x: np.flip(x, -1), dims=N0)
        for d in ALL
        if d != "uint16"
    ],
    Case(Flip((0, 1)), normal(3, 4), expected=np.flip, dims=NT),
    Case(Flip((0,)), normal(0, 4), expected=lambda x: x, dims=N0),
    *[
        Case(Pad(((1, 2), (0, 3)), mode), normal(3, 4), expected=_padded(((1, 2), (0, 3)), mode), dims=dims)
        for mode in MODES
        for dims in (None, N0, NT)
    ],
    *[Case(Pad(((5, 2), (0, 9)), mode), normal(3, 4), expected=_padded(((5, 2), (0, 9)), mode)) for mode in MODES],
    *[
        Case(Pad(((5, 2),), mode), normal(3), expected=_padded(((5, 2),), mode), dims=N0)
        for mode in MODES
        if mode != "reflect"
    ],
    *[Case(Pad(((1, 2), (3, 0)), mode), normal(1, 1), expected=_padded(((1, 2), (3, 0)), mode)) for mode in MODES],
    *[
        Case(Pad(((1, 0), (0, 1)), mode), numbers(3, 4, dtype=d), expected=_padded(((1, 0), (0, 1)), mode))
        for mode in MODES
        for d in ALL
        if d != "uint16"
    ],
    *[
        Case(Pad(((1, 0),), "constant", 3), numbers(3, dtype=d), expected=_padded(((1, 0),), "constant", 3))
        for d in ALL
        if d not in ("bool", "uint16")
    ],
    Case(Pad(((1, 0),), "constant", 1), bools(3), expected=_padded(((1, 0),), "constant", True)),
    Case(
        Pad(((-1, 2), (0, -2)), "constant", 7.0),
        normal(3, 4),
        expected=lambda x: np.pad(x[1:, :2], ((0, 2), (0, 0)), constant_values=7),
        dims=N0,
    ),
    Case(Pad(((2, 1), (0, 0))), normal(0, 4), expected=_padded(((2, 1), (0, 0)), "constant"), dims=N0),
    Case(Pad(((0, 0), (0, 0)), "wrap"), normal(0, 4), expected=lambda x: x),
]


@table(CASES)
def test_numpy_torch_and_onnx_runtime_agree(case):
    case.check()


@pytest.mark.parametrize(
    ("op", "types", "expected"),
    [
        (Concat(0), ("f32[N, 2]", "f32[M, 2]"), (N + M, 2)),
        (Reshape((N, T * 4)), ("f32[N, T, 4]",), (N, T * 4)),
        (Slice((1,), (None,), (1,)), ("f32[N]",), (maximum(0, N - 1),)),
        (Slice((0,), (-1,), (1,)), ("f32[N]",), (maximum(0, N - 1),)),
        (Slice((0,), (None,), (2,)), ("f32[N]",), ((N + 1) // 2,)),
        (Slice((-1,), (None,), (-1,)), ("f32[N]",), (N,)),
        (Slice((0,), (3,), (1,)), ("f32[N]",), (minimum(3, N),)),
        (Slice((-3,), (None,), (1,)), ("f32[N]",), (minimum(3, N),)),
        (Slice((N,), (N + 2,), (1,)), ("f32[N+M+2]",), (2,)),
        (Pad(((1, 2),)), ("f32[2*N]",), (2 * N + 3,)),
        (Tile((3,)), ("f32[N]",), (3 * N,)),
    ],
)
def test_symbolic_sizes_are_exact(op, types, expected):
    assert op.infer(*map(parse_type, types)).shape == expected


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (Reshape((5,)), ("f32[2, 3]",), "reshape: .* can't be reshaped to"),
        (Transpose((0, 0)), ("f32[2, 3]",), "transpose: perm"),
        (Expand((2, 4)), ("f32[2, 3]",), "expand: .* differ"),
        (Expand((3,)), ("f32[2, 3]",), "expand: .* has more axes"),
        (Squeeze((0,)), ("f32[2, 3]",), "squeeze: axis 0 .* differ"),
        (Concat(0), ("f32[2, 3]", "f32[2, 4]"), "concat: axis 1 .* differ"),
        (Concat(0), ("f32[2]", "f64[2]"), "concat: operands must have one dtype"),
        (Split((1, 1), 0), ("f32[3]",), "split: axis 0 .* differ"),
        (Slice((0,), (1,), (0,)), ("f32[3]",), "slice: a step must not be 0"),
        (Pad(((1, 1),), "mirror"), ("f32[3]",), "pad: mode 'mirror' is not one of"),
        (Pad(((-2, -2),)), ("f32[3]",), "pad: .* remove more"),
        (Pad(((-1, 0),), "edge"), ("f32[3]",), "pad: edge pads must not be negative"),
        (Pad(((1, 0),), "edge"), ("f32[0]",), "pad: .* nothing to copy"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, types, message):
    with pytest.raises(InferError, match=message):
        op.infer(*map(parse_type, types))
