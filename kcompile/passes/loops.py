"""Scans with less in them: what doesn't change is a capture, what is counted is computed, what nothing reads is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcompile.ir import Constant, Graph, Op, Value, constant, input_value
from kcompile.ir.graph import remake, topological
from kcompile.ir.op import sub_graphs
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.control import Scan, inline
from kcompile.operators.creation import Fill, Range
from kcompile.operators.indexing import Gather
from kcompile.operators.logic import Cast
from kcompile.operators.opaque import Opaque
from kcompile.operators.random import RANDOM
from kcompile.operators.shape import Expand, ExpandDims, Reshape, Squeeze
from kcompile.passes.patterns import Known, like
from kcompile.passes.rewrite import Match, Skip, applies, require, rule

Pair = tuple[Value, Value]  # an operand, and the body's input for it


@dataclass(frozen=True)
class Loop:
    """A Scan taken apart: what is outside with what stands for it in the body, and the body's results."""

    states: tuple[Pair, ...]
    sequences: tuple[Pair, ...]
    captures: tuple[Pair, ...]
    after: tuple[Value, ...]
    stacked: tuple[Value, ...]
    reverse: bool

    @property
    def results(self) -> tuple[Value, ...]:
        return (*self.after, *self.stacked)

    @property
    def steps(self) -> object:
        """How many there are."""
        return self.sequences[0][0].type.shape[0]

    def substituted(self, table: Mapping[Value, Value], **changes: Any) -> Loop:
        """The loop with other values in the body in place of some."""
        found = substituted(self.results, table)
        count = len(self.after)
        return replace(self, after=found[:count], stacked=found[count:], **changes)

    def make(self) -> tuple[Value, ...]:
        """The results of a Scan of this body: final states, stacked values."""
        pairs = (*self.states, *self.sequences, *self.captures)
        inputs = [input_value(f"value_{i}", inner.type) for i, (_, inner) in enumerate(pairs)]
        body = Graph("body", [inner for _, inner in pairs], self.results)
        body = Graph("body", inputs, inline(body, inputs))
        op = Scan(body, len(self.states), len(self.sequences), self.reverse)
        made = op(*(outer for outer, _ in pairs))
        return made if isinstance(made, tuple) else (made,)


def loop_of(m: Match) -> Loop:
    """The matched Scan."""
    op: Scan = m.op("scan")
    pairs = tuple(zip(m.scan.inputs, op.body.inputs, strict=True))
    end = op.states + op.sequences
    results = op.body.outputs
    parts = pairs[: op.states], pairs[op.states : end], pairs[end:], results[: op.states], results[op.states :]
    return Loop(*parts, op.reverse)


def substituted(values: Sequence[Value], table: Mapping[Value, Value]) -> tuple[Value, ...]:
    """``values`` computed from others: those of ``table`` in their places."""
    found = dict(table)
    for node in topological(values, (), table):
        inputs = tuple(None if v is None else found[v] for v in node.inputs)
        new = zip(node.results, remake(node, inputs).results, strict=True)
        found.update((old, value) for old, value in new if old not in table)
    return tuple(found[v] for v in values)


def _without(values: Sequence[Value], dropped: int) -> tuple[Value, ...]:
    return (*values[:dropped], *values[dropped + 1 :])


def _drop_state(m: Match, loop: Loop, i: int, final: Value) -> tuple[Value, ...]:
    """The results of a loop that has lost its state ``i``, whose final value is known."""
    made = loop.make()
    return (*made[:i], final, *made[i:])


@rule("scan-kept-state", like(Scan))
def kept_state(m: Match) -> tuple[Value, ...]:
    """A state that no step changes is a capture."""
    loop = loop_of(m)
    i = next((i for i, (_, inner) in enumerate(loop.states) if loop.after[i] is inner), None)
    applies(i is not None)
    assert i is not None
    kept = loop.states[i]
    less = replace(
        loop,
        states=(*loop.states[:i], *loop.states[i + 1 :]),
        captures=(*loop.captures, kept),
        after=_without(loop.after, i),
    )
    return _drop_state(m, less, i, kept[0])


@rule("scan-constant", like(Scan))
def constants(m: Match) -> tuple[Value, ...]:
    """A captured constant stands in the body, where the rules see it."""
    loop = loop_of(m)
    known = {inner: outer for outer, inner in loop.captures if isinstance(outer.op, Constant)}
    applies(bool(known))
    return loop.substituted(known, captures=tuple(p for p in loop.captures if p[1] not in known)).make()


@rule("scan-once", like(Scan))
def once(m: Match) -> tuple[Value, ...]:
    """A loop of one step is its body; one of none gives what it begins with."""
    loop = loop_of(m)
    applies(loop.steps in (0, 1))
    if loop.steps == 0:
        empty = [Fill(t.shape, 0, t.dtype)() for t in m.scan.node.types[len(loop.states) :]]
        return (*(outer for outer, _ in loop.states), *empty)
    first = [Squeeze((0,))(outer) for outer, _ in loop.sequences]
    operands = [outer for outer, _ in (*loop.states, *loop.captures)]
    operands[len(loop.states) : len(loop.states)] = first
    results = inline(m.op("scan").body, operands)
    return (*results[: len(loop.states)], *(ExpandDims((0,))(v) for v in results[len(loop.states) :]))


@rule("scan-counter", like(Scan))
def counter(m: Match) -> tuple[Value, ...]:
    """A state that grows by a number in every step is computed from the step's."""
    loop = loop_of(m)
    steps = _counter(loop)
    applies(steps is not None)
    assert steps is not None
    # Backwards the step's number is that of its row.
    applies(not loop.reverse)
    grows = [(i, by) for i in range(len(loop.states)) if (by := _grows(loop, i)) is not None]
    applies(bool(grows))
    i, by = grows[0]
    (outer, inner), count = loop.states[i], loop.steps
    begun = m.known(outer)
    require(begun is not None, "where it begins is not known")
    assert begun is not None
    static = isinstance(count, int)
    require(static or not m.is_read(i), "where it ends depends on a size")
    value = Cast(inner.type.dtype)(steps) if inner.type.dtype is not steps.type.dtype else steps
    value = value if by == 1 else Multiply()(value, constant(by, inner.type.dtype))
    value = value if begun.item() == 0 else Add()(value, constant(begun))
    final = constant(np.asarray(begun.item() + by * count).astype(begun.dtype)) if isinstance(count, int) else outer
    less = replace(loop, states=(*loop.states[:i], *loop.states[i + 1 :]), after=_without(loop.after, i))
    return _drop_state(m, less.substituted({inner: value}), i, final)


def _grows(loop: Loop, i: int) -> int | None:
    """The number that each step adds to a state of one integer."""
    (_, inner), after = loop.states[i], loop.after[i]
    if not inner.type.dtype.is_integer or inner.type.rank != 0 or not isinstance(after.op, Add):
        return None
    others = [v for v in after.inputs if v is not inner]
    single = len(others) == 1 and isinstance(others[0].op, Constant)  # type: ignore[union-attr]
    return int(others[0].op.value.data.item()) if single else None  # type: ignore[union-attr]


def _counter(loop: Loop) -> Value | None:
    """What counts the steps from 0 in the body."""
    for outer, inner in loop.sequences:
        op = outer.op
        if isinstance(op, Range) and (op.start, op.step) == (0, 1) and outer.type.dtype.is_integer:
            return inner
        if isinstance(op, Constant) and outer.type.rank == 1 and outer.type.dtype.is_integer:
            data = op.value.data
            if np.array_equal(data, np.arange(data.size)):
                return inner
    return None


@rule("scan-gather", like(Scan))
def gather(m: Match) -> tuple[Value, ...]:
    """The rows of a captured tensor, one in each step, are a sequence."""
    loop = loop_of(m)
    steps = _counter(loop)
    applies(steps is not None)
    outside = {inner: outer for outer, inner in loop.captures}
    for node in topological(loop.results):
        if isinstance(node.op, Gather) and node.op.axis == 0 and _is_step(node.inputs[1], steps):
            rows = node.inputs[0]
            if rows in outside and rows.type.shape[0] == loop.steps:
                row = input_value("row", node.types[0])
                pair = outside[rows], row  # type: ignore[index]
                return loop.substituted({node.results[0]: row}, sequences=(*loop.sequences, pair)).make()
    raise Skip


def _is_step(value: Value | None, steps: Value | None) -> bool:
    while value is not None and isinstance(value.op, Cast) and value.type.dtype.is_integer:
        value = value.inputs[0]
    return value is steps


@rule("scan-invariant", like(Scan))
def invariant(m: Match) -> tuple[Value, ...]:
    """What each step computes anew from captures alone is computed once, outside."""
    loop = loop_of(m)
    outside = {inner: outer for outer, inner in loop.captures}
    fixed = dict.fromkeys(outside)
    found = []
    for node in topological(loop.results):
        read = [v for v in node.inputs if v is not None]
        if isinstance(node.op, Constant) or (read and not _stays(node.op) and all(v in fixed for v in read)):
            fixed.update(dict.fromkeys(node.results))
        else:
            found += [v for v in read if v in fixed and v not in outside and not isinstance(v.op, Constant)]
    found += [v for v in loop.results if v in fixed and v not in outside and not isinstance(v.op, Constant)]
    moved = list(dict.fromkeys(found))
    applies(bool(moved))
    inner = {v: input_value(f"moved_{i}", v.type) for i, v in enumerate(moved)}
    made = zip(substituted(moved, outside), inner.values(), strict=True)
    return loop.substituted(inner, captures=(*loop.captures, *made)).make()


def _stays(op: Op) -> bool:
    """Whether it may matter how often an operator runs."""
    return isinstance(op, (Opaque, *RANDOM)) or bool(sub_graphs(op))


@rule("scan-unread", like(Scan))
def unread(m: Match) -> tuple[Value, ...]:
    """States, sequences, captures and stacked values that no result needs."""
    loop = loop_of(m)
    count = len(loop.states)
    live = {i for i in range(len(loop.results)) if m.is_read(i)}
    while True:
        below = {v for n in topological([loop.results[i] for i in live]) for v in n.results}
        more = live | {i for i, (_, inner) in enumerate(loop.states) if inner in below}
        if more == live:
            break
        live = more
    sequences = tuple(p for p in loop.sequences if p[1] in below) or loop.sequences[:1]
    captures = tuple(p for p in loop.captures if p[1] in below)
    whole = len(live) == len(loop.results) and len(captures) == len(loop.captures)
    applies(not whole or len(sequences) < len(loop.sequences))
    less = Loop(
        tuple(p for i, p in enumerate(loop.states) if i in live),
        sequences,
        captures,
        tuple(v for i, v in enumerate(loop.after) if i in live),
        tuple(v for i, v in enumerate(loop.stacked, count) if i in live),
        loop.reverse,
    )
    made = iter(less.make())
    types = m.scan.node.types
    # Nothing reads what takes the place of the rest.
    return tuple(next(made) if i in live else Fill(t.shape, 0, t.dtype)() for i, t in enumerate(types))


@rule("scan-equal-states", like(Scan))
def equal_states(m: Match) -> tuple[Value, ...]:
    """Two states that begin alike and change alike are one."""
    loop = loop_of(m)
    for i, (outer, inner) in enumerate(loop.states):
        for j, (other, twin) in enumerate(loop.states[:i]):
            if _same_start(m, outer, other) and inner.type == twin.type:
                joined = loop.substituted({inner: twin})
                both = Graph(
                    "both", [p[1] for p in _pairs(loop) if p[1] is not inner], [joined.after[i], joined.after[j]]
                )
                if both.outputs[0] is both.outputs[1]:
                    less = replace(
                        joined,
                        states=(*loop.states[:i], *loop.states[i + 1 :]),
                        after=_without(joined.after, i),
                    )
                    made = less.make()
                    return (*made[:i], made[j], *made[i:])
    raise Skip


def _pairs(loop: Loop) -> tuple[Pair, ...]:
    return (*loop.states, *loop.sequences, *loop.captures)


def _same_start(m: Match, a: Value, b: Value) -> bool:
    return a is b or (zeros(m.known, a) and zeros(m.known, b) and a.type == b.type)


def zeros(known: Known, value: Value) -> bool:
    """Whether a value is known to be 0 everywhere."""
    while isinstance(value.op, (Expand, ExpandDims, Reshape, Squeeze)):
        value = value.inputs[0]  # type: ignore[assignment]
    if isinstance(value.op, Fill):
        return value.op.value == 0
    array = known(value)
    return array is not None and not array.any()
