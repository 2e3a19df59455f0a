"""A diagram in Graphviz's language."""

from __future__ import annotations

from kcompile.drawing.diagram import Diagram, Group, box_lines, group_lines, grouped, visible
from kcompile.errors import printable


def to_dot(diagram: Diagram, depth: int | None = None) -> str:
    """The text of a directed graph: open layers are clusters, closed ones boxes."""
    root = grouped(diagram, depth)
    numbers = {id(g): i for i, g in enumerate(root.groups())}
    shown = visible(root)

    def name(box: int) -> str:
        stands = shown[box]
        return f"layer{numbers[id(stands)]}" if isinstance(stands, Group) else f"box{stands}"

    lines = [f"digraph {quoted(diagram.title)} {{", "  node [shape=box, fontname=monospace, fontsize=10];"]
    lines += ["  edge [fontname=monospace, fontsize=8];", *_inside(diagram, root, numbers, "  ")]
    edges = dict.fromkeys((name(e.source), name(e.target), printable(e.label)) for e in diagram.edges)
    lines += [f"  {a} -> {b} [label={quoted(label)}];" for a, b, label in edges if a != b]
    return "\n".join([*lines, "}"]) + "\n"


def _inside(diagram: Diagram, group: Group, numbers: dict[int, int], indent: str) -> list[str]:
    lines: list[str] = []
    for child in group.children:
        if not isinstance(child, Group):
            box = diagram.boxes[child]
            style = "" if box.kind == "operator" else ", style=rounded"
            lines.append(f"{indent}box{child} [label={_label(box_lines(box, group))}{style}];")
        elif child.open:
            lines += [f"{indent}subgraph cluster{numbers[id(child)]} {{", f"{indent}  label={quoted(child.name)};"]
            lines += [*_inside(diagram, child, numbers, indent + "  "), f"{indent}}}"]
        else:
            lines.append(f"{indent}layer{numbers[id(child)]} [label={_label(group_lines(child))}, shape=box3d];")
    return lines


def quoted(text: str) -> str:
    """``text`` as one string of the language, whatever it holds."""
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _label(lines: list[str]) -> str:
    # Each line ends in \l, which sets it to the left.
    return '"' + "".join(quoted(line)[1:-1] + "\\l" for line in lines) + '"'
