"""`kcompile diff`: what it prints and the code that it ends with."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import MODEL, Run

WIDER = MODEL.replace(
    'layers.Dense(3, activation="relu", name="hidden")', 'layers.Dense(5, activation="tanh", name="hidden")'
)


def test_the_same(exported: Run) -> None:
    assert exported("export", "model.py", "-o", "again.onnx").code == 0
    done = exported("diff", "model.onnx", "again.onnx")
    assert done.code == 0 and "structure  the same" in done.out and "4 equal" in done.out and done.err == ""
    # A script is exported without the metadata of a file.
    done = exported("diff", "model.onnx", "model.py", "--json")
    assert done.code == 0 and done.json["same"] and {m[0].split()[0] for m in done.json["model"]} == {"metadata"}


def test_different(exported: Run) -> None:
    Path("wider.py").write_text(WIDER)
    done = exported("diff", "model.py", "wider.py")
    assert done.code == 4 and done.err == ""
    for part in (
        "structure  1 added, 1 removed, 1 changed; 1 nodes the same",
        "- Relu",
        "+ Tanh",
        "f32[4, 3] -> f32[4, 5]",
    ):
        assert part in done.out
    found = exported("diff", "model.py", "wider.py", "--json")
    assert found.code == 4 and not found.json["same"] and found.json["nodes"] == [3, 3]


def test_names_from_files_are_escaped(exported: Run) -> None:
    made = onnx.load("model.onnx")
    made.graph.input[0].name = made.graph.node[0].input[0] = made.graph.node[0].name = "\x1b[31mred"
    onnx.save(made, "red.onnx")
    done = exported("diff", "model.onnx", "red.onnx")
    assert done.code == 4 and "\x1b" not in done.out and r"\x1b[31mred" in done.out


ERRORS = [(["model.onnx"], 2), (["model.onnx", "none.onnx"], 2), (["model.onnx", "x.npy"], 2)]


@pytest.mark.parametrize(("argv", "code"), ERRORS, ids=[" ".join(e[0]) for e in ERRORS])
def test_errors(exported: Run, argv: list[str], code: int) -> None:
    assert exported("diff", *argv).code == code
