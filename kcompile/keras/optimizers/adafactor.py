"""Adafactor (Shazeer & Stern 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.tracing.variable import Variable


class Adafactor(Optimizer):
    """Adam with the mean square of a matrix kept as a row and a column, and steps relative to the weights' size."""

    hyperparameters = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
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
        self.beta_2_decay, self.epsilon_1, self.epsilon_2 = beta_2_decay, epsilon_1, epsilon_2
        self.clip_threshold, self.relative_step = clip_threshold, relative_step

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._r: list[Variable] = []
        self._c: list[Variable] = []
        self._v: list[Variable] = []
        for variable in variables:
            *rest, rows, columns = (0, 0, *variable.shape) if len(variable.shape) < 2 else variable.shape
            flat = len(variable.shape) < 2
            self._r.append(self._factor(variable, "row", () if flat else (*rest, rows)))
            self._c.append(self._factor(variable, "column", () if flat else (*rest, columns)))
            self._v.append(self.add_variable_from_reference(variable, "velocity"))

    def _factor(self, variable: Variable, kind: str, shape: tuple[int, ...]) -> Variable:
        # A variable that is no matrix has an unused 0 (int32) in its place, in files too.
        made = self.add_variable(shape, dtype=variable.dtype if shape else "int32", name=variable.name)
        self._slots[id(made)] = (kind, variable)
        return made

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        step = ops.cast(ops.add(self.iterations, 1), variable.dtype)
        inverse_root = ops.divide(1.0, ops.sqrt(step))
        # With a number as rate both limits are the same one; relative_step makes no difference in Keras either.
        size = ops.multiply(ops.maximum(_rms(variable.value), self.epsilon_2), ops.minimum(rate, inverse_root))
        squares = ops.add(ops.square(gradient), self.epsilon_1)
        keep = ops.subtract(1.0, ops.power(step, float(self.beta_2_decay)))
        r, c, v = self._r[index], self._c[index], self._v[index]
        if len(variable.shape) >= 2:
            self._blend(r, ops.mean(squares, axis=-1), keep)
            self._blend(c, ops.mean(squares, axis=-2), keep)
            rows = ops.divide(r.value, ops.mean(r.value, axis=-1, keepdims=True))
            self.assign(v, ops.multiply(ops.expand_dims(rows, -1), ops.expand_dims(c.value, -2)))
        else:
            self._blend(v, squares, keep)
        moved = ops.divide(gradient, ops.sqrt(v.value))
        limit = ops.maximum(ops.divide(_rms(moved), self.clip_threshold), 1.0)
        self.assign_sub(variable, ops.multiply(ops.divide(moved, limit), size))

    def _blend(self, slot: Variable, value: Any, keep: Any) -> None:
        self.assign(slot, ops.add(ops.multiply(slot.value, keep), ops.multiply(value, ops.subtract(1.0, keep))))


def _rms(x: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(x)))
