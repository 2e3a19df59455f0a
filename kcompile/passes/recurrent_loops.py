"""Scans whose body is a step of an LSTM, a GRU or a simple RNN, as that operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from kcompile.ir import Input, Value, constant
from kcompile.ir.graph import Builder, topological
from kcompile.ir.types import f32
from kcompile.operators.control import Scan
from kcompile.operators.recurrence import Recurrent
from kcompile.operators.recurrent import Gru, Lstm, SimpleRnn
from kcompile.operators.shape import Concat, ExpandDims, Reshape, Squeeze, Transpose
from kcompile.passes import cells
from kcompile.passes.cells import Cell, Linear, chosen, is_number, linear, together, total
from kcompile.passes.loops import Loop, loop_of, substituted, zeros
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import Match, applies, require, rule
from kcompile.passes.sequences import TIME_FIRST


@dataclass(frozen=True)
class Step:
    """The states' values after a step, where the mask (if any) is true; which of them are h and c."""

    cell: Cell
    order: tuple[int, ...]
    mask: Value | None


@rule("scan-cell", like(Scan))
def scan_cell(m: Match) -> tuple[Value, ...]:
    """A loop over the steps of a recurrent layer, its gates written in any order and form."""
    loop = loop_of(m)
    step = _step(loop)
    applies(step is not None)
    assert step is not None
    h = loop.states[step.order[0]][1]
    require(h.type.rank == 2 and h.type.dtype is f32, "its states are no float32 matrices")
    zero_masked = _stacked(m, loop, step)
    captures = {inner: outer for outer, inner in loop.captures}
    x, weights = Weights(step.cell, h, {inner: outer for outer, inner in loop.sequences}, captures).all()
    states = [None if zeros(m.known, loop.states[i][0]) else loop.states[i][0] for i in step.order]
    op = layer_of(step.cell, reverse=loop.reverse, zero_masked=zero_masked)
    sequence, *finals = _on_sequence(op, x, weights, states, _mask(loop, step.mask))
    results = [finals[step.order.index(i)] for i in range(len(finals))]
    made = (*results, *[sequence] * len(loop.stacked))
    applies(tuple(v.type for v in made) == m.scan.node.types)
    return made


def layer_of(cell: Cell, **fields: bool) -> Recurrent:
    """The operator whose step a cell is."""
    known: dict[str, Any] = {"activation": cell.activation, **fields}
    if cell.recurrent_activation:
        known["recurrent_activation"] = cell.recurrent_activation
    if cell.kind == "gru":
        known["reset_after"] = cell.inner is not None
    kinds: dict[str, type[Recurrent]] = {"lstm": Lstm, "gru": Gru, "simple_rnn": SimpleRnn}
    return kinds[cell.kind](**known)


def _on_sequence(
    op: Recurrent, x: Value, weights: Sequence[Value | None], states: Sequence[Value | None], mask: Value | None
) -> tuple[Value, ...]:
    """The operator on [time, batch, features]."""
    if mask is None:
        result: tuple[Value, ...] = op.replace(time_major=True, aligned=True)(x, *weights, *states, None)
        return result
    require(not op.reverse, "a mask of a loop backwards")
    sequence, *finals = op(Transpose(TIME_FIRST)(x), *weights, *states, mask)
    return Transpose(TIME_FIRST)(sequence), *finals


def _step(loop: Loop) -> Step | None:
    """The cell that the body is, where it is one."""
    if not 1 <= len(loop.states) <= 2:
        return None
    masks: list[Value | None] = []
    after = []
    for (_, inner), value in zip(loop.states, loop.after, strict=True):
        choice = chosen(value)
        masked = choice is not None and choice[2] is inner
        masks.append(choice[0] if choice is not None and masked else None)
        after.append(choice[1] if choice is not None and masked else value)
    if any(mask is not masks[0] for mask in masks):
        return None
    if len(after) == 1:
        h = loop.states[0][1]
        cell = cells.gru(after[0], h) or cells.simple(after[0])
        return None if cell is None else Step(cell, (0,), masks[0])
    for order in permutations(range(2)):
        cell = cells.lstm(after[order[0]], after[order[1]], loop.states[order[1]][1])
        if cell is not None:
            return Step(cell, order, masks[0])
    return None


def _stacked(m: Match, loop: Loop, step: Step) -> bool:
    """Whether masked steps give zeros; skips where something else than the state is stacked."""
    after, start = loop.after[step.order[0]], loop.states[step.order[0]][0]
    kinds = set()
    for value in loop.stacked:
        choice = chosen(value)
        if value is after:
            require(step.mask is None or zeros(m.known, start), "masked steps give the initial state")
            kinds.add(False)
        else:
            new = chosen(after)
            applies(choice is not None and new is not None and choice[:2] == new[:2] and is_number(choice[2], 0))
            kinds.add(True)
    applies(len(kinds) < 2)
    return kinds == {True}


def _mask(loop: Loop, mask: Value | None) -> Value | None:
    """The mask as [batch, time]."""
    if mask is None:
        return None
    while isinstance(mask.op, (ExpandDims, Reshape)):
        mask = mask.inputs[0]
        assert mask is not None
    outer = next((outer for outer, inner in loop.sequences if inner is mask), None)
    applies(outer is not None and outer.type.dtype.is_bool)
    assert outer is not None
    if outer.type.rank == 3 and outer.type.shape[2] == 1:
        outer = Squeeze((2,))(outer)
    applies(outer.type.rank == 2)
    return Transpose((1, 0))(outer)


class Weights:
    """The sequence [T, N, F] and the weights of a cell.

    ``sequences`` gives the whole of what a step has a row of; ``captures`` what stands outside of the loop
    for its values, where there is a loop.
    """

    def __init__(
        self, cell: Cell, h: Value, sequences: Mapping[Value, Value], captures: Mapping[Value, Value] | None = None
    ):
        self.cell, self.h, self.units = cell, h, int(h.type.shape[1])  # type: ignore[arg-type]
        self._captures, self._sequences = captures, sequences
        self._builder = Builder()

    def all(self) -> tuple[Value, tuple[Value, Value, Value | None]]:
        """(the sequence, (kernel, recurrent kernel, bias))."""
        gates = [self._outside(gate) for gate in self.cell.gates]
        x = gates[0][0]
        applies(all(g[0] is x for g in gates) and x.type.rank == 3)
        recurrent = [g.kernel(self.h) for g in self.cell.gates]
        inner = self.cell.inner
        if inner is not None:
            applies(recurrent[2] is None and not inner.rest and len(inner.products) == 1)
            recurrent[2] = inner.kernel(self.h)
        applies(all(r is not None for r in recurrent))
        own = Concat(-1)(*(g[1] for g in gates)) if len(gates) > 1 else gates[0][1]
        turned = [self._lifted(r) for r in recurrent]  # type: ignore[arg-type]
        matrix = Concat(-1)(*turned) if len(turned) > 1 else turned[0]
        bias = together([total(g[2]) for g in gates], self.units, x)
        return x, (own, matrix, self._both(bias, inner, x))

    def _both(self, bias: Value | None, inner: Linear | None, x: Value) -> Value | None:
        """The bias, with the recurrent one below where the reset gate multiplies it."""
        if inner is None or not inner.biases:
            return bias
        own = total([self._lifted(b) for b in inner.biases])
        below = together([None, None, own], self.units, x)
        above = constant([0.0] * (3 * self.units), x.type.dtype) if bias is None else bias
        assert below is not None
        return Reshape((2, 3 * self.units))(Concat(0)(above, below))

    def _outside(self, gate: Linear) -> tuple[Value, Value, list[Value]]:
        """(the sequence, the kernel, the biases) of a gate."""
        biases = [self._lifted(b) for b in gate.biases]
        products = [(v, k) for v, k in gate.products if v is not self.h]
        if not gate.rest:
            applies(len(products) == 1 and products[0][0] in self._sequences)
            return self._sequences[products[0][0]], self._lifted(products[0][1]), biases
        # The product was taken out of the loop: it is the sequence.
        applies(len(gate.rest) == 1 and not products)
        source = linear(self._lifted_rows(gate.rest[0]))
        applies(len(source.products) == 1 and not source.rest)
        (x, kernel), *_ = source.products
        return self._builder.keep(x), kernel, [*biases, *source.biases]

    def _lifted(self, value: Value) -> Value:
        """A value of captures alone."""
        if self._captures is None:
            return value
        applies(_leaves_within([value], self._captures))
        return substituted([value], self._captures)[0]

    def _lifted_rows(self, value: Value) -> Value:
        """Columns of a slice of a sequence, as those of the whole sequence."""
        cut = cells.cut(value)
        rows, start = (value, 0) if cut is None else cut
        applies(rows in self._sequences)
        width = int(value.type.shape[-1])  # type: ignore[arg-type]
        return cells.columns(self._sequences[rows], start, start + width)


def _leaves_within(values: Sequence[Value], known: Mapping[Value, Value]) -> bool:
    """Whether values are computed from ``known`` ones and constants alone."""
    return not any(isinstance(n.op, Input) for n in topological(values, (), known))
