"""`Optimizer`: how a gradient changes a variable."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from kcompile.keras import config, naming, ops
from kcompile.keras.optimizers.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from kcompile.keras.optimizers.conditional import only_if
from kcompile.keras.optimizers.schedules import LearningRateSchedule
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.keras.stateless import StatelessOptimizer
from kcompile.tracing.scope import current_tracer, name_scope, tracing
from kcompile.tracing.variable import Variable


class Optimizer(StatelessOptimizer):
    """Base of optimizers: ``update_step`` gives one variable's rule in `keras.ops`.

    `apply` is traced once for all variables; the engine then runs equal work on many variables as
    one call. ``slots`` names each extra variable's kind and the trained variable it belongs to.
    ``hyperparameters`` names the attributes that a subclass adds to the config.
    """

    hyperparameters: tuple[str, ...] = ()

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
        if kwargs.pop("decay", None) is not None:
            warnings.warn("`decay` is not an argument of Keras 3's optimizers and has no effect", stacklevel=3)
        if kwargs:
            raise ValueError(f"Argument(s) not recognized: {kwargs}")
        self.name = name or naming.auto_name(naming.to_snake_case(type(self).__name__))
        self.weight_decay, self.clipnorm = weight_decay, clipnorm
        self.clipvalue, self.global_clipnorm = clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = use_ema, ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor, self.gradient_accumulation_steps = loss_scale_factor, gradient_accumulation_steps
        self._check_arguments()
        self.built = False
        self._variables: list[Variable] = []
        self._trainable_variables: list[Variable] = []
        self._places: dict[int, int] = {}
        self._slots: dict[int, tuple[str, Variable]] = {}
        self._no_decay: set[int] = set()
        self._no_decay_names: re.Pattern[str] | None = None
        self.revision = 0
        with name_scope(self.name), tracing(None):
            self._iterations = Variable(np.array(0, np.int32), dtype="int32", trainable=False, name="iteration")
            self._variables.append(self._iterations)
            self._learning_rate = self._rate_holder(learning_rate)

    def _check_arguments(self) -> None:
        steps, momentum, often = self.gradient_accumulation_steps, self.ema_momentum, self.ema_overwrite_frequency
        if steps and not steps >= 2:
            raise ValueError(f"`gradient_accumulation_steps` must be an integer >= 2, got {steps}")
        if self.use_ema and not 0 <= momentum <= 1:
            raise ValueError(f"`ema_momentum` must be in the range [0, 1], got {momentum}")
        if self.use_ema and often and (not isinstance(often, int) or often < 1):
            raise ValueError(f"`ema_overwrite_frequency` must be an integer >= 1 or None, got {often}")
        if sum(v is not None for v in (self.clipnorm, self.clipvalue, self.global_clipnorm)) > 1:
            raise ValueError("Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set.")

    # ---- the learning rate

    def _rate_holder(self, given: Any) -> Any:
        """A schedule or callable as it is, a number as a variable."""
        if isinstance(given, LearningRateSchedule) or callable(given):
            self._called_rate = Variable(
                np.array(0.0, np.float32), dtype="float32", trainable=False, name="called_rate"
            )
            return given
        if not isinstance(given, float):
            raise ValueError(
                "`learning_rate` must be a float, a LearningRateSchedule or a callable without arguments, "
                f"got {given!r}"
            )
        if not math.isfinite(given):
            raise ValueError(f"`learning_rate` must be a finite number, got {given}")
        made = Variable(np.array(given, np.float64), dtype=config.floatx(), trainable=False, name="learning_rate")
        self._variables.append(made)
        return made

    def refresh(self) -> None:
        """Call a callable learning rate: its value is what steps use until the next refresh."""
        if not isinstance(self._learning_rate, (LearningRateSchedule, Variable)):
            with tracing(None):
                self._called_rate.assign(self._learning_rate())

    @property
    def learning_rate(self) -> Any:
        """The rate as a variable; the present value where there is a schedule or a callable."""
        if isinstance(self._learning_rate, LearningRateSchedule):
            return self._learning_rate(self._iterations.value)
        return self._learning_rate if isinstance(self._learning_rate, Variable) else self._learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, LearningRateSchedule) or callable(value):
            self._variables = [v for v in self._variables if v is not self._learning_rate]
            self._learning_rate = self._rate_holder(value)
            self.revision += 1
        elif isinstance(self._learning_rate, Variable):
            self._learning_rate.assign(value)
        else:
            raise TypeError(
                "This optimizer was created with a `LearningRateSchedule` object as its `learning_rate` constructor "
                "argument, hence its learning rate is not settable."
            )

    def _rate(self) -> Any:
        """The rate as a tensor of the present step."""
        if isinstance(self._learning_rate, LearningRateSchedule):
            return self._learning_rate(self._iterations.value)
        return self._learning_rate.value if isinstance(self._learning_rate, Variable) else self._called_rate.value

    # ---- variables

    @property
    def iterations(self) -> Any:
        """Steps taken: updates of the variables, where gradients are accumulated over several steps."""
        if self.gradient_accumulation_steps:
            return ops.floor_divide(self._iterations.value, self.gradient_accumulation_steps)
        return self._iterations

    @property
    def variables(self) -> list[Variable]:
        """Step counter, learning rate, averages, accumulators, slots: the order in which Keras stores them."""
        return list(self._variables)

    @property
    def slots(self) -> dict[int, tuple[str, Variable]]:
        """(kind, trained variable) of each slot by its id."""
        return self._slots

    def build(self, variables: Sequence[Variable]) -> None:
        """Remember the variables to train; subclasses make their slots."""
        if self.built:
            return
        self._trainable_variables, self._places = list(variables), {id(v): i for i, v in enumerate(variables)}
        self._model_variables_moving_average = (
            self.add_optimizer_variables(variables, "average") if self.use_ema else []
        )
        self._accumulated_gradients: list[Variable] = []
        if self.gradient_accumulation_steps:
            self._accumulated_gradients = self.add_optimizer_variables(variables, "gradient_accumulator")
        self.built = True

    def add_variable(
        self,
        shape: Any,
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str = "none",
        layout: Any = None,
        name: str | None = None,
    ) -> Variable:
        """A variable of the optimizer's own."""
        from kcompile.keras import initializers

        with name_scope(self.name), tracing(None):
            made = Variable(
                initializers.get(initializer), tuple(shape), dtype or config.floatx(), trainable=False, name=name
            )
        self._variables.append(made)
        return made

    def add_variable_from_reference(
        self, reference_variable: Variable, name: str | None = None, initializer: Any = "zeros"
    ) -> Variable:
        """A slot: a variable in the shape and dtype of a trained one."""
        kind = name or "var"
        path = reference_variable.path.replace("/", "_")
        made = self.add_variable(reference_variable.shape, initializer, reference_variable.dtype, name=f"{path}_{kind}")
        self._slots[id(made)] = (kind, reference_variable)
        return made

    def add_optimizer_variables(
        self, trainable_variables: Sequence[Variable], name: Any, initializer: Any = "zeros"
    ) -> Any:
        """A list of one slot a variable; for several names a list each, made variable by variable."""
        if isinstance(name, str):
            return self.add_optimizer_variables(trainable_variables, [name], initializer)[0]
        starts = list(initializer) if isinstance(initializer, (list, tuple)) else [initializer] * len(name)
        if len(starts) != len(name):
            raise ValueError(f"{len(name)} names for {len(starts)} initializers: {name} and {starts}")
        made = [
            [self.add_variable_from_reference(v, n, start) for n, start in zip(name, starts, strict=True)]
            for v in trainable_variables
        ]
        return tuple([row[i] for row in made] for i in range(len(name)))

    def _get_variable_index(self, variable: Variable) -> int:
        return self._places[id(variable)]

    # ---- steps

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        """Assign the variable (and its slots) their next values."""
        raise NotImplementedError(f"{type(self).__name__} must implement `update_step`")

    def update_all(self, gradients: Sequence[Any], variables: Sequence[Variable], rate: Any) -> None:
        """`update_step` for each; override for what happens once a step."""
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, rate)

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> Any:
        """One step for all variables; eager, or recorded where a trace is in progress."""
        pairs = self._pairs(grads, trainable_variables)
        if pairs:
            if self.loss_scale_factor is not None:
                pairs = [(ops.divide(g, self.loss_scale_factor), v) for g, v in pairs]
            if current_tracer() is None:
                self.refresh()
            self._accumulate(pairs) if self.gradient_accumulation_steps else self._update(pairs)
            self._average()
            for _, variable in pairs:
                if variable.constraint is not None:
                    variable.assign(variable.constraint(variable.value))
        self._iterations.assign(ops.add(self._iterations.value, 1))
        return self._iterations.value

    def apply_gradients(self, grads_and_vars: Any) -> Any:
        """`apply` for pairs."""
        return self.apply(*map(list, zip(*grads_and_vars, strict=True)))

    def _pairs(self, grads: Sequence[Any], variables: Sequence[Variable] | None) -> list[tuple[Any, Variable]]:
        """(gradient, variable) where there is a gradient; builds at the first call."""
        if variables is None and not self.built:
            raise ValueError(
                "`apply` without variables needs a built optimizer: call `build(trainable_variables)` first"
            )
        variables = self._trainable_variables if variables is None else list(variables)
        if len(grads) != len(variables):
            raise ValueError(f"got {len(grads)} gradients for {len(variables)} variables")
        if not self.built:
            with tracing(None):
                self.build(variables)
        unknown = next((v for v in variables if id(v) not in self._places), None)
        if unknown is not None:
            raise ValueError(
                f"Unknown variable: {unknown}. The optimizer was built for other variables; make a new one."
            )
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
        if grads and not pairs:
            raise ValueError("No gradients provided for any variable.")
        if len(pairs) < len(grads):
            missing = [v.path for g, v in zip(grads, variables, strict=True) if g is None]
            warnings.warn(f"Gradients do not exist for variables {missing} when minimizing the loss.", stacklevel=4)
        return pairs

    def _update(self, pairs: Sequence[tuple[Any, Variable]]) -> None:
        variables, rate = [v for _, v in pairs], self._rate()
        gradients = self._clip([g for g, _ in pairs])
        self._apply_weight_decay(variables)
        self.update_all(gradients, variables, rate)

    def _accumulate(self, pairs: Sequence[tuple[Any, Variable]]) -> None:
        """Add gradients up; every so many steps update with their mean and start anew."""
        steps = self.gradient_accumulation_steps
        last = ops.equal(ops.mod(ops.add(self._iterations.value, 1), steps), 0)
        totals = []
        for gradient, variable in pairs:
            total = self._accumulated_gradients[self._get_variable_index(variable)]
            self.assign_add(total, gradient)
            totals.append(total.value)
        only_if(
            last, lambda: self._update([(ops.divide(t, steps), v) for t, (_, v) in zip(totals, pairs, strict=True)])
        )
        only_if(last, lambda: [a.assign(ops.multiply(a.value, 0.0)) for a in self._accumulated_gradients])

    def _average(self) -> None:
        """Move the exponential averages on; every so many steps variables become their averages."""
        if not self.use_ema:
            return
        step = self.iterations
        later = ops.cast(ops.not_equal(step, 0), "float32")
        momentum = ops.multiply(later, float(self.ema_momentum))
        rest = ops.subtract(1.0, momentum)
        for variable, average in zip(self._trainable_variables, self._model_variables_moving_average, strict=True):
            old = ops.multiply(average.value, ops.cast(momentum, average.dtype))
            average.assign(ops.add(old, ops.multiply(variable.value, ops.cast(rest, average.dtype))))
        if self.ema_overwrite_frequency:
            due = ops.equal(ops.mod(ops.add(step, 1), self.ema_overwrite_frequency), 0)
            only_if(due, lambda: self.finalize_variable_values(self._trainable_variables))

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Give variables their averages where ``use_ema``; `fit` does so at its end."""
        for variable in var_list if self.use_ema else ():
            variable.assign(self._model_variables_moving_average[self._get_variable_index(variable)].value)

    def scale_loss(self, loss: Any) -> Any:
        """The loss times the loss scale: its gradients are what `apply` takes."""
        return loss if self.loss_scale_factor is None else ops.multiply(loss, self.loss_scale_factor)

    def assign(self, variable: Variable, value: Any) -> None:
        variable.assign(ops.cast(value, variable.dtype))

    def assign_add(self, variable: Variable, value: Any) -> None:
        variable.assign(ops.add(variable.value, ops.cast(value, variable.dtype)))

    def assign_sub(self, variable: Variable, value: Any) -> None:
        variable.assign(ops.subtract(variable.value, ops.cast(value, variable.dtype)))

    def _clip(self, gradients: list[Any]) -> list[Any]:
        if self.clipnorm and self.clipnorm > 0:
            return clip_by_norm(gradients, self.clipnorm)
        if self.global_clipnorm and self.global_clipnorm > 0:
            return clip_by_global_norm(gradients, self.global_clipnorm)
        if self.clipvalue and self.clipvalue > 0:
            return clip_by_value(gradients, self.clipvalue)
        return gradients

    # ---- weight decay

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Variables, or those in whose name one of the patterns is found, that weight decay leaves alone."""
        self._no_decay = {id(v) for v in var_list or []}
        self._no_decay_names = re.compile("|".join(var_names)) if var_names else None

    def _use_weight_decay(self, variable: Variable) -> bool:
        named = self._no_decay_names is not None and self._no_decay_names.search(variable.name)
        return id(variable) not in self._no_decay and not named

    def _weight_decay_of(self, variable: Variable) -> float | None:
        """The decay of one variable; None for none."""
        return self.weight_decay if self._use_weight_decay(variable) else None

    def _apply_weight_decay(self, variables: Sequence[Variable]) -> None:
        rate = self._rate()
        for variable in variables:
            decay = self._weight_decay_of(variable)
            if decay is not None:
                kept = ops.subtract(1.0, ops.multiply(ops.cast(rate, variable.dtype), decay))
                variable.assign(ops.multiply(variable.value, kept))

    # ---- configuration

    def get_config(self) -> dict[str, Any]:
        held = self._learning_rate
        common = (
            "weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum",
            "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps",
        )  # fmt: skip
        return {
            "name": self.name,
            "learning_rate": float(held.numpy()) if isinstance(held, Variable) else serialize_keras_object(held),
            **{k: getattr(self, k) for k in common},
            **{k: getattr(self, k) for k in self.hyperparameters},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = deserialize_keras_object(config["learning_rate"], custom_objects)
        return cls(**config)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Give `variables` these values."""
        if not self.built:
            raise ValueError("`set_weights` needs a built optimizer: call `build(trainable_variables)` first")
        for variable, weight in zip(self.variables, weights, strict=False):
            if tuple(variable.shape) != tuple(np.shape(weight)):
                raise ValueError(
                    f"variable {variable.path!r} of the optimizer has shape {variable.shape}, the weight "
                    f"{tuple(np.shape(weight))}"
                )
            variable.assign(weight)

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        if len(store.keys()) != len(self.variables):
            raise ValueError(
                f"optimizer {self.name!r} has {len(self.variables)} variables, the file {len(store.keys())}"
            )
        for i, variable in enumerate(self.variables):
            variable.assign(np.asarray(store[str(i)]))
