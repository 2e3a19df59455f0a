"""Axes moved between an image and a dense layer: the order goes into the kernel.

Flattening [N, C, H, W] gives the same numbers as flattening [N, H, W, C], in another order, so the
kernel's rows are put into that order; the same for the columns of a kernel whose result becomes an
image.
"""

from __future__ import annotations

import numpy as np

from kcompile.ir import Type, Value
from kcompile.operators.linear import Dense
from kcompile.operators.shape import Concat, Reshape, Transpose
from kcompile.passes.elementwise import UNARY
from kcompile.passes.movement import cheap_reshape
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule


def _order(image: Type, perm: tuple[int, ...]) -> np.ndarray:
    """Where each element of a flattened image (without its first axis) is after ``perm``: a permutation."""
    require(perm[0] == 0, "it moves the first axis")
    sizes = image.shape[1:]
    require(all(isinstance(d, int) for d in sizes), "the image's size is not fixed")
    numbers = np.arange(int(np.prod(sizes))).reshape(sizes)  # type: ignore[arg-type]
    return numbers.transpose([p - 1 for p in perm[1:]]).reshape(-1)


def _flattens(flat: Type, image: Type) -> bool:
    return flat.rank == 2 and flat.shape[0] == image.shape[0]


@rule("flatten-dense", like(Dense, like(Reshape, like(Transpose, "x")), "=kernel", "?bias"))
def flatten_dense(m: Match) -> Value:
    applies(_flattens(m.reshape.type, m.transpose.type))
    order = _order(m.x.type, m.op("transpose").perm)
    kernel = np.empty_like(m.array("kernel"))
    kernel[order] = m.array("kernel")
    return Dense()(Reshape(m.reshape.type.shape)(m.x), m.weight(m.kernel, kernel), m.bias)


@rule("flatten-concat-dense", like(Dense, like(Concat), "=kernel", "?bias"))
def flatten_concat_dense(m: Match) -> Value:
    """The same for images that are flattened and joined with other features."""
    kernel, parts, start = m.array("kernel").copy(), [], 0
    applies(m.concat.type.rank == 2 and m.op("concat").axis in (1, -1))
    for part in m.concat.inputs:
        size = part.type.shape[1]
        require(isinstance(size, int), "a part's size is not fixed")
        image = part.inputs[0] if isinstance(part.op, Reshape) else None
        if image is not None and isinstance(image.op, Transpose) and _flattens(part.type, image.type):
            x = image.inputs[0]
            rows = np.empty_like(kernel[start : start + size])
            rows[_order(x.type, image.op.perm)] = kernel[start : start + size]
            kernel[start : start + size] = rows
            part = Reshape(part.type.shape)(x)
        parts.append(part)
        start += size
    applies(parts != list(m.concat.inputs))
    return Dense()(m.op("concat")(*parts), m.weight(m.kernel, kernel), m.bias)


@rule("dense-unflatten", like(Transpose, like(Reshape, like(Dense, "x", "=kernel", "?=bias"))))
def dense_unflatten(m: Match) -> Value:
    m.used_once("reshape", "dense")
    applies(_flattens(m.dense.type, m.reshape.type))
    order = _order(m.reshape.type, m.op("transpose").perm)
    kernel = m.weight(m.kernel, m.array("kernel")[:, order])
    bias = None if m.bias is None else m.weight(m.bias, m.array("bias")[order])
    return Reshape(m.type.shape)(Dense()(m.x, kernel, bias))


@rule("activation-before-flatten", like(UNARY, like(Reshape, like(Transpose, "x")), bind="unary"))
def activation_before_flatten(m: Match) -> Value:
    """Puts the flattening next to what reads it, so that flatten-dense sees it."""
    m.used_once("reshape", "transpose")
    applies(_flattens(m.reshape.type, m.transpose.type))
    return Reshape(m.reshape.type.shape)(Transpose(m.op("transpose").perm)(m.op("unary")(m.x)))


@rule("activation-after-unflatten", like(Transpose, like(Reshape, like(UNARY, "x", bind="unary"))))
def activation_after_unflatten(m: Match) -> Value:
    """Puts the transpose next to the dense layer that makes the image, so that dense-unflatten sees it."""
    m.used_once("reshape", "unary")
    applies(isinstance(m.x.op, (Dense, *UNARY)))
    applies(_flattens(m.unary.type, m.reshape.type))
    require(cheap_reshape(m.x.type, m.reshape.type.shape), "the reshape would have to compute sizes")
    return m.op("unary")(Transpose(m.op("transpose").perm)(Reshape(m.reshape.type.shape)(m.x)))
