"""Scales and shifts by known vectors, folded into the kernel and bias of the linear operator beside them.

Everything is computed in float64 and rounded once. Factors go backward into the operator that made
x, or forward into the one that reads it; forward shifts need an operator that pads nothing, since a
padded zero is not shifted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.ir import Type, Value
from kcompile.ir.shapes import normal_axis
from kcompile.operators.arithmetic import Add, Divide, Multiply
from kcompile.operators.convolution import Conv, ConvTranspose
from kcompile.operators.linear import Dense
from kcompile.operators.normalization import BatchNorm
from kcompile.operators.shape import Reshape
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule

LINEAR = (Dense, Conv, ConvTranspose)
_BATCH_NORM = ("?=gamma", "?=beta", "=mean", "=variance")


def channel_axis(op: Any, rank: int) -> int:
    """The axis of a linear operator's operand and result that holds channels."""
    return 1 if getattr(op, "data_format", "channels_last") == "channels_first" else rank - 1


def output_axis(op: Any) -> int:
    """The axis of a kernel that counts output channels."""
    return -2 if isinstance(op, ConvTranspose) else -1


def per_channel(array: np.ndarray, type: Type, axis: int) -> np.ndarray:
    """``array`` as one number for each channel of a tensor of this type; skips where it varies otherwise."""
    size = type.shape[axis]
    require(array.ndim <= type.rank and isinstance(size, int), "it is not one number for each channel")
    full = array.reshape((1,) * (type.rank - array.ndim) + array.shape)
    others = [n for i, n in enumerate(full.shape) if i != axis]
    require(all(n == 1 for n in others), "it is not one number for each channel")
    return np.broadcast_to(full.reshape(-1), (int(size),))


def scale_and_shift(m: Match) -> tuple[np.ndarray, np.ndarray]:
    """The bound batch_norm as vectors: x * scale + shift."""
    scale = m.array("gamma", 1.0) / np.sqrt(m.array("variance") + m.op("batch_norm").epsilon)
    return scale, m.array("beta", 0.0) - m.array("mean") * scale


def _require_channels(m: Match, type: Type) -> None:
    axis = normal_axis(m.op("batch_norm").axis, type.rank)
    require(axis == channel_axis(m.op("linear"), type.rank), "the normalised axis is not the channels")


def _factor(m: Match, type: Type, axis: int) -> np.ndarray:
    """The bound factor (of a multiplication or division) for each channel."""
    require(m.scale.type == type, "the factor's shape widens the result")
    factor = per_channel(m.array("factor"), type, axis)
    if isinstance(m.op("scale"), Divide):
        require(bool(np.all(factor)), "it divides by zero")
        factor = 1.0 / factor
    require(bool(np.all(np.isfinite(factor))), "the factor is not finite")
    return factor


# ---- backward


def _after(m: Match, scale: np.ndarray, shift: np.ndarray | None) -> Value:
    """The bound linear operator with its result times ``scale`` plus ``shift``, vectors over the channels."""
    m.used_once("linear")
    op = m.op("linear")
    column = scale[:, None] if output_axis(op) == -2 else scale
    kernel = m.weight(m.kernel, m.array("kernel") * column)
    if m.bias is None and shift is None:
        return op(m.x, kernel, None)
    bias = m.array("bias", 0.0) * scale + (0.0 if shift is None else shift)
    return op(m.x, kernel, _bias(m, bias))


def _bias(m: Match, bias: np.ndarray) -> Value:
    return m.weight(m.kernel, bias, "bias") if m.bias is None else m.weight(m.bias, bias)


@rule("fold-batch-norm", like(BatchNorm, like(LINEAR, "x", "=kernel", "?=bias", bind="linear"), *_BATCH_NORM))
def fold_batch_norm(m: Match) -> Value:
    _require_channels(m, m.type)
    return _after(m, *scale_and_shift(m))


@rule(
    "fold-scale",
    like((Multiply, Divide), like(LINEAR, "x", "=kernel", "?=bias", bind="linear"), "=factor", bind="scale"),
)
def fold_scale(m: Match) -> Value:
    factor = _factor(m, m.linear.type, channel_axis(m.op("linear"), m.linear.type.rank))
    return _after(m, factor, None)


@rule("fold-shift", like(Add, like(LINEAR, "x", "=kernel", "?=bias", bind="linear"), "=shift"))
def fold_shift(m: Match) -> Value:
    m.used_once("linear")
    require(m.type == m.linear.type, "the shift's shape widens the result")
    shift = per_channel(m.array("shift"), m.type, channel_axis(m.op("linear"), m.type.rank))
    return m.op("linear")(m.x, m.kernel, _bias(m, m.array("bias", 0.0) + shift))


@rule("absorb-bias", like(Add, like(LINEAR, "x", "kernel", bind="linear"), "bias"))
def absorb_bias(m: Match) -> Value:
    """Add a vector of any kind, known or not, as the bias of a linear operator that has none."""
    axis = channel_axis(m.op("linear"), m.type.rank)
    applies(m.type == m.linear.type and axis == m.type.rank - 1 and m.bias.type.shape == m.type.shape[axis:])
    m.used_once("linear")
    return m.op("linear")(m.x, m.kernel, m.bias)


@rule(
    "fold-through-reshape",
    like((Add, Multiply), like(Reshape, like(Dense, "x", "=kernel", "?=bias")), "=c", bind="affine"),
)
def fold_through_reshape(m: Match) -> Value:
    """A dense layer's result split into heads, then scaled or shifted: the kernel and bias take it."""
    m.used_once("reshape", "dense")
    batch, shape = m.dense.type.shape[:-1], m.reshape.type.shape
    tail = shape[len(batch) :]
    applies(shape[: len(batch)] == batch and m.type == m.reshape.type and m.c.type.rank <= len(tail))
    vector = np.broadcast_to(m.array("c"), tail).reshape(-1)
    bias = m.array("bias", 0.0)
    if isinstance(m.op("affine"), Add):
        return Reshape(shape)(Dense()(m.x, m.kernel, _bias(m, bias + vector)))
    kernel = m.weight(m.kernel, m.array("kernel") * vector)
    return Reshape(shape)(Dense()(m.x, kernel, None if m.bias is None else m.weight(m.bias, bias * vector)))


# ---- forward


def _pads_nothing(op: Any, kernel: Type) -> bool:
    if isinstance(op, Dense) or op.padding == "valid":
        return True
    if isinstance(op.padding, str):
        return all(size == 1 for size in kernel.shape[:-2])
    return not np.any(op.padding)


def _rows(op: Any, kernel: Type, vector: np.ndarray) -> np.ndarray:
    """A vector over input channels as it multiplies a kernel (grouped ones hold a group's inputs only)."""
    if isinstance(op, ConvTranspose):
        return vector
    groups = getattr(op, "groups", 1)
    depth, filters = (int(n) for n in kernel.shape[-2:])
    return np.repeat(vector.reshape(groups, depth), filters // groups, axis=0).T


def _before(m: Match, scale: np.ndarray, shift: np.ndarray | None) -> Value:
    """The bound linear operator on x, where it was on x * scale + shift, vectors over the input channels."""
    op, kernel = m.op("linear"), m.array("kernel")
    scaled = m.weight(m.kernel, kernel * _rows(op, m.kernel.type, scale)) if np.any(scale != 1) else m.kernel
    if shift is None or not np.any(shift):
        return op(m.x, scaled, m.bias)
    require(_pads_nothing(op, m.kernel.type), "the convolution pads with zeros, which are not shifted")
    moved = (kernel * _rows(op, m.kernel.type, shift)).sum(axis=tuple(range(kernel.ndim - 1)))
    return op(m.x, scaled, _bias(m, m.array("bias", 0.0) + moved))


@rule(
    "fold-batch-norm-forward",
    like((Dense, Conv), like(BatchNorm, "x", *_BATCH_NORM), "=kernel", "?=bias", bind="linear"),
)
def fold_batch_norm_forward(m: Match) -> Value:
    m.used_once("batch_norm")
    _require_channels(m, m.x.type)
    return _before(m, *scale_and_shift(m))


@rule(
    "fold-batch-norm-flattened",
    like(Dense, like(Reshape, like(BatchNorm, "x", *_BATCH_NORM)), "=kernel", "?=bias", bind="linear"),
)
def fold_batch_norm_flattened(m: Match) -> Value:
    """The same where the normalised image is flattened: each pixel's rows of the kernel take the channels' numbers."""
    m.used_once("batch_norm", "reshape")
    axis, image = normal_axis(m.op("batch_norm").axis, m.x.type.rank), m.x.type.shape
    flat = m.reshape.type.shape
    applies(len(flat) == 2 and flat[0] == image[0] and all(isinstance(d, int) for d in image[1:]))
    spread = [-1 if i == axis else 1 for i in range(1, len(image))]
    scale, shift = (np.broadcast_to(v.reshape(spread), image[1:]).reshape(-1) for v in scale_and_shift(m))
    kernel = m.array("kernel")
    bias = _bias(m, m.array("bias", 0.0) + shift @ kernel)
    return Dense()(Reshape(flat)(m.x), m.weight(m.kernel, kernel * scale[:, None]), bias)


@rule(
    "fold-scale-forward",
    like(LINEAR, like((Multiply, Divide), "x", "=factor", bind="scale"), "=kernel", "?bias", bind="linear"),
)
def fold_scale_forward(m: Match) -> Value:
    m.used_once("scale")
    # A padded zero stays zero whatever it is multiplied by.
    return _before(m, _factor(m, m.x.type, channel_axis(m.op("linear"), m.x.type.rank)), None)


@rule("fold-shift-forward", like((Dense, Conv), like(Add, "x", "=shift"), "=kernel", "?=bias", bind="linear"))
def fold_shift_forward(m: Match) -> Value:
    m.used_once("add")
    require(m.add.type == m.x.type, "the shift's shape widens the result")
    shift = per_channel(m.array("shift"), m.x.type, channel_axis(m.op("linear"), m.x.type.rank))
    return _before(m, np.ones_like(shift), shift)


@rule(
    "fold-scale-under-shift",
    like(
        (Dense, Conv),
        like(Add, like((Multiply, Divide), "x", "=factor", bind="scale"), "=shift"),
        "=kernel",
        "?bias",
        bind="linear",
    ),
)
def fold_scale_under_shift(m: Match) -> Value:
    """x * factor + shift is (x + shift / factor) * factor: the scale is folded where the shift has to stay."""
    m.used_once("scale", "add")
    require(m.add.type == m.x.type, "the shift's shape widens the result")
    factor = _factor(m, m.x.type, channel_axis(m.op("linear"), m.x.type.rank))
    require(bool(np.all(factor)), "the factor is zero")
    full = m.array("factor") if isinstance(m.op("scale"), Divide) else 1.0 / m.array("factor")
    shift = m.array("shift") * full
    require(bool(np.all(np.isfinite(shift))), "the shift overflows")
    kernel = m.weight(m.kernel, m.array("kernel") * _rows(m.op("linear"), m.kernel.type, factor))
    return m.op("linear")(Add()(m.x, m.weight(m.shift, shift)), kernel, m.bias)


@rule("drop-zero-bias", like(LINEAR, "x", "kernel", "=bias", bind="linear"))
def drop_zero_bias(m: Match) -> Value:
    one_node = isinstance(m.op("linear"), Dense) and m.type.rank == 2
    applies(not one_node)
    applies(not np.any(m.array("bias")))
    return m.op("linear")(m.x, m.kernel, None)
