"""Schedule-free AdamW (Defazio et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.moments import power
from kcompile.tracing.variable import Variable


class ScheduleFreeAdamW(Optimizer):
    """AdamW that averages its weights over time instead of lowering the rate."""

    hyperparameters = ("beta_1", "beta_2", "epsilon", "warmup_steps")

    def __init__(
        self,
        learning_rate: Any = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
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
        self.beta_1, self.beta_2, self.epsilon, self.warmup_steps = beta_1, beta_2, epsilon, warmup_steps

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        for momentum, variable in zip(self._momentums, variables, strict=True):
            momentum.assign(variable.numpy())

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        step = ops.cast(ops.add(self.iterations, 1), variable.dtype)
        if self.warmup_steps > 0:
            rate = ops.multiply(rate, ops.minimum(ops.divide(step, float(self.warmup_steps)), 1.0))
        # The variable is a point between the fast weights (the momentum slot) and their average.
        fast, velocity = self._momentums[index], self._velocities[index]
        behind = ops.multiply(fast.value, 1 - self.beta_1)
        average = ops.divide(ops.subtract(variable.value, behind), self.beta_1)
        self.assign_add(velocity, ops.multiply(ops.subtract(ops.square(gradient), velocity.value), 1 - self.beta_2))
        left = ops.subtract(1.0, power(self.beta_2, step, variable.dtype))
        scale = ops.add(ops.sqrt(ops.divide(velocity.value, left)), self.epsilon)
        self.assign_sub(fast, ops.divide(ops.multiply(gradient, rate), scale))
        share = ops.divide(1.0, step)
        average = ops.add(ops.multiply(average, ops.subtract(1.0, share)), ops.multiply(fast.value, share))
        self.assign(variable, ops.add(ops.multiply(fast.value, 1 - self.beta_1), ops.multiply(average, self.beta_1)))
