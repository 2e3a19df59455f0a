"""What a rule of partition says, and what the rules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kcompile.ir import Node
from kcompile.ir.shapes import normal_axes, normal_axis

Axes = Sequence["int | None"]


@dataclass(frozen=True)
class Plan:
    """Along which axis operands and results are split; ``emit`` makes the results of the operands instead."""

    operands: tuple[int | None, ...]
    results: tuple[int | None, ...]
    emit: Callable[..., Any] | None = None


Rule = Callable[[Node, Axes, Any], "Plan | None"]


def aligned(node: Node, axes: Axes, rank: int) -> tuple[int, tuple[int | None, ...]] | None:
    """The axis of a broadcast result of this rank along which it is split, and its operands' axes."""
    first = next(((a, v) for a, v in zip(axes, node.inputs, strict=True) if a is not None and v is not None), None)
    if first is None:
        return None
    target = first[0] + rank - first[1].type.rank
    wanted: list[int | None] = []
    for value in node.inputs:
        own = -1 if value is None else target - (rank - value.type.rank)
        wanted.append(None if value is None or own < 0 or value.type.shape[own] == 1 else own)
    return target, tuple(wanted)


def elementwise(node: Node, axes: Axes, part: Any) -> Plan | None:
    found = aligned(node, axes, node.types[0].rank)
    return None if found is None else Plan(found[1], (found[0],) * len(node.results))


def first_only(allowed: Callable[[Node, int], bool]) -> Rule:
    """Split like the first operand where that axis is allowed; all others are whole, results have its axes."""

    def rule(node: Node, axes: Axes, part: Any) -> Plan | None:
        if axes[0] is None or not allowed(node, axes[0]):
            return None
        return Plan((axes[0], *(None,) * (len(axes) - 1)), (axes[0],) * len(node.results))

    return rule


def rank_of(node: Node) -> int:
    assert node.inputs[0] is not None
    return node.inputs[0].type.rank


def other_axis(node: Node, axis: int) -> bool:
    return axis != normal_axis(node.op.axis, rank_of(node))  # type: ignore[attr-defined]


def none_of_axes(node: Node, axis: int) -> bool:
    return axis not in normal_axes(node.op.axes, rank_of(node))  # type: ignore[attr-defined]
