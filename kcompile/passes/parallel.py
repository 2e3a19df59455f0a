"""Projections of one tensor beside each other: one product instead of several.

Query, key and value (and the heads of grouped-query attention) read the same rows, and each result
is split into heads. One dense layer with all the columns makes all heads at once::

    reshape(dense(x, q)), reshape(dense(x, k)), ...  ->  split(reshape(dense(x, [q k ...])))
"""

from __future__ import annotations

import numpy as np

from kcompile.ir import Graph, Node, Value, origin
from kcompile.operators.linear import Dense
from kcompile.operators.shape import Reshape, Split
from kcompile.passes.arrays import Arrays


def merge_projections(graph: Graph) -> Graph:
    """The graph with the dense layers that make heads of one tensor as one; itself where there are none."""
    arrays = Arrays(graph, reads_weights=True)
    groups = _groups(graph, arrays)
    if not groups:
        return graph
    member = {node: group for group in groups for node in group}
    made: dict[Node, tuple[Value, ...]] = {}

    def change(node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value, ...] | None:
        group = member.get(node)
        if group is None:
            return None
        if group[0] not in made:
            dense = inputs[0]
            assert dense is not None and dense.inputs[0] is not None
            with origin(node.origin):
                made[group[0]] = _merged(dense.inputs[0], group, arrays)
        return (made[group[0]][group.index(node)],)

    return graph.rebuild(change).replace(weights=arrays.weights)


def _groups(graph: Graph, arrays: Arrays) -> list[list[Node]]:
    """Reshape nodes [..., heads, depth] of dense layers on one tensor, two or more together."""
    users = graph.users()
    found: dict[tuple[Value | None, tuple], list[Node]] = {}
    for node in graph.nodes:
        dense = node.inputs[0] if isinstance(node.op, Reshape) else None
        if dense is None or not isinstance(dense.op, Dense) or len(users[dense]) > 1:
            continue
        x, *weights = dense.inputs
        shape, lead = node.types[0].shape, dense.type.shape[:-1]
        splits = shape[:-2] == lead and all(isinstance(d, int) for d in shape[-2:])
        if splits and all(w is None or arrays.known(w) is not None for w in weights):
            found.setdefault((x, (*lead, shape[-1])), []).append(node)
    groups = [group for group in found.values() if len(group) > 1]
    # A kernel that something else reads too would be stored twice.
    mine = {node.inputs[0].node for group in groups for node in group}  # type: ignore[union-attr]
    return [g for g in groups if all(set(users[_dense(n).inputs[1]]) <= mine for n in g)]  # type: ignore[index]


def _dense(node: Node) -> Node:
    assert node.inputs[0] is not None
    return node.inputs[0].node


def _merged(x: Value, group: list[Node], arrays: Arrays) -> tuple[Value, ...]:
    dense = [_dense(node) for node in group]
    kernels = [_array(d.inputs[1], arrays) for d in dense]
    biases = [None if d.inputs[2] is None else _array(d.inputs[2], arrays) for d in dense]
    kernel = _joined(kernels, dense[0].inputs[1], arrays)
    bias = None
    if any(b is not None for b in biases):
        like = next(d.inputs[2] for d in dense if d.inputs[2] is not None)
        full = [np.zeros(k.shape[1], k.dtype) if b is None else b for b, k in zip(biases, kernels, strict=True)]
        bias = _joined(full, like, arrays)
    shapes = [node.types[0].shape for node in group]
    heads = tuple(int(s[-2]) for s in shapes)  # type: ignore[arg-type]
    together = Reshape((*shapes[0][:-2], sum(heads), shapes[0][-1]))(Dense()(x, kernel, bias))
    return Split(heads, len(shapes[0]) - 2)(together)


def _joined(parts: list, like: Value | None, arrays: Arrays) -> Value:
    array = np.concatenate(parts, -1)
    label = getattr(like.op, "label", "kernel") if like is not None else "kernel"
    return arrays.add(label, array)


def _array(value: Value | None, arrays: Arrays) -> np.ndarray:
    assert value is not None
    array = arrays.known(value)
    assert array is not None, f"{value!r} has no array"
    return array
