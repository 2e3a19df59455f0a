"""`Optimizer`: how a gradient changes a variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.keras import naming, ops
from kcompile.keras.optimizers.schedules import LearningRateSchedule
from kcompile.tracing.scope import name_scope, tracing
from kcompile.tracing.variable import Variable


class Optimizer:
    """Base of optimizers: ``update_step`` gives one variable's rule in `keras.ops`.

    `apply` is traced once for all variables; the engine then runs equal work on many variables as
    one call. ``slots`` names each extra variable's kind and the place of the variable it belongs to.
    """

    def __init__(
        self,
        learning_rate: Any,
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
        if kwargs:
            raise ValueError(f"Argument(s) not recognized: {kwargs}")
        if sum(v is not None for v in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError("Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set.")
        later = {
            "use_ema": use_ema or None,
            "loss_scale_factor": loss_scale_factor,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        }
        for argument, value in later.items():
            if value is not None:
                raise ValueError(f"{type(self).__name__}: `{argument}` is not supported yet; leave it out")
        self.name = name or naming.auto_name(naming.to_snake_case(type(self).__name__))
        self.weight_decay, self.clipnorm = weight_decay, clipnorm
        self.clipvalue, self.global_clipnorm = clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = use_ema, ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor, self.gradient_accumulation_steps = loss_scale_factor, gradient_accumulation_steps
        self.built = False
        self._variables: list[Variable] = []
        self._trainable_variables: list[Variable] = []
        self._places: dict[int, int] = {}
        self.slots: dict[int, tuple[str, int]] = {}
        self._no_decay: set[int] = set()
        with name_scope(self.name), tracing(None):
            self.iterations = Variable(np.array(0, np.int32), dtype="int32", trainable=False, name="iteration")
            self._variables.append(self.iterations)
            self._schedule = learning_rate if isinstance(learning_rate, LearningRateSchedule) else None
            if self._schedule is None:
                if callable(learning_rate):
                    learning_rate = learning_rate()
                rate = np.array(learning_rate, np.float32)
                self._learning_rate = Variable(rate, dtype="float32", trainable=False, name="learning_rate")
                self._variables.append(self._learning_rate)

    # ---- variables

    @property
    def variables(self) -> list[Variable]:
        """Step counter, learning rate, slots."""
        return list(self._variables)

    @property
    def learning_rate(self) -> Any:
        """The rate as a variable; a schedule's present value where there is one."""
        return self._learning_rate if self._schedule is None else self._schedule(self.iterations.value)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, LearningRateSchedule):
            self._schedule = value
            return
        if self._schedule is not None:
            raise TypeError(
                "This optimizer was created with a `LearningRateSchedule` object as its `learning_rate` constructor "
                "argument, hence its learning rate is not settable."
            )
        self._learning_rate.assign(value)

    def build(self, variables: Sequence[Variable]) -> None:
        """Remember the variables to train; subclasses make their slots."""
        if self.built:
            return
        self._trainable_variables = list(variables)
        self._places = {id(v): i for i, v in enumerate(variables)}
        self.built = True

    def add_variable(
        self, shape: Any, initializer: Any = "zeros", dtype: Any = None, aggregation: str = "none", name: str | None = None
    ) -> Variable:
        """A variable of the optimizer's own."""
        from kcompile.keras import initializers

        with name_scope(self.name), tracing(None):
            made = Variable(initializers.get(initializer), shape, dtype or "float32", trainable=False, name=name)
        self._variables.append(made)
        return made

    def add_variable_from_reference(
        self, reference_variable: Variable, name: str | None = None, initializer: Any = "zeros"
    ) -> Variable:
        """A slot: a variable in the shape and dtype of a trained one."""
        kind = name or "slot"
        path = reference_variable.path.replace("/", "_")
        made = self.add_variable(
            reference_variable.shape, initializer, reference_variable.dtype, name=f"{path}_{kind}"
        )
        self.slots[id(made)] = (kind, self._places[id(reference_variable)])
        return made

    def add_optimizer_variables(
        self, trainable_variables: Sequence[Variable], name: Any, initializer: Any = "zeros"
    ) -> Any:
        """One slot a variable (a list of them for several names)."""
        if isinstance(name, (list, tuple)):
            return tuple(self.add_optimizer_variables(trainable_variables, n, initializer) for n in name)
        return [self.add_variable_from_reference(v, name, initializer) for v in trainable_variables]

    def _get_variable_index(self, variable: Variable) -> int:
        return self._places[id(variable)]

    # ---- steps

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        """Assign the variable (and its slots) their next values."""
        raise NotImplementedError(f"{type(self).__name__} must implement `update_step`")

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> Any:
        """One step for all variables; eager, or recorded where a trace is in progress."""
        variables = list(trainable_variables) if trainable_variables is not None else self._trainable_variables
        if len(grads) != len(variables):
            raise ValueError(f"got {len(grads)} gradients for {len(variables)} variables")
        if not self.built:
            with tracing(None):
                self.build(variables)
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
        rate = self._learning_rate.value if self._schedule is None else self._schedule(self.iterations.value)
        clipped = self._clip([g for g, _ in pairs])
        kept = [v for _, v in pairs]
        self._decay(kept, rate)
        for gradient, variable in zip(clipped, kept, strict=True):
            self.update_step(gradient, variable, rate)
        for variable in kept:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable.value))
        self.iterations.assign(ops.add(self.iterations.value, 1))
        return self.iterations.value

    def apply_gradients(self, grads_and_vars: Any) -> Any:
        """`apply` for pairs."""
        grads, variables = zip(*grads_and_vars, strict=True)
        return self.apply(list(grads), list(variables))

    def assign(self, variable: Variable, value: Any) -> None:
        variable.assign(ops.cast(value, variable.dtype))

    def assign_add(self, variable: Variable, value: Any) -> None:
        variable.assign(ops.add(variable.value, ops.cast(value, variable.dtype)))

    def assign_sub(self, variable: Variable, value: Any) -> None:
        variable.assign(ops.subtract(variable.value, ops.cast(value, variable.dtype)))

    def _clip(self, grads: list[Any]) -> list[Any]:
        if self.clipvalue is not None:
            return [ops.clip(g, -float(self.clipvalue), float(self.clipvalue)) for g in grads]
        if self.clipnorm is not None:
            return [self._clip_by_norm(g) for g in grads]
        if self.global_clipnorm is not None:
            total = ops.sqrt(sum(ops.sum(ops.square(g)) for g in grads))
            scale = float(self.global_clipnorm) / ops.maximum(total, float(self.global_clipnorm))
            return [ops.multiply(g, scale) for g in grads]
        return grads

    def _clip_by_norm(self, gradient: Any) -> Any:
        norm = ops.sqrt(ops.sum(ops.square(gradient)))
        return ops.multiply(gradient, float(self.clipnorm or 0.0) / ops.maximum(norm, float(self.clipnorm or 0.0)))

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Variables (or those with a name in them) that weight decay leaves alone."""
        if self.built is False and var_names:
            raise ValueError("`exclude_from_weight_decay()` by name needs a built optimizer")
        self._no_decay |= {id(v) for v in var_list or []}
        self._no_decay |= {id(v) for v in self._trainable_variables for n in var_names or [] if n in v.path}

    def _decay(self, variables: Sequence[Variable], rate: Any) -> None:
        if not self.weight_decay:
            return
        for variable in variables:
            if id(variable) not in self._no_decay:
                variable.assign(variable.value - variable.value * (self.weight_decay * rate))

    # ---- configuration

    def get_config(self) -> dict[str, Any]:
        from kcompile.keras.saving.serialization import serialize_keras_object

        rate: Any = (
            serialize_keras_object(self._schedule) if self._schedule is not None else float(self._learning_rate.numpy())
        )
        return {
            "name": self.name,
            "learning_rate": rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            from kcompile.keras.saving.serialization import deserialize_keras_object

            config["learning_rate"] = deserialize_keras_object(config["learning_rate"])
        return cls(**config)

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        if len(store.keys()) != len(self.variables):
            raise ValueError(f"optimizer {self.name!r} has {len(self.variables)} variables, the file {len(store.keys())}")
        for i, variable in enumerate(self.variables):
            variable.assign(np.asarray(store[str(i)]))

