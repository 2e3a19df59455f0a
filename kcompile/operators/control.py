"""Control flow. Bodies are graphs whose inputs are all operands: what they capture is passed to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcompile.ir import Dim, Graph, Input, Op, Type, Value
from kcompile.ir.dims import DimLike
from kcompile.ir.graph import remake
from kcompile.ir.shapes import same_dim
from kcompile.ir.types import bool_, i64


def inline(graph: Graph, operands: Sequence[Value]) -> tuple[Value, ...]:
    """The graph's results on other values than its inputs."""
    table: dict[Value, Value] = dict(zip(graph.inputs, operands, strict=True))
    for node in graph.nodes:
        if not isinstance(node.op, Input):
            inputs = tuple(None if v is None else table[v] for v in node.inputs)
            table.update(zip(node.results, remake(node, inputs).results, strict=True))
    return tuple(table[v] for v in graph.outputs)


def _results(op: Op, what: str, graph: Graph, operands: Sequence[Type]) -> tuple[Type, ...]:
    """Types of the graph's results on operands of these types; raises InferError where they don't fit."""
    taken = tuple(v.type for v in graph.inputs)
    message = f"{what} takes {list(taken)}, the operands are {list(operands)}"
    op.require(len(taken) == len(operands), message)
    sizes: dict[str, DimLike] = {}
    for own, given in zip(taken, operands, strict=True):
        op.require(own.dtype is given.dtype and own.rank == given.rank, message)
        for a, b in zip(own.shape, given.shape, strict=True):
            if isinstance(a, Dim) and a.name is not None:
                sizes.setdefault(a.name, b)
            else:
                op.require(isinstance(a, Dim) or isinstance(b, Dim) or a == b, message)
    return tuple(v.type.substitute(sizes) for v in graph.outputs)


class Cond(Op, name="cond"):
    """The results of ``then`` where predicate (bool []) is true, else those of ``orelse``; ONNX If.

    Both graphs take all operands after the predicate and give results of the same types.
    """

    torch_opaque = True

    then: Graph
    orelse: Graph

    def infer(self, predicate: Type, *operands: Type) -> tuple[Type, ...]:
        self.require(predicate.dtype.is_bool and predicate.rank == 0, f"predicate must be bool [], got {predicate}")
        yes = _results(self, "then", self.then, operands)
        no = _results(self, "orelse", self.orelse, operands)
        self.require(yes == no, f"then gives {list(yes)}, orelse {list(no)}: make dtypes and shapes the same")
        return yes

    def torch(self, t: Any, predicate: Any, *operands: Any) -> Any:
        return tuple(t.function(self.then if bool(predicate) else self.orelse)(*operands))

    def onnx(self, o: Any, predicate: str, *operands: str) -> Any:
        return o.If(
            predicate,
            outputs=len(o.outputs),
            then_branch=o.region(self.then, "then", captured=operands),
            else_branch=o.region(self.orelse, "else", captured=operands),
        )


class Recompute(Op, name="recompute"):
    """The body's results; for its gradients what is inside is computed again and not kept (Chen et al., 2016).

    ONNX: the body itself.
    """

    body: Graph

    def infer(self, *operands: Type) -> tuple[Type, ...]:
        return _results(self, "body", self.body, operands)

    def torch(self, t: Any, *operands: Any) -> Any:
        return t.recomputed(self.body, operands)

    def decompose(self, *operands: Value) -> tuple[Value, ...]:
        return inline(self.body, operands)


class WhileLoop(Op, name="while_loop"):
    """The state after ``body`` has run for as long as ``condition`` gives true; ONNX Loop.

    Operands: the state, as many values as the body gives, then what the graphs capture. Both take
    all of them; the condition gives one bool [], the body the new state, of the same types.
    """

    torch_opaque = True

    condition: Graph
    body: Graph

    def infer(self, *operands: Type) -> tuple[Type, ...]:
        test = _results(self, "condition", self.condition, operands)
        self.require(test == (Type(bool_, ()),), f"condition must give one bool [], got {list(test)}")
        before, after = operands[: len(self.body.outputs)], _results(self, "body", self.body, operands)
        self.require(before == after, f"body must keep the state's types {list(before)}, it gives {list(after)}")
        return after

    def torch(self, t: Any, *operands: Any) -> Any:
        condition, body = t.function(self.condition), t.function(self.body)
        state, captures = operands[: len(self.body.outputs)], operands[len(self.body.outputs) :]
        while bool(condition(*state, *captures)[0]):
            state = body(*state, *captures)
        return tuple(state)

    def onnx(self, o: Any, *operands: str) -> Any:
        count = len(self.body.outputs)
        inputs, captures = self.body.inputs, operands[count:]
        state = inline(self.body, inputs)
        again = inline(self.condition, (*state, *inputs[count:]))
        step = Graph("step", inputs, (*again, *state), weights={**self.body.weights, **self.condition.weights})
        counters = (("iteration", Type(i64, ())), ("condition", Type(bool_, ())))
        (first,) = o.inline(self.condition, operands)
        return o.Loop(
            None,
            first,
            *operands[:count],
            outputs=count,
            body=o.region(step, "loop", extra_inputs=counters, captured=captures),
        )


class Scan(Op, name="scan"):
    """``body`` along the first axis of sequences: (*final states, *outputs stacked [T, ...]); ONNX Scan.

    Operands: ``states`` initial states, ``sequences`` tensors [T, ...], then captures. The body takes
    the states, one slice of each sequence, the captures; it gives the new states, of the same
    types, and what is stacked. With ``reverse`` it runs from the end; output t still belongs to slice t.
    """

    torch_opaque = True

    body: Graph
    states: int
    sequences: int
    reverse: bool = False

    def infer(self, *operands: Type) -> tuple[Type, ...]:
        self.require(self.sequences > 0, "needs a sequence to run along; pass a Range for a count of steps")
        self.require(len(operands) >= self.states + self.sequences, f"needs {self.states + self.sequences} operands")
        states, sequences, captures = self._split(operands)
        self.require(all(s.rank > 0 for s in sequences), f"sequences must have a first axis, got {list(sequences)}")
        length = sequences[0].shape[0]
        for type in sequences[1:]:
            length = same_dim(length, type.shape[0], "scan, length of the sequences")
        slices = [s.with_shape(s.shape[1:]) for s in sequences]
        results = _results(self, "body", self.body, (*states, *slices, *captures))
        after = results[: self.states]
        self.require(states == after, f"body must keep the states' types {list(states)}, it gives {list(after)}")
        return *after, *(r.with_shape((length, *r.shape)) for r in results[self.states :])

    def _split(self, operands: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        end = self.states + self.sequences
        return operands[: self.states], operands[self.states : end], operands[end:]

    def torch(self, t: Any, *operands: Any) -> Any:
        body = t.function(self.body)
        state, sequences, captures = self._split(operands)
        steps = range(sequences[0].shape[0])
        rows = []
        for step in reversed(steps) if self.reverse else steps:
            results = body(*state, *(s[step] for s in sequences), *captures)
            state = results[: self.states]
            rows.append(results[self.states :])
        rows = rows[::-1] if self.reverse else rows
        if rows:
            return *state, *(t.stack(column) for column in zip(*rows, strict=True))
        kinds = t.outputs[self.states :]
        device = operands[0].device
        return *state, *(t.empty(t.shape(k.shape), dtype=t.dtype(k.dtype), device=device) for k in kinds)

    def onnx(self, o: Any, *operands: str) -> Any:
        states, sequences, captures = self._split(operands)
        directions = {}
        if self.reverse:
            directions["scan_input_directions"] = [1] * self.sequences
            if len(o.outputs) > self.states:
                directions["scan_output_directions"] = [1] * (len(o.outputs) - self.states)
        return o.Scan(
            *states,
            *sequences,
            outputs=len(o.outputs),
            body=o.region(self.body, "scan", captured=captures),
            num_scan_inputs=self.sequences,
            **directions,
        )
