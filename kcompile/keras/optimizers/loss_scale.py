"""Dynamic loss scaling, for training in float16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import initializers, ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.conditional import only_if
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.tracing.variable import Variable

# Arguments of every optimizer that here belong to the inner one, and the values that mean nothing.
_INNER = {
    "weight_decay": None, "clipnorm": None, "global_clipnorm": None, "clipvalue": None, "use_ema": False,
    "ema_momentum": 0.99, "ema_overwrite_frequency": None, "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}  # fmt: skip


class LossScaleOptimizer(Optimizer):
    """Scales the loss up so that small gradients survive, and lets another optimizer apply them scaled down.

    A step whose gradients are not finite is left out and halves the scale; ``dynamic_growth_steps``
    good ones in a row double it.
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **kwargs: Any,
    ):
        if not kwargs.pop("dynamic", True):
            raise ValueError(
                "LossScaleOptimizer does not support `dynamic=False`; set `loss_scale_factor` on the inner optimizer"
            )
        for argument, nothing in _INNER.items():
            if kwargs.pop(argument, nothing) != nothing:
                raise ValueError(f"LossScaleOptimizer does not support `{argument}`; set it on the inner optimizer")
        if kwargs:
            raise ValueError(f"LossScaleOptimizer does not support arguments: `{'`, `'.join(kwargs)}`.")
        if not isinstance(inner_optimizer, Optimizer):
            raise ValueError(f"LossScaleOptimizer needs an optimizer object, got {inner_optimizer!r}")
        super().__init__(0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.initial_scale, self.dynamic_growth_steps = initial_scale, dynamic_growth_steps
        inner_optimizer.loss_scale_factor = None
        # Made here and not by `build`, so that a step traced before reads the scale as a variable.
        self.step_counter = self.add_variable((), dtype="int32", name="step_counter")
        start = initializers.Constant(initial_scale)
        self.dynamic_scale = self.add_variable((), start, "float32", name="dynamic_scale")

    @property
    def variables(self) -> list[Variable]:
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def slots(self) -> dict[int, tuple[str, Variable]]:
        return self.inner_optimizer.slots

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value
        self.revision += 1

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    def refresh(self) -> None:
        self.inner_optimizer.refresh()

    def build(self, variables: Sequence[Variable]) -> None:
        self.inner_optimizer.build(variables)
        super().build(variables)

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> Any:
        pairs = self._pairs(grads, trainable_variables)
        gradients, variables = [g for g, _ in pairs], [v for _, v in pairs]
        finite = ops.all(ops.stack([ops.all(ops.isfinite(g)) for g in gradients]))
        only_if(finite, lambda: self._finite_step(gradients, variables))
        only_if(ops.logical_not(finite), lambda: self._rescale(0.5))
        return self.iterations

    def _finite_step(self, gradients: Sequence[Any], variables: Sequence[Variable]) -> None:
        scale = self.dynamic_scale.value
        self.inner_optimizer.apply([ops.divide(g, ops.cast(scale, g.dtype)) for g in gradients], variables)
        grown = ops.equal(self.step_counter.value, self.dynamic_growth_steps - 1)
        self.step_counter.assign(ops.add(self.step_counter.value, 1))
        only_if(grown, lambda: self._rescale(2.0))

    def _rescale(self, factor: float) -> None:
        self.step_counter.assign(ops.zeros((), "int32"))
        self.dynamic_scale.assign(ops.multiply(self.dynamic_scale.value, factor))

    def scale_loss(self, loss: Any) -> Any:
        return ops.multiply(loss, ops.cast(self.dynamic_scale.value, loss.dtype))

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "inner_optimizer": serialize_keras_object(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        return cls(deserialize_keras_object(config.pop("inner_optimizer"), custom_objects), **config)
