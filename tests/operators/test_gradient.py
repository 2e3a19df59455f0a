"""Operators that only gradients notice."""

from __future__ import annotations

import numpy as np
import torch

from kcompile.engine.lower import lower
from kcompile.ir import parse_type
from kcompile.operators.gradient import StopGradient
from tests.operators.cases import FLOATS, N0, Case, normal, table
from tests.support import graph_of

CASES = [Case(StopGradient(), normal(*s, dtype=d), expected=np.copy, dims=N0) for d in FLOATS for s in ((3, 4), (0, 2))]


@table(CASES)
def test_values_pass(case):
    case.check()


def test_gradients_do_not():
    x = torch.ones(3, requires_grad=True)
    (y,) = lower(graph_of(StopGradient(), parse_type("f32[3]")))(x)
    assert not y.requires_grad
