"""FTRL-Proximal (McMahan et al. 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import initializers, ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.tracing.variable import Variable


class Ftrl(Optimizer):
    """Follows the regularised leader: weights are what minimises all past gradients plus L1 and L2 terms."""

    hyperparameters = (
        "learning_rate_power",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "l2_shrinkage_regularization_strength",
        "beta",
    )

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
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
        if learning_rate_power > 0.0:
            raise ValueError(f"`learning_rate_power` needs to be negative or zero, got {learning_rate_power}")
        not_negative = {
            "initial_accumulator_value": initial_accumulator_value,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
            "l2_shrinkage_regularization_strength": l2_shrinkage_regularization_strength,
        }
        for argument, value in not_negative.items():
            if value < 0.0:
                raise ValueError(f"`{argument}` needs to be positive or zero, got {value}")
        self.learning_rate_power, self.beta = learning_rate_power, beta
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        start = initializers.Constant(self.initial_accumulator_value)
        self._sums, self._linears = self.add_optimizer_variables(variables, ["accumulator", "linear"], [start, "zeros"])

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        total, linear = self._sums[index], self._linears[index]
        old = ops.power(total.value, -self.learning_rate_power)
        self.assign_add(total, ops.square(gradient))
        new = ops.power(total.value, -self.learning_rate_power)
        shrink = 2.0 * self.l2_shrinkage_regularization_strength
        shrunk = ops.add(gradient, ops.multiply(variable.value, shrink)) if shrink else gradient
        change = ops.multiply(ops.divide(ops.subtract(new, old), rate), variable.value)
        self.assign_add(linear, ops.subtract(shrunk, change))
        l2 = ops.add(ops.divide(self.beta, rate), 2.0 * self.l2_regularization_strength)
        limit = float(self.l1_regularization_strength)
        step = ops.subtract(ops.clip(linear.value, -limit, limit), linear.value)
        self.assign(variable, ops.divide(step, ops.add(ops.divide(new, rate), l2)))
