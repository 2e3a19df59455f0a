"""If, Loop and Scan: their subgraphs as graphs of the IR, which capture what they read from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from onnx import AttributeProto, GraphProto, NodeProto

from kcompile.ir import Constant, Graph, Type, Value, Weight, constant, input_value
from kcompile.ir.graph import remake, topological
from kcompile.ir.op import sub_graphs, symbols_in
from kcompile.ir.types import OpaqueType, bool_, i64
from kcompile.onnx.reader.counting import Counting
from kcompile.onnx.reader.reading import decline, require
from kcompile.operators.control import Cond, Scan, WhileLoop, inline
from kcompile.operators.creation import Range
from kcompile.operators.opaque import Opaque
from kcompile.operators.shape import Flip, Transpose

if TYPE_CHECKING:
    from kcompile.onnx.reader.scope import Scope

Values = Sequence["Value | None"]
ENDLESS = 2**31 - 1  # what exporters write where there is no limit to the number of steps


class Region:
    """The subgraphs of one node while they are read: fresh inputs, then graphs closed over their captures.

    With ``hoist`` what doesn't depend on the inputs is left outside, where it is computed once.
    """

    def __init__(self, scope: Scope, hoist: bool):
        self.scope, self.hoist = scope, hoist
        self.outer = {v: v for v in scope.values.values()}
        self.captures: dict[Value, Value] = {}

    def input(self, type: Type) -> Value:
        """One more input, of a label that no other has."""
        return input_value(f"inner_{self.scope.number()}", type)

    def close(
        self,
        name: str,
        inputs: Sequence[Value],
        results: Sequence[Value],
        known: Mapping[Value, Value] = MappingProxyType({}),
    ) -> Callable[[], Graph]:
        """The graph of ``results`` on ``inputs`` and captures, to be made when all captures are known.

        ``known`` gives constants for values that every step has the same.
        """
        table: dict[Value, Value] = {**{v: v for v in inputs}, **known}
        inside = set(table)

        def within(value: Value) -> Value:
            if isinstance(value.op, Constant):
                return value
            if value not in table:
                table[value] = self.captures.setdefault(value, self.input(value.type))
            return table[value]

        for node in topological(results, (), {**self.outer, **table}):
            depends = any(v in inside for v in node.inputs)
            if depends or not (isinstance(node.op, (Constant, Weight)) or (self.hoist and _pure(node))):
                made = remake(node, tuple(None if v is None else within(v) for v in node.inputs))
                table.update(zip(node.results, made.results, strict=True))
                inside.update(node.results)
        ends = [within(v) for v in results]

        def made_graph() -> Graph:
            graph = _numbered(Graph(name, [*inputs, *self.captures.values()], ends))
            shown = graph.symbols()
            for node in graph.nodes:
                require(symbols_in(node.op) <= shown, "a subgraph needs a size that none of its tensors shows")
            return graph

        return made_graph


def _numbered(graph: Graph) -> Graph:
    """The graph with its inputs called by their place, so that equal subgraphs are equal."""
    inputs = [input_value(f"value_{i}", v.type) for i, v in enumerate(graph.inputs)]
    return Graph(graph.name, inputs, inline(graph, inputs))


def _pure(node: Any) -> bool:
    """Whether computing it once, and where the loop runs no step too, makes no difference."""
    return not isinstance(node.op, Opaque) and not sub_graphs(node.op)


def _graph(node: NodeProto, name: str) -> GraphProto:
    return next(a.g for a in node.attribute if a.name == name and a.type == AttributeProto.GRAPH)


def _tensors(values: Values) -> list[Value]:
    found = [v if v is not None else decline("an operand is absent") for v in values]
    require(not any(isinstance(v.type, OpaqueType) for v in found), "the IR has no such type")
    return found


def branches(scope: Scope, node: NodeProto, operands: Values) -> Sequence[Value]:
    """An If: the branch that is taken where the condition is known, else both."""
    (condition,) = _tensors(operands)
    known = scope.content(condition)
    if known is not None:
        return scope.body(_graph(node, "then_branch" if bool(known.item()) else "else_branch"), [])
    require(condition.type.rank == 0, "a condition that is no scalar")
    region = Region(scope, hoist=False)
    closed = []
    for name in ("then_branch", "else_branch"):
        closed.append(region.close(name, [], _tensors(scope.body(_graph(node, name), []))))
    then, orelse = (make() for make in closed)
    return _results(Cond(then, orelse)(condition, *region.captures))


def loop(scope: Scope, node: NodeProto, operands: Values) -> Sequence[Value]:
    """A Loop: a Scan over its counter where only the count ends it, else a WhileLoop where there is no count."""
    initial, graph = _tensors(operands[2:]), _graph(node, "body")
    require(all(not v.type.tensor_type.shape.dim for v in graph.input[:2]), "a counter that is no scalar")
    region = Region(scope, hoist=True)
    counter, again = region.input(Type(i64, ())), region.input(Type(bool_, ()))
    states = [region.input(v.type) for v in initial]
    goes_on, *results = _tensors(scope.body(graph, [counter, again, *states]))
    most = operands[0] if operands else None
    sizes = None if most is None else scope.known_sizes(most)
    count = None if sizes is None else sizes.reshape(-1)[0]
    first = operands[1] if len(operands) > 1 else None
    if count is not None and not (isinstance(count, int) and count >= ENDLESS):
        symbols = scope.fresh("step"), scope.fresh("state")
        counting = Counting(scope.known_sizes, count, counter, again, states, initial, results, symbols)
        require(counting.never_ends(first, goes_on), "it may end before its count")
        body = region.close("body", [*states, counter], results, {again: constant(True)})()
        return _results(Scan(body, len(states), 1)(*initial, Range(0, count)(), *region.captures))
    require(most is None or count is not None, "how often it runs at most is not known")
    require(len(results) == len(states), "results of a number of steps that is not known")
    body = region.close("body", [again, *states], [goes_on, *results])()
    require(counter not in region.captures, "the steps of an endless loop are counted")
    test = Graph("condition", body.inputs, [body.inputs[0]])
    begun = constant(True) if first is None else first
    return _results(WhileLoop(test, body)(begun, *initial, *region.captures))[1:]


def scan(scope: Scope, node: NodeProto, operands: Values) -> Sequence[Value]:
    """A Scan: sequences with their axis first, all in one direction."""
    given = {a.name: list(a.ints) for a in node.attribute}
    count = next(a.i for a in node.attribute if a.name == "num_scan_inputs")
    values, graph = _tensors(operands), _graph(node, "body")
    states, sequences = len(values) - count, values[len(values) - count :]
    stacked = len(graph.output) - states
    backwards = [given.get(f"scan_{end}_directions") or [0] * n for end, n in (("input", count), ("output", stacked))]
    reverse = all(backwards[0]) and all(backwards[1])
    for i, axis in enumerate(given.get("scan_input_axes") or [0] * count):
        sequences[i] = _axis_moved(sequences[i], axis, 0)
        sequences[i] = Flip((0,))(sequences[i]) if backwards[0][i] and not reverse else sequences[i]
    region = Region(scope, hoist=True)
    slices = [v.type.with_shape(v.type.shape[1:]) for v in sequences]
    inputs = [region.input(t) for t in (*(v.type for v in values[:states]), *slices)]
    results = _tensors(scope.body(graph, inputs))
    body = region.close("body", inputs, results)()
    made = list(_results(Scan(body, states, count, reverse)(*values[:states], *sequences, *region.captures)))
    for i, axis in enumerate(given.get("scan_output_axes") or [0] * stacked, states):
        made[i] = Flip((0,))(made[i]) if backwards[1][i - states] and not reverse else made[i]
        made[i] = _axis_moved(made[i], 0, axis)
    return made


def _axis_moved(x: Value, source: int, target: int) -> Value:
    rank = x.type.rank
    order = [i for i in range(rank) if i != source % rank]
    order.insert(target % rank, source % rank)
    return x if order == sorted(order) else Transpose(tuple(order))(x)


def _results(made: Any) -> Sequence[Value]:
    return made if isinstance(made, tuple) else (made,)


READERS = {"If": branches, "Loop": loop, "Scan": scan}
