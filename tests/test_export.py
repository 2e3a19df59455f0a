"""`export`: the report, the proof and what it catches, and what happens to files when it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kcompile
from kcompile import keras
from kcompile.errors import CheckError, UnsupportedError, UsageError
from kcompile.ir import Graph, Type, dtype, input_value, symbol
from kcompile.keras import exporting, layers, ops, verification
from kcompile.keras.verification import Mismatch, Verified, compare, difference, plan, varies
from kcompile.operators.activation import Relu, Sigmoid
from kcompile.operators.arithmetic import Add
from kcompile.operators.indexing import Embedding, Gather
from kcompile.operators.linear import Dense
from kcompile.operators.logic import Cast
from kcompile.operators.random import RandomUniform
from kcompile.operators.shape import Reshape, Slice
from kcompile.passes import pipeline
from kcompile.passes.patterns import like
from kcompile.passes.rewrite import rule

N, T = symbol("N"), symbol("T")
F32 = dtype("f32")


def mlp(width: int = 3, **rest: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((4,), name="x"),
            layers.Dense(width, activation="relu", name="hidden"),
            layers.Dense(2, name="y", **rest),
        ],
        name="mlp",
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "m.onnx"


def test_report(target: Path) -> None:
    seen: list[str] = []
    report = kcompile.export(mlp(), target, on_step=lambda name, seconds: seen.append(name), metadata={"who": "me"})
    assert report.path == str(target) and report.files == [str(target)] and report.size == target.stat().st_size
    assert report.inputs == [{"name": "x", "dtype": "float32", "shape": ["N", 4]}]
    assert report.outputs == [{"name": "y", "dtype": "float32", "shape": ["N", 2]}]
    assert (report.opset, report.parameters) == (20, 4 * 3 + 3 + 3 * 2 + 2)
    assert report.operators_traced >= report.operators_optimised > 0 and report.nodes == 3
    assert report.verified is not None and report.verified.runs == 8 and report.verified.weak == ""
    assert report.error == report.verified.error < 1e-6
    assert report.latency is not None and 0 < report.latency["p50"] <= report.latency["p99"]
    assert seen == [name for name, _ in report.steps] == ["trace", "optimise", "emit", "check", "verify", "measure"]
    loaded = kcompile.load(target)
    assert loaded.metadata == {"kcompile_version": kcompile.__version__, "model": "mlp", "who": "me"}
    data = report.to_dict()
    assert "fired" not in data and data["verified"]["runs"] == 8 and data["steps"][0]["name"] == "trace"


def test_without_proof_or_timing(target: Path) -> None:
    report = kcompile.export(mlp(), target, verify=False, latency=False)
    assert report.verified is None and report.error is None and report.latency is None and target.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opset": 16}, "opset 16 is out of range"),
        ({"opset": "20"}, "opset '20' is out of range"),
        ({"batch": 0}, "batch must be a positive integer"),
        ({"batch": 2.0}, "batch must be a positive integer"),
        ({"metadata": {"a": 1}}, "metadata holds text by text, got 'a': 1"),
    ],
)
def test_bad_arguments(target: Path, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kcompile.export(mlp(), target, **arguments)
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "message"), [("m.pb", "ends in .onnx"), ("no/m.onnx", "does not exist"), ("d.onnx", "is a folder")]
)
def test_bad_paths(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "d.onnx").mkdir()
    with pytest.raises(UsageError, match=message):
        kcompile.export(mlp(), tmp_path / name)


@pytest.mark.parametrize("model", [None, 3, "model.py", Path("m.keras"), lambda x: x])
def test_what_is_no_model(target: Path, model: Any) -> None:
    with pytest.raises(UsageError, match="is not a kcompile Keras model, layer or Graph"):
        kcompile.export(model, target)


def test_graph_and_layer(target: Path) -> None:
    graph = kcompile.trace(mlp())
    assert kcompile.export(graph, target).nodes == kcompile.export(mlp(), target).nodes
    with pytest.raises(UsageError, match="a Graph has its input types"):
        kcompile.export(graph, target, batch=2)
    with pytest.raises(UsageError, match=r"the inputs of .* are not known"):
        kcompile.export(layers.Dense(2), target)
    report = kcompile.export(layers.Dense(2), target, inputs=(None, None, 3))
    assert report.inputs[0]["shape"][0] == "N" and report.inputs[0]["shape"][2] == 3


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("opset", [17, 20, 23])
def test_fixed_batch_and_opset(target: Path, batch: int, opset: int) -> None:
    model = mlp()
    report = kcompile.export(model, target, batch=batch, opset=opset)
    assert (report.inputs[0]["shape"], report.opset) == ([batch, 4], opset) and report.verified is not None
    x = np.random.default_rng(0).standard_normal((batch, 4)).astype(np.float32)
    np.testing.assert_allclose(kcompile.load(target)(x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_external_data(target: Path) -> None:
    report = kcompile.export(mlp(100), target, external_data_above=1000)
    assert report.files == [str(target), f"{target}.data"] and report.size == sum(
        Path(f).stat().st_size for f in report.files
    )
    assert report.verified is not None and report.verified.runs == 8
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(kcompile.load(target)(x), mlp(100).predict(x, verbose=0), rtol=1e-5, atol=1e-6)


# ---- what the proof catches


@pytest.fixture
def older(target: Path) -> Iterator[Path]:
    """A file of that name from before, which must be there whole after a failure, and nothing else."""
    target.write_text("older")
    yield target
    assert target.read_text() == "older" and [p.name for p in target.parent.iterdir()] == [target.name]


@rule("split-bias", like(Dense, "x", "=kernel", "=bias"))
def split_bias(m: Any) -> Any:
    return Add()(Dense()(m.x, m.kernel, None), m.bias)


def deploy(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    """A pipeline of a right pass, which touches every layer, and a wrong one."""
    passes = (pipeline.Pass("harmless", (split_bias,)), pipeline.Pass("wrong-pass", (wrong,)))
    monkeypatch.setattr(exporting, "DEPLOY", pipeline.Pipeline("deploy", reads_weights=True, passes=passes))


@rule("wrong-rule", like(Relu, "x"))
def wrong_rule(m: Any) -> Any:
    return Sigmoid()(m.x)


def test_a_wrong_rule_is_named(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(monkeypatch, wrong_rule)
    with pytest.raises(CheckError) as caught:
        kcompile.export(mlp(), older)
    text = str(caught.value)
    assert "the file does not compute what the model computes: output 'y' differs by" in text
    assert "after the pass 'wrong-pass' (layers hidden; rules wrong-rule); nothing was written" in text


@rule("wrong-half", like(Relu, "x"))
def wrong_half(m: Any) -> Any:
    # Half of the rows against all of them: the types can't tell that this never runs.
    half = Reshape((symbol("M"), 3))(Slice((0, 0), (None, None), (2, 1))(m.x))
    return Slice((0, 0), (N, 3), (1, 1))(Add()(m.x, half))


def test_a_pass_whose_graph_does_not_run_is_named(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(monkeypatch, wrong_half)
    with pytest.raises(CheckError, match="the graph after the pass 'wrong-pass' does not run"):
        kcompile.export(mlp(), older)


def test_a_wrong_onnx_facet_is_found_at_its_layer(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.Activation("sigmoid", name="squash"), layers.Dense(2)]
    )
    monkeypatch.setattr(Sigmoid, "onnx", lambda self, o, x: o.Tanh(x))
    with pytest.raises(CheckError, match=r"the first layer that differs is 'squash' \(operator 'sigmoid'\)"):
        kcompile.export(model, older)


def test_a_file_that_fails_to_run_is_a_failed_check(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sigmoid, "onnx", lambda self, o, x: o.Reshape(o.Tanh(x), o.ints([7, -1])))
    model = keras.Sequential([keras.Input((4,)), layers.Activation("sigmoid", name="squash")])
    with pytest.raises(CheckError, match=r"ONNX Runtime fails|checker refuses"):
        kcompile.export(model, older)


def test_what_onnx_can_not_say_leaves_no_file(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relu, "onnx", lambda self, o, x: o.Nonsense(x))
    with pytest.raises(UnsupportedError, match="operator 'relu' in layer 'hidden'"):
        kcompile.export(mlp(), older)


# ---- what the proof can't prove


def test_constant_outputs_are_flagged(target: Path) -> None:
    x = keras.Input((4,), name="x")
    model = keras.Model(x, {"flat": ops.sigmoid(ops.abs(x) + 90.0), "good": ops.tanh(x)})
    report = kcompile.export(model, target)
    assert report.verified is not None
    assert report.verified.weak == "the output 'flat' hardly changes with the inputs, so equal numbers prove little"


@pytest.mark.parametrize("batch", [None, 1])
def test_good_outputs_are_not_flagged(target: Path, batch: int | None) -> None:
    report = kcompile.export(mlp(), target, batch=batch)
    assert report.verified is not None and report.verified.weak == ""


def test_random_models_are_compared_in_shape(target: Path) -> None:
    graph = Graph(
        "g", [x := input_value("x", Type(F32, (N, 2)))], [Add()(x, RandomUniform((2,), 0.0, 1.0, F32, 0)(None))]
    )
    verified = kcompile.export(graph, target).verified
    assert verified is not None and verified.runs == 8 and "draws random numbers" in verified.weak
    found = compare(graph, verification.run_torch(graph), lambda feeds: [np.zeros((1, 1), np.float32)], "torch")
    assert isinstance(found, Mismatch) and "shape [1, 1] instead of [2, 2]" in str(found)


# ---- inputs of every kind


def embedding() -> keras.Model:
    ids = keras.Input((None,), dtype="int32", name="ids")
    return keras.Model(ids, layers.Dense(2)(layers.Embedding(5, 3)(ids)))


def two_sizes() -> keras.Model:
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    return keras.Model([a, b], ops.matmul(a, ops.transpose(b, (0, 2, 1))))


def picky() -> keras.Model:
    # Neither 7 nor 12 are multiples of 32, nor 33 and 40: 64 and 96 are.
    x = keras.Input((None, 3), name="x")
    return keras.Model(x, ops.sum(ops.reshape(x, (-1, 32, 3)), axis=1))


def flags() -> keras.Model:
    flag, x = keras.Input((4,), dtype="bool", name="flag"), keras.Input((4,), name="x")
    return keras.Model([flag, x], ops.where(flag, x, -x))


def computed_ids() -> keras.Model:
    # Nothing says how far the table reaches: numbers below 10 fail, below 2 pass.
    ids = keras.Input((3,), dtype="int32", name="ids")
    return keras.Model(ids, layers.Embedding(4, 3)(ids * 2 + 1))


@pytest.mark.parametrize("make", [embedding, two_sizes, picky, flags, computed_ids], ids=lambda f: f.__name__)
def test_inputs(target: Path, make: Any) -> None:
    report = kcompile.export(make(), target)
    assert report.verified is not None and report.verified.runs == 8 and not report.verified.weak and report.latency


@pytest.mark.parametrize(("policy", "limit"), [("float16", 1e-2), ("float64", 1e-9)])
def test_tolerance_follows_the_dtype(target: Path, policy: str, limit: float) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,), dtype=policy), layers.Dense(3, dtype=policy), layers.Activation("sigmoid", dtype=policy)]
    )
    report = kcompile.export(model, target)
    assert report.outputs[0]["dtype"] == policy and report.error is not None and report.error < limit
    assert verification.TOLERANCE[dtype(policy).name] == limit


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_judged_by_its_shorter_dtype(target: Path, policy: str) -> None:
    """The output is float32; what it was computed of is not."""
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 1))
    y = layers.MaxPooling2D(dtype=policy)(layers.Conv2D(8, 3, activation="gelu", dtype=policy)(x))
    model = keras.Model(x, layers.Dense(3, activation="softmax", dtype="float32")(layers.Flatten(dtype=policy)(y)))
    report = kcompile.export(model, target, latency=False)
    assert report.error < verification.TOLERANCE[{"mixed_float16": "f16", "mixed_bfloat16": "bf16"}[policy]]


def test_inputs_in_half_precision_loosen_nothing(target: Path) -> None:
    halves = input_value("x", Type(dtype("f16"), (N, 4)))
    graph = Graph("g", [halves], [Sigmoid()(Cast(F32)(halves))])

    def off(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [a + 1e-3 for a in verification.run_torch(graph)(feeds)]

    assert isinstance(compare(graph, verification.run_torch(graph), off, "test"), Mismatch)


def test_a_model_that_fails_on_everything_says_so(target: Path) -> None:
    free, fixed = input_value("x", Type(F32, (N, T))), input_value("x", Type(F32, (N, 2)))
    with pytest.raises(
        CheckError, match=r"the model itself fails .* at the sizes 7, 12, .* of \['T'\]: no way; it can be"
    ):
        plan(Graph("g", [free], [free]), broken)
    with pytest.raises(CheckError, match="on random inputs: no way"):
        plan(Graph("g", [fixed], [fixed]), broken)


def broken(feeds: Any) -> Any:
    raise RuntimeError("no way")


# ---- verification on its own

A = np.array([[1.0, -4.0], [2.0, 0.5]])


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        (A, A, 0.0),
        (A, A + 1e-3, 2.5e-4),
        (A, A[:1], "shape [1, 2] instead of [2, 2]"),
        (A, A.astype(np.float32), "dtype float32 instead of float64"),
        (A[:0], A[:0], 0.0),
        (A * np.nan, A * np.nan, 0.0),
        (A, A * np.nan, "NaN in other places"),
        (A * np.inf, A * np.inf, 0.0),
        (A * np.inf, -A * np.inf, "infinity in other places"),
        (A, A * np.inf, "infinity in other places"),
        (np.array([np.inf, 2.0]), np.array([np.inf, 1.0]), 0.5),
        (A * 0, A * 0 + 3, 3.0),
        (np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), 0.25),
        (np.array([True]), np.array([False]), 1.0),
        (np.float16([60000]), np.float16([30000]), 0.5),
        (np.array(2.0), np.array(1.0), 0.5),
    ],
)
def test_difference(a: np.ndarray, b: np.ndarray, found: float | str) -> None:
    assert difference(a, b) == (found if isinstance(found, str) else pytest.approx(found))


@pytest.mark.parametrize(
    ("a", "before", "found"),
    [
        (A, None, True), (A[[0, 0]], None, False), (A[:1], None, False), (A[:1], A[1:], True), (A[:1], A[:1], False),
        (A[:0], None, False), (1e4 + A, None, False), (np.array([[1], [1]]), None, False), (np.array([[1], [2]]), None, True),
        (A * np.nan, None, False), (np.array(1.0), None, False), (np.array(1.0), np.array(2.0), True),
    ],
)  # fmt: skip
def test_varies(a: np.ndarray, before: np.ndarray | None, found: bool) -> None:
    assert varies(a, before) is found


def test_compare_stops_at_the_first_difference_and_keeps_the_inputs() -> None:
    x = input_value("x", Type(F32, (N, 2)))
    graph = Graph("g", [x], [x, Relu()(x)], ["same", "other"])
    right = verification.run_torch(graph)
    found = compare(graph, right, lambda f: [f["x"], f["x"]], "torch")
    assert isinstance(found, Mismatch) and found.output == "other" and list(found.feeds) == ["x"] and found.error > 0.1
    assert isinstance(compare(graph, right, lambda f: [f["x"], f["x"]], "torch", tolerance=1e4), Verified)
    found = compare(graph, right, lambda f: [f["x"], f["x"].astype(np.float64)], "torch")
    assert "dtype float64 instead of float32" in str(found)


def test_inputs_cover_batches_scales_zeros_and_one_row() -> None:
    x = input_value("x", Type(F32, (N, T)))
    graph = Graph("g", [x], [x])
    asked = []
    found = list(verification.trials(graph, lambda f: [asked.append(f) or 2 * f["x"]]))
    assert [(t.feeds["x"].shape, t.edge) for t in found] == [((2, 7), False), ((5, 12), False)] * 3 + [
        ((2, 7), True),
        ((1, 7), True),
    ]
    assert not found[6].feeds["x"].any() and np.abs(found[4].feeds["x"]).max() > 10
    assert asked == [t.feeds for t in found]  # nothing is run twice
    assert all(np.array_equal(t.wanted[0], 2 * t.feeds["x"]) for t in found)


def test_index_ranges_follow_what_is_indexed() -> None:
    ids, more = input_value("ids", Type(dtype("i32"), (N,))), input_value("more", Type(dtype("i64"), (N,)))
    table, x = input_value("table", Type(F32, (7, 2))), input_value("x", Type(F32, (N, 3)))
    outputs = [Embedding()(table, ids), Gather(axis=1)(x, ids), Embedding()(table, more)]
    assert verification.index_ranges(Graph("g", [ids, more, table, x], outputs)) == {"ids": 3, "more": 7}


def test_reference_without_torch_is_onnx_runtime(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    model = mlp()
    monkeypatch.setitem(sys.modules, "torch", None)
    report = kcompile.export(model, target)
    assert report.verified is not None and report.verified.reference == "the unoptimised graph in ONNX Runtime"
    deploy(monkeypatch, wrong_rule)
    with pytest.raises(CheckError, match="after the pass 'wrong-pass'"):
        kcompile.export(model, target)


@pytest.mark.parametrize(
    ("factor", "off", "passes"),
    # sin(factor * x) answers a change of x in its last digits with factor times as much.
    [(1.0, 5e-4, False), (3e4, 5e-4, True), (3e4, 2e-3, False)],
    ids=["well conditioned", "magnifies roundings", "beyond ten times the tolerance"],
)
def test_roundings_that_the_model_magnifies(factor: float, off: float, passes: bool) -> None:
    graph = Graph("g", [x := input_value("x", Type(F32, (N, 4)))], [Relu()(x)])

    def reference(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.sin(factor * feeds["x"])]

    def candidate(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.float32(1 - off) * a for a in reference(feeds)]

    assert isinstance(compare(graph, reference, candidate, "test"), Verified) is passes


def test_short_lengths_are_tried_where_long_ones_do_not_fit(tmp_path: Path) -> None:
    class Positions(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.table = keras.layers.Embedding(6, 3)

        def call(self, x: Any) -> Any:
            return x + self.table(keras.ops.arange(keras.ops.shape(x)[1]))

    x, y = keras.Input((None, 3), name="x"), keras.Input((None, 3), name="y")
    model = keras.Model([x, y], [Positions()(x), Positions()(y)])
    assert kcompile.export(model, tmp_path / "m.onnx").error < 1e-6
