"""Where the elements of a tensor come from, through operators that only move them: axes as products of factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kcompile.ir import Value
from kcompile.ir.dims import DimLike, floordiv, modulo
from kcompile.operators.image import DepthToSpace, SpaceToDepth
from kcompile.operators.shape import ExpandDims, Reshape, Squeeze, Transpose

RESHAPING = (Reshape, ExpandDims, Squeeze)
MOVING = (*RESHAPING, Transpose, SpaceToDepth, DepthToSpace)


class Factor(NamedTuple):
    """A part of the position along an axis of the source: (position // inside) % size."""

    axis: int
    inside: int
    size: DimLike


# For each axis the factors that its position counts, the slowest first; none where its size is 1.
Layout = tuple[tuple[Factor, ...], ...]


def layout_of(shape: Sequence[DimLike]) -> Layout:
    """A tensor as its own source."""
    return tuple(() if d == 1 else (Factor(i, 1, d),) for i, d in enumerate(shape))


def moved(layout: Layout, value: Value) -> Layout | None:
    """The layout behind the operator (one of `MOVING`) that makes ``value``; None where a factor is cut unevenly."""
    op = value.op
    if isinstance(op, RESHAPING):
        return _regrouped(layout, value.type.shape)
    if isinstance(op, Transpose):
        return tuple(layout[i] for i in op.perm)
    assert isinstance(op, (SpaceToDepth, DepthToSpace)) and value.inputs[0] is not None
    steps: list[Value] = []
    step: Value = op.decompose(value.inputs[0])
    while step is not value.inputs[0]:
        steps.append(step)
        step = step.inputs[0]  # type: ignore[assignment]
    found: Layout | None = layout
    for step in reversed(steps):
        found = None if found is None else moved(found, step)
    return found


def _regrouped(layout: Layout, shape: Sequence[DimLike]) -> Layout | None:
    """The factors in their order, as the axes of another shape."""
    rest = [factor for group in layout for factor in group][::-1]
    groups = []
    if 0 in shape:
        return None
    for wanted in shape:
        group: list[Factor] = []
        need = wanted
        while need != 1:
            if not rest:
                return None
            factor = rest.pop()
            if modulo(need, factor.size) == 0:
                group.append(factor)
                need = floordiv(need, factor.size)
            elif isinstance(need, int) and modulo(factor.size, need) == 0:
                inner = floordiv(factor.size, need)
                if not isinstance(inner, int):
                    return None
                group.append(Factor(factor.axis, factor.inside * inner, need))
                rest.append(Factor(factor.axis, factor.inside, inner))
                need = 1
            else:
                return None
        groups.append(_joined(group))
    return None if rest else tuple(groups)


def _joined(group: Sequence[Factor]) -> tuple[Factor, ...]:
    """Neighbours that count one axis on, as one factor."""
    found: list[Factor] = []
    for factor in group:
        last = found[-1] if found else None
        if last and last.axis == factor.axis and last.inside == factor.inside * factor.size:
            found[-1] = Factor(factor.axis, factor.inside, last.size * factor.size)
        else:
            found.append(factor)
    return tuple(found)
