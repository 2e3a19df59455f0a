"""Patterns, written like the calls that they match.

::

    like(BatchNorm, like(Conv, "x", "=kernel", "?=bias"), "?gamma", "?beta", "=mean", "=variance")

Operands: a plain name binds any value; ``"=name"`` binds a value whose array is known; ``"?name"``
may be absent (then bound to None); ``"?=name"`` may be absent and is known otherwise; ``"_"`` binds
nothing. A name that occurs twice has to be the same value both times. Trailing operands that the
pattern leaves out have to be absent; a pattern without operands takes any. Each `like` binds the
value that it matched under its operator's name (``batch_norm``), or under ``bind``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from kcompile.ir.op import Node, Op, Value
from kcompile.operators import arithmetic, logic

Known = Callable[[Value], "np.ndarray | None"]


class Found(NamedTuple):
    """A match so far: values by name, and the nodes that the pattern's operators matched."""

    bound: dict[str, Value | None]
    nodes: tuple[Node, ...]


COMMUTATIVE = (
    arithmetic.Add, arithmetic.Multiply, arithmetic.Minimum, arithmetic.Maximum,
    logic.LogicalAnd, logic.LogicalOr, logic.LogicalXor,
)  # fmt: skip


class Pattern:
    """An operator of one of ``classes`` with these operands; see `like`."""

    def __init__(
        self,
        classes: tuple[type[Op], ...],
        operands: tuple[Pattern | str, ...],
        bind: str | None,
        where: Callable[[Op], bool] | None,
        attributes: dict[str, Any],
    ):
        self.classes, self.operands, self.bind = classes, operands, bind
        self.where, self.attributes = where, attributes

    def match(self, value: Value, known: Known) -> Iterator[Found]:
        """Every way in which ``value`` matches; two where a commutative operator's operands allow it."""
        yield from self._match(value, known, Found({}, ()))

    def _match(self, value: Value, known: Known, found: Found) -> Iterator[Found]:
        op = value.op
        if not isinstance(op, self.classes) or any(getattr(op, k) != v for k, v in self.attributes.items()):
            return
        if self.where is not None and not self.where(op):
            return
        with_this = _bind(found, self.bind or op.name, value)
        if with_this is None:
            return
        with_this = Found(with_this.bound, (*with_this.nodes, value.node))
        orders = [value.inputs]
        if isinstance(op, COMMUTATIVE) and value.inputs[0] is not value.inputs[1]:
            orders.append(value.inputs[::-1])
        for inputs in orders if self.operands else ():
            if any(v is not None for v in inputs[len(self.operands) :]):
                continue
            padded = inputs + (None,) * (len(self.operands) - len(inputs))
            yield from _operands(self.operands, padded, known, with_this)
        if not self.operands:
            yield with_this


def like(
    classes: type[Op] | tuple[type[Op], ...],
    *operands: Pattern | str,
    bind: str | None = None,
    where: Callable[[Op], bool] | None = None,
    **attributes: Any,
) -> Pattern:
    """A pattern: the operator (or any of several), its operands, and what its attributes have to be."""
    return Pattern(classes if isinstance(classes, tuple) else (classes,), operands, bind, where, attributes)


def _operands(
    patterns: tuple[Pattern | str, ...], inputs: tuple[Value | None, ...], known: Known, found: Found
) -> Iterator[Found]:
    if not patterns:
        yield found
        return
    for more in _operand(patterns[0], inputs[0], known, found):
        yield from _operands(patterns[1:], inputs[1:], known, more)


def _operand(pattern: Pattern | str, value: Value | None, known: Known, found: Found) -> Iterator[Found]:
    if isinstance(pattern, Pattern):
        if value is not None:
            yield from pattern._match(value, known, found)
        return
    name = pattern.lstrip("?=")
    if value is None:
        if not pattern.startswith("?"):
            return
    elif "=" in pattern and known(value) is None:
        return
    more = found if name == "_" else _bind(found, name, value)
    if more is not None:
        yield more


def _bind(found: Found, name: str, value: Value | None) -> Found | None:
    if name in found.bound:
        return found if found.bound[name] is value else None
    return Found({**found.bound, name: value}, found.nodes)
