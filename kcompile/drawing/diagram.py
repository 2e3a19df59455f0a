"""What is drawn: boxes, what flows between them, and the layers that they stand in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kcompile.errors import printable

WIDEST = 44  # characters of a line in a box
MOST_LINES = 7
DEEPEST = 40  # layers within layers; names from files may tell any number
LONGEST = 1000  # characters of all that is known of a box


@dataclass(frozen=True)
class Box:
    """An operator, input or output (``kind``): a title, lines below it, the path of its layer."""

    title: str
    lines: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    kind: str = "operator"


@dataclass(frozen=True)
class Edge:
    """A tensor from one box (its result number ``output``) to another; ``label`` is its type."""

    source: int
    target: int
    label: str = ""
    output: int = 0


@dataclass(frozen=True)
class Diagram:
    """Boxes in an order in which sources stand before targets, and edges between their positions."""

    title: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


@dataclass(eq=False)
class Group:
    """A layer: boxes (by position) and layers within it, in the order of their first box.

    ``depth`` is the number of parts of its path; the name is the last of them, or the last few.
    """

    name: str
    depth: int = 0
    children: list[Group | int] = field(default_factory=list)
    open: bool = True

    def boxes(self) -> Iterator[int]:
        """The boxes within, at any depth."""
        for child in self.children:
            if isinstance(child, Group):
                yield from child.boxes()
            else:
                yield child

    def groups(self) -> Iterator[Group]:
        """This layer and all within it."""
        yield self
        for child in self.children:
            if isinstance(child, Group):
                yield from child.groups()


def grouped(diagram: Diagram, depth: int | None = None) -> Group:
    """The tree of layers. A layer that holds one thing alone is left out; those below ``depth`` are closed."""
    root = Group("")
    known: dict[tuple[str, ...], Group] = {(): root}
    for number, box in enumerate(diagram.boxes):
        scope = box.scope[:DEEPEST]
        for end in range(1, len(scope) + 1):
            path = scope[:end]
            if path not in known:
                known[path] = Group(path[-1], end)
                known[path[:-1]].children.append(known[path])
        known[scope].children.append(number)
    _merge(root)
    _close(root, depth)
    return root


def _merge(group: Group) -> None:
    for i, child in enumerate(group.children):
        while isinstance(child, Group) and len(child.children) == 1:
            only = child.children[0]
            if isinstance(only, Group):
                only.name = f"{child.name}/{only.name}"
            group.children[i] = child = only
        if isinstance(child, Group):
            _merge(child)


def _close(group: Group, depth: int | None) -> None:
    for child in group.children:
        if isinstance(child, Group):
            child.open = depth is None or depth > 0
            _close(child, None if depth is None else depth - 1)


def visible(root: Group) -> dict[int, Group | int]:
    """What stands for each box: itself, or the outermost closed layer that it is in."""
    found: dict[int, Group | int] = {}
    for child in root.children:
        if isinstance(child, Group):
            found |= visible(child) if child.open else dict.fromkeys(child.boxes(), child)
        else:
            found[child] = child
    return found


def box_lines(box: Box, group: Group) -> list[str]:
    """The text of a box as it is shown in its group: safe, and short enough."""
    where = "/".join(box.scope[group.depth :])
    lines = [box.title, *([where] if where else []), *box.lines]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"and {len(lines) - MOST_LINES + 1} more"]
    return [printable(line, WIDEST) for line in lines]


def box_note(box: Box) -> str:
    """All that is known of a box, on one line."""
    return printable("; ".join(line for line in (box.title, "/".join(box.scope), *box.lines) if line), LONGEST)


def group_lines(group: Group) -> list[str]:
    """The text of a closed layer."""
    count = sum(1 for _ in group.boxes())
    return [printable(group.name, WIDEST), f"{count} operators"]


def type_label(labels: Sequence[str]) -> str:
    """The label of what leaves a box: the first type, and that there are others."""
    first, *others = dict.fromkeys(labels)
    return printable(first, WIDEST) + (" …" if others else "")
