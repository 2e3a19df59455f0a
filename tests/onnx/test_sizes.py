"""Sizes that are known only when the model runs: read, computed and reshaped with, at many values and at 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kcompile.errors import UnsupportedError, UsageError
from kcompile.ir import Graph, Type, dtype, input_value, verify
from kcompile.ir.dims import DimLike, evaluate, floordiv, maximum, minimum, modulo, symbol
from kcompile.onnx.model import to_onnx
from kcompile.operators.creation import SizeOf
from kcompile.operators.shape import Concat, Expand, Reshape, Slice
from kcompile.runtime.session import run
from tests.support import run_onnx

F32, I64 = dtype("f32"), dtype("i64")
N, H, W = symbol("N"), symbol("H"), symbol("W")
pytestmark = pytest.mark.torchless

DIMS: list[DimLike] = [
    N, H, N + 3, N - 5, -N, 2 * N - 3 * H + 1, N * H, N * N * H, floordiv(N - 7, 2), floordiv(N - 7, -2), floordiv(3 - N, 4),
    modulo(N - 7, 3), modulo(N - 7, -3), maximum(N, 3), minimum(N - 2, H), maximum(floordiv(H - 1, 2) + 1, N), 5,
    floordiv(N * H + 1, H + 1), modulo(N, H + 2), floordiv(N - 7, H + 1), modulo(N - 7, H + 2), maximum(N - 4, 0) * minimum(H, 2),
]  # fmt: skip


@pytest.mark.parametrize("opset", [17, None])
def test_arithmetic(opset: int | None) -> None:
    x = input_value("x", Type(F32, (N, H)))
    model = to_onnx(Graph("g", [x], [SizeOf(d)() for d in DIMS], [f"d{i}" for i in range(len(DIMS))]), opset)
    for n, h in ((0, 0), (0, 5), (1, 1), (6, 0), (7, 2), (8, 3), (40, 11)):
        found = run(model.SerializeToString(), {"x": np.zeros((n, h), np.float32)})
        assert [int(f) for f in found] == [evaluate(d, {"N": n, "H": h}) for d in DIMS], (n, h)


def test_each_size_is_read_once() -> None:
    x = input_value("x", Type(F32, (N, H)))
    model = to_onnx(Graph("g", [x], [SizeOf(N * H)(), SizeOf(N * H + 1)()], ["a", "b"]))
    assert sum(n.op_type == "Shape" for n in model.graph.node) == 2


@pytest.mark.parametrize("dim", [2 * N, 3 * N + 4, N - 2])
def test_a_size_is_solved_from_a_linear_dim(dim: DimLike) -> None:
    x = input_value("x", Type(F32, (dim,)))
    for n in (2, 3, 10):
        assert run_onnx(Graph("g", [x], [SizeOf(N)()]), [np.zeros(evaluate(dim, {"N": n}), np.float32)])[0] == n


def test_a_bare_size_is_preferred_to_a_solved_one() -> None:
    a, b = input_value("a", Type(F32, (2 * N,))), input_value("b", Type(F32, (N,)))
    nodes = to_onnx(Graph("g", [a, b], [SizeOf(N)()])).graph.node
    assert [list(n.input) for n in nodes if n.op_type == "Shape"] == [["b"]]


def test_a_size_that_nothing_has() -> None:
    x = input_value("x", Type(F32, (N * H,)))
    with pytest.raises(UnsupportedError, match="operator 'size_of': the size H can't be read from any tensor in reach"):
        to_onnx(Graph("g", [x], [SizeOf(H)()]))


@pytest.mark.parametrize("sizes", [(0, 0), (5, 0), (7, 3)])
def test_division_by_a_size_of_zero_ends_nothing(sizes: tuple[int, int]) -> None:
    # An integer division by 0 would kill the process inside ONNX Runtime.
    x = input_value("x", Type(F32, (N, H)))
    graph = Graph("g", [x], [SizeOf(floordiv(N, H))(), SizeOf(modulo(N, H))()], ["a", "b"])
    found = run_onnx(graph, [np.zeros(sizes, np.float32)])
    assert sizes[1] == 0 or [int(f) for f in found] == [sizes[0] // sizes[1], sizes[0] % sizes[1]]


S = {"N": 0, "H": 4, "W": 6}
# (input, target, the target as written or None where it is computed, sizes at which ONNX Runtime refuses it)
RESHAPES: list[tuple[Any, Any, Any]] = [
    ((N, 12), (N, 3, 4), [0, 3, 4]),
    ((N, 4, 6), (N, 24), [0, 24]),
    ((N, H, 6), (N, H, 2, 3), [0, 0, 2, 3]),
    ((N, H, 6), (N * H, 6), [-1, 6]),
    ((N * H, 6), (N * H, 2, 3), [0, 2, 3]),
    ((N, 4), (4, N), [4, -1]),
    ((N, 2), (2 * N,), [-1]),
    ((N, 1), (N,), [0]),
    ((1, N), (N,), [-1]),
    ((4, 6), (2, 12), [2, 12]),
    ((2, 0, 3), (0, 7), None),
    ((N, 0), (N, 0, 5), None),
    ((N, 0), (0, N), None),
    ((N, H, W), (W, N, H), None),
]


@pytest.mark.parametrize(("shape", "target", "written"), RESHAPES, ids=[f"{s}->{t}" for s, t, _ in RESHAPES])
def test_reshape(shape: Any, target: Any, written: Any) -> None:
    x = input_value("x", Type(F32, shape))
    # A second input so that every size can be read.
    y = input_value("y", Type(F32, (N, H, W)))
    graph = verify(Graph("g", [x, y], [Reshape(target)(x)]))
    model = to_onnx(graph)
    if written is not None:
        assert [t.int64_data or np.frombuffer(t.raw_data, np.int64) for t in model.graph.initializer][
            -1
        ].tolist() == written  # type: ignore[union-attr]
        assert [n.op_type for n in model.graph.node] == ["Reshape"]
    for sizes in (
        {"N": 3, "H": 2, "W": 5},
        {"N": 1, "H": 1, "W": 1},
        {"N": 0, "H": 3, "W": 2},
        {"N": 0, "H": 0, "W": 0},
    ):
        data = np.arange(np.prod(real := concrete(shape, sizes))).reshape(real).astype(np.float32)
        feeds = {"x": data, "y": np.zeros(concrete((N, H, W), sizes), np.float32)}
        np.testing.assert_array_equal(run(model.SerializeToString(), feeds)[0], data.reshape(concrete(target, sizes)))


def concrete(shape: Any, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(d, sizes) for d in shape)


def test_the_one_reshape_that_wants_a_row() -> None:
    # [N, H, W] to [N, H*W] is one node with 0 and -1; ONNX Runtime takes no -1 beside a size of 0, and says so.
    x = input_value("x", Type(F32, (N, H, W)))
    graph = Graph("g", [x], [Reshape((N, H * W))(x)])
    assert [n.op_type for n in to_onnx(graph).graph.node] == ["Reshape"]
    assert run_onnx(graph, [np.zeros((2, 0, 3), np.float32)])[0].shape == (2, 0)
    with pytest.raises(UsageError, match="Reshape"):
        run_onnx(graph, [np.zeros((0, 2, 3), np.float32)])


@pytest.mark.parametrize("opset", [17, 20])
def test_sizes_inside_other_operators(opset: int) -> None:
    x = input_value("x", Type(F32, (N, H)))
    half = Slice((0, 0), (N, floordiv(H, 2)), (1, 1))(x)
    graph = verify(Graph("g", [x], [Concat(1)(half, Expand((N, H + 1))(Slice((0, 0), (N, 1), (1, 1))(x)))]))
    for n, h in ((1, 1), (2, 5), (0, 4), (3, 8)):
        data = np.arange(n * h, dtype=np.float32).reshape(n, h)
        want = np.concatenate([data[:, : h // 2], np.broadcast_to(data[:, :1], (n, h + 1))], 1)
        np.testing.assert_array_equal(run_onnx(graph, [data], opset)[0], want)
