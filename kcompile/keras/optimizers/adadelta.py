"""Adadelta (Zeiler 2012)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.tracing.variable import Variable


class Adadelta(Optimizer):
    """Steps by the gradient times the ratio of the steps' running RMS to the gradients'."""

    hyperparameters = ("rho", "epsilon")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
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
        self.rho, self.epsilon = rho, epsilon

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        names = ["accumulated_grad", "accumulated_delta_var"]
        self._gradients, self._steps = self.add_optimizer_variables(variables, names)

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        squares, steps = self._gradients[index], self._steps[index]
        self._blend(squares, ops.square(gradient))
        step = ops.divide(ops.multiply(self._rms(steps.value), gradient), self._rms(squares.value))
        self._blend(steps, ops.square(step))
        self.assign_sub(variable, ops.multiply(step, rate))

    def _rms(self, mean_square: Any) -> Any:
        return ops.sqrt(ops.add(mean_square, self.epsilon))

    def _blend(self, slot: Variable, value: Any) -> None:
        self.assign(slot, ops.add(ops.multiply(slot.value, self.rho), ops.multiply(value, 1 - self.rho)))
