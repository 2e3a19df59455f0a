"""Neural-network functions of `keras.ops`: activations, convolutions, pooling, norms, losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import config
from kcompile.keras.ops import arrays, elementwise
from kcompile.keras.ops.common import (
    axes_tuple,
    common,
    kind,
    normal_axis,
    on_float,
    op,
    rank_of,
    run,
    shape_of,
    tensor,
)
from kcompile.operators import activation, attention, convolution, image, losses, normalization, pooling
from kcompile.tracing.tensor import promoted


def _activation(name: str, make: Any, doc: str) -> Any:
    def function(x: Any) -> Any:
        return on_float(make(), x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return op(function)


@op
def relu(x: Any) -> Any:
    """max(x, 0)."""
    return on_float(activation.Relu(), x) if kind(x).is_float else elementwise.maximum(x, 0)


sigmoid = _activation("sigmoid", activation.Sigmoid, "1 / (1 + exp(-x)).")
log_sigmoid = _activation("log_sigmoid", activation.LogSigmoid, "log(sigmoid(x)).")
softplus = _activation("softplus", activation.Softplus, "log(1 + exp(x)).")
softsign = _activation("softsign", activation.Softsign, "x / (1 + |x|).")
silu = _activation("silu", activation.Silu, "x * sigmoid(x).")
swish = silu
mish = _activation("mish", activation.Mish, "x * tanh(softplus(x)).")
selu = _activation("selu", activation.Selu, "Scaled elu of self-normalising networks.")
hard_sigmoid = _activation("hard_sigmoid", activation.HardSigmoid, "relu6(x + 3) / 6.")
hard_silu = _activation("hard_silu", activation.HardSilu, "x * relu6(x + 3) / 6.")
hard_swish = hard_silu
hard_tanh = _activation("hard_tanh", activation.HardTanh, "x held between -1 and 1.")
tanh_shrink = _activation("tanh_shrink", activation.TanhShrink, "x - tanh(x).")
sparse_sigmoid = _activation("sparse_sigmoid", activation.SparseSigmoid, "0 below -1, 1 above 1, linear between.")
sparse_plus = _activation("sparse_plus", activation.SparsePlus, "0 below -1, x above 1, a parabola between.")


@op
def relu6(x: Any) -> Any:
    """x held between 0 and 6."""
    return elementwise.clip(x, 0.0, 6.0)


@op
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x where positive, else negative_slope * x."""
    return on_float(activation.LeakyRelu(float(negative_slope)), x)


@op
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where positive, else alpha * (exp(x) - 1)."""
    return on_float(activation.Elu(float(alpha)), x)


@op
def celu(x: Any, alpha: float = 1.0) -> Any:
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
    return on_float(activation.Celu(float(alpha)), x)


@op
def gelu(x: Any, approximate: bool = True) -> Any:
    """x times the normal distribution function of x; by tanh where approximate."""
    return on_float(activation.Gelu(bool(approximate)), x)


@op
def squareplus(x: Any, b: float = 4) -> Any:
    """(x + sqrt(x*x + b)) / 2."""
    return on_float(activation.Squareplus(float(b)), x)


@op
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x moved towards 0 by the threshold."""
    return on_float(activation.SoftShrink(float(threshold)), x)


@op
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x, or 0 where |x| is at most the threshold."""
    return on_float(activation.HardShrink(float(threshold)), x)


@op
def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """x where it is above the threshold, else default_value."""
    return on_float(activation.Threshold(float(threshold), float(default_value)), x)


@op
def glu(x: Any, axis: int = -1) -> Any:
    """The first half of an axis times the sigmoid of the second."""
    return on_float(activation.Glu(axis), x)


@op
def sparsemax(x: Any, axis: int = -1) -> Any:
    """The nearest probability vector to x, sparse where softmax is not."""
    return on_float(activation.Sparsemax(axis), x)


@op
def softmax(x: Any, axis: int | Sequence[int] | None = -1) -> Any:
    """exp(x) scaled to sum to 1 over an axis (over several together where given several)."""
    return _over_axes(activation.Softmax, x, axis)


@op
def log_softmax(x: Any, axis: int | Sequence[int] | None = -1) -> Any:
    """log(softmax(x))."""
    return _over_axes(activation.LogSoftmax, x, axis)


def _over_axes(operator: Any, x: Any, axis: int | Sequence[int] | None) -> Any:
    if isinstance(axis, int):
        return on_float(operator(axis), x)
    rank, sizes = rank_of(x), shape_of(x)
    axes = [normal_axis(a, rank) for a in (range(rank) if axis is None else axes_tuple(axis) or ())]
    rest = [a for a in range(rank) if a not in axes]
    order = [*rest, *axes]
    moved = arrays.transpose(x, order)
    flat = arrays.reshape(moved, [*(sizes[a] for a in rest), -1])
    result = arrays.reshape(on_float(operator(-1), flat), [sizes[a] for a in order])
    return arrays.transpose(result, [order.index(a) for a in range(rank)])


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
    return arrays.mean(x, axes, keepdims), arrays.var(x, axes, keepdims)


@op
def normalize(x: Any, axis: int = -1, order: float = 2, epsilon: float | None = None) -> Any:
    """x over its norm along an axis."""
    x = tensor(x, kind(x) if kind(x).is_float else config.floatx())
    least = config.epsilon() if epsilon is None else epsilon
    if order == 2:
        squares = arrays.sum(elementwise.square(x), axis, True)
        return elementwise.multiply(x, elementwise.rsqrt(elementwise.maximum(squares, least**2)))
    powers = arrays.sum(elementwise.power(elementwise.absolute(x), float(order)), axis, True)
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

    mask is True where a query may look; bias is added to the scores.
    """
    if attn_logits_soft_cap is not None:
        raise ValueError("dot_product_attention: attn_logits_soft_cap is not supported; leave it None")
    both = mask is not None and bias is not None
    if both:
        mask = elementwise.where(mask, bias, -1e30)
    q, k, v = (arrays.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
    extra = bias if mask is None else mask
    if extra is not None and not kind(extra).is_bool:
        extra = tensor(extra, kind(q))
    return arrays.transpose(run(attention.Attention(scale, bool(is_causal)), q, k, v, extra), (0, 2, 1, 3))


# ---- losses


def _require_shape(target: Any, wanted: tuple[Any, ...], what: str) -> None:
    """Raises ValueError where the target's sizes differ from these; symbolic ones are taken to be equal."""
    got = shape_of(target)
    known = [(a, b) for a, b in zip(got, wanted, strict=False) if isinstance(a, int) and isinstance(b, int)]
    if len(got) != len(wanted) or any(a != b for a, b in known):
        raise ValueError(f"the target's shape {got} must be the shape {wanted} of the {what}")


@op
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-sum(target * log(output)) along an axis; output are logits or probabilities."""
    _require_shape(target, shape_of(output), "output")
    if from_logits:
        return common(losses.SoftmaxCrossEntropy(axis), output, target)
    output = elementwise.divide(output, arrays.sum(output, axis, True))
    output = elementwise.clip(output, config.epsilon(), 1.0 - config.epsilon())
    return elementwise.negative(arrays.sum(elementwise.multiply(target, elementwise.log(output)), axis))


@op
def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-log of the output at the target's index; output are logits or probabilities."""
    if rank_of(target) == rank_of(output) and shape_of(target)[axis] == 1:
        target = arrays.squeeze(target, axis)
    classes = normal_axis(axis, rank_of(output))
    _require_shape(target, tuple(d for i, d in enumerate(shape_of(output)) if i != classes), "output without its classes")
    labels = tensor(target, "int64")
    if from_logits and axis in (-1, rank_of(output) - 1):
        return run(losses.SparseSoftmaxCrossEntropy(), output, labels)
    if not from_logits:
        output = elementwise.divide(output, arrays.sum(output, axis, True))
        output = elementwise.clip(output, config.epsilon(), 1.0 - config.epsilon())
    logs = log_softmax(output, axis) if from_logits else elementwise.log(output)
    picked = arrays.take_along_axis(logs, arrays.expand_dims(labels, axis), axis)
    return elementwise.negative(arrays.squeeze(picked, axis))


@op
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """-(target * log(output) + (1 - target) * log(1 - output)), elementwise."""
    _require_shape(target, shape_of(output), "output")
    if from_logits:
        return common(losses.SigmoidCrossEntropy(), output, target)
    target = tensor(target, kind(output))
    output = elementwise.clip(output, config.epsilon(), 1.0 - config.epsilon())
    positive = elementwise.multiply(target, elementwise.log(output))
    negative = elementwise.multiply(elementwise.subtract(1.0, target), elementwise.log(elementwise.subtract(1.0, output)))
    return elementwise.negative(elementwise.add(positive, negative))


@op
def resize(images: Any, size: Sequence[int], interpolation: str = "bilinear", antialias: bool = False, data_format: Any = None) -> Any:
    """Images [N, H, W, C] (or channels first) at another height and width."""
    data_format = config.standardize_data_format(data_format)
    return run(image.Resize((size[0], size[1]), interpolation, antialias, data_format), images)


def _cast_all(operator: Any, *xs: Any) -> Any:
    """An operator whose operands may be absent, all cast to their common dtype."""
    from kcompile.keras import backend

    return backend.apply(operator, xs, promoted(*(x for x in xs if x is not None)))


@op
def lstm(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    h: Any = None,
    c: Any = None,
    mask: Any = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reverse: bool = False,
    zero_masked: bool = False,
) -> tuple[Any, Any, Any]:
    """(outputs [N, T, U], last h, last c) of an LSTM over x [N, T, F]; gates i, f, c, o."""
    from kcompile.operators.recurrent import Lstm

    operator = Lstm(
        activation=activation,
        recurrent_activation=recurrent_activation,
        reverse=reverse,
        zero_masked=zero_masked,
    )
    return _recurrent(operator, [x, kernel, recurrent_kernel, bias, h, c], mask)


@op
def gru(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    h: Any = None,
    mask: Any = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reset_after: bool = True,
    reverse: bool = False,
    zero_masked: bool = False,
) -> tuple[Any, Any]:
    """(outputs [N, T, U], last h) of a GRU over x [N, T, F]; gates z, r, h."""
    from kcompile.operators.recurrent import Gru

    operator = Gru(
        activation=activation,
        recurrent_activation=recurrent_activation,
        reset_after=reset_after,
        reverse=reverse,
        zero_masked=zero_masked,
    )
    return _recurrent(operator, [x, kernel, recurrent_kernel, bias, h], mask)


@op
def simple_rnn(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    h: Any = None,
    mask: Any = None,
    activation: str = "tanh",
    reverse: bool = False,
    zero_masked: bool = False,
) -> tuple[Any, Any]:
    """(outputs [N, T, U], last h) of a plain recurrent layer over x [N, T, F]."""
    from kcompile.operators.recurrent import SimpleRnn

    operator = SimpleRnn(activation=activation, reverse=reverse, zero_masked=zero_masked)
    return _recurrent(operator, [x, kernel, recurrent_kernel, bias, h], mask)


def _recurrent(operator: Any, floats: list[Any], mask: Any) -> Any:
    target = promoted(*(v for v in floats if v is not None))
    parts = [None if v is None else tensor(v, target) for v in floats]
    return run(operator, *parts, None if mask is None else tensor(mask, "bool"))


__all__ = [
    "average_pool",
    "batch_normalization",
    "batch_normalization_training",
    "binary_crossentropy",
    "categorical_crossentropy",
    "celu",
    "conv",
    "conv_transpose",
    "dense",
    "depthwise_conv",
    "dot_product_attention",
    "elu",
    "embedding",
    "gelu",
    "glu",
    "group_normalization",
    "gru",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "layer_normalization",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "lstm",
    "max_pool",
    "mish",
    "moments",
    "normalize",
    "relu",
    "relu6",
    "resize",
    "rms_normalization",
    "selu",
    "separable_conv",
    "sigmoid",
    "silu",
    "simple_rnn",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_categorical_crossentropy",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh_shrink",
    "threshold",
]  # fmt: skip
