"""Adamax (Kingma & Ba 2014): Adam by the infinity norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.moments import power
from kcompile.tracing.variable import Variable


class Adamax(Optimizer):
    """Steps by the running mean of gradients over their decaying largest size."""

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
        self._m, self._u = self.add_optimizer_variables(variables, ["momentum", "norm"])

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        left = ops.subtract(1.0, power(self.beta_1, ops.add(self.iterations, 1), variable.dtype))
        m, u = self._m[index], self._u[index]
        self.assign_add(m, ops.multiply(ops.subtract(gradient, m.value), 1 - self.beta_1))
        self.assign(u, ops.maximum(ops.multiply(u.value, self.beta_2), ops.absolute(gradient)))
        self.assign_sub(
            variable, ops.divide(ops.multiply(m.value, rate), ops.multiply(ops.add(u.value, self.epsilon), left))
        )
