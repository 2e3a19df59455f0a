"""Recurrent layers that were written out step by step, as PyTorch's exporters do with every loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kcompile.ir import Constant, Graph, Node, Op, Value, Weight, origin
from kcompile.ir.graph import Builder
from kcompile.ir.shapes import normal_axes, normal_axis
from kcompile.ir.types import f32
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.indexing import Gather
from kcompile.operators.shape import Slice, Split, Squeeze, Transpose
from kcompile.passes import cells
from kcompile.passes.arrays import Arrays
from kcompile.passes.cells import Cell, Linear, factors, terms
from kcompile.passes.loops import zeros
from kcompile.passes.patterns import Known
from kcompile.passes.recurrent_loops import Weights, layer_of
from kcompile.passes.rewrite import Skip
from kcompile.passes.sequences import TIME_FIRST

FEWEST = 3  # steps that are worth an operator


@dataclass(frozen=True)
class Step:
    """A cell with the state that it makes of which; the cell's c before and after, where it has one."""

    after: Value
    cell: Cell
    h: Value
    c: Value | None = None
    c_after: Value | None = None


@dataclass(frozen=True)
class Row:
    """The one row that a value is, along an axis of another."""

    whole: Value
    axis: int
    index: int


def roll_up(graph: Graph) -> Graph:
    """The graph with chains of equal steps as recurrent operators; itself where there are none."""
    arrays = Arrays(graph, reads_weights=True)
    for chain in _chains(graph, arrays.known):
        try:
            changed = _rolled(graph, chain, arrays)
        except Skip:
            continue
        if len(changed.operators()) < len(graph.operators()):
            return roll_up(changed)
    return graph


# ---- steps and chains


def _chains(graph: Graph, known: Known) -> list[list[Step]]:
    """Steps of one cell, each from the state of the one before."""
    steps = [step for node in graph.nodes for step in _steps(node, known)]
    following = {(step.h, step.c): step for step in steps}
    entered = {(step.after, step.c_after) for step in steps}
    found = []
    for step in steps:
        if (step.h, step.c) not in entered:
            chain = [step]
            while (chain[-1].after, chain[-1].c_after) in following:
                chain.append(following[chain[-1].after, chain[-1].c_after])
            found.append(chain)
    return [chain for chain in found if len(chain) >= FEWEST]


def _steps(node: Node, known: Known) -> Iterator[Step]:
    value = node.results[0]
    if value.type.rank != 2 or value.type.dtype is not f32 or not isinstance(value.type.shape[1], int):
        return
    if isinstance(node.op, Multiply):
        for _, squashed in factors(value):
            c_after = squashed.inputs[0] if type(squashed.op) in cells.ACTIVATIONS else None
            for c in dict.fromkeys(b for kept, _ in terms(c_after) for _, b in factors(kept)) if c_after else ():
                cell = cells.lstm(value, c_after, c)  # type: ignore[arg-type]
                for h in _states(cell):
                    yield Step(value, cell, h, c, c_after)  # type: ignore[arg-type]
    elif isinstance(node.op, Add):
        candidates = [b for part in node.inputs for _, b in factors(part)]  # type: ignore[arg-type]
        candidates += [v for b in candidates for v in b.inputs if v is not None]
        for h in dict.fromkeys(candidates):
            cell = cells.gru(value, h)
            # A first state of zeros may be one number here, and a matrix where it is multiplied.
            zero = zeros(known, h)
            for state in _states(cell):
                if state is h or (zero and zeros(known, state)):
                    yield Step(value, cell, state)  # type: ignore[arg-type]
    elif type(node.op) in cells.ACTIVATIONS:
        cell = cells.simple(value)
        for h in _states(cell):
            yield Step(value, cell, h)  # type: ignore[arg-type]


def _states(cell: Cell | None) -> list[Value]:
    """What may be the state among the operands of a cell's products: square kernels."""
    if cell is None:
        return []
    products = cell.gates[0].products
    squares = [v for v, kernel in products if kernel.type.shape[0] == kernel.type.shape[1]]
    return squares if len(products) + len(cell.gates[0].rest) == 2 else []


# ---- rolling up


def _rolled(graph: Graph, chain: list[Step], arrays: Arrays) -> Graph:
    rows = [_row(_input(step)) for step in chain]
    first = rows[0]
    indices = [row.index for row in rows]
    count = len(chain)
    forwards, backwards = list(range(count)), list(range(count))[::-1]
    same = all(row.whole is first.whole and row.axis == first.axis for row in rows)
    if not same or indices not in (forwards, backwards) or first.whole.type.shape[first.axis] != count:
        raise Skip
    _require_same_weights(chain)
    step, last = chain[0], chain[-1]
    turned = first.axis == 1
    with origin(step.after.node.origin):
        whole = Transpose(TIME_FIRST)(first.whole) if turned else first.whole
        x, weights = Weights(step.cell, step.h, {_input(step): whole}).all()
        begun = [step.h] if step.c is None else [step.h, step.c]
        states = [None if zeros(arrays.known, v) else v for v in begun]
        if any(v is not None and v.type != step.after.type for v in states):
            raise Skip
        op = layer_of(step.cell, reverse=indices == backwards, time_major=True, aligned=True)
        sequence, *finals = op(x, *weights, *states, None)
        sequence = Transpose(TIME_FIRST)(sequence) if turned else sequence
        parts = Split((1,) * count, first.axis)(sequence)
        found = {s.after: Squeeze((first.axis,))(parts[i]) for s, i in zip(chain, indices, strict=True)}
    if last.c_after is not None:
        found[last.c_after] = finals[1]
    changed = _with(graph, found)
    if _read(changed, parts[0].op) <= {indices[-1]}:
        changed = _with(graph, {**found, last.after: finals[0]})
    return changed


def _read(graph: Graph, op: Op) -> set[int]:
    """Which results of a Split are read."""
    return {v.index for n in graph.nodes for v in n.inputs if v is not None and v.op == op}


def _with(graph: Graph, values: dict[Value, Value]) -> Graph:
    """The graph with other values in place of some."""

    def change(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value] | None:
        return (values[node.results[0]],) if node.results[0] in values else None

    return graph.rebuild(change)


def _input(step: Step) -> Value:
    """What the step reads of the sequence: the operand of the other product, or what was projected before."""
    gate = step.cell.gates[0]
    if gate.rest:
        cut = cells.cut(gate.rest[0])
        return gate.rest[0] if cut is None else cut[0]
    return next(v for v, _ in gate.products if v is not step.h)


def _row(value: Value) -> Row:
    """Which row of a sequence of rank 3 a matrix is."""
    op = value.op
    if isinstance(op, Gather) and isinstance(value.inputs[1].op, Constant):  # type: ignore[union-attr]
        whole, data = value.inputs[0], value.inputs[1].op.value.data  # type: ignore[union-attr]
        if whole is not None and whole.type.rank == 3 and data.ndim == 0:
            axis = normal_axis(op.axis, 3)
            return _counted(whole, axis, int(data))
    if isinstance(op, Squeeze) and len(op.axes) == 1 and value.inputs[0].type.rank == 3:  # type: ignore[union-attr]
        axis, part = normal_axes(op.axes, 3)[0], value.inputs[0]
        assert part is not None
        if isinstance(part.op, Split) and normal_axis(part.op.axis, 3) == axis and set(part.op.sizes) == {1}:
            return _counted(part.inputs[0], axis, part.index)
        start = part.op.starts[axis] if isinstance(part.op, Slice) else None
        if isinstance(part.op, Slice) and isinstance(start, int):
            whole = part.inputs[0]
            kept = [i for i in range(3) if part.type.shape[i] != whole.type.shape[i]]  # type: ignore[union-attr]
            if kept in ([axis], []) and set(part.op.steps) == {1}:
                return _counted(whole, axis, start)
    raise Skip


def _counted(whole: Value | None, axis: int, index: int) -> Row:
    size = whole.type.shape[axis] if whole is not None else None
    if whole is None or axis == 2 or not isinstance(size, int):
        raise Skip
    return Row(whole, axis, index % size)


def _require_same_weights(chain: Sequence[Step]) -> None:
    """Skip unless all steps have the kernels and biases of the first."""
    builder = Builder()

    def key(step: Step) -> list[object]:
        found: list[object] = [step.cell.kind, step.cell.activation, step.cell.recurrent_activation]
        for gate in [*step.cell.gates, step.cell.inner or Linear()]:
            found.append([(v is step.h, builder.keep(k)) for v, k in gate.products])
            found.append([builder.keep(b) for b in gate.biases])
            found.append([None if cells.cut(r) is None else cells.cut(r)[1] for r in gate.rest])  # type: ignore[index]
        return found

    first = key(chain[0])
    weights = [v for entry in first if isinstance(entry, list) for v in entry]
    fixed = [v for v in weights if isinstance(v, Value)] + [v[1] for v in weights if isinstance(v, tuple)]
    if not all(_fixed(v) for v in fixed) or any(key(step) != first for step in chain[1:]):
        raise Skip


def _fixed(value: Value) -> bool:
    """Whether a value is made of weights and constants alone."""
    stack = [value]
    while stack:
        top = stack.pop()
        if not isinstance(top.op, (Weight, Constant)):
            if not top.inputs:
                return False
            stack += [v for v in top.inputs if v is not None]
    return True
