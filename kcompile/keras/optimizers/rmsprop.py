"""RMSprop (Hinton 2012)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.tracing.variable import Variable


class RMSprop(Optimizer):
    """Steps by the gradient over the root of the running mean of its square (of its variance where ``centered``)."""

    hyperparameters = ("rho", "momentum", "epsilon", "centered")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
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
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")
        self._momentums: list[Variable] = []
        if self.momentum > 0:
            self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._average_gradients: list[Variable] = []
        if self.centered:
            self._average_gradients = self.add_optimizer_variables(variables, "average_gradient")

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        velocity = self._velocities[index]
        self._blend(velocity, ops.square(gradient))
        scale = velocity.value
        if self.centered:
            average = self._average_gradients[index]
            self._blend(average, gradient)
            scale = ops.subtract(scale, ops.square(average.value))
        step = ops.divide(ops.multiply(gradient, rate), ops.sqrt(ops.add(scale, self.epsilon)))
        if self.momentum > 0:
            slot = self._momentums[index]
            self.assign(slot, ops.add(ops.multiply(slot.value, self.momentum), step))
            step = slot.value
        self.assign_sub(variable, step)

    def _blend(self, slot: Variable, value: Any) -> None:
        self.assign(slot, ops.add(ops.multiply(slot.value, self.rho), ops.multiply(value, 1 - self.rho)))
