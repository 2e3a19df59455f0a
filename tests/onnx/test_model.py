"""Whole models: every opset, the same bytes each time, what the checker says, metadata."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

from kcompile.errors import UnsupportedError, UsageError
from kcompile.ir import Graph, Type, dtype, input_value, symbol, weight
from kcompile.onnx.model import DEFAULT_OPSET, check_opset, dims_of, to_onnx
from kcompile.operators.activation import Relu
from kcompile.operators.arithmetic import Add
from kcompile.operators.control import Cond
from kcompile.runtime.session import run
from tests.onnx.graphs import array, medium
from tests.support import close

F32 = dtype("f32")
pytestmark = pytest.mark.torchless
# What onnx's release notes pair: a runtime that knows the opset reads files of that IR version.
IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}


def test_every_opset_gives_the_same_numbers() -> None:
    graph, feeds = medium(), {"x": array(3, 5, 6)}
    want = run(to_onnx(graph).SerializeToString(), feeds)
    for opset in range(17, onnx.defs.onnx_opset_version() + 1):
        model = to_onnx(graph, opset)
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        assert [o.version for o in model.opset_import] == [opset]
        assert model.ir_version == IR_VERSIONS.get(opset, model.ir_version)
        for level in ("off", "all"):
            for got, expected in zip(run(model.SerializeToString(), feeds, level), want, strict=True):
                close(got, expected)


@pytest.mark.parametrize("opset", [0, 16, 999, -1])
def test_opsets_out_of_range(opset: int) -> None:
    with pytest.raises(UsageError, match=f"opset {opset} is out of range: this kcompile writes 17 to "):
        to_onnx(medium(), opset)
    assert check_opset(None) == DEFAULT_OPSET == 20


def test_the_default_is_read_by_old_runtimes() -> None:
    model = to_onnx(medium())
    assert (model.opset_import[0].version, model.ir_version, model.producer_name) == (20, 9, "kcompile")
    assert {n.domain for n in model.graph.node} == {""}


PROGRAM = """
import hashlib
from kcompile.onnx.model import to_onnx
from tests.onnx.graphs import medium
print(hashlib.sha256(to_onnx(medium(), None, {"b": "2", "a": "1"}).SerializeToString(deterministic=True)).hexdigest())
"""


def test_the_same_bytes_in_every_process() -> None:
    digests = set()
    for seed in ("0", "1", "12345"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(p or "." for p in sys.path)}
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
        digests.add(done.stdout or done.stderr)
    assert len(digests) == 1 and len(digests.pop().strip()) == 64


def test_metadata_is_sorted_and_the_types_are_written() -> None:
    model = to_onnx(medium(), metadata={"b": "2", "a": "ü\n"})
    assert [(p.key, p.value) for p in model.metadata_props] == [("a", "ü\n"), ("b", "2")]
    (x,) = model.graph.input
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["N", "T", 6]
    assert dims_of(Type(F32, (symbol("N") + 1, 3))) == ["N+1", 3]


def test_nothing_unread_is_written() -> None:
    model = to_onnx(medium())
    read = {name for node in model.graph.node for name in node.input} | {o.name for o in model.graph.output}
    assert all(any(o in read for o in node.output) for node in model.graph.node)
    assert {t.name for t in model.graph.initializer} <= read


def test_composites_are_one_node_where_the_opset_has_one() -> None:
    count = {o: [n.op_type for n in to_onnx(medium(), o).graph.node] for o in (17, 20)}
    assert all(ops.count(op) == 1 for ops in count.values() for op in ("LSTM", "GRU", "LayerNormalization"))
    assert count[20].count("Gelu") == 1 and "Gelu" not in count[17] and "Erf" in count[17]


def test_a_weight_without_values_is_named() -> None:
    x = input_value("x", Type(F32, (2,)))
    with pytest.raises(UnsupportedError, match="weight 'lost' has no values"):
        to_onnx(Graph("g", [x], [Add()(x, weight("lost", x.type))]))


def test_a_failing_facet_names_operator_and_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    from kcompile.ir import origin

    with origin("block/act"):
        graph = Graph("g", [], [Relu()(weight("w", Type(F32, (2,))))], weights={"w": np.zeros(2, np.float32)})
    monkeypatch.setattr(Relu, "onnx", lambda self, o, x: o.NoSuchNode(x))
    with pytest.raises(
        UnsupportedError, match="operator 'relu' in layer 'block/act': NoSuchNode is not in opset 20; ONNX has no"
    ):
        to_onnx(graph)
    monkeypatch.setattr(Relu, "onnx", lambda self, o, x: o.Attention(x))
    with pytest.raises(UnsupportedError, match="it needs --opset 23 or later"):
        to_onnx(graph)
    monkeypatch.setattr(Relu, "onnx", lambda self, o, x: 1 / 0)
    with pytest.raises(
        RuntimeError, match="operator 'relu' in layer 'block/act': the onnx facet failed: ZeroDivisionError"
    ):
        to_onnx(graph)


def test_regions_share_weights_and_read_outer_sizes() -> None:
    n = symbol("N")
    i = input_value("i", Type(F32, (n, 2)))
    w = input_value("w", Type(F32, (2,)))
    then, orelse = Graph("then", [i, w], [Add()(i, w)]), Graph("orelse", [i, w], [i])
    flag, x, shared = input_value("flag", Type(dtype("bool"), ())), input_value("x", i.type), weight("w", w.type)
    graph = Graph(
        "g",
        [flag, x],
        [Add()(*Cond(then, orelse)(flag, x, shared), shared)],
        weights={"w": np.array([1, 2], np.float32)},
    )
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [t.name for t in model.graph.initializer] == ["w"]
    for taken in (True, False):
        for rows in (0, 3):
            data = array(rows, 2)
            found = run(model.SerializeToString(), {"flag": np.array(taken), "x": data})[0]
            close(found, data + np.float32([1, 2]) * (2 if taken else 1))
