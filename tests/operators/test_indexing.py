"""Gathering and scattering against numpy: negative indices, repeats, both index dtypes."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError, UnsupportedError
from kcompile.ir import dtype, parse_type
from kcompile.operators.indexing import Embedding, Gather, GatherElements, GatherNd, OneHot, ScatterElements, ScatterNd
from tests.operators.cases import N0, Case, normal, numbers, table
from tests.support import graph_of, run_onnx

STORED = ("bool", "int8", "int32", "int64", "uint8", "float16", "float32", "float64")
COMPUTED = STORED[1:]
COMBINE = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
PAIRS = np.array([[0, -1], [2, 1], [0, 0]])
POSITIONS = np.array([[0, -1], [2, 1], [2, 1]])
N0M1 = {(0, 0): "N", (1, 0): "M"}


def _set(x, position, update, reduction):
    x[position] = update if reduction == "none" else COMBINE[reduction](x[position], update)


def _scattered_elements(axis, reduction):
    def wanted(x, indices, updates):
        x = x.copy()
        for position in np.ndindex(indices.shape):
            target = (*position[:axis], indices[position], *position[axis + 1 :])
            _set(x, target, updates[position], reduction)
        return x

    return wanted


def _scattered_nd(reduction):
    def wanted(x, indices, updates):
        x = x.copy()
        for position in np.ndindex(indices.shape[:-1]):
            _set(x, tuple(indices[position]), updates[position], reduction)
        return x

    return wanted


def _opsets(reduction):
    return (18, 20, 23) if reduction in ("max", "min") else (17, 20, 23)


def _one_hot(depth, axis, to="float32"):
    def wanted(indices):
        found = np.expand_dims(indices.astype(np.int64), -1) == np.arange(depth)
        return np.moveaxis(found, -1, axis).astype(to)

    return wanted


CASES = [
    *[
        Case(Gather(1), numbers(3, 4, dtype=d), np.array([[0, -1], [2, 1]]), expected=lambda x, i: x[:, i], dims=N0M1)
        for d in STORED
    ],
    Case(Gather(0), normal(3, 4), np.array([2, -3], np.int32), expected=lambda x, i: x[i], dims=N0M1),
    Case(Gather(0), normal(3, 4), np.array(-1), expected=lambda x, i: x[i], dims=N0),
    Case(Gather(-1), normal(2, 3, 4), np.zeros((0, 2), np.int64), expected=lambda x, i: x[..., i], dims=N0),
    Case(Gather(0), normal(0, 4), np.zeros(0, np.int64), expected=lambda x, i: x[i], dims=N0M1),
    *[
        Case(
            GatherElements(1),
            numbers(3, 4, dtype=d),
            PAIRS,
            expected=lambda x, i: np.take_along_axis(x, i, 1),
            dims={**N0, (1, 0): "N"},
        )
        for d in STORED
    ],
    Case(
        GatherElements(0),
        normal(3, 2),
        np.array([[-1, 0]], np.int32),
        expected=lambda x, i: np.take_along_axis(x, i, 0),
        dims=N0M1,
    ),
    Case(GatherElements(-1), normal(0, 2), np.zeros((0, 3), np.int64), expected=normal(0, 3), dims={**N0, (1, 0): "N"}),
    *[
        Case(GatherNd(), numbers(3, 4, dtype=d), POSITIONS, expected=lambda x, i: x[i[:, 0], i[:, 1]], dims=N0M1)
        for d in STORED
    ],
    Case(GatherNd(), normal(3, 4), np.array([[[0], [-1]]], np.int32), expected=lambda x, i: x[i[..., 0]], dims=N0),
    Case(GatherNd(), normal(3, 4), np.zeros((0, 1), np.int64), expected=normal(0, 4), dims=N0M1),
    *[
        Case(
            ScatterElements(1),
            numbers(3, 4, dtype=d),
            np.array([[0, -1], [2, 1], [0, 1]]),
            numbers(3, 2, dtype=d),
            expected=_scattered_elements(1, "none"),
            dims={(i, 0): "N" for i in range(3)},
        )
        for d in STORED
    ],
    *[
        Case(
            ScatterElements(1, r),
            numbers(3, 4, dtype=d),
            PAIRS,
            numbers(3, 2, dtype=d, start=2),
            expected=_scattered_elements(1, r),
            opsets=_opsets(r),
            dims=N0,
        )
        for d in COMPUTED
        for r in COMBINE
        if r != "none"
    ],
    Case(
        ScatterElements(0),
        normal(3, 4),
        np.array([[2, 0]], np.int32),
        normal(1, 2),
        expected=_scattered_elements(0, "none"),
        dims=N0,
    ),
    *[
        Case(
            ScatterNd(r),
            numbers(3, 4, dtype=d),
            POSITIONS,
            numbers(3, dtype=d, start=2),
            expected=_scattered_nd(r),
            opsets=_opsets(r),
            dims={(1, 0): "M", (2, 0): "M"},
        )
        for d in COMPUTED
        for r in COMBINE
        if r != "none"
    ],
    *[
        Case(
            ScatterNd(),
            numbers(3, 4, dtype=d),
            POSITIONS[:2],
            numbers(2, dtype=d),
            expected=_scattered_nd("none"),
            dims=N0,
        )
        for d in STORED
    ],
    *[
        Case(
            ScatterNd(r),
            normal(3, 4),
            np.array([[-1], [0]], np.int32),
            normal(2, 4),
            expected=_scattered_nd(r),
            opsets=_opsets(r),
            dims={**N0, (1, 0): "M", (2, 0): "M"},
        )
        for r in COMBINE
    ],
    *[
        Case(
            ScatterNd(r),
            normal(3, 2, 2),
            np.array([[[2, 0], [0, 1]]]),
            normal(1, 2, 2),
            expected=_scattered_nd(r),
            opsets=_opsets(r),
            dims=N0,
        )
        for r in COMBINE
    ],
    *[
        Case(OneHot(4, axis), numbers(2, 3, dtype=d, start=-1), expected=_one_hot(4, axis), dims=N0)
        for d in ("int32", "int64", "uint8", "int8")
        for axis in (0, 1, -1)
    ],
    *[
        Case(OneHot(3, -1, dtype(to)), np.array([0, 2, 3, -1]), expected=_one_hot(3, -1, to), dims=N0)
        for to in ("bool", "int32", "float16", "float64")
    ],
    Case(OneHot(3), np.array(1), expected=_one_hot(3, -1)),
    Case(OneHot(3), np.zeros((0, 2), np.int32), expected=_one_hot(3, -1), dims=N0),
    *[
        Case(
            Embedding(),
            normal(5, 3, dtype=d),
            np.array([[0, 4], [1, 1]]),
            expected=lambda t, i: t[i],
            dims={(1, 0): "N"},
        )
        for d in ("float16", "float32", "float64")
    ],
    Case(Embedding(), normal(5, 3), np.zeros((2, 0), np.int32), expected=normal(2, 0, 3), dims={(1, 0): "N"}),
]


@table(CASES)
def test_numpy_torch_and_onnx_runtime_agree(case):
    case.check()


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (Gather(), ("f32[3]", "f32[2]"), "gather: indices must be int32 or int64"),
        (Gather(), ("f32[]", "i64[2]"), "gather: x must have an axis"),
        (GatherElements(0), ("f32[3, 2]", "i64[3, 4]"), "gather_elements: axis 1 .* differ"),
        (GatherNd(), ("f32[3]", "i64[2, 2]"), "gather_nd: the last size of the indices"),
        (GatherNd(), ("f32[3]", "i64[2, N]"), "gather_nd: the last size .* must be known"),
        (ScatterElements(0, "sum"), ("f32[3]", "i64[1]", "f32[1]"), "scatter_elements: reduction 'sum' is not one of"),
        (ScatterElements(0, "add"), ("bool[3]", "i64[1]", "bool[1]"), "scatter_elements: bool tensors"),
        (ScatterNd(), ("f32[3]", "i64[2, 1]", "f32[3]"), "scatter_nd: axis 0 .* differ"),
        (OneHot(3), ("f32[3]",), "one_hot: indices must be an integer"),
        (Embedding(), ("f32[3]", "i64[2]"), "embedding: the table must be a matrix"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, types, message):
    with pytest.raises(InferError, match=message):
        op.infer(*map(parse_type, types))


def test_the_largest_of_scattered_values_before_opset_18_is_refused_with_the_opset():
    graph = graph_of(ScatterNd("max"), *map(parse_type, ("f32[3]", "i64[1, 1]", "f32[1]")))
    with pytest.raises(UnsupportedError, match="it needs --opset 18"):
        run_onnx(graph, [normal(3), np.zeros((1, 1), np.int64), normal(1)], 17)
