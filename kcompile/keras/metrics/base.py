"""`Metric`: a number that accumulates over batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kcompile.keras import config, naming, ops
from kcompile.keras.layers import tracking
from kcompile.keras.losses.base import squeeze_or_expand_to_same_rank
from kcompile.tracing.scope import name_scope, tracing
from kcompile.tracing.variable import Variable


class Metric:
    """Base of metrics: variables, `update_state` for a batch, `result` for what came so far."""

    def __init__(self, dtype: Any = None, name: str | None = None):
        self.name = name or naming.auto_name(naming.to_snake_case(type(self).__name__))
        self._dtype = getattr(dtype, "compute_dtype", dtype) or config.floatx()
        self._own_variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        return self._dtype

    def add_variable(
        self, shape: Sequence[int], initializer: Any = None, dtype: Any = None, aggregation: str = "sum", name: str | None = None
    ) -> Variable:
        """A variable of the metric's; zeros unless an initialiser says otherwise."""
        from kcompile.keras import initializers

        with name_scope(self.name), tracing(None):
            made = Variable(
                initializers.get(initializer or "zeros"), tuple(shape), dtype or self.dtype, trainable=False, name=name
            )
        self._own_variables.append(made)
        return made

    add_weight = add_variable

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
        self.total = self.add_variable((), name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, _ = weighted(values, sample_weight, self.dtype)
        self.total.assign(ops.add(self.total.value, ops.sum(values)))

    def result(self) -> Any:
        return ops.cast(self.total.value, self.dtype)


class Mean(Metric):
    """Weighted mean of values."""

    def __init__(self, name: str = "mean", dtype: Any = None):
        super().__init__(dtype, name)
        self.total = self.add_variable((), name="total")
        self.count = self.add_variable((), name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, weights = weighted(values, sample_weight, self.dtype)
        self.total.assign(ops.add(self.total.value, ops.sum(values)))
        count = ops.cast(ops.size(values), self.dtype) if weights is None else ops.sum(weights)
        self.count.assign(ops.add(self.count.value, count))

    def result(self) -> Any:
        return ops.divide_no_nan(self.total.value, self.count.value)


class MeanMetricWrapper(Mean):
    """Mean of a function of (y_true, y_pred) that gives a value a sample."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any):
        super().__init__(name or getattr(fn, "__name__", None) or "mean_metric", dtype)
        self._fn, self._fn_kwargs = fn, kwargs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        mask = getattr(y_pred, "_keras_mask", None)
        values = self._fn(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred), **self._fn_kwargs)
        if mask is not None:
            mask = ops.cast(mask, self.dtype)
            sample_weight = mask if sample_weight is None else ops.multiply(sample_weight, mask)
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, **self._fn_kwargs}


def weighted(values: Any, sample_weight: Any, dtype: str) -> tuple[Any, Any]:
    """(values times weights, the weights in the values' shape or None)."""
    values = ops.cast(values, dtype)
    if sample_weight is None:
        return values, None
    weights = ops.cast(sample_weight, dtype)
    values, weights = squeeze_or_expand_to_same_rank(values, weights)
    if ops.ndim(values) > ops.ndim(weights) and ops.ndim(weights) > 0:
        # Values with more axes than weights are averaged over them first, as Keras does.
        values = ops.mean(values, axis=tuple(range(ops.ndim(weights), ops.ndim(values))))
    weights = ops.broadcast_to(weights, ops.shape(values)) if ops.ndim(values) else weights
    return ops.multiply(values, weights), weights
