"""Operators by which processes talk: alone each gives what it is given (tests/distribution has several)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcompile.engine.lower import lower
from kcompile.errors import InferError, UnsupportedError
from kcompile.ir import parse_type
from kcompile.onnx.model import to_onnx
from kcompile.operators.collectives import AllReduce, GatherParts, OwnPart
from tests.support import graph_of

X = np.arange(12, dtype=np.float32).reshape(4, 3)
ALONE = {
    "all_reduce": AllReduce(),
    "own_part": OwnPart(0, 4, 4),
    "own_part of another axis": OwnPart(-1, 3, 3, True),
    "gather_parts": GatherParts(0, 2, 4),
    "gather_parts, chunked": GatherParts(1, 3, 3, True),
}


@pytest.mark.parametrize("name", ALONE)
def test_alone(name: str) -> None:
    graph = graph_of(ALONE[name], parse_type("f32[4, 3]"))
    x = torch.from_numpy(X).requires_grad_()
    (y,) = lower(graph)(x)
    np.testing.assert_array_equal(y.detach().numpy(), X)
    (gradient,) = torch.autograd.grad((y * y).sum(), x)
    np.testing.assert_array_equal(gradient.numpy(), 2 * X)
    with pytest.raises(UnsupportedError, match="export the model outside of that"):
        to_onnx(graph)


@pytest.mark.parametrize(
    ("operator", "type", "message"),
    [
        (AllReduce(), "bool[3]", "tensor of numbers"),
        (OwnPart(2, 4, 2), "f32[4, 3]", "axis 2"),
    ],
)
def test_types_that_do_not_fit(operator, type, message) -> None:
    with pytest.raises(InferError, match=message):
        graph_of(operator, parse_type(type))
