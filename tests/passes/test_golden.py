"""Each rule and pass on its golden file: the text after it, and the same numbers on both backends.

``golden/<name>.txt`` holds cases divided by lines ``---``: an optional ``# title``, the graph before,
``=>``, then the graph after, ``unchanged`` or ``skipped: reason``. With KCOMPILE_GOLDEN=write the
right sides are written anew instead of compared: read the difference before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kcompile.ir import Graph, parse, show, verify
from kcompile.operators.registry import OPERATORS
from kcompile.passes.pipeline import DEPLOY, TRAIN, optimize
from tests.passes.support import PASSES, RULES, apply, evaluate, same_values, with_weights

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("*.txt"))
CASES = [
    pytest.param(path, i, id=f"{path.stem}-{i}")
    for path in FILES
    for i in range(len(path.read_text().split("\n---\n")))
]


def _split(path: Path, i: int) -> tuple[str, str]:
    case = path.read_text().split("\n---\n")[i]
    lines = [line for line in case.strip().splitlines() if not line.startswith("#")]
    before, _, after = "\n".join(lines).partition("\n=>\n")
    return before.removesuffix("\n=>"), after.strip()


def golden_graph(path: Path, i: int) -> Graph:
    """The graph before, with random weights."""
    return with_weights(verify(parse(_split(path, i)[0], OPERATORS)))


@pytest.mark.parametrize(("path", "i"), CASES)
def test_golden(path: Path, i: int) -> None:
    before = golden_graph(path, i)
    after, log = apply(before, path.stem)
    skipped = [f"skipped: {s.reason}" for s in log.skipped]
    shown = show(verify(after)) if after is not before else (skipped or ["unchanged"])[0]
    if os.environ.get("KCOMPILE_GOLDEN") == "write":
        _write(path, i, shown)
    assert shown == _split(path, i)[1]
    same_values(before, after)


def _write(path: Path, i: int, shown: str) -> None:
    cases = path.read_text().split("\n---\n")
    cases[i] = cases[i].strip().split("\n=>")[0] + "\n=>\n" + shown
    path.write_text("\n---\n".join(cases).strip() + "\n")


@pytest.mark.parametrize(("path", "i"), CASES)
def test_optimising_twice_changes_nothing(path: Path, i: int) -> None:
    for pipeline in (TRAIN, DEPLOY):
        once = optimize(golden_graph(path, i), pipeline, evaluate=evaluate, verify=True).graph
        assert optimize(once, pipeline, evaluate=evaluate).graph == once
        same_values(golden_graph(path, i), once)


def test_every_rule_and_pass_has_a_golden_file() -> None:
    functions = {name for name, p in PASSES.items() if not isinstance(p.work, tuple)}
    assert {path.stem for path in FILES} == set(RULES) | functions
