"""`Metric`: a number that accumulates over batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kcompile.keras import config, dtype_policies, naming, ops
from kcompile.keras.layers import tracking
from kcompile.keras.losses.base import apply_mask, check_returned, squeeze_or_expand_to_same_rank
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.keras.stateless import StatelessMetric
from kcompile.tracing.scope import name_scope, tracing
from kcompile.tracing.variable import Variable


class Metric(StatelessMetric):
    """Base of metrics: variables, `update_state` for a batch, `result` for what came so far."""

    def __init__(self, dtype: Any = None, name: str | None = None):
        self.name = name or naming.auto_name(naming.to_snake_case(type(self).__name__))
        self._dtype_policy = dtype_policies.get(dtype or config.floatx())
        self._dtype = self._dtype_policy.compute_dtype
        self._own_variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        return self._dtype

    def add_variable(
        self,
        shape: Sequence[int],
        initializer: Any = None,
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """A variable of the metric's, floatx unless dtype says; zeros unless an initialiser says otherwise."""
        from kcompile.keras import initializers

        with name_scope(self.name.replace("/", ">")), tracing(None):
            made = Variable(
                initializers.get(initializer or "zeros"),
                tuple(shape),
                dtype or config.floatx(),
                trainable=False,
                name=name,
            )
        self._own_variables.append(made)
        return made

    def add_weight(
        self, shape: Sequence[int] = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """`add_variable` by its older name."""
        return self.add_variable(shape, initializer, dtype, name=name)

    def add_to(self, variable: Variable, value: Any) -> None:
        """Add a value up in a variable."""
        variable.assign(ops.add(variable.value, ops.cast(value, variable.dtype)))

    @property
    def variables(self) -> list[Variable]:
        inner = [v for m in tracking.held(self, Metric) for v in m.variables]
        return tracking.unique(v for part in (self._own_variables, inner) for v in part)

    def reset_state(self) -> None:
        """Start anew: all variables become 0."""
        for variable in self.variables:
            variable.assign(np.zeros(variable.shape, variable.numpy().dtype))

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} must implement `update_state`")

    def result(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `result`")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class Sum(Metric):
    """Weighted sum of values."""

    def __init__(self, name: str = "sum", dtype: Any = None):
        super().__init__(dtype, name)
        self.total = self.add_variable((), dtype=self.dtype, name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, _ = samplewise(values, sample_weight, ops.sum, self.dtype)
        self.add_to(self.total, ops.sum(values))

    def result(self) -> Any:
        return ops.cast(self.total.value, self.dtype)


class Mean(Metric):
    """Weighted mean of values."""

    def __init__(self, name: str = "mean", dtype: Any = None):
        super().__init__(dtype, name)
        self.total = self.add_variable((), dtype=self.dtype, name="total")
        self.count = self.add_variable((), dtype=self.dtype, name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, weights = samplewise(values, sample_weight, ops.mean, self.dtype)
        self.add_to(self.total, ops.sum(values))
        if weights is not None:
            self.add_to(self.count, ops.sum(weights))
        else:
            self.add_to(self.count, ops.shape(values)[0] if ops.ndim(values) else 1)

    def result(self) -> Any:
        return ops.divide_no_nan(self.total.value, self.count.value)


class MeanMetricWrapper(Mean):
    """Mean of a function of (y_true, y_pred) that gives a value a sample."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any):
        super().__init__(name, dtype)  # type: ignore[arg-type]
        self._fn, self._fn_kwargs = fn, kwargs

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        mask = getattr(y_pred, "_keras_mask", None)
        values = self._fn(y_true, y_pred, **self._fn_kwargs)
        check_returned(self.name, values)
        super().update_state(values, apply_mask(sample_weight, mask, self.dtype, "sum"))

    def get_config(self) -> dict[str, Any]:
        made = {k: serialize_keras_object(v) for k, v in self._fn_kwargs.items()}
        return {**super().get_config(), "fn": serialize_keras_object(self._fn), **made}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{k: deserialize_keras_object(v) for k, v in config.items()})


class NamedMetric(MeanMetricWrapper):
    """Base of means of functions that have a class: ``saved`` names the function's arguments that the config holds."""

    saved: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        return {**Metric.get_config(self), **{k: self._fn_kwargs[k] for k in self.saved}}

    def __getattr__(self, name: str) -> Any:
        # The function's arguments are attributes too.
        arguments = self.__dict__.get("_fn_kwargs", {})
        if name in arguments:
            return arguments[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def samplewise(values: Any, sample_weight: Any, reduce: Callable[..., Any], dtype: str) -> tuple[Any, Any]:
    """(a weighted value a sample, a weight a sample or None): further axes are put together by ``reduce``."""
    mask = getattr(values, "_keras_mask", None)
    values = ops.cast(values, dtype)
    weights = None
    if sample_weight is not None:
        weights = apply_mask(ops.convert_to_tensor(sample_weight, dtype), mask, dtype, "sum")
        values, weights = squeeze_or_expand_to_same_rank(values, weights)
        rank = ops.ndim(weights)
        if ops.ndim(values) > rank:
            values = reduce(values, axis=tuple(range(rank, ops.ndim(values))))
        weights = ops.broadcast_to(weights, ops.shape(values)) if ops.ndim(values) else weights
        values = ops.multiply(values, weights)
        if rank > 1:
            weights = reduce(weights, axis=tuple(range(1, rank)))
    if ops.ndim(values) > 1:
        values = reduce(values, axis=tuple(range(1, ops.ndim(values))))
    return values, weights
