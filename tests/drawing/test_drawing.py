"""Drawings: well formed whatever the names hold, nothing on top of anything, the page draws what the SVG shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest

from kcompile.drawing.diagram import Box, Diagram, Edge, grouped
from kcompile.drawing.dot import to_dot
from kcompile.drawing.graphs import of_graph
from kcompile.drawing.layout import arranged
from kcompile.drawing.page import to_html
from kcompile.drawing.svg import to_svg
from tests.passes import models

pytestmark = pytest.mark.torchless
HOSTILE = '</script><script>alert("1")</script>{{DATA}}\\l"];\x1b[31m\n\ud800 &amp; --> ]]>'


def diagram(scopes: list[str], edges: list[tuple[int, int]], title: str = "g") -> Diagram:
    boxes = tuple(Box(f"op{i}", ("axis = 1",), tuple(s.split("/")) if s else ()) for i, s in enumerate(scopes))
    return Diagram(title, boxes, tuple(Edge(a, b, f"f32[{a}]") for a, b in edges))


CASES = {
    "nothing": diagram([], []),
    "one": diagram([""], []),
    "chain": diagram(["a", "a", "b", "b"], [(0, 1), (1, 2), (2, 3)]),
    "nested": diagram(["a/b", "a/b", "a/c/d", "a/c/d", "a", ""], [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)]),
    "skip": diagram(["", "a", "a", "a", ""], [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (1, 3), (0, 3)]),
    # A layer that is used twice, with something in between: the tower's box comes before and after it.
    "shared": diagram(["t", "t", "m", "m", "t", "t", ""], [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (1, 6)]),
    "wide": diagram(["", *["a"] * 9, ""], [(0, i) for i in range(1, 10)] + [(i, 10) for i in range(1, 10)]),
    "long": diagram(
        [f"block{i // 10}/l{i // 5}" for i in range(200)],
        [(i, i + 1) for i in range(199)] + [(i, i + 5) for i in range(0, 190, 5)],
    ),
    "wide characters": Diagram(
        "模型", (Box("層😀", ("😀" * 60,), ("😀", "b")), Box("é", (), ("😀", "b"))), (Edge(0, 1),)
    ),
    "deep": diagram([*["/".join(["d"] * 3000)] * 2, "/".join(f"e{i}" for i in range(3000))], [(0, 1), (1, 2)]),
    "hostile": Diagram(
        HOSTILE,
        (Box(HOSTILE, (HOSTILE,), kind="input"), *(Box(HOSTILE, (HOSTILE,) * 9, (HOSTILE, "a")) for _ in range(2))),
        (Edge(0, 1, HOSTILE), Edge(1, 2, HOSTILE)),
    ),
    **{f"model {name}": of_graph(build()) for name, build in models.MODELS.items()},
}
DEPTHS = (0, 1, None)
SVG = "{http://www.w3.org/2000/svg}"


def rects(svg: str, *kinds: str) -> list[tuple[float, float, float, float]]:
    found = [e for e in ET.fromstring(svg).iter(f"{SVG}rect") if e.get("class") in kinds]
    return [tuple(float(e.get(k)) for k in ("x", "y", "width", "height")) for e in found]  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", CASES)
def test_svg(name: str, depth: int | None) -> None:
    svg = to_svg(CASES[name], depth)
    assert svg == to_svg(CASES[name], depth)
    root = ET.fromstring(svg)
    whole = float(root.get("width")), float(root.get("height"))  # type: ignore[arg-type]
    boxes = rects(svg, "operator", "input", "output", "closed")
    for x, y, width, height in boxes:
        assert x >= 0 and y >= 0 and x + width <= whole[0] and y + height <= whole[1]
    for (x1, y1, w1, h1), (x2, y2, w2, h2) in combinations(boxes, 2):
        assert x1 + w1 <= x2 or x2 + w2 <= x1 or y1 + h1 <= y2 or y2 + h2 <= y1
    if depth is None:
        assert len(boxes) == len(CASES[name].boxes)


@pytest.mark.parametrize("name", CASES)
def test_edges_go_down_and_touch_what_they_join(name: str) -> None:
    svg = to_svg(CASES[name], None)
    boxes = rects(svg, "operator", "input", "output")
    tops = {(round(x + w / 2, 0), round(y, 0)) for x, y, w, _ in boxes}
    ends = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if path.get("class") == "edge":
            numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d") or "")]
            if path.get("marker-end"):
                ends.append((round(numbers[2], 0), round(numbers[3], 0)))
            if name != "shared":
                assert numbers[3] >= numbers[1] and numbers[-1] >= numbers[1]
    near = {(x + i, y + j) for x, y in tops for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert set(ends) <= near
    assert len(set(ends)) >= len({e.target for e in CASES[name].edges}) - 1


@pytest.mark.parametrize("name", CASES)
def test_edges_cross_borders_once(name: str) -> None:
    """Each edge is one chain of links from its source to its target, through every group between them."""
    given = CASES[name]
    root = grouped(given)
    plan = arranged(given, root)
    for group in root.groups():
        level = plan.levels[id(group)]
        assert sorted(c for layer in level.layers for c in layer) == list(range(len(level.cells)))
        inside = set(group.boxes())
        into = {(e.source, e.output) for e in given.edges if e.source not in inside and e.target in inside}
        out = {(e.source, e.output) for e in given.edges if e.source in inside and e.target not in inside}
        assert (len(level.entries), len(level.exits)) == (len(into), len(out))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", CASES)
def test_dot(name: str, depth: int | None) -> None:
    text = to_dot(CASES[name], depth)
    # What is left without the quoted strings has the structure and nothing else.
    bare = re.sub(r'"(?:[^"\\\n]|\\.)*"', "S", text)
    line = r"(?:digraph S \{|\}|subgraph cluster\d+ \{|label=S;|(?:node|edge) \[[^\]]*\];|\w+ \[label=S(?:, \w+=\w+)?\];|\w+ -> \w+ \[label=S\];)"
    assert all(re.fullmatch(rf"\s*{line}", part) for part in bare.splitlines()), bare
    assert bare.count("{") == bare.count("}")
    assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("name", CASES)
def test_page(name: str) -> None:
    page = to_html(CASES[name], 1)
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert not re.search(r"""(?:src|href)=|@import|url\((?!#)""", page)
    data = json.loads(re.search(r'application/json">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    assert len(data["groups"]) == sum(1 for _ in grouped(CASES[name]).groups())
    assert all(c.isprintable() or c == "\n" for c in page)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the page")
@pytest.mark.parametrize("name", CASES)
def test_the_page_draws_what_the_svg_shows(name: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(to_html(CASES[name], 1))
    script = Path(__file__).with_name("dom.js")
    done = subprocess.run(["node", str(script), str(path)], capture_output=True, text=True, check=True)
    for found, depth in zip(json.loads(done.stdout), (1, None, 0), strict=True):
        root = ET.fromstring(to_svg(CASES[name], depth))
        want = [
            e for e in root.iter() if e.get("class") is not None or (e.tag == f"{SVG}title" and e not in list(root))
        ]
        assert [t for t, *_ in found["shapes"]] == [e.tag.removeprefix(SVG) for e in want]
        for (_, attributes, text), element in zip(found["shapes"], want, strict=True):
            assert text == (element.text or "")
            for key in ("x", "y", "width", "height", "d"):
                mine, other = (
                    [float(n) for n in re.findall(r"-?[\d.]+", a.get(key) or "")] for a in (attributes, element)
                )
                assert mine == pytest.approx(other, abs=0.06)
