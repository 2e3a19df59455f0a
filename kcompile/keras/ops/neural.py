"""Neural-network functions of `keras.ops`: activations, convolutions, pooling, norms, losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import config
from kcompile.keras.ops import arrays, elementwise, reductions
from kcompile.keras.ops.common import (
    axes_tuple,
    kind,
    op,
    rank_of,
    run,
    shape_of,
    tensor,
)
from kcompile.operators import attention, convolution, normalization, pooling
from kcompile.tracing.tensor import promoted

# ---- convolutions and pooling


def _spatial(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


@op
def conv(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    bias: Any = None,
) -> Any:
    """Convolution over 1 to 3 axes; kernel [*window, in / groups, out], bias [out] where given."""
    count = rank_of(inputs) - 2
    data_format = config.standardize_data_format(data_format)
    channels = shape_of(inputs)[-1 if data_format == "channels_last" else 1]
    groups = channels // shape_of(kernel)[-2]
    operator = convolution.Conv(
        _spatial(strides, count), padding.lower(), _spatial(dilation_rate, count), groups, data_format
    )
    return _cast_all(operator, inputs, kernel, bias)


@op
def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    bias: Any = None,
) -> Any:
    """One convolution a channel; kernel [*window, in, multiplier]."""
    count = rank_of(inputs) - 2
    data_format = config.standardize_data_format(data_format)
    *window, channels, multiplier = shape_of(kernel)
    kernel = arrays.reshape(kernel, (*window, 1, channels * multiplier))
    operator = convolution.Conv(
        _spatial(strides, count), padding.lower(), _spatial(dilation_rate, count), channels, data_format
    )
    return _cast_all(operator, inputs, kernel, bias)


@op
def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    bias: Any = None,
) -> Any:
    """A depthwise convolution, then one of window 1."""
    x = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(x, pointwise_kernel, 1, "valid", data_format, 1, bias)


@op
def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    bias: Any = None,
) -> Any:
    """The gradient of a convolution as a layer; kernel [*window, out, in]."""
    count = rank_of(inputs) - 2
    operator = convolution.ConvTranspose(
        _spatial(strides, count),
        padding.lower(),
        _spatial(dilation_rate, count),
        None if output_padding is None else _spatial(output_padding, count),
        config.standardize_data_format(data_format),
    )
    return _cast_all(operator, inputs, kernel, bias)


@op
def max_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: Any = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """Largest value in each window."""
    return _pool(pooling.MaxPool, inputs, pool_size, strides, padding, data_format)


@op
def average_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: Any = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """Mean of each window; padded cells are not counted."""
    return _pool(pooling.AveragePool, inputs, pool_size, strides, padding, data_format)


def _pool(operator: Any, x: Any, pool_size: Any, strides: Any, padding: str, data_format: str | None) -> Any:
    count = rank_of(x) - 2
    size = _spatial(pool_size, count)
    steps = size if strides is None else _spatial(strides, count)
    return run(operator(size, steps, padding.lower(), config.standardize_data_format(data_format)), x)


# ---- linear layers, norms, attention


@op
def dense(x: Any, kernel: Any, bias: Any = None) -> Any:
    """x [..., K] @ kernel [K, U] + bias [U]: one fused operator."""
    from kcompile.operators.linear import Dense

    return _cast_all(Dense(), x, kernel, bias)


@op
def embedding(table: Any, ids: Any) -> Any:
    """Rows of table [V, D] at integer ids: [*ids, D]."""
    from kcompile.operators.indexing import Embedding

    ids = tensor(ids)
    return run(Embedding(), table, ids if kind(ids).is_integer and kind(ids).bits >= 32 else tensor(ids, "int32"))


@op
def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset along an axis."""
    return _cast_all(normalization.BatchNorm(epsilon, axis), x, scale, offset, mean, variance)


@op
def batch_normalization_training(
    x: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> tuple[Any, Any, Any]:
    """(normalised by the batch's own statistics, batch mean, batch variance)."""
    return _cast_all(normalization.BatchNormTraining(epsilon, axis), x, scale, offset)


@op
def layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: int | Sequence[int] = -1, epsilon: float | None = None, **_: Any
) -> Any:
    """x normalised over trailing axes, times gamma, plus beta."""
    epsilon = config.epsilon() if epsilon is None else epsilon
    return _cast_all(normalization.LayerNorm(epsilon, axes_tuple(axis) or (-1,)), x, gamma, beta)


@op
def rms_normalization(x: Any, scale: Any = None, axis: int | Sequence[int] = -1, epsilon: float | None = None) -> Any:
    """x over its root mean square, times scale."""
    epsilon = config.epsilon() if epsilon is None else epsilon
    return _cast_all(normalization.RmsNorm(epsilon, axes_tuple(axis) or (-1,)), x, scale)


@op
def group_normalization(
    x: Any, groups: int, gamma: Any = None, beta: Any = None, axis: int = -1, epsilon: float = 1e-3
) -> Any:
    """x normalised over each group of channels and all positions."""
    return _cast_all(normalization.GroupNorm(groups, epsilon, axis), x, gamma, beta)


@op
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> tuple[Any, Any]:
    """(mean, population variance) over axes."""
    return reductions.mean(x, axes, keepdims), reductions.var(x, axes, keepdims)


@op
def normalize(x: Any, axis: int | Sequence[int] | None = -1, order: float = 2, epsilon: float | None = None) -> Any:
    """x over its norm along an axis."""
    x = tensor(x, kind(x) if kind(x).is_float else config.floatx())
    least = config.epsilon() if epsilon is None else epsilon
    if order == 2:
        squares = reductions.sum(elementwise.square(x), axis, True)
        return elementwise.multiply(x, elementwise.rsqrt(elementwise.maximum(squares, least**2)))
    powers = reductions.sum(elementwise.power(elementwise.absolute(x), float(order)), axis, True)
    return elementwise.divide(x, elementwise.maximum(elementwise.power(powers, 1.0 / order), least))


@op
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Any:
    """Attention on query [B, T, N, H], key and value [B, S, K, H]: [B, T, N, H].

    mask is True where a query may look; bias is added to the scores. A cap c makes scores s
    c tanh(s / c), which Keras leaves to JAX on TPUs.
    """
    both = mask is not None and bias is not None
    if both:
        mask = elementwise.where(mask, bias, -1e30)
    q, k, v = (arrays.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
    extra = bias if mask is None else mask
    if extra is not None and not kind(extra).is_bool:
        extra = tensor(extra, kind(q))
    operator = attention.Attention(scale, bool(is_causal), attn_logits_soft_cap)
    return arrays.transpose(run(operator, q, k, v, extra), (0, 2, 1, 3))


def _cast_all(operator: Any, *xs: Any) -> Any:
    """An operator whose operands may be absent, all cast to their common dtype."""
    from kcompile.keras import backend

    return backend.apply(operator, xs, promoted(*(x for x in xs if x is not None)))


__all__ = [
    "average_pool", "batch_normalization", "batch_normalization_training", "conv", "conv_transpose", "dense",
    "depthwise_conv", "dot_product_attention", "embedding", "group_normalization", "layer_normalization", "max_pool",
    "moments", "normalize", "rms_normalization", "separable_conv",
]  # fmt: skip
