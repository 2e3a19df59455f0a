"""Steps that count, in front and back, against loops in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError
from kcompile.operators.packing import PackSteps, UnpackSteps
from tests.operators.cases import Case, normal, numbers, table
from tests.support import check_op

MASKS = {
    "holes": np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1]], bool),
    "all and none": np.array([[1] * 5, [0] * 5], bool),
    "the end": np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], bool),
}
ONE = np.array([[True], [False]])


def packed(x, mask):
    return np.stack([np.concatenate([row[kept], row[~kept]]) for row, kept in zip(x, mask, strict=True)])


def unpacked(zero_masked):
    def function(y, mask):
        result = np.zeros_like(y)
        for row, kept, target in zip(y, mask, result, strict=True):
            count = 0
            for step, counts in enumerate(kept):
                count += bool(counts)
                if count and (counts or not zero_masked):
                    target[step] = row[count - 1]
        return result

    return function


DIMS = {(0, 0): "N", (1, 0): "N", (0, 1): "T", (1, 1): "T"}


@table(
    [
        *(Case(PackSteps(), normal(2, 5, 3), m, expected=packed, dims=DIMS, note=n) for n, m in MASKS.items()),
        *(Case(PackSteps(), numbers(2, 5, dtype="int32"), m, expected=packed, dims=DIMS, note=n) for n, m in MASKS.items()),
        Case(PackSteps(), normal(2, 1, 3), ONE, expected=packed),
        *(
            Case(UnpackSteps(zero), normal(2, 5, *rest), m, expected=unpacked(zero), dims=DIMS, note=n)
            for zero in (True, False)
            for rest in ((3,), (2, 3), ())
            for n, m in MASKS.items()
        ),
        Case(UnpackSteps(), normal(2, 1, 3), ONE, expected=unpacked(True)),
    ]
)  # fmt: skip
def test_steps(case):
    case.check()


@pytest.mark.parametrize("op", [PackSteps(), UnpackSteps()])
def test_refusals(op):
    with pytest.raises(InferError, match="needs x"):
        check_op(op, normal(2, 5, 3), normal(2, 5))
    with pytest.raises(InferError, match="length of x and mask"):
        check_op(op, normal(2, 5, 3), np.ones((2, 4), bool))
