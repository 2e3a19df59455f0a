"""`kcompile profile`: every layer and operator, whatever the model comes from."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Run

ROW = {"name", "time_ms", "share", "calls", "flops", "bytes", "roofline", "kernels", "fused"}
QUICK = ("--seconds", "0", "--threads", "1")


@pytest.mark.parametrize("source", ["model.onnx", "model.py"])
def test_json(exported: Run, source: str) -> None:
    found = exported("profile", source, "--batch", "8", *QUICK, "--json").json
    assert set(found) == {"file", "runs", "time_ms", "outside_ms", "peak", "inputs", "layers", "operators"}
    assert found["inputs"] == {"x": [8, 4]} and all(set(r) == ROW for r in (*found["layers"], *found["operators"]))
    work = {r["name"]: r["flops"] for r in found["layers"]}
    assert work == {"hidden": 2 * 8 * 4 * 3, "y": 2 * 8 * 3 * 2}
    for rows in (found["layers"], found["operators"]):
        assert sum(r["time_ms"] for r in rows) + found["outside_ms"] == pytest.approx(found["time_ms"])
    assert found["peak"]["gflops"] > 0 and found["peak"]["gbytes"] > 0


def test_nodes_without_names(exported: Run) -> None:
    model = onnx.load("model.onnx")
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, "bare.onnx")
    rows = exported("profile", "bare.onnx", "--level", "off", *QUICK, "--json").json["layers"]
    assert {r["name"]: r["flops"] for r in rows} == {"Gemm_0": 24, "Relu_1": 0, "Gemm_2": 12}
    assert sorted(p.name for p in Path().iterdir()) == ["bare.onnx", "model.onnx", "model.py", "x.npy"]


def test_text(exported: Run) -> None:
    done = exported("profile", "model.onnx", "--input", "x.npy", "--level", "off", *QUICK)
    assert done.err == "" and "x [3, 4]" in done.out and "roofline: " in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert any(line[:1] == ["hidden"] and line[-2:] == ["Gemm,", "Relu"] for line in lines)
    assert {line[0] for line in lines if line} >= {"layer", "operator", "Gemm", "Relu", "peak"}


def test_depth(exported: Run) -> None:
    rows = exported("profile", "model.onnx", "--depth", "1", *QUICK, "--json").json["layers"]
    assert {r["name"] for r in rows} == {"hidden", "y"}


ERRORS = [
    (["none.onnx"], 2, "no such file"),
    (["model.onnx", "--input", "none.npy"], 2, "no such file"),
    (["model.onnx", "--input", "q=x.npy", "--input", "x.npy"], 2, "x.npy"),
    (["model.onnx", "--batch", "0"], 2, "--batch"),
    (["x.npy"], 2, "expected a Python script"),
]


@pytest.mark.parametrize(("argv", "code", "words"), ERRORS, ids=[" ".join(e[0]) for e in ERRORS])
def test_errors(exported: Run, argv: list[str], code: int, words: str) -> None:
    done = exported("profile", *argv)
    assert done.code == code and words in done.err
