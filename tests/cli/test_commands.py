"""Every command and option once: results on stdout, words on stderr, JSON with stable keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import kcompile
from kcompile import keras
from kcompile.cli.main import HELP, VERBS
from tests.cli.conftest import MODEL, Run
from tests.runtime import files as made

REPORT = {
    "path", "opset", "inputs", "outputs", "operators_traced", "operators_optimised", "nodes", "parameters", "size",
    "files", "verified", "latency", "steps",
}  # fmt: skip


def test_export(kc: Run) -> None:
    done = kc("export", "model.py")
    assert (done.code, done.err) == (0, "") and Path("model.onnx").is_file()
    for part in ("input   x  float32  [N, 4]", "output  y  float32  [N, 2]", "steps     trace ", "3 ONNX nodes", "verified  largest error",
                 "8 runs against torch", "latency   ", "wrote     model.onnx", "23 parameters, opset 20", "next: kcompile info model.onnx"):  # fmt: skip
        assert part in done.out


def test_export_json(kc: Run) -> None:
    done = kc("export", "model.py", "-o", "other.onnx", "--json", "--opset", "17", "--batch", "3", "--explain")
    assert set(done.json) == REPORT | {"explain"} and done.err == ""
    assert done.json["inputs"] == [{"name": "x", "dtype": "float32", "shape": [3, 4]}] and done.json["opset"] == 17
    assert set(done.json["verified"]) == {"error", "runs", "reference", "weak"} and set(done.json["latency"]) == {
        "p50",
        "p99",
        "batch",
    }
    assert [s["name"] for s in done.json["steps"]] == ["trace", "optimise", "emit", "check", "verify", "measure"]
    assert set(done.json["explain"]) == {"entries", "skipped", "before", "after", "length"}


def test_export_options(kc: Run) -> None:
    done = kc("export", "model.py", "--no-verify", "--explain", "--name", "model", "--batch", "dynamic")
    assert "verified  no (--no-verify)" in done.out and "rules that fired:" in done.out


def test_export_train_and_weights(kc: Run) -> None:
    done = kc("export", "model.py", "--train")
    assert done.err == "training\n"
    np.testing.assert_array_equal(kcompile.load("model.onnx")(np.ones((1, 4))), [[16.0, 16.0]])
    scope: dict = {}
    exec(MODEL, scope)
    scope["model"].set_weights([w * 0 + 2 for w in scope["model"].get_weights()])
    scope["model"].save_weights("two.weights.h5")
    assert kc("export", "model.py", "--weights", "two.weights.h5").code == 0
    np.testing.assert_array_equal(kcompile.load("model.onnx")(np.ones((1, 4))), [[62.0, 62.0]])
    assert kc("verify", "model.py", "model.onnx", "--weights", "two.weights.h5").code == 0
    assert kc("verify", "model.py", "model.onnx").code == 4


def test_a_keras_file_with_custom_classes(kc: Run) -> None:
    custom = """
from kcompile import keras
@keras.saving.register_keras_serializable("test_cli")
class Twice(keras.layers.Layer):
    def call(self, x):
        return x * 2.0
"""
    Path("custom.py").write_text(custom)
    scope: dict = {"__name__": "custom"}
    exec(custom, scope)
    keras.Sequential([keras.Input((4,), name="x"), scope["Twice"]()]).save("m.keras")
    keras.saving.get_custom_objects().clear()
    assert "--custom" in kc("export", "m.keras").err
    assert kc("export", "m.keras", "--custom", "custom.py").code == 0
    np.testing.assert_array_equal(kcompile.load("m.onnx")(np.ones((1, 4))), [[2.0] * 4])
    for command in (("verify", "m.keras", "m.onnx"), ("graph", "m.keras")):
        assert kc(*command, "--custom", "custom.py").code == 0
    assert "a .keras file has none" in kc("export", "m.keras", "--train", "--custom", "custom.py").err


def test_info(exported: Run) -> None:
    done = exported("info", "model.onnx")
    for part in (
        "input   x  float32  [N, 4]",
        "nodes      3: ",
        "parameters 23",
        "FLOPs      36 at batch 1",
        "opset 20, IR 9, written by kcompile",
        "metadata   model = small",
    ):
        assert part in done.out
    assert set(exported("info", "model.onnx", "--json").json) == {
        "path", "size", "opset", "ir_version", "producer", "inputs", "outputs", "nodes", "operators", "parameters", "flops", "assumed", "metadata",
    }  # fmt: skip


def test_graph(exported: Run) -> None:
    traced = exported("graph", "model.py", "--stage", "traced")
    assert traced.out.startswith("graph small(%x: f32[N, 4]) {") and "# hidden" in traced.out
    assert "f32[5, 4]" in exported("graph", "model.py", "--batch", "5", "--name", "model").out
    explained = exported("graph", "model.py", "--explain", "--full", "--json").json
    assert set(explained) == {"graph", "explain"} and set(explained["explain"]) == {
        "entries",
        "skipped",
        "before",
        "after",
        "length",
    }
    assert "Gemm" in exported("graph", "model.onnx").out and set(exported("graph", "model.onnx", "--json").json) == {
        "graph"
    }


def test_run(exported: Run) -> None:
    want = kcompile.load("model.onnx")(np.load("x.npy"))
    done = exported("run", "model.onnx", "--input", "x.npy")
    assert done.out.startswith("y float32[3, 2]\n[[") and done.err == ""
    for given, size in (("x=x.npy", "1"), ("x.npy", "2"), ("x.npy", "100")):
        data = exported("run", "model.onnx", "--input", given, "--batch-size", size, "--device", "auto", "--json").json
        assert set(data) == {"y"} and (data["y"]["shape"], data["y"]["dtype"]) == ([3, 2], "float32")
        np.testing.assert_allclose(data["y"]["values"], want, rtol=1e-6)
    assert "wrote out.npy" in exported("run", "model.onnx", "--input", "x.npy", "-o", "out.npy").out
    np.testing.assert_array_equal(np.load("out.npy"), want)
    assert exported("run", "model.onnx", "--input", "x.npy", "-o", "out.npz").code == 0
    np.testing.assert_array_equal(np.load("out.npz")["y"], want)
    assert sorted(p.name for p in Path().iterdir()) == ["model.onnx", "model.py", "out.npy", "out.npz", "x.npy"]


def test_run_with_several_and_odd_ends(kc: Run, tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Div", ["a", "a=b"], ["file"]),
        onnx.helper.make_node("Mul", ["a", "a=b"], ["\x1b[1m"]),
    ]
    made.write(
        Path("odd.onnx"),
        nodes,
        [made.end("a", ["N", 4]), made.end("a=b", ["N", 4])],
        [made.end("file", None), made.end("\x1b[1m", None)],
    )
    np.save("zero=.npy", np.zeros((3, 4), np.float32))
    done = kc("run", "odd.onnx", "--input", "a=b=zero=.npy", "--input", "x.npy", "-o", "all.npz")
    assert done.code == 0 and "\x1b" not in done.out and r"\x1b[1m float32[3, 4]" in done.out
    assert set(np.load("all.npz")) == {"file", "\x1b[1m"} and np.isnan(np.load("all.npz")["file"][0, 0])
    values = kc("run", "odd.onnx", "--input", "x.npy", "--input", "a=b=zero=.npy", "--json").json["file"]["values"]
    assert values[0] == ["NaN", "Infinity", "Infinity", "Infinity"]
    for argv, message in (
        (["-o", "y.npy"], "has 2 outputs; write them as .npz"),
        (["--input", "x.npy"], "no value for the model's input(s) ['a=b']"),
        (["--input", "x.npy"] * 3, "--input x.npy: the model has 2 input(s)"),
        (["--input", "a=x.npy"] * 2, "'a' is given twice"),
        (["--input", "A=x.npy"], "no input 'A'; the inputs are ['a', 'a=b']"),
    ):
        done = kc("run", "odd.onnx", *argv)
        assert done.code == 2 and message in done.err


def test_verify(exported: Run) -> None:
    done = exported("verify", "model.py", "model.onnx", "--name", "model")
    assert done.code == 0 and done.out.startswith("equal: largest error ") and "8 runs against torch" in done.out
    assert set(exported("verify", "model.py", "model.onnx", "--json").json) == {"error", "runs", "reference", "weak"}
    assert exported("verify", "model.py", "model.onnx", "--tolerance", "0.5").code == 0
    Path("other.py").write_text(MODEL.replace("set_random_seed(1)", "set_random_seed(2)"))
    done = exported("verify", "other.py", "model.onnx")
    assert done.code == 4 and "model.onnx does not compute what other.py computes: output 'y' differs by" in done.err
    Path("other.py").write_text(MODEL.replace('name="x"', 'name="z"'))
    done = exported("verify", "other.py", "model.onnx")
    assert done.code == 4 and "model.onnx has the inputs ['x'] and 1 output(s), the model ['z'] and 1" in done.err
    Path("other.py").write_text(MODEL.replace("(4,)", "(5,)"))
    done = exported("verify", "other.py", "model.onnx")
    assert done.code == 4 and "ONNX Runtime fails on these inputs" in done.err


def test_bench(exported: Run) -> None:
    done = exported("bench", "model.onnx", "--batch", "1", "--batch", "7", "--seconds", "0", "--threads", "1")
    assert (
        done.out.splitlines()[0].split() == ["batch", "p50", "p99", "least", "rows/s", "runs"]
        and len(done.out.splitlines()) == 3
    )
    data = exported("bench", "model.onnx", "--seconds", "0", "--json", "--length", "3", "--device", "cpu").json
    assert set(data) == {"file", "device", "results"} and [r["batch"] for r in data["results"]] == [1, 32]
    assert set(data["results"][0]) == {"batch", "p50_ms", "p99_ms", "least_ms", "rows_per_second", "runs"}


def test_bench_levels(exported: Run) -> None:
    done = exported("bench", "model.onnx", "--batch", "2", "--seconds", "0", "--levels")
    lines = [line.split() for line in done.out.splitlines()[3:]]
    assert [line[0] for line in lines] == ["optimiser", "off", "basic", "extended", "all"]
    found = exported("bench", "model.onnx", "--batch", "2", "--seconds", "0", "--levels", "--json").json["levels"]
    assert [(r["level"], r["nodes"]) for r in found] == [("off", 3), ("basic", 3), ("extended", 2), ("all", 2)]
    assert all(set(r) == {"level", "nodes", "load_ms", "p50_ms"} and set(r["p50_ms"]) == {"2"} for r in found)
    assert exported("bench", "model.onnx", "--levels", "--device", "cuda").code == 2


def test_a_weak_proof_is_a_warning(kc: Run) -> None:
    Path("flat.py").write_text(
        "from kcompile import keras\nfrom kcompile.keras import ops\nx = keras.Input((2,), name='x')\nmodel = keras.Model(x, ops.sigmoid(ops.abs(x) + 90.0))\n"
    )
    for argv in (("export", "flat.py"), ("verify", "flat.py", "flat.onnx")):
        done = kc(*argv, "--json")
        assert done.code == 0 and done.err.startswith("kcompile: warning: the check is weak: ") and done.json


def test_help(kc: Run) -> None:
    done = kc()
    assert (
        done.code == 2 and done.out == "" and done.err.startswith("Usage: kcompile") and len(done.err.splitlines()) > 10
    )
    whole = kc("--help")
    assert (whole.code, whole.err, whole.out) == (0, "", done.err) and kc("-h").out == whole.out
    assert kc("--version").out == f"kcompile, version {kcompile.__version__}\n"
    assert list(HELP) == list(VERBS)
    for verb in VERBS:
        assert HELP[verb] in whole.out
        text = kc(verb, "--help")
        assert text.code == 0 and text.out.startswith(f"Usage: kcompile {verb} [OPTIONS] ") and "--json" in text.out
        assert all(len(line) <= 80 for line in text.out.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_the_short_help_is_written_once(verb: str) -> None:
    from kcompile.cli.main import cli

    assert cli.get_command(None, verb).short_help == HELP[verb]  # type: ignore[arg-type, union-attr]
