"""What Adam and its kin share: running moments of the gradient and their correction at the start."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.ops.common import run
from kcompile.operators.updates import AdamStep
from kcompile.tracing.variable import Variable


def power(beta: float, step: Any, dtype: str) -> Any:
    """beta to the power of the step, rank 0."""
    return ops.power(ops.cast(beta, dtype), ops.cast(step, dtype))


def adam_rate(rate: Any, iterations: Any, beta_1: float, beta_2: float) -> Any:
    """The rate times the correction of both moments' bias towards 0."""
    step = ops.add(iterations, 1)
    left_1 = ops.subtract(1.0, power(beta_1, step, rate.dtype))
    left_2 = ops.subtract(1.0, power(beta_2, step, rate.dtype))
    return ops.divide(ops.multiply(rate, ops.sqrt(left_2)), left_1)


def move_moments(optimizer: Any, gradient: Any, mean: Variable, square: Variable, beta_1: float, beta_2: float) -> None:
    """Move the running mean of the gradient and that of its square on by one step."""
    optimizer.assign_add(mean, ops.multiply(ops.subtract(gradient, mean.value), 1 - beta_1))
    optimizer.assign_add(square, ops.multiply(ops.subtract(ops.square(gradient), square.value), 1 - beta_2))


def adam_step(variable: Variable, gradient: Any, mean: Variable, square: Variable, alpha: Any, step: AdamStep) -> None:
    """Assign a variable and its moments their next values."""
    moved = run(step, variable.value, gradient, mean.value, square.value, alpha)
    for target, value in zip((variable, mean, square), moved, strict=True):
        target.assign(value)
