"""`keras.random`: random tensors."""

from __future__ import annotations

from typing import Any

from kcompile.ir import dtype as ir_dtype
from kcompile.keras import backend, config
from kcompile.keras.ops.common import tensor
from kcompile.keras.random_state import SeedGenerator, draw_number, draw_seed
from kcompile.operators import random as operators


def _run(operator: Any, *xs: Any, seed: Any = None) -> Any:
    return backend.apply(operator, [*xs, draw_seed(seed)])


def _float(dtype: Any) -> Any:
    return ir_dtype(dtype or config.floatx())


def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Uniform numbers in [minval, maxval)."""
    return _run(
        operators.RandomUniform(tuple(shape), float(minval), float(maxval), _float(dtype), draw_number()), seed=seed
    )


def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normal numbers."""
    return _run(
        operators.RandomNormal(tuple(shape), float(mean), float(stddev), _float(dtype), draw_number()), seed=seed
    )


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normal numbers, none further than two deviations from the mean."""
    made = operators.TruncatedNormal(tuple(shape), float(mean), float(stddev), _float(dtype), draw_number())
    return _run(made, seed=seed)


def randint(shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """Integers in [minval, maxval)."""
    return _run(
        operators.RandomInteger(tuple(shape), int(minval), int(maxval), ir_dtype(dtype), draw_number()), seed=seed
    )


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """A share of the inputs set to 0, the rest divided by what is kept."""
    shape = None if noise_shape is None else tuple(noise_shape)
    return _run(operators.Dropout(float(rate), draw_number(), shape), tensor(inputs), seed=seed)


__all__ = ["SeedGenerator", "dropout", "normal", "randint", "truncated_normal", "uniform"]
