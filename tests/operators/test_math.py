"""Functions of floats against numpy and scipy's counterparts in torch's double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcompile.errors import InferError
from kcompile.ir import parse_type
from kcompile.operators.math import (
    ArcCos,
    ArcCosh,
    ArcSin,
    ArcSinh,
    ArcTan,
    ArcTanh,
    Ceil,
    Cos,
    Cosh,
    Erf,
    ErfInv,
    Exp,
    Expm1,
    Floor,
    IsFinite,
    IsInf,
    IsNan,
    Log,
    Log1p,
    Log2,
    Log10,
    Round,
    Rsqrt,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
    Trunc,
)
from tests.operators.cases import FLOATS, N0, Case, normal, positive, table

INF, NAN = np.inf, np.nan
LIMITS = np.array([0, -0.0, 1, -1, INF, -INF, NAN], np.float32)
STEPS = np.array([-2.5, -1.5, -0.5, -0.2, 0, 0.2, 0.5, 1.5, 2.5, 1e6, -INF, INF], np.float32)
SMALL = np.array([1e-8, -1e-8, 1e-4, -1e-4, 0.3, -0.3, 0, 3, 30], np.float32)
EDGES = np.array([-1, 1, 0, 0.999999, -0.99, 0.5, 1e-6], np.float32)


def _double(function):
    """numpy's or torch's function in double precision, rounded to the operand's dtype."""

    def wanted(x):
        exact = function(torch.from_numpy(x.astype(np.float64)))
        return exact.numpy().astype(x.dtype)

    return wanted


def _above_one(*shape, dtype="float32"):
    return np.asarray(positive(*shape, dtype=dtype) + 1, dtype)


STEPPED = (Floor, Ceil, Round, Trunc)
PREDICATES = ((IsNan, np.isnan), (IsInf, np.isinf), (IsFinite, np.isfinite))
# Operator, reference, where defined, and whether ONNX Runtime has a double kernel.
FUNCTIONS = [
    (Exp, torch.exp, normal, True),
    (Expm1, torch.expm1, normal, True),
    (Log, torch.log, positive, True),
    (Log1p, torch.log1p, positive, True),
    (Log2, torch.log2, positive, True),
    (Log10, torch.log10, positive, True),
    (Sqrt, torch.sqrt, positive, True),
    (Rsqrt, torch.rsqrt, positive, True),
    (Sin, torch.sin, normal, True),
    (Cos, torch.cos, normal, True),
    (Tan, torch.tan, positive, False),
    (ArcSin, torch.asin, positive, False),
    (ArcCos, torch.acos, positive, False),
    (ArcTan, torch.atan, normal, False),
    (Sinh, torch.sinh, normal, False),
    (Cosh, torch.cosh, normal, False),
    (Tanh, torch.tanh, normal, True),
    (ArcSinh, torch.asinh, normal, False),
    (ArcCosh, torch.acosh, _above_one, False),
    (ArcTanh, torch.atanh, positive, False),
    (Erf, torch.erf, normal, False),
    (Floor, torch.floor, normal, True),
    (Ceil, torch.ceil, normal, True),
    (Round, torch.round, normal, True),
    (Trunc, torch.trunc, normal, True),
]

CASES = [
    *[Case(op(), make(3, 5), expected=_double(f), dims=N0) for op, f, make, _ in FUNCTIONS],
    *[Case(op(), make(0, 2), expected=_double(f), dims=N0) for op, f, make, _ in FUNCTIONS],
    *[Case(op(), make(), expected=_double(f)) for op, f, make, _ in FUNCTIONS],
    *[Case(op(), make(7, dtype="float16"), expected=_double(f), rtol=2e-3) for op, f, make, _ in FUNCTIONS],
    # ONNX Runtime has no double kernel for some: the file is standard ONNX all the same.
    *[Case(op(), make(7, dtype="float64"), expected=_double(f), onnx=known) for op, f, make, known in FUNCTIONS],
    *[Case(op(), STEPS, expected=_double(f), note="steps") for op, f, *_ in FUNCTIONS if op in STEPPED],
    *[Case(op(), LIMITS, expected=_double(f), note="limits") for op, f, *_ in FUNCTIONS if op not in (Sin, Cos, Tan)],
    # Each value to its own precision: no cancellation near 0.
    Case(Expm1(), SMALL, expected=_double(torch.expm1), atol=0.0, rtol=1e-6, note="small"),
    Case(Log1p(), np.abs(SMALL), expected=_double(torch.log1p), atol=0.0, rtol=1e-6, note="small"),
    Case(Log1p(), -SMALL[:6], expected=_double(torch.log1p), atol=0.0, rtol=1e-6, note="small"),
    Case(ErfInv(), EDGES, expected=_double(torch.erfinv), atol=0.0, note="edges"),
    Case(ErfInv(), positive(3, 5), expected=_double(torch.erfinv), dims=N0),
    Case(ErfInv(), positive(5, dtype="float16"), expected=_double(torch.erfinv), rtol=2e-3),
    *[Case(op(), LIMITS.astype(d), expected=f) for op, f in PREDICATES for d in FLOATS],
    *[Case(op(), normal(3, 2), expected=f, dims=N0) for op, f in PREDICATES],
]


@table(CASES)
def test_torch_and_onnx_runtime_agree_with_double_precision(case):
    case.check()


def test_integers_are_refused_by_name():
    with pytest.raises(InferError, match="exp: x must be a float tensor, got i32"):
        Exp().infer(parse_type("i32[3]"))
