"""`Loss`: a number that training makes small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcompile.keras import config, naming, ops, tree

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)


class Loss:
    """Base of losses: ``call(y_true, y_pred)`` gives a value a sample, which a call reduces."""

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        if reduction not in REDUCTIONS:
            raise ValueError(f"Invalid value for argument `reduction`. Expected one of {REDUCTIONS}. Received: {reduction}")
        self.name = name or naming.auto_name(naming.to_snake_case(type(self).__name__))
        self.reduction = reduction
        self.dtype = getattr(dtype, "compute_dtype", dtype) or config.floatx()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `call(y_true, y_pred)`")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        mask = getattr(y_pred, "_keras_mask", None)
        y_true = tree.map_structure(_tensor, y_true)
        y_pred = tree.map_structure(_tensor, y_pred)
        values = self.call(y_true, y_pred)
        return reduce_weighted(values, sample_weight, mask, self.reduction)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A loss made of a function of (y_true, y_pred)."""

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ):
        super().__init__(name=name or getattr(fn, "__name__", None), reduction=reduction, dtype=dtype)
        self.fn, self._fn_kwargs = fn, kwargs

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._fn_kwargs}


def _tensor(x: Any) -> Any:
    return ops.convert_to_tensor(x)


def squeeze_or_expand_to_same_rank(x1: Any, x2: Any) -> tuple[Any, Any]:
    """[N] and [N, 1] become alike; other ranks stay as they are."""
    a, b = ops.ndim(x1), ops.ndim(x2)
    if a == b + 1 and ops.shape(x1)[-1] == 1:
        # A mask of the wider one goes with it nowhere; losses take it from y_pred before.
        return (ops.squeeze(x1, -1), x2) if a > 2 or b == 1 else (x1, ops.expand_dims(x2, -1))
    if b == a + 1 and ops.shape(x2)[-1] == 1:
        return (x1, ops.squeeze(x2, -1)) if b > 2 or a == 1 else (ops.expand_dims(x1, -1), x2)
    return x1, x2


def reduce_weighted(values: Any, sample_weight: Any, mask: Any, reduction: str | None) -> Any:
    """Values a sample, weighted and masked, as one number (or as they are)."""
    weights = None
    if sample_weight is not None:
        weights = ops.cast(sample_weight, values.dtype)
    if mask is not None:
        mask = ops.cast(mask, values.dtype)
        if reduction in ("sum_over_batch_size", "mean"):
            # The mean is over what the mask leaves.
            total = ops.cast(_count(mask), values.dtype)
            mask = ops.multiply(mask, ops.divide(total, ops.add(ops.sum(mask), config.epsilon())))
        weights = mask if weights is None else _multiply(weights, mask)
    if weights is not None:
        values = _multiply(values, weights)
    if reduction in ("none", None) or ops.ndim(values) == 0:
        return values
    total = ops.sum(values)
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weights is not None:
        return ops.divide_no_nan(total, ops.sum(weights))
    return ops.mean(values)


def _multiply(a: Any, b: Any) -> Any:
    a, b = squeeze_or_expand_to_same_rank(a, b)
    while ops.ndim(b) < ops.ndim(a):
        b = ops.expand_dims(b, -1)
    while ops.ndim(a) < ops.ndim(b):
        a = ops.expand_dims(a, -1)
    return ops.multiply(a, b)


def _count(x: Any) -> Any:
    return ops.sum(ops.ones_like(x))
