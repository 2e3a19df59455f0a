"""Promotion against real Keras, for every pair of dtypes and weak numbers."""

from __future__ import annotations

import itertools
import os

import pytest

from kcompile.ir.types import ALL, dtype
from kcompile.operators.promotion import result_type

os.environ.setdefault("KERAS_BACKEND", "torch")

GIVEN = (*ALL, int, float, bool, None)


@pytest.fixture(params=["float16", "bfloat16", "float32", "float64"])
def floatx(request):
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    yield dtype(request.param)
    keras.config.set_floatx(before)


def _keras(*given):
    import keras

    return keras.backend.result_type(*(d.keras if hasattr(d, "keras") else d for d in given))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_all_combinations_are_those_of_keras(floatx, count):
    combinations = itertools.combinations_with_replacement(GIVEN, count)
    wrong = [(c, want) for c in combinations if result_type(*c, floatx=floatx).keras != (want := _keras(*c))]
    assert not wrong


def test_the_order_does_not_matter():
    for a, b in itertools.product(GIVEN, repeat=2):
        assert result_type(a, b) is result_type(b, a)
