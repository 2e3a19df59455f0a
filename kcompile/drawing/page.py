"""A diagram as one page of HTML whose boxes fold and unfold by a click."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from kcompile.drawing.diagram import WIDEST, Box, Diagram, Group, box_lines, box_note, group_lines, grouped
from kcompile.drawing.layout import Level, arranged
from kcompile.drawing.svg import CHARACTER, GAP, HEAD, LINE, PAD, ROW, STYLE, SWEEPS, escaped, to_svg
from kcompile.errors import printable


def to_html(diagram: Diagram, depth: int | None = None) -> str:
    """The page: the drawing as it is at first, its data, and what redraws it; nothing is loaded from elsewhere."""
    root = grouped(diagram, depth)
    plan = arranged(diagram, root)
    groups = list(root.groups())
    numbers = {id(g): i for i, g in enumerate(groups)}
    data = {
        "font": {"character": CHARACTER, "line": LINE, "pad": PAD, "gap": GAP, "row": ROW, "head": HEAD},
        "sweeps": SWEEPS,
        "labels": [printable(label, WIDEST) for label in plan.labels],
        "groups": [_group(diagram, g, plan.levels[id(g)], numbers) for g in groups],
    }
    # "<" would end the element that holds the data.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = resources.files("kcompile.drawing").joinpath("page.html").read_text()
    parts = {"TITLE": escaped(diagram.title), "STYLE": STYLE, "DRAWING": to_svg(diagram, depth), "DATA": text}
    before, *rest = page.split("{{")
    return before + "".join(parts[name] + after for name, _, after in (part.partition("}}") for part in rest))


def _group(diagram: Diagram, group: Group, level: Level, numbers: dict[int, int]) -> dict[str, Any]:
    return {
        "name": printable(group.name),
        "open": group.open,
        "lines": group_lines(group),
        "cells": [_cell(diagram, group, c, numbers) for c in level.cells],
        "layers": level.layers,
        "links": level.links,
        "entries": level.entries,
        "exits": level.exits,
    }


def _cell(diagram: Diagram, group: Group, what: Group | int | None, numbers: dict[int, int]) -> Any:
    """A group's number, what a box shows, or None for a bend."""
    if isinstance(what, Group):
        return numbers[id(what)]
    return None if what is None else _box(diagram.boxes[what], group)


def _box(box: Box, group: Group) -> dict[str, Any]:
    return {"kind": box.kind, "lines": box_lines(box, group), "note": box_note(box)}
