"""`kcompile optimize` and `optimize_file`: what is written, what is kept, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import kcompile
from kcompile.cli.main import run as command
from kcompile.errors import CheckError, FileFormatError, UnsupportedError, UsageError
from kcompile.keras import optimizing
from kcompile.runtime.session import run

HEAD = '<ir_version: 9, opset_import: ["" : 20]>\n'
BETTER = """g (float[N, 4] x) => (float[N, 3] y) {
  a = Identity(x) b = MatMul(a, w) c = Add(b, z) d = Relu(c) e = Relu(d) f = Mul(e, one) y = Identity(f) }"""
BEST = "g (float[N, 4] x) => (float[N, 4] y) { y = Hardmax<axis = 1>(x) }"


def model(text: str, head: str = HEAD) -> onnx.ModelProto:
    made = parser.parse_model(head + text)
    random = np.random.default_rng(0)
    shapes = {"w": (4, 3), "z": (3,), "one": ()}
    used = {name for node in made.graph.node for name in node.input}
    for name in sorted(used & set(shapes)):
        array = np.float32(1) if name == "one" else random.standard_normal(shapes[name]).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(model(BETTER), str(tmp_path / "better.onnx"))
    onnx.save(model(BEST), str(tmp_path / "best.onnx"))
    return tmp_path


def test_a_better_file_is_written(folder: Path) -> None:
    report = kcompile.optimize_file(folder / "better.onnx", folder / "out.onnx", bench=False)
    assert report.kept == "" and report.nodes == (7, 2) and report.size[1] < report.size[0]
    assert report.verified is not None and report.verified.error < 1e-6 and report.verified.runs >= 8
    x = np.ones((3, 4), np.float32)
    a, b = (run(folder / name, {"x": x})[0] for name in ("better.onnx", "out.onnx"))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert sorted(p.name for p in folder.iterdir()) == ["best.onnx", "better.onnx", "out.onnx"]


def test_nothing_to_gain_keeps_the_bytes(folder: Path) -> None:
    report = kcompile.optimize_file(folder / "best.onnx", folder / "out.onnx", bench=False)
    assert report.kept.startswith("there was nothing to gain") or "larger" in report.kept
    assert (folder / "out.onnx").read_bytes() == (folder / "best.onnx").read_bytes()
    assert kcompile.optimize_file(folder / "best.onnx", folder / "out.onnx", bench=False, force=True).kept == ""
    assert onnx.load(str(folder / "out.onnx")).producer_name == "kcompile"


def test_a_file_may_replace_itself_and_a_model_may_be_given(folder: Path) -> None:
    kcompile.optimize_file(folder / "better.onnx", folder / "better.onnx", bench=False)
    assert len(onnx.load(str(folder / "better.onnx")).graph.node) == 2
    report = kcompile.optimize_file(model(BETTER), folder / "given.onnx", bench=False)
    assert report.nodes == (7, 2)


def test_slower_is_not_better(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kcompile.runtime import bench

    times = iter([bench.Comparison(1, 2, 2.0, 1.9, 2.1), bench.Comparison(1, 0.5, 0.5, 0.4, 0.6)])
    monkeypatch.setattr(bench, "compare", lambda *runs: next(times))
    assert "slower: 2.00" in kcompile.optimize_file(folder / "better.onnx", folder / "out.onnx").kept
    assert kcompile.optimize_file(folder / "best.onnx", folder / "out.onnx").kept == ""


def test_a_difference_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = optimizing.optimized

    def wrong(graph: object) -> object:
        result = real(graph)  # type: ignore[arg-type]
        arrays = {k: v * np.float32(1.001) for k, v in result.graph.weights.items()}
        result.graph = result.graph.replace(weights=arrays)
        return result

    monkeypatch.setattr(optimizing, "optimized", wrong)
    with pytest.raises(CheckError, match="the new file does not compute what the old one does: output 'y' differs"):
        kcompile.optimize_file(folder / "better.onnx", folder / "out.onnx", bench=False)
    assert sorted(p.name for p in folder.iterdir()) == ["best.onnx", "better.onnx"]


def test_external_weights_may_stay_beside_the_file(folder: Path) -> None:
    made = model("g (float[N, 32] x) => (float[N, 64] y) { a = Identity(x) y = MatMul(a, big) }")
    made.graph.initializer.append(numpy_helper.from_array(np.ones((32, 64), np.float32), "big"))
    onnx.save_model(made, str(folder / "big.onnx"), save_as_external_data=True, location="big.data", size_threshold=0)
    x = np.ones((3, 32), np.float32)
    for limit, files in ((None, ["out.onnx"]), (10, ["out.onnx", "out.onnx.data"])):
        report = kcompile.optimize_file(
            folder / "big.onnx", folder / "out.onnx", bench=False, external_data_above=limit
        )
        assert report.kept == "" and [Path(f).name for f in report.files] == files
        np.testing.assert_allclose(run(folder / "out.onnx", {"x": x})[0], np.full((3, 64), 32.0), rtol=1e-6)


def _old_form(folder: Path) -> Path:
    head = '<ir_version: 4, opset_import: ["" : 9]>\n'
    text = 'g (float[1, 1, 2, 2] x, float[4] s) => (float[1, 1, A, B] y) { y = Upsample<mode = "linear">(x, s) }'
    onnx.save(model(text, head), str(folder / "old.onnx"))
    return folder / "old.onnx"


def test_what_has_no_form_in_later_opsets_is_kept_whole(folder: Path) -> None:
    report = kcompile.optimize_file(_old_form(folder), folder / "out.onnx", bench=False)
    assert "Upsample of opset 9 has another form in opset 17" in report.kept
    assert (folder / "out.onnx").read_bytes() == (folder / "old.onnx").read_bytes()
    with pytest.raises(UnsupportedError, match="Upsample of opset 9 has another form in opset 20"):
        kcompile.optimize_file(folder / "old.onnx", folder / "out.onnx", opset=20)


def test_a_file_that_onnx_runtime_refuses_is_named(folder: Path) -> None:
    onnx.save(model("g (float[2] x) => (float[2] y) { y = NoSuch(x) }"), str(folder / "odd.onnx"))
    with pytest.raises(UnsupportedError, match=r"odd\.onnx: ONNX Runtime refuses it"):
        kcompile.optimize_file(folder / "odd.onnx", folder / "out.onnx")
    assert not (folder / "out.onnx").exists()


def test_integers_that_divide_are_not_zero(folder: Path) -> None:
    """ONNX Runtime dies of a division by 0; so no input of an unknown node is."""
    text = "g (int64[N] x, int64[1] d) => (int64[N] y) { a = Identity(x) b = Div(a, d) y = Identity(b) }"
    onnx.save(model(text), str(folder / "whole.onnx"))
    report = kcompile.optimize_file(folder / "whole.onnx", folder / "out.onnx", bench=False)
    assert report.nodes == (3, 1) and report.verified is not None


def test_text_in_and_maps_out(folder: Path) -> None:
    words = helper.make_tensor_value_info("x", TensorProto.STRING, ["N"])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["a"]), helper.make_node("Identity", ["a"], ["y"])],
        "g", [words], [helper.make_tensor_value_info("y", TensorProto.STRING, ["N"])],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(folder / "text.onnx")
    )
    report = kcompile.optimize_file(folder / "text.onnx", folder / "out.onnx", bench=False)
    assert "no inputs can be made" in report.kept
    report = kcompile.optimize_file(folder / "text.onnx", folder / "out.onnx", verify=False, bench=False)
    assert report.kept == "" and report.nodes == (2, 1)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("none.onnx", None, UsageError, "no such file"),
        ("text.onnx", b"hello, this is no model", FileFormatError, "not an ONNX file"),
        ("empty.onnx", b"", FileFormatError, "not an ONNX file"),
        ("cut.onnx", "cut", FileFormatError, "."),
    ],
)
def test_files_that_are_none(folder: Path, name: str, content: object, error: type, message: str) -> None:
    if content is not None:
        data = (folder / "better.onnx").read_bytes()[:-40] if content == "cut" else content
        (folder / name).write_bytes(data)  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        kcompile.optimize_file(folder / name, folder / "out.onnx")
    assert not (folder / "out.onnx").exists()


Capture = pytest.CaptureFixture[str]


def test_the_command(folder: Path, capsys: Capture) -> None:
    source, target = str(folder / "better.onnx"), str(folder / "out.onnx")
    assert command(["optimize", source, "-o", target, "--no-bench", "--explain"]) == 0
    shown = capsys.readouterr()
    assert "nodes" in shown.out and "carried through" in shown.out and "rules that fired" in shown.out
    assert command(["optimize", source, "-o", target, "--no-bench", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["nodes"] == [7, 2] and data["kept"] == "" and data["inputs"][0]["shape"] == ["N", 4]


def test_the_command_keeps_the_original_and_says_so(folder: Path, capsys: Capture) -> None:
    source, target = str(folder / "best.onnx"), str(folder / "out.onnx")
    assert command(["optimize", source, "-o", target, "--no-bench"]) == 0
    shown = capsys.readouterr()
    assert "the original was kept" in shown.err and "(the original)" in shown.out
    assert Path(target).read_bytes() == Path(source).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (lambda f: [str(f / "none.onnx"), "-o", str(f / "o.onnx")], 2, "no such file"),
        (lambda f: [str(f / "best.onnx"), "-o", str(f / "o.txt")], 2, "ends in .onnx"),
        (lambda f: [str(f / "best.onnx"), "-o", str(f / "no" / "o.onnx")], 2, "does not exist"),
        (lambda f: [str(f / "best.onnx"), "-o", str(f / "o.onnx"), "--opset", "9"], 2, "opset 9 is out of range"),
        (lambda f: [str(_old_form(f)), "-o", str(f / "o.onnx"), "--opset", "20"], 3, "has another form"),
    ],
)
def test_errors_are_one_line(
    folder: Path, capsys: Capture, arguments: Callable[[Path], list[str]], code: int, message: str
) -> None:
    assert command(["optimize", *arguments(folder)]) == code
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and shown.out == ""
