"""A model's nodes as numbers, with where each operand comes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any

import onnx

from kcompile.onnx.opaque import form_of

# Where an operand comes from: ("node", number, output), ("input", position), ("weight", name),
# ("nothing",) for an absent one, ("unknown", name) for a name that nothing makes.
Source = tuple[Any, ...]
NOTHING: Source = ("nothing",)


class Wiring:
    """``sources`` of each node's operands (what its subgraphs capture behind them), ``users`` of each node.

    ``forms`` tell operators with their attributes apart, names of tensors aside; ``outputs`` are
    the sources of the graph's outputs.
    """

    def __init__(self, model: onnx.ModelProto):
        graph = model.graph
        self.nodes = list(graph.node)
        self.input_names = [v.name for v in graph.input if v.name not in {t.name for t in graph.initializer}]
        self._made: dict[str, Source] = {t.name: ("weight", t.name) for t in graph.initializer}
        self._made |= {s.values.name: ("weight", s.values.name) for s in graph.sparse_initializer}
        self._made |= {name: ("input", i) for i, name in enumerate(self.input_names)}
        for i, node in enumerate(self.nodes):
            self._made.update((name, ("node", i, k)) for k, name in enumerate(node.output) if name)
        forms = [form_of(node) for node in self.nodes]
        self.forms: list[Hashable] = [
            (n.domain, n.op_type, form.data.tobytes(), tuple(bool(o) for o in n.output))
            for n, (form, _) in zip(self.nodes, forms, strict=True)
        ]
        self.sources = [
            [*map(self.source, _given(n)), *map(self.source, captured)]
            for n, (_, captured) in zip(self.nodes, forms, strict=True)
        ]
        self.outputs = [self.source(v.name) for v in graph.output]
        # (user, operand, output of this node); the graph's outputs are users -1.
        self.users: list[list[tuple[int, int, int]]] = [[] for _ in self.nodes]
        for user, sources in [*enumerate(self.sources), (-1, self.outputs)]:
            for operand, source in enumerate(sources):
                if source[0] == "node":
                    self.users[source[1]].append((user, operand, source[2]))
        self.tensor_of = {source: name for name, source in self._made.items()}

    def source(self, name: str) -> Source:
        return self._made.get(name, ("unknown", name)) if name else NOTHING

    def name(self, source: Source) -> str:
        """The tensor's name."""
        return self.tensor_of.get(source, source[1] if source[0] == "unknown" else "")


def _given(node: onnx.NodeProto) -> list[str]:
    names = list(node.input)
    while names and not names[-1]:
        names.pop()
    return names


class Interned:
    """Equal keys have equal numbers, in all models that share it."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, key: Hashable) -> int:
        return self._numbers.setdefault(key, len(self._numbers))


def from_inputs(wiring: Wiring, weights: Mapping[str, Hashable], number: Interned) -> list[int]:
    """For each node a number for everything that it is computed from; ``weights`` says as what those count."""
    found: list[int] = []
    for form, sources in zip(wiring.forms, wiring.sources, strict=True):
        # A node of a file that is in no order may read one that comes later.
        below = [
            ("node", found[s[1]] if s[1] < len(found) else -1, s[2])
            if s[0] == "node"
            else (s[0], weights.get(s[1]))
            if s[0] == "weight"
            else s
            for s in sources
        ]
        found.append(number(("from inputs", form, tuple(below))))
    return found


def from_outputs(wiring: Wiring, number: Interned) -> list[int]:
    """For each node a number for everything that is computed from it."""
    found = [-1] * len(wiring.nodes)
    for i in range(len(wiring.nodes) - 1, -1, -1):
        above = [(-1 if user < 0 else found[user], operand, out) for user, operand, out in wiring.users[i]]
        found[i] = number(("from outputs", wiring.forms[i], tuple(sorted(above))))
    return found


def by_key(keys: list[Any], numbers: list[int]) -> dict[Any, list[int]]:
    """Positions by key, in order."""
    found: dict[Any, list[int]] = defaultdict(list)
    for i in numbers:
        found[keys[i]].append(i)
    return found
