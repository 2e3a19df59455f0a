"""The table of all operators."""

from __future__ import annotations

from types import ModuleType

from kcompile.ir.op import Constant, Input, Op, Weight
from kcompile.operators import (
    activation,
    arithmetic,
    attention,
    bidirectional,
    collectives,
    control,
    convolution,
    creation,
    einsum,
    fourier,
    gradient,
    image,
    indexing,
    linalg,
    linear,
    logic,
    losses,
    math,
    normalization,
    opaque,
    packing,
    pooling,
    random,
    recurrent,
    reduction,
    shape,
    sorting,
    updates,
)

FAMILIES: tuple[ModuleType, ...] = (
    arithmetic, math, logic, reduction, sorting, shape, indexing, creation, linear, einsum, convolution, pooling,
    normalization, activation, losses, recurrent, packing, bidirectional, attention, random, image, control, gradient,
    linalg, fourier, updates, collectives, opaque,
)  # fmt: skip


def operators_of(module: ModuleType) -> list[type[Op]]:
    """Operator classes that a family's module defines, in order; bases without a name are left out."""
    return [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, Op) and v.__module__ == module.__name__ and v.__dict__.get("name")
        and not v.__name__.startswith("_")
    ]  # fmt: skip


_ALL: tuple[type[Op], ...] = (Input, Weight, Constant, *(c for m in FAMILIES for c in operators_of(m)))
OPERATORS: dict[str, type[Op]] = {cls.name: cls for cls in _ALL}
