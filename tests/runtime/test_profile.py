"""The profiler: every node once, loops with what is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from kcompile.runtime.profile import _outermost, profile
from tests.runtime import files as made

pytestmark = pytest.mark.torchless
make = helper.make_node


def test_nodes(tmp_path: Path) -> None:
    found = profile(made.pair(tmp_path), {n: np.ones((2, 3), np.float32) for n in ("left", "right")}, seconds=0)
    assert {(n.operator, n.calls, n.results) for n in found.nodes} == {("Add", 1, ((2, 3),)), ("Mul", 1, ((2, 3),))}
    assert {n.bytes for n in found.nodes} == {3 * 6 * 4} and found.runs >= 8
    assert found.time >= sum(n.time for n in found.nodes) >= 0 and found.outside >= 0
    assert len(onnx.load_model_from_string(found.optimised).graph.node) == 2
    assert not list(tmp_path.glob("*.json")), "the events stay in a folder of their own"


def test_a_loop_counts_once(tmp_path: Path) -> None:
    state, item = made.end("s", [3]), made.end("i", [3])
    body = helper.make_graph(
        [make("Add", ["s", "i"], ["t"]), make("Identity", ["t"], ["o"])],
        "b",
        [state, item],
        [made.end("t", [3]), made.end("o", [3])],
    )
    node = make("Scan", ["zero", "x"], ["last", "y"], body=body, num_scan_inputs=1, name="loop/Scan")
    path = made.write(
        tmp_path / "m.onnx", [node], [made.end("x", ["T", 3])], [made.end("y", ["T", 3])], zero=np.zeros(3, np.float32)
    )
    found = profile(path, {"x": np.ones((9, 3), np.float32)}, seconds=0)
    assert [(n.name, n.operator, n.calls) for n in found.nodes] == [("loop/Scan", "Scan", 1)]


# (begin, duration) of events -> which are not within another one
NESTED = [
    ([(0, 5), (5, 3), (8, 0), (8, 2)], [0, 1, 2, 3]),
    ([(0, 10), (1, 2), (3, 7), (10, 1)], [0, 3]),
    ([(0, 10), (0, 10), (4, 1), (12, 1)], [0, 3]),
    ([], []),
]


@pytest.mark.parametrize(("events", "kept"), NESTED)
def test_outermost(events: list, kept: list) -> None:
    given = [{"ts": ts, "dur": dur} for ts, dur in events]
    assert _outermost(given) == [given[i] for i in kept]
