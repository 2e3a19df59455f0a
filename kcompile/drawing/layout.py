"""Layers from top to bottom: each group's children by longest path, ordered by barycentres, long edges bent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kcompile.drawing.diagram import Diagram, Group

SWEEPS = 8
ENTRY, EXIT = -1, -2  # stand for the group's border in its edges


@dataclass
class Level:
    """One group from inside.

    ``cells`` are its children, then bends (None) through which long edges pass; ``layers`` their
    positions from top to bottom, left to right; ``links`` (cell, cell, value); ``entries`` and
    ``exits`` the bends at which a value crosses the group's border.
    """

    cells: list[Group | int | None]
    layers: list[list[int]] = field(default_factory=list)
    links: list[tuple[int, int, int]] = field(default_factory=list)
    entries: dict[int, int] = field(default_factory=dict)
    exits: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Levels by ``id`` of their group; the type of each value; (box, output) by value."""

    levels: dict[int, Level]
    labels: list[str]
    sources: list[int]


def arranged(diagram: Diagram, root: Group) -> Plan:
    """The order of everything, for every group; it doesn't depend on which of them are open."""
    values: dict[tuple[int, int], int] = {}
    labels: list[str] = []
    for edge in diagram.edges:
        if (edge.source, edge.output) not in values:
            values[edge.source, edge.output] = len(values)
            labels.append(edge.label)
    paths = _paths(root)
    edges: dict[int, dict[tuple[int, int, int], None]] = {id(g): {} for g in root.groups()}
    for edge in diagram.edges:
        value = values[edge.source, edge.output]
        for group, link in _crossings(paths[edge.source], paths[edge.target]):
            edges[id(group)][(*link, value)] = None
    levels = {id(g): _level(g, edges[id(g)]) for g in root.groups()}
    return Plan(levels, labels, [source for source, _ in values])


def _paths(root: Group) -> dict[int, list[tuple[Group, int]]]:
    """For each box the groups that it is in, from outside, and which of their children it is in."""
    found: dict[int, list[tuple[Group, int]]] = {}
    stack: list[tuple[Group, list[tuple[Group, int]]]] = [(root, [])]
    while stack:
        group, above = stack.pop()
        for i, child in enumerate(group.children):
            path = [*above, (group, i)]
            if isinstance(child, Group):
                stack.append((child, path))
            else:
                found[child] = path
    return found


def _crossings(
    source: list[tuple[Group, int]], target: list[tuple[Group, int]]
) -> Iterable[tuple[Group, tuple[int, int]]]:
    """The parts of an edge: within the innermost common group, and through the groups at either side of it."""
    common = 0
    while source[common] == target[common]:
        common += 1
    yield source[common][0], (source[common][1], target[common][1])
    yield from ((group, (child, EXIT)) for group, child in source[common + 1 :])
    yield from ((group, (ENTRY, child)) for group, child in target[common + 1 :])


def _level(group: Group, edges: Iterable[tuple[int, int, int]]) -> Level:
    edges = list(edges)
    level = Level([*group.children])
    depth = _depths(len(group.children), edges)
    last = max(depth, default=0) + 1
    bends: dict[tuple[int, int, int], int] = {}

    def bend(source: int, value: int, layer: int) -> int:
        # One bend of a value at a layer, for all whom it goes to.
        if (source, value, layer) not in bends:
            bends[source, value, layer] = len(level.cells)
            level.cells.append(None)
            depth.append(layer)
        return bends[source, value, layer]

    links: dict[tuple[int, int, int], None] = {}
    for a, b, value in edges:
        if a == ENTRY:
            level.entries[value] = here = bend(a, value, 0)
        else:
            here = a
        end = last if b == EXIT else depth[b]
        for layer in range(depth[here] + 1, end):
            step = bend(a, value, layer)
            links[here, step, value] = None
            here = step
        if b == EXIT:
            level.exits[value] = b = bend(a, value, last)
        links[here, b, value] = None
    level.links = list(links)
    level.layers = [[] for _ in range(max(depth, default=-1) + 1)]
    for cell, layer in enumerate(depth):
        level.layers[layer].append(cell)
    level.layers = _ordered([layer for layer in level.layers if layer], level.links)
    return level


def _depths(count: int, edges: list[tuple[int, int, int]]) -> list[int]:
    """Layers by longest path; an edge back to an earlier child (a layer that is used twice) counts for nothing."""
    before: list[list[int]] = [[] for _ in range(count)]
    for a, b, _ in edges:
        if 0 <= a < b:
            before[b].append(a)
    first = 1 if any(a == ENTRY for a, _, _ in edges) else 0
    depth: list[int] = []
    for sources in before:
        depth.append(max([first, *(depth[a] + 1 for a in sources)]))
    return depth


def _ordered(layers: list[list[int]], links: list[tuple[int, int, int]]) -> list[list[int]]:
    """Each layer sorted by where its neighbours stand, down and up in turns."""
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for a, b, _ in links:
        below.setdefault(a, []).append(b)
        above.setdefault(b, []).append(a)
    place: dict[int, float] = {}

    def settle(layer: list[int]) -> None:
        place.update((cell, i - (len(layer) - 1) / 2) for i, cell in enumerate(layer))

    for layer in layers:
        settle(layer)
    for sweep in range(SWEEPS):
        near = below if sweep % 2 else above
        for layer in reversed(layers) if sweep % 2 else layers:
            means = {c: sum(place[n] for n in near[c]) / len(near[c]) if c in near else place[c] for c in layer}
            layer.sort(key=means.__getitem__)
            settle(layer)
    return layers
