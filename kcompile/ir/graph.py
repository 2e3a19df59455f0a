"""`Graph`: inputs, outputs and variable updates over hash-consed nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kcompile.errors import GraphError
from kcompile.ir.dims import Dim, DimLike, substitute
from kcompile.ir.op import Constant, Input, Node, Op, Value, Weight, sub_graphs, symbols_in
from kcompile.ir.types import Type


class Graph:
    """A function of named inputs: outputs, and new values of variables as extra outputs.

    Attributes: ``inputs`` (values of `Input` operators), ``outputs`` with ``output_names``,
    ``updates`` (pairs of weight name and new value), ``weights`` (arrays by weight name; may be
    empty or hold only some while training). Equal nodes are one node; nodes that no output needs
    are absent. Graphs are immutable, hashable, and equal when they compute the same expression
    (origins, the graph's name and the weights' arrays are not compared).
    """

    __slots__ = ("_hash", "_key", "inputs", "name", "nodes", "output_names", "outputs", "updates", "weights")

    def __init__(
        self,
        name: str,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        output_names: Sequence[str] | None = None,
        updates: Sequence[tuple[str, Value]] = (),
        weights: Mapping[str, np.ndarray] | None = None,
    ):
        builder = Builder()
        self.name = name
        self.inputs = tuple(builder.keep(v) for v in inputs)
        self.outputs = tuple(builder.keep(v) for v in outputs)
        names = output_names or [f"output_{i}" if i else "output" for i in range(len(outputs))]
        self.output_names = tuple(names)
        self.updates = tuple((label, builder.keep(v)) for label, v in updates)
        self.weights: dict[str, np.ndarray] = dict(weights or {})
        self.nodes: tuple[Node, ...] = tuple(topological([*self.results()], self.inputs))
        self._check_names()
        self._key: Any = None
        self._hash: int | None = None

    def _check_names(self) -> None:
        labels = []
        for value in self.inputs:
            if not isinstance(value.op, Input):
                raise GraphError(f"graph {self.name!r}: {value!r} is not an input")
            labels.append(value.op.label)
        if len(set(labels)) != len(labels):
            raise GraphError(f"graph {self.name!r}: input names repeat: {labels}")
        if len(self.output_names) != len(self.outputs):
            raise GraphError(f"graph {self.name!r}: {len(self.outputs)} outputs, {len(self.output_names)} names")
        if len(set(self.output_names)) != len(self.output_names):
            raise GraphError(f"graph {self.name!r}: output names repeat: {list(self.output_names)}")
        updated = [label for label, _ in self.updates]
        if len(set(updated)) != len(updated):
            raise GraphError(f"graph {self.name!r}: a weight is updated twice: {updated}")
        known = set(map(id, self.inputs))
        for node in self.nodes:
            if isinstance(node.op, Input) and id(node.results[0]) not in known:
                raise GraphError(
                    f"graph {self.name!r}: the input {node.op.label!r} is used but is not an input of this graph"
                )

    def results(self) -> Iterator[Value]:
        """Outputs, then updated values."""
        yield from self.outputs
        for _, value in self.updates:
            yield value

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(v.op.label for v in self.inputs)  # type: ignore[attr-defined]

    def weight_values(self) -> dict[str, Value]:
        """Weight values that are used, by name, in order of use."""
        return {n.op.label: n.results[0] for n in self.nodes if isinstance(n.op, Weight)}

    def operators(self) -> list[Node]:
        """Nodes that compute: all but inputs, weights and constants."""
        return [n for n in self.nodes if not isinstance(n.op, (Input, Weight, Constant))]

    def users(self) -> dict[Value, list[Node | None]]:
        """Who reads each value; None stands for the graph itself (an output or update)."""
        found: dict[Value, list[Node | None]] = {v: [] for n in self.nodes for v in n.results}
        for node in self.nodes:
            for value in node.inputs:
                if value is not None:
                    found[value].append(node)
        for value in self.results():
            found[value].append(None)
        return found

    def symbols(self) -> set[str]:
        """Names of the symbolic dims of the inputs."""
        return set().union(*(v.type.symbols() for v in self.inputs))

    def replace(self, **changes: Any) -> Graph:
        """The graph with some constructor arguments changed."""
        now: dict[str, Any] = {
            "name": self.name,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "output_names": self.output_names,
            "updates": self.updates,
            "weights": self.weights,
        }
        return Graph(**{**now, **changes})

    def inference(self) -> Graph:
        """The graph without its variable updates."""
        return self.replace(updates=()) if self.updates else self

    def rebuild(self, change: Callable[[Node, tuple[Value | None, ...]], Sequence[Value] | None]) -> Graph:
        """A graph with each node passed through ``change(node, new inputs)``.

        ``change`` returns the values that take the place of the node's results, or None to keep
        the operator on its new inputs.
        """
        table: dict[Value, Value] = {}
        for node in self.nodes:
            inputs = tuple(None if v is None else table[v] for v in node.inputs)
            new = change(node, inputs)
            if new is None:
                new = remake(node, inputs).results
            table.update(zip(node.results, new, strict=True))
        return self.replace(
            inputs=[table.get(v, v) for v in self.inputs],
            outputs=[table[v] for v in self.outputs],
            updates=[(label, table[v]) for label, v in self.updates],
        )

    def substitute(self, sizes: Mapping[str, DimLike]) -> Graph:
        """The graph with some of its free sizes replaced, types anew; raises InferError where they don't fit."""

        def change(node: Node, inputs: tuple[Value | None, ...]) -> Sequence[Value]:
            op = node.op
            if symbols_in(op) or sub_graphs(op):
                op = op.replace(**{k: _substituted(v, sizes) for k, v in op.attributes().items()})
            types = op.infer(*(None if v is None else v.type for v in inputs))
            return Node(op, inputs, types if isinstance(types, tuple) else (types,), node.origin).results

        return self.rebuild(change)

    def key(self) -> Any:
        """What equality compares: operators, operands, outputs and names."""
        if self._key is None:
            number = {node: i for i, node in enumerate(self.nodes)}
            rows = tuple(
                (n.op, n.types, tuple(None if v is None else (number[v.node], v.index) for v in n.inputs))
                for n in self.nodes
            )
            place = {v: (number.get(v.node, -1), v.index) for v in (*self.inputs, *self.results())}
            ends = tuple(place[v] for v in self.outputs), tuple((k, place[v]) for k, v in self.updates)
            starts = tuple(v.op for v in self.inputs)
            self._key = rows, starts, ends, self.output_names
            self._hash = hash(self._key)
        return self._key

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Graph) and self.key() == other.key())

    def __hash__(self) -> int:
        self.key()
        assert self._hash is not None
        return self._hash

    def __str__(self) -> str:
        from kcompile.ir.text import show

        return show(self)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.operators())} operators>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Rows instead of linked nodes: pickle would recurse as deep as the graph.
        number = {node: i for i, node in enumerate(self.nodes)}

        def place(value: Value) -> tuple[int, int]:
            return number[value.node], value.index

        rows = [(n.op, n.types, n.origin, [None if v is None else place(v) for v in n.inputs]) for n in self.nodes]
        ends = [place(v) for v in self.inputs], [place(v) for v in self.outputs]
        updates = [(label, place(v)) for label, v in self.updates]
        return _from_rows, (self.name, rows, *ends, self.output_names, updates, self.weights)


class Builder:
    """Makes equal nodes one node. The first of equal nodes gives the origin."""

    def __init__(self) -> None:
        self._nodes: dict[Any, Node] = {}
        self._values: dict[Value, Value] = {}

    def keep(self, value: Value) -> Value:
        """The canonical value equal to ``value``, with everything below it canonical too."""
        for node in topological([value], (), self._values):
            inputs = tuple(None if v is None else self._values[v] for v in node.inputs)
            key = (node.op, tuple(None if v is None else id(v) for v in inputs), node.types)
            kept = self._nodes.get(key)
            if kept is None:
                kept = node if inputs == node.inputs else Node(node.op, inputs, node.types, node.origin)
                self._nodes[key] = kept
            for old, new in zip(node.results, kept.results, strict=True):
                self._values[old] = new
                self._values[new] = new
        return self._values[value]


def topological(
    values: Iterable[Value], first: Iterable[Value] = (), done: Mapping[Value, Any] | None = None
) -> Iterator[Node]:
    """Nodes below ``values``, operands before users, ``first`` leading; ``done`` values are skipped.

    The order is that of a depth-first walk and so a function of the graph alone. No recursion:
    graphs are thousands of nodes deep.
    """
    seen: set[Node] = set()
    done = done or {}
    for root in (*first, *values):
        stack: list[tuple[Node, bool]] = [(root.node, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
                continue
            if node in seen or node.results[0] in done:
                continue
            seen.add(node)
            stack.append((node, True))
            for value in reversed(node.inputs):
                if value is not None and value.node not in seen:
                    stack.append((value.node, False))


def _substituted(attribute: Any, sizes: Mapping[str, DimLike]) -> Any:
    if isinstance(attribute, Dim):
        return substitute(attribute, sizes)
    if isinstance(attribute, (Type, Graph)):
        return attribute.substitute(sizes)
    if isinstance(attribute, tuple):
        return tuple(_substituted(a, sizes) for a in attribute)
    return attribute


def remake(node: Node, inputs: tuple[Value | None, ...]) -> Node:
    """``node`` on other operands: the same node where they are the same, else types anew."""
    if inputs == node.inputs:
        return node
    types = node.op.infer(*(None if v is None else v.type for v in inputs))
    return Node(node.op, inputs, types if isinstance(types, tuple) else (types,), node.origin)


def _from_rows(name: str, rows: Any, inputs: Any, outputs: Any, names: Any, updates: Any, weights: Any) -> Graph:
    nodes: list[Node] = []
    for op, types, origin, places in rows:
        operands = tuple(None if p is None else nodes[p[0]].results[p[1]] for p in places)
        nodes.append(Node(op, operands, types, origin))

    def values(places: Any) -> list[Value]:
        return [nodes[i].results[j] for i, j in places]

    pairs = zip([label for label, _ in updates], values([p for _, p in updates]), strict=True)
    return Graph(name, values(inputs), values(outputs), names, list(pairs), weights)


def weight(label: str, type: Type) -> Value:
    """The weight called ``label``."""
    return Weight(label, type)()


def input_value(label: str, type: Type) -> Value:
    """The graph input called ``label``."""
    return Input(label, type)()


def is_leaf(op: Op) -> bool:
    """True for inputs, weights and constants."""
    return isinstance(op, (Input, Weight, Constant))
