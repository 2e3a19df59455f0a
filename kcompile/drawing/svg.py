"""A diagram as SVG, placed here: Graphviz need not be installed. ``page.html`` does the same in a browser."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from kcompile.drawing.diagram import LONGEST, Diagram, Group, box_lines, box_note, group_lines, grouped, type_label
from kcompile.drawing.layout import Level, Plan, arranged
from kcompile.errors import printable

CHARACTER, LINE = 6.1, 13.0  # width and height of a character of the font, in pixels
PAD, GAP, ROW, HEAD = 7.0, 16.0, 34.0, 18.0  # within boxes, between boxes, between layers, a layer's name
SWEEPS = 6

STYLE = """
text { font: 10px monospace; fill: #222; white-space: pre }
.title { font-weight: bold }
.type { font-size: 9px; fill: #777; paint-order: stroke; stroke: #fff; stroke-width: 3px }
.operator { fill: #fff; stroke: #555 }
.input, .output { fill: #e4f3e4; stroke: #3a7d3a }
.layer { fill: #5b8dd9; fill-opacity: 0.10; stroke: #5b8dd9 }
.closed { fill: #d6e4f8; stroke: #2f5fa8; stroke-width: 1.5 }
.edge { fill: none; stroke: #888 }
"""


@dataclass
class Place:
    """Where a cell stands: its upper left corner within the group, its size; a group's cells in turn."""

    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    cells: list[Place] = field(default_factory=list)


def to_svg(diagram: Diagram, depth: int | None = None) -> str:
    """The drawing as one SVG document."""
    root = grouped(diagram, depth)
    plan = arranged(diagram, root)
    place = _placed(diagram, plan, root)
    width, height = place.width + 2 * GAP, place.height + 2 * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{escaped(diagram.title)}</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#888"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
        *_drawn(diagram, plan, root, place, GAP, GAP),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def escaped(text: str) -> str:
    """Text for XML: no markup, no control characters."""
    return html.escape(printable(text, LONGEST))


# ---- places


def _placed(diagram: Diagram, plan: Plan, group: Group) -> Place:
    """An open group's place with those of all within it."""
    level = plan.levels[id(group)]
    cells = [_cell(diagram, plan, group, c) for c in level.cells]
    # What comes in does so at the border, beside the name.
    y = HEAD if group.name and not level.entries else 0.0
    for layer in level.layers:
        height = max(cells[c].height for c in layer)
        for c in layer:
            # Bends are as high as their layer, so that edges pass boxes straight.
            cells[c].y = y
            if level.cells[c] is None:
                cells[c].height = height
        y += height + ROW
    _set_columns(level, cells)
    pad = PAD if group.name else 0.0
    width = max([c.x + c.width for c in cells], default=0.0)
    for cell in cells:
        cell.x += pad
    return Place(0, 0, max(width + 2 * pad, _text_width(group_lines(group)[0])), max(y - ROW, 0) + pad, cells)


def _cell(diagram: Diagram, plan: Plan, group: Group, what: Group | int | None) -> Place:
    if what is None:
        return Place(width=4)
    if isinstance(what, Group) and what.open:
        return _placed(diagram, plan, what)
    lines = group_lines(what) if isinstance(what, Group) else box_lines(diagram.boxes[what], group)
    return Place(width=max(map(_text_width, lines)), height=LINE * len(lines) + PAD)


def _text_width(text: str) -> float:
    return len(text) * CHARACTER + 2 * PAD


def _set_columns(level: Level, cells: list[Place]) -> None:
    """x of each cell: near its neighbours, in the layer's order, without overlap."""
    above: list[list[int]] = [[] for _ in cells]
    below: list[list[int]] = [[] for _ in cells]
    for a, b, _ in level.links:
        below[a].append(b)
        above[b].append(a)
    middle = [0.0] * len(cells)
    for layer in level.layers:
        _spread(layer, cells, middle, dict.fromkeys(layer, 0.0))
    for sweep in range(SWEEPS):
        near = below if sweep % 2 else above
        for layer in reversed(level.layers) if sweep % 2 else level.layers:
            wanted = {c: sum(middle[n] for n in near[c]) / len(near[c]) if near[c] else middle[c] for c in layer}
            _spread(layer, cells, middle, wanted)
    left = min((m - c.width / 2 for m, c in zip(middle, cells, strict=True)), default=0.0)
    for m, cell in zip(middle, cells, strict=True):
        cell.x = m - cell.width / 2 - left


def _spread(layer: list[int], cells: list[Place], middle: list[float], wanted: dict[int, float]) -> None:
    """Middles near the wanted ones: the mean of pushing from the left and of pushing from the right."""
    apart = [(cells[a].width + cells[b].width) / 2 + GAP for a, b in pairwise(layer)]
    left, right = [wanted[c] for c in layer], [wanted[c] for c in layer]
    for i, distance in enumerate(apart):
        left[i + 1] = max(left[i + 1], left[i] + distance)
    for i in range(len(apart) - 1, -1, -1):
        right[i] = min(right[i], right[i + 1] - apart[i])
    for i, c in enumerate(layer):
        middle[c] = (left[i] + right[i]) / 2


# ---- shapes


def _drawn(diagram: Diagram, plan: Plan, group: Group, place: Place, x: float, y: float) -> Iterator[str]:
    """The shapes of an open group whose upper left corner is at (x, y): its boxes, then its edges."""
    level = plan.levels[id(group)]
    if group.name:
        yield _rect("layer", x, y, place.width, place.height)
        yield _text("title", x + PAD, y + LINE, group_lines(group)[0])
    for what, cell in zip(level.cells, place.cells, strict=True):
        if isinstance(what, Group) and what.open:
            yield from _drawn(diagram, plan, what, cell, x + cell.x, y + cell.y)
        elif what is not None:
            yield from _box(diagram, group, what, x + cell.x, y + cell.y, cell)
    yield from _edges(plan, level, place, x, y)
    yield from _types(plan, level, place, x, y)


def _box(diagram: Diagram, group: Group, what: Group | int, x: float, y: float, place: Place) -> Iterator[str]:
    if isinstance(what, Group):
        kind, lines, note = "closed", group_lines(what), printable(what.name)
    else:
        box = diagram.boxes[what]
        kind, lines, note = box.kind, box_lines(box, group), box_note(box)
    yield f"<g><title>{escaped(note)}</title>"
    yield _rect(kind, x, y, place.width, place.height)
    for i, line in enumerate(lines):
        yield _text("" if i else "title", x + PAD, y + LINE * (i + 1), line)
    yield "</g>"


def _edges(plan: Plan, level: Level, place: Place, x: float, y: float) -> Iterator[str]:
    for a, b, value in level.links:
        (x1, y1), (x2, y2) = (_port(plan, level, place, c, value, leaving) for c, leaving in ((a, True), (b, False)))
        bend = level.cells[b] is None
        end = f" V{y + y2 + place.cells[b].height:.1f}" if bend and b not in level.exits.values() else ""
        arrow = "" if bend or _is_open(level.cells[b]) else ' marker-end="url(#arrow)"'
        yield f'<path class="edge" d="M{x + x1:.1f} {y + y1:.1f} L{x + x2:.1f} {y + y2:.1f}{end}"{arrow}/>'


def _port(plan: Plan, level: Level, place: Place, cell: int, value: int, leaving: bool) -> tuple[float, float]:
    """The point at which a value leaves or enters a cell: an open group's border, else the middle of a side."""
    what, at = level.cells[cell], place.cells[cell]
    x = at.x + at.width / 2
    if isinstance(what, Group) and what.open:
        inner = plan.levels[id(what)]
        bend = (inner.exits if leaving else inner.entries)[value]
        x = at.x + at.cells[bend].x + at.cells[bend].width / 2
    if what is None and value in level.exits and level.exits[value] == cell:
        return x, place.height
    return x, at.y + at.height if leaving else at.y


def _types(plan: Plan, level: Level, place: Place, x: float, y: float) -> Iterator[str]:
    """The types of what leaves each box, below it."""
    leaving: dict[int, list[str]] = {}
    for a, _, value in level.links:
        what = level.cells[a]
        if what is not None and not _is_open(what) and plan.labels[value]:
            leaving.setdefault(a, []).append(plan.labels[value])
    for cell, labels in leaving.items():
        at = place.cells[cell]
        yield _text("type", x + at.x + at.width / 2 + 4, y + at.y + at.height + 10, type_label(labels))


def _is_open(what: Group | int | None) -> bool:
    return isinstance(what, Group) and what.open


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="3"/>'


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escaped(text)}</text>'
