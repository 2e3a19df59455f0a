"""Activation functions by name."""

from __future__ import annotations

from typing import Any

from kcompile.keras import ops
from kcompile.keras.ops import (
    celu,
    elu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    mish,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    tanh,
    tanh_shrink,
    threshold,
)
from kcompile.keras.saving.lookup import find_function
from kcompile.keras.saving.registration import custom_object_scope
from kcompile.keras.saving.serialization import serialize_keras_object


def linear(x: Any) -> Any:
    """x itself."""
    return x


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """max(x, 0), with a slope below the threshold and a greatest value where given."""
    if threshold:
        below = negative_slope * (x - threshold) if negative_slope else 0.0
        x = ops.where(ops.greater(x, threshold), x, below)
        return x if max_value is None else ops.minimum(x, max_value)
    if negative_slope:
        x = ops.leaky_relu(x, negative_slope)
        return x if max_value is None else ops.minimum(x, max_value)
    return ops.relu(x) if max_value is None else ops.clip(x, 0.0, float(max_value))


def gelu(x: Any, approximate: bool = False) -> Any:
    """x times the normal distribution function of x."""
    return ops.gelu(x, approximate)


def exponential(x: Any) -> Any:
    """exp(x)."""
    return ops.exp(x)


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) scaled to sum to 1 along an axis."""
    return ops.softmax(x, axis)


swish, hard_swish = silu, hard_silu

FUNCTIONS: tuple[Any, ...] = (
    celu, elu, exponential, gelu, glu, hard_shrink, hard_sigmoid, hard_silu, hard_tanh, leaky_relu, linear,
    log_sigmoid, log_softmax, mish, relu, relu6, selu, sigmoid, silu, soft_shrink, softmax, softplus, softsign,
    sparse_plus, sparse_sigmoid, sparsemax, squareplus, tanh, tanh_shrink, threshold,
)  # fmt: skip
_ALIASES = {"swish": silu, "hard_swish": hard_silu}


def get(identifier: Any) -> Any:
    """The function for a name, a config or a callable; None is `linear`."""
    return linear if identifier is None else find_function(identifier, FUNCTIONS, "activation", _ALIASES)


def serialize(activation: Any) -> Any:
    """The name that `get` takes, or a config for a registered function."""
    return activation.__name__ if activation in FUNCTIONS else serialize_keras_object(activation)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    with custom_object_scope(custom_objects or {}):
        return get(config)
