"""The whole pipelines on whole models."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest

from kcompile.errors import KcompileError
from kcompile.ir import Graph, Type, constant, input_value, show, weight
from kcompile.ir.types import bool_, f32
from kcompile.onnx.model import to_onnx
from kcompile.operators.activation import Relu
from kcompile.operators.arithmetic import Add, Multiply
from kcompile.operators.control import Cond, Scan
from kcompile.operators.convolution import Conv
from kcompile.operators.linear import Dense
from kcompile.operators.math import Tanh
from kcompile.operators.reduction import Mean
from kcompile.operators.shape import Transpose
from kcompile.passes.pipeline import DEPLOY, TRAIN, Pass, Pipeline, optimize
from tests.passes.models import MODELS, N, Net
from tests.passes.peers import PEERS, node_types
from tests.passes.support import apply, evaluate, same_values
from tests.support import run_torch

# What each model has to come to, operator by operator.
EMITTED = {
    "digits": "Reshape Conv Relu Conv Relu MaxPool Conv Relu ReduceMean Gemm Softmax",
    "digits_flat": "Reshape Conv Relu Conv Relu MaxPool Conv Relu Reshape Gemm Softmax",
    "unet": "Transpose Conv Relu MaxPool Conv Relu Resize Concat Conv Relu Conv Sigmoid Reshape",
    "resnet": "Add Transpose Conv Relu MaxPool Conv Conv Relu Conv Add Relu ReduceMax Gemm",
    "mobilenet": "Transpose Conv Relu Conv Relu ReduceMean Conv Relu Conv Sigmoid Mul Conv Relu ReduceMean Gemm",
    "decoder": "Gemm Reshape Relu ConvTranspose Relu ConvTranspose Sigmoid Reshape",
    "preactivated": "Transpose Conv BatchNormalization Relu Conv Concat Conv AveragePool Reshape Gemm",
    "sequence": "Transpose Conv Relu Conv Relu Transpose LayerNormalization MatMul Add Add MatMul Add ReduceMean Gemm",
    "tabular": "Gemm Relu Gemm Softmax",
    "transformer": (
        "MatMul Add Reshape Split Transpose Transpose Transpose MatMul Softmax MatMul "
        "Transpose Reshape MatMul Add Add LayerNormalization MatMul Add Gelu MatMul Add Add Slice MatMul Add"
    ),
    "written": (
        "Reshape LayerNormalization Gemm Reshape Split Transpose Transpose Transpose MatMul Add Softmax MatMul "
        "Transpose Reshape Gemm Add LayerNormalization Gemm Gelu Gemm Add Reshape"
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_deploy_emits_what_is_expected(name: str) -> None:
    graph = MODELS[name]()
    after = optimize(graph, DEPLOY, evaluate=evaluate, verify=True).graph
    same_values(graph, after)
    assert " ".join(node_types(to_onnx(after))) == EMITTED[name]


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", MODELS)
def test_peers_find_nothing_to_remove(name: str, peer: str) -> None:
    model = to_onnx(optimize(MODELS[name](), DEPLOY, evaluate=evaluate).graph)
    theirs = PEERS[peer](copy.deepcopy(model))
    assert len(node_types(theirs)) >= len(node_types(model)), node_types(theirs)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pipeline", [TRAIN, DEPLOY], ids=lambda p: p.name)
def test_optimising_twice_changes_nothing(name: str, pipeline: Pipeline) -> None:
    once = optimize(MODELS[name](), pipeline, evaluate=evaluate).graph
    again = optimize(once, pipeline, evaluate=evaluate)
    assert again.graph == once
    assert not again.fired


@pytest.mark.parametrize("name", MODELS)
def test_train_keeps_every_weight_and_the_values(name: str) -> None:
    graph = MODELS[name]()
    after = optimize(graph, TRAIN, evaluate=evaluate, verify=True).graph
    assert set(after.weight_values()) == set(graph.weight_values())
    same_values(graph, after)


def test_folded_weights_keep_their_plain_names_and_origins() -> None:
    graph = MODELS["digits"]()
    after = optimize(graph, DEPLOY, evaluate=evaluate).graph
    labels = "a/bias a/kernel b/bias b/kernel c/bias c/kernel head/bias head/kernel"
    assert sorted(after.weights) == labels.split()
    origins = {n.op.name: n.origin for n in after.operators() if n.origin}
    assert origins == {"reshape": "a", "conv": "c", "dense": "head"}


def test_updated_weights_are_not_read() -> None:
    x, k = input_value("x", Type(f32, (N, 2))), weight("k", Type(f32, (2, 2)))
    y = Multiply()(Dense()(x, k, None), constant(np.float32(2)))
    graph = Graph("g", [x], [y], updates=[("k", Add()(k, k))], weights={"k": np.ones((2, 2), np.float32)})
    after = optimize(graph, DEPLOY, evaluate=evaluate).graph
    assert [n.op.name for n in after.operators()] == ["dense", "multiply", "add"]
    assert "k" in after.weights


def test_regions_are_optimised() -> None:
    x, p = input_value("x", Type(f32, (N, 2))), input_value("p", Type(bool_, ()))
    inner = input_value("i", Type(f32, (N, 2)))
    then = Graph("then", [inner], [Relu()(Relu()(inner))])
    orelse = Graph("orelse", [inner], [Transpose((1, 0))(Transpose((1, 0))(inner))])
    after = optimize(Graph("g", [p, x], [*Cond(then, orelse)(p, x)]), DEPLOY).graph
    (node,) = after.operators()
    assert [len(g.operators()) for g in (node.op.then, node.op.orelse)] == [1, 0]


def test_a_loop_of_no_steps_gives_what_it_begins_with() -> None:
    """In torch alone: ONNX Runtime's Scan refuses a length of 0."""
    state, row = (input_value(k, Type(f32, (2, 3))) for k in ("h", "x"))
    body = Graph("body", [state, row], [Add()(state, row), Mean((0,))(row)])
    start, rows = input_value("start", Type(f32, (2, 3))), input_value("rows", Type(f32, (0, 2, 3)))
    graph = Graph("g", [start, rows], Scan(body, 1, 1)(start, rows))
    after, _ = apply(graph, "scan-once")
    assert [n.op.name for n in after.operators()] == ["fill"]
    arrays = [np.ones(v.type.shape, np.float32) for v in graph.inputs]
    for found, wanted in zip(run_torch(after, arrays), run_torch(graph, arrays), strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


def test_a_recurrent_convolution_is_laid_out_within_its_loop() -> None:
    state, image = (input_value(k, Type(f32, (N, 4, 3, 2))) for k in ("h", "x"))
    kernel = input_value("k", Type(f32, (3, 3, 2, 2)))
    conv = Conv((1, 1), "same", (1, 1))
    new = Tanh()(Add()(conv(state, kernel), image))
    body = Graph("body", [state, image, kernel], [new, Mean((1, 2))(new)])
    start, frames = input_value("start", Type(f32, (N, 4, 3, 2))), input_value("frames", Type(f32, (5, N, 4, 3, 2)))
    net = Net()
    graph = net.graph("g", [start, frames], *Scan(body, 1, 1)(start, frames, net.weight("c/kernel", 3, 3, 2, 2)))
    after = optimize(graph, DEPLOY, evaluate=evaluate, verify=True).graph
    same_values(graph, after)
    (node,) = after.operators()
    assert [n.op.name for n in node.op.body.operators()].count("transpose") == 2
    assert optimize(after, DEPLOY, evaluate=evaluate).graph == after


def test_passes_load_no_backend() -> None:
    code = "import sys, kcompile.passes.pipeline; print(*({'onnx', 'onnxruntime', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_account_of_what_happened() -> None:
    steps = []
    result = optimize(MODELS["preactivated"](), DEPLOY, evaluate=evaluate, listener=steps.append)
    assert steps == result.steps
    assert [s.name for s in steps][: len(DEPLOY.passes)] == [p.name for p in DEPLOY.passes]
    assert all(s.seconds >= 0 for s in steps)
    fired = [(f.rule, f.origin, [n.op.name for n in f.before], [n.op.name for n in f.after]) for f in result.fired]
    assert fired[0] == ("fold-batch-norm-forward", "c", ["conv", "batch_norm"], ["conv"])
    reasons = {(s.rule, s.origin, s.reason) for s in result.skipped}
    assert ("fold-batch-norm", "bn1", "linear is used 2 times") in reasons


def test_a_pass_that_never_settles_is_named() -> None:
    x = input_value("x", Type(f32, (N, 2)))
    wider = Pipeline("p", False, (Pass("again", lambda g: g.replace(outputs=[Relu()(g.outputs[0])])),))
    with pytest.raises(KcompileError, match="the pipeline 'p' never settles on graph 'g'"):
        optimize(Graph("g", [x], [x]), wider)


def test_verification_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    x = input_value("x", Type(f32, (N, 2)))
    node = Relu()(x).node
    wrong = type(node)(node.op, node.inputs, (Type(f32, (N, 3)),), "")
    broken = Pipeline("p", False, (Pass("wrong", lambda g: g.replace(outputs=wrong.results)),))
    monkeypatch.setenv("KCOMPILE_VERIFY", "1")
    with pytest.raises(KcompileError, match="relu"):
        optimize(Graph("g", [x], [x]), broken)


def test_without_an_evaluator_constants_stay() -> None:
    x, c = input_value("x", Type(f32, (N, 2))), constant(np.ones(2, np.float32))
    graph = Graph("g", [x], [Add()(x, Relu()(c))])
    assert show(optimize(graph, TRAIN).graph) == show(graph)
