"""`Loss`: a number that training makes small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcompile.keras import config, dtype_policies, naming, ops, tree
from kcompile.keras.saving.serialization import deserialize_keras_object, serialize_keras_object
from kcompile.tracing.scope import name_scope

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)


class Loss:
    """Base of losses: ``call(y_true, y_pred)`` gives a value a sample, which a call reduces."""

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        self.name = name or naming.auto_name(naming.to_snake_case(type(self).__name__))
        self.reduction = _known(reduction)
        self._dtype_policy = dtype_policies.get(dtype or config.floatx())
        self._dtype = self._dtype_policy.compute_dtype

    @property
    def dtype(self) -> str:
        return self._dtype

    def call(self, y_true: Any, y_pred: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `call(y_true, y_pred)`")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        mask = getattr(y_pred, "_keras_mask", None)
        with name_scope(self.name):
            y_true, y_pred = (
                tree.map_structure(lambda x: ops.convert_to_tensor(x, self.dtype), y) for y in (y_true, y_pred)
            )
            values = self.call(y_true, y_pred)
            check_returned(self.name, values)
            own = getattr(values, "_keras_mask", None)
            if mask is not None and own is not None:
                mask = ops.logical_and(mask, own)
            return reduce_weighted(values, sample_weight, own if mask is None else mask, self.reduction, self.dtype)

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
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn, self._fn_kwargs = fn, kwargs

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if not tree.is_nested(y_true) and not tree.is_nested(y_pred):
            y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        made = {k: serialize_keras_object(v) for k, v in self._fn_kwargs.items()}
        return {**super().get_config(), "fn": serialize_keras_object(self.fn), **made}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{k: deserialize_keras_object(v) for k, v in config.items()})


class NamedLoss(LossFunctionWrapper):
    """Base of the losses that have a class: ``saved`` names the function's arguments that the config holds."""

    saved: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        return {**Loss.get_config(self), **{k: self._fn_kwargs[k] for k in self.saved}}

    def __getattr__(self, name: str) -> Any:
        # The function's arguments are attributes too.
        arguments = self.__dict__.get("_fn_kwargs", {})
        if name in arguments:
            return arguments[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _known(reduction: str | None) -> str | None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"Invalid value for argument `reduction`. Expected one of {REDUCTIONS}. Received: {reduction}")
    return reduction


def squeeze_or_expand_to_same_rank(x1: Any, x2: Any, expand_rank_1: bool = True) -> tuple[Any, Any]:
    """[N] and [N, 1] become alike, as do [..., K] and [..., K, 1]; other ranks stay as they are."""
    a, b = ops.ndim(x1), ops.ndim(x2)
    if a == b + 1 and ops.shape(x1)[-1] == 1:
        return (x1, ops.expand_dims(x2, -1)) if b == 1 and expand_rank_1 else (ops.squeeze(x1, -1), x2)
    if b == a + 1 and ops.shape(x2)[-1] == 1:
        return (ops.expand_dims(x1, -1), x2) if a == 1 and expand_rank_1 else (x1, ops.squeeze(x2, -1))
    return x1, x2


def matched(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both as tensors of the prediction's dtype and of one rank."""
    y_pred = ops.convert_to_tensor(y_pred)
    return squeeze_or_expand_to_same_rank(ops.convert_to_tensor(y_true, y_pred.dtype), y_pred)


def converted(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both as tensors of the prediction's dtype, their ranks as they are."""
    y_pred = ops.convert_to_tensor(y_pred)
    return ops.cast(y_true, y_pred.dtype), y_pred


def check_returned(name: str, values: Any) -> None:
    """Raise ValueError where the function of a loss or metric returned what is no tensor."""
    if values is None or isinstance(values, str):
        raise ValueError(f"{name!r} must return a tensor, it returned {values!r}")


def apply_mask(sample_weight: Any, mask: Any, dtype: Any, reduction: str | None) -> Any:
    """Weights and mask as one weight; for a mean over the batch, over what the mask leaves."""
    if mask is None:
        return sample_weight
    weight = ops.cast(mask, dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        share = ops.divide_no_nan(ops.cast(ops.size(mask), dtype), ops.sum(weight))
        weight = ops.where(ops.cast(mask, "bool"), share, ops.zeros((), dtype))
    if sample_weight is None:
        return weight
    weight, sample_weight = squeeze_or_expand_to_same_rank(weight, ops.cast(sample_weight, dtype))
    return ops.multiply(sample_weight, weight)


def reduce_weighted(values: Any, sample_weight: Any, mask: Any, reduction: str | None, dtype: Any) -> Any:
    """Values a sample, weighted and masked, as one number (or as they are)."""
    values = ops.convert_to_tensor(values, dtype)
    weights = apply_mask(sample_weight, mask, values.dtype, reduction)
    if weights is not None:
        values, weights = squeeze_or_expand_to_same_rank(values, ops.cast(weights, values.dtype))
        values = ops.multiply(values, weights)
    if reduction in ("none", None) or ops.ndim(values) == 0:
        return values
    if reduction == "sum" or ops.size(values) == 0:
        return ops.sum(values)
    if reduction == "mean_with_sample_weight" and weights is not None:
        return ops.divide_no_nan(ops.sum(values), ops.sum(weights))
    return ops.mean(values)
