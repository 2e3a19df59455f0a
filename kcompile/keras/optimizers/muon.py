"""Muon (Jordan 2024)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.moments import adam_rate, adam_step
from kcompile.operators.updates import AdamStep
from kcompile.tracing.variable import Variable


class Muon(Optimizer):
    """Momentum made orthogonal for matrices; AdamW for embeddings and what is no matrix."""

    hyperparameters = (
        "adam_beta_1",
        "adam_beta_2",
        "epsilon",
        "exclude_layers",
        "muon_a",
        "muon_b",
        "muon_c",
        "adam_lr_ratio",
        "momentum",
        "ns_steps",
        "nesterov",
        "exclude_embeddings",
        "adam_weight_decay",
        "rms_rate",
    )

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        exclude_layers: list[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.775,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **kwargs,
        )  # fmt: skip
        self.adam_beta_1, self.adam_beta_2, self.adam_weight_decay = adam_beta_1, adam_beta_2, adam_weight_decay
        self.epsilon, self.adam_lr_ratio, self.rms_rate = epsilon, adam_lr_ratio, rms_rate
        self.exclude_layers, self.exclude_embeddings = exclude_layers or [], exclude_embeddings
        self.muon_a, self.muon_b, self.muon_c, self.ns_steps = muon_a, muon_b, muon_c, ns_steps
        self.momentum, self.nesterov = momentum, nesterov

    def _by_adam(self, variable: Variable) -> bool:
        embedding = self.exclude_embeddings and "embedding" in variable.path.lower()
        excluded = any(re.search(pattern, variable.path) for pattern in self.exclude_layers)
        return len(variable.shape) != 2 or embedding or excluded

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.momentums: list[Variable] = []
        self.adam_velocities: list[Variable | None] = []
        for v in variables:
            self.momentums.append(self.add_variable_from_reference(v, "momentum"))
            by_adam = self._by_adam(v)
            self.adam_velocities.append(self.add_variable_from_reference(v, "velocity") if by_adam else None)

    def _weight_decay_of(self, variable: Variable) -> float | None:
        if not self._use_weight_decay(variable):
            return None
        return self.adam_weight_decay if self._by_adam(variable) else self.weight_decay

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        m, v = self.momentums[index], self.adam_velocities[index]
        if v is None:
            self._orthogonal_step(gradient, variable, rate, m)
            return
        alpha = adam_rate(
            ops.multiply(rate, float(self.adam_lr_ratio)), self.iterations, self.adam_beta_1, self.adam_beta_2
        )
        adam_step(variable, gradient, m, v, alpha, AdamStep(self.adam_beta_1, self.adam_beta_2, self.epsilon))

    def _orthogonal_step(self, gradient: Any, variable: Variable, rate: Any, m: Variable) -> None:
        self.assign(m, ops.add(ops.multiply(m.value, self.momentum), gradient))
        ahead = ops.add(gradient, ops.multiply(m.value, self.momentum)) if self.nesterov else m.value
        scale = 1.0 if self.rms_rate is None else max(variable.shape) ** 0.5 * self.rms_rate
        step = ops.multiply(self.orthogonalized(ahead), ops.multiply(rate, scale))
        self.assign_sub(variable, step)

    def orthogonalized(self, x: Any) -> Any:
        """A matrix near the orthogonal one nearest to x, by a Newton-Schulz iteration of degree 5."""
        tall = x.shape[-2] > x.shape[-1]
        x = ops.swapaxes(x, -2, -1) if tall else x
        x = ops.divide(x, ops.add(ops.sqrt(ops.sum(ops.square(x))), 1e-7))
        for _ in range(self.ns_steps):
            gram = ops.matmul(x, ops.swapaxes(x, -2, -1))
            mixed = ops.add(ops.multiply(gram, self.muon_b), ops.multiply(ops.matmul(gram, gram), self.muon_c))
            x = ops.add(ops.multiply(x, self.muon_a), ops.matmul(mixed, x))
        return ops.swapaxes(x, -2, -1) if tall else x
