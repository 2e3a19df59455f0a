"""Adam (Kingma & Ba 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.tracing.variable import Variable


class Adam(Optimizer):
    """Steps by the running mean of gradients over the root of the running mean of their squares."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "adam",
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            use_ema,
            ema_momentum,
            ema_overwrite_frequency,
            loss_scale_factor,
            gradient_accumulation_steps,
            name,
            **kwargs,
        )
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums: list[Variable] = []
        self._velocities: list[Variable] = []
        # Momentum and velocity alternate: the order in which Keras stores them in a file.
        for variable in variables:
            self._momentums.append(self.add_variable_from_reference(variable, "momentum"))
            self._velocities.append(self.add_variable_from_reference(variable, "velocity"))
        self._maxima: list[Variable] = []
        if self.amsgrad:
            self._maxima = self.add_optimizer_variables(variables, "velocity_hat")

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(ops.add(self.iterations.value, 1), variable.dtype)
        left_1 = ops.subtract(1.0, ops.power(ops.cast(self.beta_1, variable.dtype), step))
        left_2 = ops.subtract(1.0, ops.power(ops.cast(self.beta_2, variable.dtype), step))
        alpha = ops.divide(ops.multiply(rate, ops.sqrt(left_2)), left_1)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        self.assign_add(m, ops.multiply(ops.subtract(gradient, m.value), 1 - self.beta_1))
        self.assign_add(v, ops.multiply(ops.subtract(ops.square(gradient), v.value), 1 - self.beta_2))
        scale = v.value
        if self.amsgrad:
            largest = self._maxima[index]
            self.assign(largest, ops.maximum(largest.value, scale))
            scale = largest.value
        self.assign_sub(
            variable, ops.divide(ops.multiply(m.value, alpha), ops.add(ops.sqrt(scale), self.epsilon))
        )

    def get_config(self) -> dict[str, Any]:
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon, "amsgrad": self.amsgrad}
        return {**super().get_config(), **own}
