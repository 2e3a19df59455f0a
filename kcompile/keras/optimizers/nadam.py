"""Nadam (Dozat 2015): Adam with Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.moments import move_moments, power
from kcompile.tracing.variable import Variable


class Nadam(Optimizer):
    """Adam whose momentum looks one step ahead; the momentum's own rate warms up."""

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
        dtype = variables[0].dtype if variables else None
        self._u_product = self.add_variable((), "ones", dtype, name="u_product")

    def _momentum_at(self, step: Any, dtype: str) -> Any:
        """The warming momentum beta_1 * (1 - 0.96^step / 2)."""
        return ops.multiply(ops.subtract(1.0, ops.multiply(power(0.96, step, dtype), 0.5)), self.beta_1)

    def update_all(self, gradients: Sequence[Any], variables: Sequence[Variable], rate: Any) -> None:
        product = self._u_product
        self.assign(product, ops.multiply(product.value, self._momentum_at(ops.add(self.iterations, 1), product.dtype)))
        super().update_all(gradients, variables, rate)

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        dtype, step = variable.dtype, ops.add(self.iterations, 1)
        now, later = self._momentum_at(step, dtype), self._momentum_at(ops.add(step, 1), dtype)
        product = ops.cast(self._u_product.value, dtype)
        m, v = self._momentums[index], self._velocities[index]
        move_moments(self, gradient, m, v, self.beta_1, self.beta_2)
        ahead = ops.divide(later, ops.subtract(1.0, ops.multiply(product, later)))
        present = ops.divide(ops.subtract(1.0, now), ops.subtract(1.0, product))
        mean = ops.add(ops.multiply(m.value, ahead), ops.multiply(gradient, present))
        square = ops.divide(v.value, ops.subtract(1.0, power(self.beta_2, step, dtype)))
        self.assign_sub(variable, ops.divide(ops.multiply(mean, rate), ops.add(ops.sqrt(square), self.epsilon)))
