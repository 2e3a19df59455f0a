"""Linear algebra and Fourier transforms against numpy, in torch and, what ONNX has of them, in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from kcompile.errors import InferError, UnsupportedError
from kcompile.ir import Graph, Type, input_value, symbol
from kcompile.ir.types import f32, f64, i32
from kcompile.operators.fourier import Fourier
from kcompile.operators.linalg import (
    Cholesky,
    Determinant,
    LogDeterminant,
    LuFactor,
    Qr,
    Solve,
    SolveTriangular,
    Svd,
    SymmetricEigen,
)
from tests.support import close, run_onnx, run_torch

N = symbol("N")
RNG = np.random.default_rng(0)
SQUARE, TALL = RNG.standard_normal((2, 4, 4)), RNG.standard_normal((3, 5, 3))
POSITIVE = SQUARE @ SQUARE.transpose(0, 2, 1) + np.eye(4)
RIGHT = RNG.standard_normal((2, 4, 3))


def graph(op, *arrays) -> Graph:
    """The operator on inputs whose first size is N."""
    values = [
        input_value(f"x{i}", Type(f32 if a.dtype == np.float32 else f64, (N, *a.shape[1:])))
        for i, a in enumerate(arrays)
    ]
    results = op(*values)
    return Graph("g", values, list(results) if isinstance(results, tuple) else [results])


def results(run, op, *arrays) -> list[np.ndarray]:
    return run(graph(op, *arrays), list(arrays))


def lower(x: np.ndarray) -> np.ndarray:
    return np.tril(x)


# operator, operands, what its results give together, what that must be
CASES = [
    (Determinant(), [SQUARE], lambda d: d, np.linalg.det(SQUARE)),
    (LogDeterminant(), [SQUARE], lambda s, l: s * np.exp(l), np.linalg.det(SQUARE)),
    (Cholesky(), [POSITIVE], lambda l: lower(l) @ l.transpose(0, 2, 1), POSITIVE),
    (Cholesky(upper=True), [POSITIVE], lambda u: u.transpose(0, 2, 1) @ np.triu(u), POSITIVE),
    (Solve(), [SQUARE, RIGHT], lambda y: SQUARE @ y, RIGHT),
    (SolveTriangular(lower=True), [POSITIVE, RIGHT], lambda y: np.tril(POSITIVE) @ y, RIGHT),
    (SolveTriangular(), [POSITIVE, RIGHT], lambda y: np.triu(POSITIVE) @ y, RIGHT),
    (Qr(), [TALL], lambda q, r: q @ np.triu(r), TALL),
    (Qr(complete=True), [TALL], lambda q, r: q @ r, TALL),
    (Svd(), [TALL], lambda u, s, v: (u * s[:, None]) @ v, TALL),
    (Svd(full=True), [TALL], lambda u, s, v: (u[..., :3] * s[:, None]) @ v, TALL),
    (SymmetricEigen(), [POSITIVE], lambda w, v: (v * w[:, None]) @ v.transpose(0, 2, 1), POSITIVE),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "given", "joined", "wanted"), CASES, ids=[str(c[0]) for c in CASES])
def test_in_torch(op, given, joined, wanted, dtype):
    given = [a.astype(dtype) for a in given]
    made = graph(op, *given)
    found = results(run_torch, op, *given)
    assert [r.shape[1:] for r in found] == [v.type.shape[1:] for v in made.outputs]
    close(np.asarray(joined(*found), np.float64), wanted, 2e-5 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize(("op", "given", "joined", "wanted"), CASES[:2], ids=["det", "logdet"])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_determinants_in_onnx(op, given, joined, wanted, rows):
    found = results(run_onnx, op, given[0][:rows].astype(np.float32))
    close(np.asarray(joined(*found), np.float64), wanted[:rows], 2e-5)


def test_lu_factors():
    factors, pivots = results(run_torch, LuFactor(), SQUARE)
    assert pivots.dtype == np.int32
    for x, lu, pivot in zip(SQUARE, factors, pivots, strict=True):
        rows = np.arange(4)
        for i, p in enumerate(pivot):
            rows[[i, p - 1]] = rows[[p - 1, i]]
        close((np.tril(lu, -1) + np.eye(4)) @ np.triu(lu), x[rows], 1e-10)


OTHERS = [*CASES[2:], (LuFactor(), [SQUARE], None, None)]


@pytest.mark.parametrize(("op", "given"), [c[:2] for c in OTHERS], ids=[str(c[0]) for c in OTHERS])
def test_not_in_onnx(op, given):
    with pytest.raises(UnsupportedError, match=op.name):
        results(run_onnx, op, *(a.astype(np.float32) for a in given))


@pytest.mark.parametrize("run", [run_torch, run_onnx], ids=["torch", "onnx"])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("shape", [(1, 2), (5, 2), (3, 8, 2), (2, 3, 7, 2), (2, 3, 64, 2), (0, 4, 2)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fourier(run, inverse, shape, dtype):
    x = RNG.standard_normal(shape).astype(dtype)
    transform = np.fft.ifft if inverse else np.fft.fft
    wanted = transform(x[..., 0] + 1j * x[..., 1], axis=-1)
    (found,) = results(run, Fourier(inverse), x)
    # ONNX Runtime 1.32 divides the inverse by a float32 number, in float64 too.
    exact = dtype == np.float64 and not (inverse and run is run_onnx)
    close(found, np.stack([wanted.real, wanted.imag], -1).astype(dtype), 1e-12 if exact else 1e-5)


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda: Determinant()(input_value("x", Type(f32, (2, 3)))), "square"),
        (lambda: Svd()(input_value("x", Type(i32, (2, 3)))), "float32 or float64"),
        (lambda: Solve()(input_value("a", Type(f32, (2, 2))), input_value("b", Type(f32, (3, 1)))), "rows"),
        (lambda: Fourier()(input_value("x", Type(f32, (4, 3)))), r"\[..., N, 2\]"),
    ],
)
def test_refusals(apply, message):
    with pytest.raises(InferError, match=message):
        apply()
