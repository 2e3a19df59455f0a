"""`keras.random`: random tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.ir import dtype as ir_dtype
from kcompile.keras import backend, config, ops
from kcompile.keras.ops.common import as_sizes, float_dtype, kind, shape_of, tensor
from kcompile.keras.random_state import SeedGenerator, draw_number, draw_seed
from kcompile.operators import random as operators


def _run(operator: Any, *xs: Any, seed: Any = None) -> Any:
    return backend.apply(operator, [*xs, draw_seed(seed)])


def _float(dtype: Any) -> Any:
    return ir_dtype(dtype or config.floatx())


def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Uniform numbers in [minval, maxval)."""
    return _run(
        operators.RandomUniform(as_sizes(shape), float(minval), float(maxval), _float(dtype), draw_number()), seed=seed
    )


def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normal numbers."""
    return _run(
        operators.RandomNormal(as_sizes(shape), float(mean), float(stddev), _float(dtype), draw_number()), seed=seed
    )


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normal numbers, none further than two deviations from the mean."""
    made = operators.TruncatedNormal(as_sizes(shape), float(mean), float(stddev), _float(dtype), draw_number())
    return _run(made, seed=seed)


def randint(shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """Integers in [minval, maxval)."""
    return _run(
        operators.RandomInteger(as_sizes(shape), int(minval), int(maxval), ir_dtype(dtype), draw_number()), seed=seed
    )


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """A share of the inputs set to 0, the rest divided by what is kept."""
    shape = None if noise_shape is None else as_sizes(noise_shape)
    return _run(operators.Dropout(float(rate), draw_number(), shape), tensor(inputs), seed=seed)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """Class numbers [N, num_samples], drawn by the softmax of logits [N, classes].

    The largest of the logits with Gumbel noise is such a draw (Gumbel 1954), in ONNX too.
    """
    if len(shape_of(logits)) != 2:
        raise ValueError(f"categorical: logits must be [batch, classes], got the shape {shape_of(logits)}")
    logits = tensor(logits, float_dtype(kind(logits)))
    batch, classes = shape_of(logits)
    noise = uniform((batch, num_samples, classes), dtype=kind(logits), seed=seed)
    # 0 is among the numbers drawn and has no logarithm: its noise would be the lowest, and so it is.
    noise = ops.negative(ops.log(ops.negative(ops.log(ops.maximum(noise, 1e-30)))))
    return ops.cast(ops.argmax(ops.add(ops.expand_dims(logits, 1), noise), axis=-1), dtype)


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Any:
    """x with its slices along an axis in a random order."""
    places = uniform((shape_of(x)[axis],), seed=seed)
    return ops.take(x, ops.argsort(places), axis=axis)


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers from gamma distributions of shape parameter alpha (broadcast to ``shape``) and scale 1. Not in ONNX."""
    return _gamma(shape, alpha, dtype, draw_seed(seed))


def _gamma(shape: Any, alpha: Any, dtype: Any, seed: Any) -> Any:
    made = operators.RandomGamma(as_sizes(shape), draw_number())
    return backend.apply(made, [tensor(alpha, _float(dtype)), seed])


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers from beta distributions: a / (a + b) of two gamma draws. Not in ONNX."""
    first = draw_seed(seed)
    # The second draw's seed is one that no counter reaches; torch's generator tells 32 bits of it apart.
    second = None if first is None else ops.add(first, np.array([0, 1 << 30], np.int64))
    a, b = _gamma(shape, alpha, dtype, first), _gamma(shape, beta, dtype, second)
    return ops.divide(a, ops.add(a, b))


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> Any:
    """How many of ``counts`` trials succeed, each with its probability. Not in ONNX."""
    made = operators.RandomBinomial(as_sizes(shape), draw_number())
    kind = _float(dtype)
    return backend.apply(made, [tensor(counts, kind), tensor(probabilities, kind), draw_seed(seed)])


__all__ = [
    "SeedGenerator", "beta", "binomial", "categorical", "dropout", "gamma", "normal", "randint", "shuffle",
    "truncated_normal", "uniform",
]  # fmt: skip
