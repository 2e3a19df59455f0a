"""Gradients held within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.keras import ops


def clip_by_value(gradients: Sequence[Any], limit: float) -> list[Any]:
    """Each element held between -limit and limit."""
    return [ops.clip(g, -float(limit), float(limit)) for g in gradients]


def clip_by_norm(gradients: Sequence[Any], limit: float) -> list[Any]:
    """Each gradient scaled down to an L2 norm of ``limit`` where it is larger."""
    clipped = []
    for gradient in gradients:
        norm = ops.sqrt(ops.sum(ops.square(gradient)))
        clipped.append(ops.divide(ops.multiply(gradient, float(limit)), ops.maximum(norm, float(limit))))
    return clipped


def clip_by_global_norm(gradients: Sequence[Any], limit: float) -> list[Any]:
    """All gradients scaled by one factor, so that their joint L2 norm is at most ``limit``; NaN if it is not finite."""
    norm = ops.sqrt(ops.sum(ops.stack([ops.cast(ops.sum(ops.square(g)), "float32") for g in gradients])))
    scale = ops.multiply(ops.minimum(ops.divide(1.0, norm), 1.0 / float(limit)), float(limit))
    scale = ops.add(scale, ops.subtract(norm, norm))
    return [ops.multiply(g, ops.cast(scale, g.dtype)) for g in gradients]
