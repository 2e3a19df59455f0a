"""Random tensors: their distributions, in torch and in ONNX Runtime, and what a seed fixes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kcompile.errors import InferError, UnsupportedError
from kcompile.ir import Graph, Type, constant, input_value, symbol
from kcompile.ir.types import f16, f32, f64, i8, i32, i64
from kcompile.operators.arithmetic import Add
from kcompile.operators.random import (
    Dropout,
    DropoutNoise,
    RandomBinomial,
    RandomGamma,
    RandomInteger,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
)
from tests.support import run_onnx, run_torch

SIZE = 20000
N = symbol("N")
BACKENDS = pytest.mark.parametrize("run", [run_torch, run_onnx], ids=["torch", "onnx"])
SEEDS = pytest.mark.parametrize("seed", [None, (3, 4)], ids=["free", "seeded"])


def graph(op, seed=None) -> Graph:
    """The operator's result, in a graph with an input that gives it the size N."""
    x = input_value("x", Type(f32, (N, 2)))
    operand = None if seed is None else constant(seed, i64)
    return Graph("g", [x], [op(operand), Add()(x, x)])


def draw(run, op, seed=None, rows: int = 20) -> np.ndarray:
    return run(graph(op, seed), [np.zeros((rows, 2), np.float32)])[0]


@BACKENDS
@SEEDS
@pytest.mark.parametrize("shape", [(N, SIZE // 20), (20, SIZE // 20)], ids=["symbolic", "static"])
@pytest.mark.parametrize(
    ("kind", "fields", "distribution"),
    [
        (RandomUniform, {"low": -2.0, "high": 3.0}, stats.uniform(-2, 5)),
        (RandomNormal, {"mean": 1.0, "stddev": 2.0}, stats.norm(1, 2)),
        (TruncatedNormal, {"mean": 1.0, "stddev": 2.0}, stats.truncnorm(-2, 2, 1, 2)),
    ],
)
@pytest.mark.parametrize("dtype", [f16, f32, f64], ids=str)
def test_distribution(run, seed, shape, kind, fields, distribution, dtype):
    x = draw(run, kind(shape, **fields, dtype=dtype), seed)
    assert x.shape == (20, SIZE // 20)
    assert x.dtype == dtype.numpy
    # A right generator fails this once in 100,000 runs; a wrong mean or deviation by 5 % always.
    assert stats.kstest(x.ravel(), distribution.cdf).pvalue > 1e-5


@BACKENDS
@SEEDS
@pytest.mark.parametrize("dtype", [i8, i32, i64], ids=str)
def test_integers(run, seed, dtype):
    x = draw(run, RandomInteger((N, SIZE // 20), -2, 5, dtype), seed)
    assert x.dtype == dtype.numpy
    values, counts = np.unique(x, return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2, 3, 4]
    assert stats.chisquare(counts).pvalue > 1e-5


@BACKENDS
def test_large_integers(run):
    x = draw(run, RandomInteger((1_000_000,), 2**40, 2**40 + 3, i64))
    assert set(np.unique(x)) == {2**40, 2**40 + 1, 2**40 + 2}


@BACKENDS
@pytest.mark.parametrize(
    "op",
    [
        RandomUniform((9,)),
        RandomNormal((9,)),
        TruncatedNormal((9,)),
        RandomInteger((9,), 0, 99),
        DropoutNoise((99,), 0.5),
    ],
)
def test_a_seed_repeats_and_its_parts_matter(run, op):
    first = draw(run, op, (3, 4))
    np.testing.assert_array_equal(first, draw(run, op, (3, 4)))
    for other in (draw(run, op, (3, 5)), draw(run, op, (4, 4)), draw(run, op.replace(draw=1), (3, 4))):
        assert not np.array_equal(first, other)


@BACKENDS
def test_two_draws_are_two(run):
    x = input_value("x", Type(f32, (N,)))
    made = Graph("g", [x], [RandomNormal((N,), draw=i)(None) for i in range(2)])
    a, b = run(made, [np.zeros(50, np.float32)])
    assert not np.array_equal(a, b)


@BACKENDS
@pytest.mark.parametrize(
    "op",
    [RandomUniform((N, 3)), RandomNormal((N, 3), dtype=f16), RandomInteger((N, 3), 0, 5), DropoutNoise((N, 3), 0.5)],
)
def test_no_rows(run, op):
    assert draw(run, op, rows=0).shape == (0, 3)


def dropped(run, op, x, seed=None) -> np.ndarray:
    value = input_value("x", Type(f32, (N, *x.shape[1:])))
    return run(Graph("g", [value], [op(value, None if seed is None else constant(seed, i64))]), [x])[0]


@BACKENDS
@SEEDS
@pytest.mark.parametrize("rate", [1e-4, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [f16, f32, f64], ids=str)
def test_dropout_noise(run, seed, rate, dtype):
    """Bernoulli numbers, scaled; neighbours, which come of the same 64 bits in torch, are independent."""
    x = draw(run, DropoutNoise((N, 2001), rate, dtype), seed, rows=101)
    assert x.dtype == dtype.numpy
    kept = x != 0
    np.testing.assert_allclose(x[kept], dtype.numpy.type(1 / (1 - rate)), rtol=1e-3 if dtype is f16 else 1e-6)
    assert stats.binomtest(int((~kept).sum()), x.size, rate).pvalue > 1e-5
    if rate > 0.01:
        flat = kept.ravel()
        table = [[int((flat[:-1] == a)[flat[1:] == b].sum()) for a in (False, True)] for b in (False, True)]
        assert stats.chi2_contingency(table).pvalue > 1e-5


@BACKENDS
@SEEDS
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75])
def test_dropout(run, seed, rate):
    x = np.random.default_rng(0).uniform(1, 2, (100, 200)).astype(np.float32)
    y = dropped(run, Dropout(rate), x, seed)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-6)
    assert stats.binomtest(int((~kept).sum()), x.size, rate).pvalue > 1e-5


@BACKENDS
@SEEDS
def test_dropout_shares_its_noise(run, seed):
    y = dropped(run, Dropout(0.5, noise_shape=(None, 1, 3)), np.ones((400, 5, 3), np.float32), seed)
    assert np.array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    assert set(np.unique(y)) == {0, 2}
    assert stats.binomtest(int((y[:, 0] == 0).sum()), 1200, 0.5).pvalue > 1e-5


@BACKENDS
@pytest.mark.parametrize(("rate", "factor"), [(0, 1), (0.0, 1), (1, 0), (1.0, 0)])
def test_dropout_of_nothing_and_of_all(run, rate, factor):
    x = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(dropped(run, Dropout(rate), x), x * factor)


def with_parameters(run, op, parameters, seed=None) -> np.ndarray:
    values = [input_value(f"p{i}", Type(f32, p.shape)) for i, p in enumerate(parameters)]
    return run(Graph("g", values, [op(*values, None if seed is None else constant(seed, i64))]), list(parameters))[0]


@SEEDS
def test_gamma_and_binomial(seed):
    alphas = np.array([[0.3], [1.0], [7.0]], np.float32)
    x = with_parameters(run_torch, RandomGamma((3, 5000)), [alphas], seed)
    for row, alpha in zip(x, alphas[:, 0], strict=True):
        assert stats.kstest(row, stats.gamma(alpha).cdf).pvalue > 1e-5
    counts, probabilities = np.array([[1.0], [9.0]], np.float32), np.array(0.3, np.float32)
    y = with_parameters(run_torch, RandomBinomial((2, 5000)), [counts, probabilities], seed)
    for row, count in zip(y, counts[:, 0], strict=True):
        assert stats.binomtest(int(row.sum()), int(5000 * count), 0.3).pvalue > 1e-5
        assert set(row) <= set(range(int(count) + 1))


@pytest.mark.parametrize(("op", "count"), [(RandomGamma((3,)), 1), (RandomBinomial((3,)), 2)])
def test_not_in_onnx(op, count):
    with pytest.raises(UnsupportedError, match="uniform and normal"):
        with_parameters(run_onnx, op, [np.ones((3,), np.float32)] * count)


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda: RandomUniform((2,), dtype=i32)(None), "dtype must be a float"),
        (lambda: RandomInteger((2,), 0, 2, f32)(None), "dtype must be an integer"),
        (lambda: RandomNormal((2,))(constant([1], i64)), "seed must be int64"),
        (lambda: RandomGamma((2,))(input_value("a", Type(f32, (3, 2))), None), "broadcast"),
        (lambda: RandomGamma((2,))(input_value("a", Type(i32, (2,))), None), "float"),
        (lambda: Dropout(1.5)(input_value("x", Type(f32, (2,))), None), "rate must be from 0 to 1"),
        (lambda: Dropout(0.5, noise_shape=(1,))(input_value("x", Type(f32, (2, 2))), None), "noise_shape"),
    ],
)
def test_refusals(apply, message):
    with pytest.raises(InferError, match=message):
        apply()
