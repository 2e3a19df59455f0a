"""Rows of the operators' test tables, and the arrays that they use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from kcompile.ir import Op
from tests.support import check_op

OPSETS = (17, 20, 23)


class Case:
    """One operator on arrays; ``expected`` is an array, several, or a numpy function of the arrays."""

    def __init__(self, op: Op, *arrays: Any, expected: Any = None, note: str = "", **options: Any):
        self.op, self.arrays, self.options = op, arrays, {"opsets": OPSETS, **options}
        self.expected, self.note = expected, note

    def __str__(self) -> str:
        shapes = ",".join("none" if a is None else f"{a.dtype}{list(a.shape)}" for a in self.arrays)
        return f"{self.op!r}-{shapes}{'-' + self.note if self.note else ''}"

    def check(self) -> None:
        wanted = self.expected
        if callable(wanted):
            with np.errstate(all="ignore"):
                wanted = wanted(*self.arrays)
        check_op(self.op, *self.arrays, expected=wanted, **self.options)


def table(cases: Sequence[Case]) -> Any:
    """Parametrises a test with the argument ``case``."""
    return pytest.mark.parametrize("case", cases, ids=[f"{i}-{case}" for i, case in enumerate(cases)])


def normal(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Standard normal numbers."""
    return np.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def positive(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Numbers from 0.1 to 0.9."""
    return np.asarray(np.random.default_rng([1, *shape]).uniform(0.1, 0.9, shape), dtype)


def numbers(*shape: int, dtype: str = "float32", start: int = -5) -> np.ndarray:
    """start, start + 1, ...; unsigned integers wrap around."""
    return (np.arange(np.prod(shape, dtype=int)) + start).reshape(shape).astype(dtype)


def bools(*shape: int, seed: int = 2) -> np.ndarray:
    """Random booleans."""
    return np.random.default_rng([seed, *shape]).random(shape) > 0.5


def each(values: Sequence[Any], make: Callable[[Any], Case]) -> list[Case]:
    """A case for each value."""
    return [make(v) for v in values]


FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
NUMBERS = (*FLOATS, *INTEGERS)
N0 = {(0, 0): "N"}
