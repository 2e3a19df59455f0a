"""What a pass may read of a graph's weights, and how it adds new ones."""

from __future__ import annotations

import re

import numpy as np

from kcompile.ir import Constant, Graph, Type, Value, Weight, weight
from kcompile.ir.types import dtype


class Arrays:
    """The arrays of a graph's constants and (where ``reads_weights``) of its weights.

    A weight that an update of the graph changes is never known.
    """

    def __init__(self, graph: Graph, reads_weights: bool):
        updated = {label for label, _ in graph.updates}
        self.weights = dict(graph.weights)
        self._readable = set(graph.weights) - updated if reads_weights else set()
        self._taken = set(graph.weights) | set(graph.weight_values()) | updated

    def known(self, value: Value) -> np.ndarray | None:
        """The array of a constant or a readable weight, else None."""
        if isinstance(value.op, Constant):
            return value.op.value.data
        if isinstance(value.op, Weight) and value.op.label in self._readable:
            return self.weights[value.op.label]
        return None

    def add(self, label: str, data: np.ndarray) -> Value:
        """A weight with this array, called ``label`` or where that is taken ``label~1``, ``label~2``, ..."""
        base = re.sub(r"~\d+$", "", label)
        name, count = base, 0
        while name in self._taken:
            same = self.weights[name] if name in self._readable else None
            if same is not None and same.dtype == data.dtype and np.array_equal(same, data):
                break
            count += 1
            name = f"{base}~{count}"
        self._taken.add(name)
        self._readable.add(name)
        self.weights[name] = data
        return weight(name, Type(dtype(data.dtype), data.shape))


def tidy(graph: Graph) -> Graph:
    """Drop the arrays of weights that nothing reads, and give their plain names to what was made of them."""
    updated = {label for label, _ in graph.updates}
    used = graph.weight_values()
    names: dict[str, str] = {}
    for label in sorted(used):
        base = re.sub(r"~\d+$", "", label)
        # An array that is still used or updated keeps its name.
        if base not in used and base not in updated and base not in names.values():
            names[label] = base
    weights = {names.get(k, k): v for k, v in graph.weights.items() if k in used or k in updated}
    if not names and len(weights) == len(graph.weights):
        return graph

    def rename(node, inputs):  # type: ignore[no-untyped-def]
        new = names.get(node.op.label) if isinstance(node.op, Weight) else None
        return None if new is None else (weight(new, node.types[0]),)

    return graph.rebuild(rename).replace(weights=weights)
