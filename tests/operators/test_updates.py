"""Steps of optimizers against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.ir import Input, Type, dtype
from kcompile.operators.updates import AdamStep
from tests.support import check_op

SHAPES = [(3, 4), (5,), (1, 1), (0, 3), ()]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_adam_step(shape, kind):
    rng = np.random.default_rng(1)
    w, g, m = (rng.normal(size=shape).astype(kind) for _ in range(3))
    v, rate = rng.random(shape).astype(kind), np.asarray(0.01, kind)
    mean, square = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
    expected = [w - rate * mean / (np.sqrt(square) + 1e-3), mean, square]
    expected = [np.asarray(e, kind) for e in expected]
    check_op(AdamStep(0.9, 0.95, 1e-3), w, g, m, v, rate, expected=expected)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (("i32[3]",) * 4 + ("f32[]",), "variable must be a float"),
        (("f32[3]", "f64[3]", "f32[3]", "f32[3]", "f32[]"), "gradient must be of the variable's type"),
        (("f32[3]", "f32[3]", "f32[3, 1]", "f32[3]", "f32[]"), "mean must be"),
        (("f32[3]",) * 5, "rate must be one float"),
    ],
)
def test_types_that_do_not_fit(types, message):
    def parsed(text):
        name, _, shape = text.rstrip("]").partition("[")
        return Type(dtype(name), tuple(int(d) for d in shape.split(", ") if d))

    with pytest.raises(InferError, match=message):
        AdamStep()(*(Input(f"x{i}", parsed(t))() for i, t in enumerate(types)))
