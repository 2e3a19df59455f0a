"""`kcompile graph`: every form at every stage, into files and onto stdout."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.cli.conftest import Run

STARTS = {"svg": "<svg ", "html": "<!DOCTYPE html>", "dot": 'digraph "small" {'}


@pytest.mark.parametrize("stage", ["traced", "optimised", "train", "onnx"])
@pytest.mark.parametrize("form", STARTS)
def test_stages(kc: Run, stage: str, form: str) -> None:
    printed = kc("graph", "model.py", "--stage", stage, f"--{form}")
    assert printed.code == 0 and printed.out.startswith(STARTS[form]) and printed.err == ""
    assert ("Gemm" if stage == "onnx" else "dense") in printed.out and "hidden" in printed.out
    done = kc("graph", "model.py", "--stage", stage, "-o", f"g.{form}")
    assert done.out == f"wrote g.{form}\n" and Path(f"g.{form}").read_text() == printed.out


@pytest.mark.parametrize("stage", [None, "traced", "optimised", "onnx"])
def test_files(exported: Run, stage: str | None) -> None:
    given = [] if stage is None else ["--stage", stage]
    done = exported("graph", "model.onnx", *given, "--svg")
    names = {e.text for e in ET.fromstring(done.out).iter() if e.tag.endswith("text")}
    assert names >= ({"Gemm", "Relu"} if stage in (None, "onnx") else {"dense", "relu"})
    assert exported("graph", "model.onnx", *given, "-o", "text.txt").out == "wrote text.txt\n"


def test_depth(kc: Run) -> None:
    closed, opened = (kc("graph", "model.py", "--dot", "--depth", d).out for d in ("0", "1"))
    assert "box3d" in closed and "subgraph" not in closed and "2 operators" in closed
    assert "subgraph" in opened and "box3d" not in opened


def test_json(kc: Run) -> None:
    assert kc("graph", "model.py", "--svg", "--json").json["graph"].startswith("<svg")
    assert kc("graph", "model.py", "-o", "a.svg", "--json").json == {"path": "a.svg"}
    found = kc("graph", "model.py", "--stage", "train", "--explain", "-o", "a.svg", "--json").json
    assert set(found) == {"path", "explain"}


def test_code(kc: Run) -> None:
    forward = kc("graph", "model.py", "--stage", "train", "--code")
    assert (
        forward.code == 0
        and forward.out.startswith("def forward(self, ")
        and "kcompile_engine_products_linear(" in forward.out
    )
    with open("model.py", "a") as script:
        script.write('\nmodel.compile("adam", "mse")\n')
    step = kc("graph", "model.py", "--stage", "train", "--code")
    assert step.out.startswith("# forward pass\ndef forward") and "adam_step(" in step.out


ERRORS = [
    (["model.py", "--stage", "onnx", "--code"], 2, "--code shows torch code"),
    (["model.onnx", "--stage", "train"], 2, "an ONNX file is not trained"),
    (["model.onnx", "--explain"], 2, "give --stage optimised"),
    (["model.py", "--stage", "trained"], 2, "--stage"),
    (["model.py", "--depth", "-1"], 2, "--depth"),
    (["model.py", "-o", "no/such/g.svg"], 2, "no/such/g.svg: can't write there"),
    (["nothing.onnx", "--svg"], 2, "no such file"),
]


@pytest.mark.parametrize(("argv", "code", "words"), ERRORS, ids=[" ".join(e[0]) for e in ERRORS])
def test_errors(exported: Run, argv: list[str], code: int, words: str) -> None:
    done = exported("graph", *argv)
    assert done.code == code and words in done.err
