"""Activation functions of `keras.ops`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras.ops import arrays, elementwise
from kcompile.keras.ops.common import axes_tuple, kind, normal_axis, on_float, op, rank_of, shape_of
from kcompile.operators import activation


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


__all__ = [
    "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu",
    "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax",
    "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh_shrink",
    "threshold",
]  # fmt: skip
