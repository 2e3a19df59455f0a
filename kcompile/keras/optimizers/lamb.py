"""LAMB (You et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.moments import move_moments, power
from kcompile.tracing.variable import Variable


class Lamb(Optimizer):
    """Adam whose step has the norm of the weights times the rate."""

    hyperparameters = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **kwargs,
        )  # fmt: skip
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        step = ops.add(self.iterations, 1)
        m, v = self._momentums[index], self._velocities[index]
        move_moments(self, gradient, m, v, self.beta_1, self.beta_2)
        mean = ops.divide(m.value, ops.subtract(1.0, power(self.beta_1, step, variable.dtype)))
        square = ops.divide(v.value, ops.subtract(1.0, power(self.beta_2, step, variable.dtype)))
        moved = ops.divide(mean, ops.add(ops.sqrt(square), self.epsilon))
        weights, moves = _norm(variable.value), _norm(moved)
        both = ops.logical_and(ops.greater(weights, 0.0), ops.greater(moves, 0.0))
        ratio = ops.where(both, ops.divide(weights, moves), 1.0)
        self.assign_sub(variable, ops.multiply(ops.multiply(moved, rate), ratio))


def _norm(x: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(x)))
