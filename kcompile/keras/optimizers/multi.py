"""Several optimizers, each for some of a model's variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from kcompile.keras import ops
from kcompile.keras.optimizers.base import Optimizer
from kcompile.keras.optimizers.loss_scale import LossScaleOptimizer
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.tracing.variable import Variable


class OptimizerMap(MutableMapping[str, Optimizer]):
    """Optimizers by patterns of variables' paths; called with a variable, gives its optimizer."""

    def __init__(self, default_optimizer: Optimizer, optimizer_map: dict[str, Optimizer] | None = None):
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError(f"default_optimizer must be a Keras Optimizer instance, got {default_optimizer!r}")
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(f"optimizer_map must be a dictionary, got {optimizer_map!r}")
        self._default_optimizer, self._optimizer_map = default_optimizer, optimizer_map or {}

    @property
    def default_optimizer(self) -> Optimizer:
        return self._default_optimizer

    def __getitem__(self, key: str) -> Optimizer:
        if key in self._optimizer_map:
            return self._optimizer_map[key]
        found = [pattern for pattern in self._optimizer_map if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise ValueError(f"Multiple optimizers assigned to variable {key}: {', '.join(found)}")
        return self._optimizer_map[found[0]] if found else self._default_optimizer

    def __setitem__(self, key: str, optimizer: Optimizer) -> None:
        if not isinstance(key, str):
            raise ValueError(f"key must be a string. Received: {key}")
        if key in self._optimizer_map:
            raise ValueError(f"{key!r} already exists in the OptimizerMap")
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer must be a Keras Optimizer instance. Received: {optimizer}")
        _require_plain(optimizer)
        self._optimizer_map[key] = optimizer

    def __delitem__(self, key: str) -> None:
        del self._optimizer_map[key]

    def __len__(self) -> int:
        return len(self._optimizer_map)

    def __iter__(self) -> Iterator[str]:
        return iter(self._optimizer_map)

    def __call__(self, variable: Variable) -> Optimizer:
        return self[variable.path]

    def get_config(self) -> dict[str, Any]:
        return {
            "default_optimizer": serialize_keras_object(self._default_optimizer),
            "optimizer_map": serialize_keras_object(self._optimizer_map),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        return cls(
            deserialize_keras_object(config["default_optimizer"], custom_objects),
            deserialize_keras_object(config["optimizer_map"], custom_objects),
        )


class MultiOptimizer(Optimizer):
    """Gives each variable to the optimizer that ``optimizer_map`` (a map or a function of a variable) names."""

    def __init__(self, optimizer_map: Any, loss_scale_factor: float | None = None, name: str | None = None):
        self._inner: list[Optimizer] = []
        self._loss_scale_factor: float | None = None
        super().__init__(0.0, loss_scale_factor=loss_scale_factor, name=name)
        self._optimizer_map = optimizer_map
        if hasattr(optimizer_map, "values"):
            for optimizer in optimizer_map.values():
                self._index_of(optimizer)
        default = getattr(optimizer_map, "default_optimizer", None)
        if default is not None:
            self._index_of(default)
        self._owner: dict[int, int] = {}

    def _index_of(self, optimizer: Optimizer) -> int:
        place = next((i for i, o in enumerate(self._inner) if o is optimizer), None)
        if place is None:
            optimizer.loss_scale_factor = self.loss_scale_factor
            self._inner.append(optimizer)
            place = len(self._inner) - 1
        return place

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        for variable in variables:
            optimizer = self._optimizer_map(variable)
            if not isinstance(optimizer, Optimizer):
                raise ValueError(f"the optimizer for {variable} is no Optimizer instance, but {optimizer!r}")
            _require_plain(optimizer)
            self._owner[id(variable)] = self._index_of(optimizer)
        for i, optimizer in enumerate(self._inner):
            own = [v for v in variables if self._owner[id(v)] == i]
            if own:
                optimizer.build(own)
        super().build(variables)

    @property
    def optimizers(self) -> list[Optimizer]:
        return self._inner

    @property
    def variables(self) -> list[Variable]:
        return [*self._variables, *(v for o in self._inner for v in o.variables)]

    @property
    def slots(self) -> dict[int, tuple[str, Variable]]:
        return {k: v for o in self._inner for k, v in o.slots.items()}

    @property
    def learning_rate(self) -> Any:
        raise AttributeError("a MultiOptimizer has no learning rate; each of its `optimizers` has one")

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError("a MultiOptimizer has no learning rate; set it on one of its `optimizers`")

    @property
    def loss_scale_factor(self) -> float | None:  # type: ignore[override]
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        self._loss_scale_factor = value
        for optimizer in self._inner:
            optimizer.loss_scale_factor = value

    def refresh(self) -> None:
        for optimizer in self._inner:
            optimizer.refresh()

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> Any:
        pairs = self._pairs(grads, trainable_variables)
        for i, optimizer in enumerate(self._inner):
            own = [(g, v) for g, v in pairs if self._owner[id(v)] == i]
            if own:
                optimizer.apply([g for g, _ in own], [v for _, v in own])
        self._iterations.assign(ops.add(self._iterations.value, 1))
        return self._iterations.value

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        for i, optimizer in enumerate(self._inner):
            optimizer.finalize_variable_values([v for v in var_list if self._owner[id(v)] == i])

    def get_config(self) -> dict[str, Any]:
        made = serialize_keras_object(self._optimizer_map)
        return {"optimizer_map": made, "loss_scale_factor": self.loss_scale_factor, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        made = deserialize_keras_object(config["optimizer_map"], custom_objects)
        return cls(**{**config, "optimizer_map": made})


def _require_plain(optimizer: Optimizer) -> None:
    if isinstance(optimizer, (LossScaleOptimizer, MultiOptimizer)):
        raise ValueError(f"a MultiOptimizer can't hold a {type(optimizer).__name__}")
